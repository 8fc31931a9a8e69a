//! What answers at an address of a name that is not this machine's: the question that a CA would come with.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, Request, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::{here::Here, names::Name};
use crate::cause;

/// For both, a connection and the answer; who is slower than that at a page of nothing is away for a CA too.
const DEADLINE: Duration = Duration::from_secs(2);
/// More addresses than that of one name are a content delivery network's.
const ADDRESSES: usize = 8;
/// Where a CA asks for http-01.
const PORT: u16 = 80;
/// No token of ours is like this, so a clawgate says that it knows of none, in words that no other server has.
const PATH: &str = "/.well-known/acme-challenge/clawgate-check-asks-who-is-there";

/// What is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A clawgate: this one behind some translation, or another.
    Clawgate,
    /// Another server, and what it calls itself.
    Other { status: u16, server: Option<String> },
    /// It takes connections and speaks no HTTP.
    NoHttp,
    /// No connection; why.
    Nobody(String),
}

/// Asks each address of `names` that is not ours, all at once.
pub async fn look(here: &Here, names: &[Name]) -> BTreeMap<IpAddr, Answer> {
    look_at(PORT, here, names).await
}

async fn look_at(port: u16, here: &Here, names: &[Name]) -> BTreeMap<IpAddr, Answer> {
    let mut wanted: Vec<(IpAddr, &str)> = Vec::new();
    for name in names {
        let foreign = name.all().into_iter().filter(|ip| super::here::is_public(*ip) && !here.has(*ip));
        wanted.extend(foreign.map(|ip| (ip, name.host.as_str().trim_start_matches("*."))));
    }
    wanted.sort_unstable();
    wanted.dedup_by_key(|(ip, _)| *ip);
    wanted.truncate(ADDRESSES);
    let asked = wanted.into_iter().map(|(ip, host)| async move { (ip, ask(SocketAddr::new(ip, port), host).await) });
    join_all(asked).await.into_iter().collect()
}

async fn ask(at: SocketAddr, host: &str) -> Answer {
    let until = Instant::now() + DEADLINE;
    let connected = timeout_at(until, TcpStream::connect(at)).await;
    let tcp = match connected {
        Ok(Ok(tcp)) => tcp,
        Ok(Err(error)) => return Answer::Nobody(cause::plain(&error)),
        Err(_) => return Answer::Nobody(format!("no connection within {} s", DEADLINE.as_secs())),
    };
    timeout_at(until, exchange(tcp, host)).await.ok().flatten().unwrap_or(Answer::NoHttp)
}

async fn exchange(tcp: TcpStream, host: &str) -> Option<Answer> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(tcp)).await.ok()?;
    let request = Request::get(PATH).header(header::HOST, host).body(Empty::<Bytes>::new()).ok()?;
    let mut answer = std::pin::pin!(sender.send_request(request));
    let response = tokio::select! {
        answer = &mut answer => answer,
        // It ends once all is said: what was said last may still have to be read.
        _ = connection => answer.await,
    };
    let head = response.ok()?.into_parts().0;
    Some(match is_clawgate(&head.headers) {
        true => Answer::Clawgate,
        false => Answer::Other { status: head.status.as_u16(), server: server(&head.headers) },
    })
}

/// RFC 9209 §2: who made an answer names itself in it.
fn is_clawgate(headers: &HeaderMap) -> bool {
    let names = headers.get("proxy-status").and_then(|value| value.to_str().ok());
    names.is_some_and(|names| names.split([';', ',']).next().is_some_and(|first| first.trim() == "clawgate"))
}

/// The first word is the program; it comes from outside.
fn server(headers: &HeaderMap) -> Option<String> {
    let word = headers.get(header::SERVER)?.to_str().ok()?.split([' ', '(']).next()?;
    (!word.is_empty() && word.len() <= 40).then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::serve::refusal::{Reason, Refusal};

    /// What is said of who answers like this.
    async fn says(answer: &str) -> Answer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let answer = answer.to_owned();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let said = ask(at, "chat.test").await;
        let request = served.await.unwrap();
        assert!(request.starts_with(&format!("GET {PATH} HTTP/1.1\r\nhost: chat.test\r\n")), "{request}");
        said
    }

    #[tokio::test]
    async fn a_clawgate_is_told_from_others_and_from_nobody() {
        // In the very words of ours.
        let ours = Refusal::from(Reason::ChallengeUnknown).response(false);
        let name = ours.headers()["proxy-status"].to_str().unwrap();
        let head = format!("HTTP/1.1 404 Not Found\r\nproxy-status: {name}\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(says(&head).await, Answer::Clawgate);
        let other = |status, server: Option<&str>| Answer::Other { status, server: server.map(str::to_owned) };
        let nginx = "HTTP/1.1 301 Moved\r\nServer: nginx/1.30 (Debian)\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(says(nginx).await, other(301, Some("nginx/1.30")));
        let near = "HTTP/1.1 200 OK\r\nproxy-status: clawgate-like; error=x\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(says(near).await, other(200, None));
        assert_eq!(says("SSH-2.0-OpenSSH_9.9\r\n").await, Answer::NoHttp);
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert_eq!(ask(gone, "chat.test").await, Answer::Nobody("connection refused".into()));
    }
}
