//! The services of `forward_auth`, each asked as for a client that has not logged in.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    cause,
    config::{
        Config,
        model::{Endpoint, ForwardAuth, Policy, Site},
    },
    headers::ask::{About, question},
};

/// For one of them; `timeout` of the configuration where that is shorter.
const DEADLINE: Duration = Duration::from_secs(6);
/// More of them are nobody's configuration.
const MOST: usize = 16;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    pub url: String,
    /// The first site that asks it.
    pub host: String,
    /// How long it was waited for.
    pub waited: Duration,
    pub answer: Answer,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Status(u16),
    /// No connection; why.
    Away(String),
    /// No answer in time.
    Silent,
    /// It is no HTTP; why.
    NoHttp(String),
}

/// Asks each service once.
pub async fn look(config: &Config) -> Vec<Service> {
    let mut wanted: Vec<(&ForwardAuth, &Site)> = Vec::new();
    for site in &config.sites {
        let policies = site.routes.iter().map(|route| &route.policy).chain([&site.policy]);
        for auth in policies.filter_map(|policy: &Policy| policy.forward_auth.as_deref()) {
            let is_same = |other: &ForwardAuth| (&other.host, &other.target) == (&auth.host, &auth.target);
            if wanted.len() < MOST && !wanted.iter().any(|(other, _)| is_same(other)) {
                wanted.push((auth, site));
            }
        }
    }
    join_all(wanted.into_iter().map(|(auth, site)| async move {
        let host = site.hosts.first().map_or("", |host| host.as_str().trim_start_matches("*."));
        let waited = auth.timeout.min(DEADLINE);
        let endpoint = &config.upstreams[auth.service.0].endpoint;
        let answer = timeout(waited, ask(auth, endpoint, host)).await.unwrap_or(Answer::Silent);
        Service { url: url(auth), host: host.to_owned(), waited, answer }
    }))
    .await
}

/// Without the query, in which a secret may stand.
fn url(auth: &ForwardAuth) -> String {
    format!("http://{}{}", auth.host.to_str().unwrap_or_default(), auth.target.path())
}

async fn ask(auth: &ForwardAuth, endpoint: &Endpoint, host: &str) -> Answer {
    let connected = match endpoint {
        Endpoint::Address(address) => TcpStream::connect(address).await,
        Endpoint::Name(name, port) => TcpStream::connect((&**name, *port)).await,
    };
    match connected {
        Ok(stream) => exchange(stream, auth, host).await.unwrap_or_else(Answer::NoHttp),
        Err(error) => Answer::Away(cause::plain(&error)),
    }
}

async fn exchange(stream: TcpStream, auth: &ForwardAuth, host: &str) -> Result<Answer, String> {
    let said = |error: hyper::Error| cause::chain(&error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(said)?;
    let host = HeaderValue::from_str(host).map_err(|error| error.to_string())?;
    // RFC 5737: nobody's address.
    let client = HeaderValue::from_static("192.0.2.1");
    let about = About { method: &Method::GET, target: "/", host: &host, https: true, client: &client };
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = auth.target.clone().into();
    *request.headers_mut() = question(auth, &about, &mut HeaderMap::new());
    let mut answer = std::pin::pin!(sender.send_request(request));
    let response = tokio::select! {
        answer = &mut answer => answer,
        // It ends once all is said: what was said last may still have to be read.
        _ = connection => answer.await,
    };
    Ok(Answer::Status(response.map_err(said)?.status().as_u16()))
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::config::{NoSecrets, Source, parse};

    fn config(address: &str) -> Config {
        let text = format!(
            "[[site]]\nhost = \"chat.example.com\"\n\
             forward_auth = {{ url = \"http://{address}/check?key=x\", timeout = \"200ms\" }}\n\
             [[site.route]]\nprefix = \"/a\"\nforward_auth = \"off\"\n\
             [[site.route]]\nprefix = \"/b\"\n"
        );
        parse(&[Source { name: "config.toml".into(), text }], &NoSecrets).unwrap().config
    }

    /// What is seen of a service that says this, and what it was asked; `None` keeps it silent.
    async fn seen(says: Option<&str>) -> (Answer, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = config(&listener.local_addr().unwrap().to_string());
        let service = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 4096];
            let length = stream.read(&mut asked).await.unwrap();
            match says {
                Some(says) => stream.write_all(says.as_bytes()).await.unwrap(),
                None => drop(stream.read(&mut [0]).await),
            }
            String::from_utf8_lossy(&asked[..length]).into_owned()
        };
        let (found, asked) = tokio::join!(look(&config), service);
        let [found] = &found[..] else { panic!("one service, asked once: {found:?}") };
        assert!(found.url.ends_with("/check") && found.host == "chat.example.com", "{found:?}");
        (found.answer.clone(), asked)
    }

    #[tokio::test]
    async fn a_service_is_asked_as_for_a_client_that_has_not_logged_in() {
        let (answer, asked) = seen(Some("HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n")).await;
        assert_eq!(answer, Answer::Status(302));
        assert!(asked.starts_with("GET /check?key=x HTTP/1.1\r\n"), "{asked}");
        for line in ["x-forwarded-method: GET", "x-forwarded-uri: /", "x-forwarded-host: chat.example.com"] {
            assert!(asked.contains(&format!("\r\n{line}\r\n")), "{line}: {asked}");
        }
    }

    #[tokio::test]
    async fn who_is_away_silent_or_no_service_at_all_is_told_apart() {
        assert!(matches!(seen(Some("SSH-2.0-OpenSSH_9.9\r\n")).await.0, Answer::NoHttp(_)));
        assert_eq!(seen(None).await.0, Answer::Silent);
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let found = look(&config(&gone.to_string())).await;
        assert_eq!(found[0].answer, Answer::Away("connection refused".into()));
    }
}
