//! A service of `forward_auth` that is known by its name, and moves.

use std::{net::Ipv4Addr, path::Path, process::Command, time::Duration};

use clawgate_system::{
    alone::{alone, instead, run},
    name_server::Server,
    process::Process,
    proxy, wait,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

const DNS: &str = "203.0.114.53";
const FIRST: &str = "203.0.114.21";
const SECOND: &str = "203.0.114.22";
const NOBODY: &str = "203.0.114.23";
const SERVICE: u16 = 9091;
const SITE: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 8080);
const SOON: Duration = Duration::from_secs(20);

/// Says which one it is to each question; closes each connection behind an answer, or keeps it.
struct Service(JoinHandle<()>);

impl Service {
    async fn at(address: &'static str, keeps: bool) -> Service {
        let listener = TcpListener::bind((address, SERVICE)).await.unwrap();
        let connection = if keeps { "keep-alive" } else { "close" };
        let said = format!(
            "HTTP/1.1 403 No\r\nconnection: {connection}\r\ncontent-length: {}\r\n\r\n{address}",
            address.len()
        );
        Service(tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let said = said.clone();
                open.spawn(async move {
                    while stream.read(&mut [0; 4096]).await.is_ok_and(|n| n > 0) {
                        stream.write_all(said.as_bytes()).await.unwrap();
                        if !keeps {
                            break;
                        }
                    }
                });
            }
        }))
    }

    /// Its connections and its listener are gone.
    async fn ends(self) {
        self.0.abort();
        assert!(self.0.await.is_err_and(|error| error.is_cancelled()));
    }
}

fn serve(folder: &Path) -> Process {
    let (at, config) = (folder.display(), folder.join("config.toml"));
    let text = format!(
        "state_dir = \"{at}/state\"\nadmin_socket = \"{at}/admin.sock\"\n\
         [[listen]]\naddress = \"127.0.0.1:8080\"\nserve = \"http\"\n\
         [[site]]\nhost = \"chat.test\"\ncertificate = \"internal\"\nupstream = \"127.0.0.1:9\"\nkind = \"generic\"\n\
         forward_auth = {{ url = \"http://auth.test:{SERVICE}/verify\", timeout = \"2s\" }}\n"
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(proxy::binary());
    command.args(["run", "--config"]).arg(&config);
    Process::start("clawgate", &mut command, &folder.join("log"))
}

/// The status and the body of one request, over a connection of its own.
async fn asked() -> (String, String) {
    let mut stream = TcpStream::connect(SITE).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: chat.test\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
}

async fn is_asked(address: &str, why: &str) {
    assert_eq!(asked().await, ("403".to_owned(), address.to_owned()), "{why}");
}

#[test]
fn a_service_that_moves_is_found_by_its_name_and_no_request_is_lost() {
    let name = "moved::a_service_that_moves_is_found_by_its_name_and_no_request_is_lost";
    alone(name, &[DNS, FIRST, SECOND, NOBODY], async || {
        instead("/etc/resolv.conf", &format!("nameserver {DNS}\n"));
        let record = |address: &str| format!("auth.test A {address}");
        let names = Server::at(DNS.parse().unwrap(), 53, &[&record(FIRST)]).await;
        let lookups = || names.asked().iter().filter(|asked| asked.ends_with("auth.test. A")).count();
        let folder = tempfile::tempdir().unwrap();
        let _proxy = serve(folder.path());
        wait::until("the proxy listens", SOON, async || TcpStream::connect(SITE).await.ok()).await;

        // It goes from where it was, with the connections that were kept to it.
        let first = Service::at(FIRST, true).await;
        is_asked(FIRST, "where its name leads").await;
        names.set(&[&record(SECOND)]);
        first.ends().await;
        let second = Service::at(SECOND, false).await;
        is_asked(SECOND, "by the first request").await;

        // It is still there, but its name says otherwise: each new connection asks again.
        let _first = Service::at(FIRST, false).await;
        let before = lookups();
        is_asked(SECOND, "its name has not changed").await;
        names.set(&[&record(FIRST)]);
        is_asked(FIRST, "its name has changed").await;
        assert!(lookups() >= before + 2, "{:?}", names.asked());
        second.ends().await;

        // Of several addresses one that refuses is passed over.
        names.set(&[&record(NOBODY), &record(FIRST), &record(SECOND)]);
        for _ in 0..3 {
            is_asked(FIRST, "the only one of three who is there").await;
        }

        // One that keeps silent leaves time for the next, within the time of one question.
        run("nft", &["add", "table", "inet", "quiet"]);
        run("nft", &["add", "chain", "inet", "quiet", "input", "{ type filter hook input priority 0; }"]);
        run("nft", &["add", "rule", "inet", "quiet", "input", "ip", "daddr", NOBODY, "drop"]);
        names.set(&[&record(NOBODY), &record(FIRST)]);
        for _ in 0..3 {
            is_asked(FIRST, "the one of two who answers").await;
        }

        // A name without an address lets nobody pass, and is asked for again at once.
        names.set(&["test SOA ns.test"]);
        let (status, body) = asked().await;
        assert_eq!((&*status, body.contains("auth_name_unknown")), ("503", true), "{body}");
        names.set(&[&record(FIRST)]);
        is_asked(FIRST, "its name is back").await;
    });
}
