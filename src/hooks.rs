//! Telling the operator what happened: the log, and a command and a webhook where they are wished.
//!
//! Telling never holds up what is told about: it happens on a thread of its own, one after the other, each within
//! `LIMIT`; when too many wait, the newest is dropped, and the log says so.

use std::{
    io::{self, Read as _, Write as _},
    net::ToSocketAddrs as _,
    process::{Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::aws_lc_rs};
use rustls_pki_types::ServerName;
use serde::Serialize;
use tracing::warn;

use crate::{config::model::Hooks, socket::Until};

/// For a command, and for all of one POST.
const LIMIT: Duration = Duration::from_secs(30);
/// How many may wait to be told.
const WAITING: usize = 64;

/// Something that happened: a line of the log, and JSON for programs.
pub trait Event: Serialize {
    fn log(&self);
}

/// Tells; by default the log only. Dropping it ends its thread once what waits is told.
#[derive(Default)]
pub struct Teller {
    queue: Option<mpsc::SyncSender<Vec<u8>>>,
}

impl Teller {
    /// # Errors
    /// When the system gives no thread.
    pub fn start(hooks: Hooks) -> io::Result<Teller> {
        if hooks == Hooks::default() {
            return Ok(Teller::default());
        }
        let (queue, waiting) = mpsc::sync_channel::<Vec<u8>>(WAITING);
        thread::Builder::new().name("events".into()).spawn(move || {
            for body in waiting {
                tell(&hooks, &body, &AGAIN);
            }
        })?;
        Ok(Teller { queue: Some(queue) })
    }

    pub fn tell(&self, event: &impl Event) {
        event.log();
        if let Some(queue) = &self.queue
            && queue.try_send(serde_json::to_vec(event).expect("text and numbers are always JSON")).is_err()
        {
            warn!("too many events wait for the command or the webhook, this one is dropped");
        }
    }
}

/// Between the tries of a webhook.
const AGAIN: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(30)];

fn tell(hooks: &Hooks, body: &[u8], again: &[Duration]) {
    if let Err(error) = command(&hooks.command, body) {
        warn!(%error, command = hooks.command.first(), "the event's command failed");
    }
    let Some(url) = &hooks.webhook else { return };
    // A webhook's path is often its secret.
    let host = url.split('/').nth(2).unwrap_or_default();
    let mut waits = again.iter();
    while let Err(error) = post(url, body) {
        let Some(wait) = waits.next() else {
            warn!(%error, host, "the event's webhook failed, and is not tried again");
            return;
        };
        warn!(%error, host, again_s = wait.as_secs(), "the event's webhook failed");
        thread::sleep(*wait);
    }
}

fn command(words: &[String], body: &[u8]) -> io::Result<()> {
    let Some((program, arguments)) = words.split_first() else { return Ok(()) };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // Below a pipe's 64 KiB; a program that does not read it has its reasons.
        let _ = stdin.write_all(body);
    }
    let deadline = Instant::now() + LIMIT;
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(io::Error::other(status.to_string())),
            None if Instant::now() >= deadline => {
                child.kill()?;
                child.wait()?;
                return Err(io::Error::new(io::ErrorKind::TimedOut, format!("not done after {} s", LIMIT.as_secs())));
            }
            None => thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// One POST on a connection of its own; any 2xx is good.
fn post(url: &str, body: &[u8]) -> io::Result<()> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
    let uri: http::Uri = url.parse().map_err(|_| bad("no URL"))?;
    let host = uri.host().ok_or_else(|| bad("no host"))?;
    let https = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let mut last = bad("the host has no address");
    let stream = (bare, port)
        .to_socket_addrs()?
        .find_map(|address| Until::connect(&address, Instant::now() + LIMIT).map_err(|error| last = error).ok());
    let Some(stream) = stream else { return Err(last) };
    let authority = uri.authority().map_or(host, http::uri::Authority::as_str);
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {authority}\r\nuser-agent: clawgate/{}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        env!("CARGO_PKG_VERSION"),
        body.len()
    );
    let request = [head.as_bytes(), body].concat();
    let status = if https {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| bad("no host name"))?;
        let tls = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        exchange(StreamOwned::new(tls, stream), &request)?
    } else {
        exchange(stream, &request)?
    };
    match status {
        200..300 => Ok(()),
        status => Err(io::Error::other(format!("answered {status}"))),
    }
}

/// Sends, and reads as far as the status.
fn exchange(mut stream: impl io::Read + io::Write, request: &[u8]) -> io::Result<u16> {
    stream.write_all(request)?;
    stream.flush()?;
    let mut line = Vec::new();
    for byte in io::BufReader::new(stream).bytes().take(64) {
        match byte? {
            b'\n' => break,
            byte => line.push(byte),
        }
    }
    let line = String::from_utf8_lossy(&line);
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|status| status.parse().ok());
    status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no HTTP answer"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[derive(Serialize)]
    struct Struck {
        event: &'static str,
        at: u64,
    }

    impl Event for Struck {
        fn log(&self) {}
    }

    const STRUCK: Struck = Struck { event: "struck", at: 7 };
    const JSON: &str = r#"{"event":"struck","at":7}"#;

    #[test]
    fn a_command_gets_the_event_on_its_stdin_and_its_failure_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("said");
        let words = |script: &str| ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        command(&words(&format!("cat > {}", file.display())), &serde_json::to_vec(&STRUCK).unwrap()).unwrap();
        assert_eq!(std::fs::read_to_string(file).unwrap(), JSON);
        assert!(command(&words("exit 3"), b"").unwrap_err().to_string().contains('3'));
        assert!(command(&["/nowhere/program".to_owned()], b"").is_err());
        assert!(command(&[], b"").is_ok());
    }

    #[test]
    fn a_webhook_gets_the_event_in_a_post() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook?x=1", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut seen = Vec::new();
            let mut buffer = [0; 1024];
            while !seen.ends_with(JSON.as_bytes()) {
                let n = stream.read(&mut buffer).unwrap();
                assert!(n > 0, "the whole request comes");
                seen.extend(&buffer[..n]);
            }
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
            String::from_utf8(seen).unwrap()
        });
        let teller = Teller::start(Hooks { command: Vec::new(), webhook: Some(url.into()) }).unwrap();
        teller.tell(&STRUCK);
        let seen = server.join().unwrap();
        assert!(seen.starts_with("POST /hook?x=1 HTTP/1.1\r\nhost: 127.0.0.1:"), "{seen}");
    }

    #[test]
    fn a_webhook_that_fails_is_tried_again_and_not_for_ever() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let mut bodies = Vec::new();
            for answer in
                ["HTTP/1.1 500 No\r\n", "", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 503 No\r\n", "HTTP/1.1 503 No\r\n"]
            {
                let (mut stream, _) = listener.accept().unwrap();
                let mut seen = Vec::new();
                let mut buffer = [0; 1024];
                while !seen.ends_with(JSON.as_bytes()) {
                    let n = stream.read(&mut buffer).unwrap();
                    seen.extend(&buffer[..n]);
                }
                stream.write_all(answer.as_bytes()).unwrap();
                bodies.push(seen);
            }
            bodies.len()
        });
        let hooks = Hooks { command: Vec::new(), webhook: Some(url.into()) };
        let body = serde_json::to_vec(&STRUCK).unwrap();
        // The third try of the first is good; the second event is given up.
        tell(&hooks, &body, &[Duration::ZERO; 2]);
        tell(&hooks, &body, &[Duration::ZERO]);
        assert_eq!(server.join().unwrap(), 5);
    }

    #[test]
    fn only_2xx_is_good() {
        for (answer, good) in
            [("HTTP/1.1 200 OK\r\n", true), ("HTTP/1.1 500 No\r\n", false), ("SSH-2.0\r\n", false), ("", false)]
        {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}/", listener.local_addr().unwrap());
            let server = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            });
            assert_eq!(post(&url, b"{}").is_ok(), good, "{answer:?}");
            server.join().unwrap();
        }
    }
}
