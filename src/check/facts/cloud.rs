//! Which address the cloud gave this machine: where it translates addresses, no interface has the public one.
//!
//! All of them answer at the same link-local address, each to a question of its own. A machine that is in none has
//! nobody there, which is no finding.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

/// The instance metadata service, of every cloud.
pub const METADATA: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(169, 254, 169, 254)), 80);

/// It is on the same host or one switch away.
const DEADLINE: Duration = Duration::from_secs(1);

/// What is asked for is an address, or a token of some dozen bytes.
const ANSWER: usize = 1024;

/// What a cloud says about this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cloud {
    pub name: &'static str,
    /// Public ones that lead here.
    pub addresses: Vec<IpAddr>,
}

/// The addresses that whoever answers at `metadata` says are ours; `None` where nobody knows within a second.
pub async fn look(metadata: SocketAddr) -> Option<Cloud> {
    let mut questions: FuturesUnordered<_> = CLOUDS.iter().map(|kind| ask(metadata, *kind)).collect();
    let first = async {
        while let Some(answer) = questions.next().await {
            if answer.is_some() {
                return answer;
            }
        }
        None
    };
    timeout(DEADLINE, first).await.ok().flatten()
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Hetzner,
    Aws,
    Gcp,
    Azure,
    DigitalOcean,
}

const CLOUDS: [Kind; 5] = [Kind::Hetzner, Kind::Aws, Kind::Gcp, Kind::Azure, Kind::DigitalOcean];

async fn ask(at: SocketAddr, kind: Kind) -> Option<Cloud> {
    let get = |path: &'static str, header: Option<(&'static str, String)>| async move {
        address(&exchange(at, Method::GET, path, header).await?)
    };
    let (name, addresses) = match kind {
        Kind::Hetzner => ("Hetzner", vec![get("/hetzner/v1/metadata/public-ipv4", None).await?]),
        Kind::Aws => {
            // IMDSv2: no answer without a token of one's own.
            let lifetime = ("x-aws-ec2-metadata-token-ttl-seconds", "60".to_owned());
            let token = exchange(at, Method::PUT, "/latest/api/token", Some(lifetime)).await?;
            ("AWS", vec![get("/latest/meta-data/public-ipv4", Some(("x-aws-ec2-metadata-token", token))).await?])
        }
        Kind::Gcp => {
            let path = "/computeMetadata/v1/instance/network-interfaces/0/access-configs/0/external-ip";
            ("Google Cloud", vec![get(path, Some(("metadata-flavor", "Google".into()))).await?])
        }
        Kind::Azure => {
            let path = "/metadata/instance/network/interface/0/ipv4/ipAddress/0/publicIpAddress\
                        ?api-version=2021-02-01&format=text";
            ("Azure", vec![get(path, Some(("metadata", "true".into()))).await?])
        }
        Kind::DigitalOcean => {
            let own = get("/metadata/v1/interfaces/public/0/ipv4/address", None).await?;
            // A reserved address leads here too, while it is assigned.
            let reserved = get("/metadata/v1/reserved_ip/ipv4/ip_address", None).await;
            ("DigitalOcean", std::iter::once(own).chain(reserved).collect())
        }
    };
    Some(Cloud { name, addresses })
}

fn address(text: &str) -> Option<IpAddr> {
    text.trim().parse().ok()
}

/// The text of a 200; anything else is no answer.
async fn exchange(
    at: SocketAddr,
    method: Method,
    path: &str,
    header: Option<(&'static str, String)>,
) -> Option<String> {
    let tcp = TcpStream::connect(at).await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(tcp)).await.ok()?;
    let mut request = Request::builder().method(method).uri(path).header("host", at.ip().to_string());
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    let request = request.body(Empty::<Bytes>::new()).ok()?;
    let answer = async {
        let response = sender.send_request(request).await.ok()?;
        let found = response.status() == StatusCode::OK;
        let body = Limited::new(response.into_body(), ANSWER).collect().await.ok()?;
        found.then(|| String::from_utf8(body.to_bytes().to_vec()).ok()).flatten()
    };
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // It ends once all is said: what was said last may still have to be read.
        _ = connection => answer.await,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use hyper::{Response, service::service_fn};
    use tokio::net::TcpListener;

    use super::*;

    /// Method, path, a header that is wanted, and what is said then.
    type Says = (&'static str, &'static str, &'static str, &'static str);

    async fn cloud(answers: &[Says]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let answers: HashMap<(String, String), (String, String)> = answers
            .iter()
            .map(|(method, path, header, text)| {
                (((*method).into(), (*path).into()), ((*header).into(), (*text).into()))
            })
            .collect();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answers = answers.clone();
                let serve = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let key = (request.method().to_string(), request.uri().path().to_owned());
                    let answer = answers.get(&key).filter(|(header, _)| {
                        let (name, value) = header.split_once(": ").unwrap_or((header, ""));
                        name.is_empty() || request.headers().get(name).is_some_and(|found| found == value)
                    });
                    let response = match answer {
                        Some((_, text)) => Response::new(text.clone()),
                        None => {
                            let mut response = Response::new("10.0.0.1".to_owned());
                            *response.status_mut() = StatusCode::NOT_FOUND;
                            response
                        }
                    };
                    async move { Ok::<_, std::convert::Infallible>(response) }
                });
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), serve);
                tokio::spawn(async move { drop(connection.await) });
            }
        });
        at
    }

    #[tokio::test]
    async fn each_cloud_is_asked_in_its_own_way() {
        let gcp = "/computeMetadata/v1/instance/network-interfaces/0/access-configs/0/external-ip";
        let azure = "/metadata/instance/network/interface/0/ipv4/ipAddress/0/publicIpAddress";
        let ocean = "/metadata/v1/interfaces/public/0/ipv4/address";
        let reserved = "/metadata/v1/reserved_ip/ipv4/ip_address";
        let table: [(&str, &[Says], &[&str]); 5] = [
            ("Hetzner", &[("GET", "/hetzner/v1/metadata/public-ipv4", "", "1.2.3.4\n")], &["1.2.3.4"]),
            (
                "AWS",
                &[
                    ("PUT", "/latest/api/token", "x-aws-ec2-metadata-token-ttl-seconds: 60", "TOKEN=="),
                    ("GET", "/latest/meta-data/public-ipv4", "x-aws-ec2-metadata-token: TOKEN==", "1.2.3.5"),
                ],
                &["1.2.3.5"],
            ),
            ("Google Cloud", &[("GET", gcp, "metadata-flavor: Google", "1.2.3.6")], &["1.2.3.6"]),
            ("Azure", &[("GET", azure, "metadata: true", "1.2.3.7")], &["1.2.3.7"]),
            (
                "DigitalOcean",
                &[("GET", ocean, "", "1.2.3.8"), ("GET", reserved, "", "1.2.3.9")],
                &["1.2.3.8", "1.2.3.9"],
            ),
        ];
        for (name, answers, addresses) in table {
            let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
            assert_eq!(look(cloud(answers).await).await, Some(Cloud { name, addresses }), "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_there_is_no_answer_and_takes_a_second_at_most() {
        // Accepted by the kernel, and never answered.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let began = tokio::time::Instant::now();
        assert_eq!(look(silent.local_addr().unwrap()).await, None);
        assert!(began.elapsed() <= DEADLINE + Duration::from_millis(10));
        let at = silent.local_addr().unwrap();
        drop(silent);
        assert_eq!(look(at).await, None);
        // No address of this machine: an empty answer, as Azure gives it, or a page of something else.
        assert_eq!(look(cloud(&[("GET", "/hetzner/v1/metadata/public-ipv4", "", "")]).await).await, None);
    }
}
