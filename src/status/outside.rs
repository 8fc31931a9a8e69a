//! What a monitor outside gets at each host: asked of the running proxy as a monitor does it, by a connection to its own
//! listener, TLS with the host's name, and one `GET`. Nothing is inferred.
//!
//! It comes from this machine's own address rather than from loopback, where there is one: rules for strangers apply.
//! What lies in front of the machine, a cloud's firewall say, is not seen.

use std::{
    io::{self, BufRead as _, Read as _},
    iter,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde::{Deserialize, Serialize};

use super::Report;
pub use crate::look::PATH;
use crate::{look::FIELD, socket::Until};

/// For all of one question.
pub const DEADLINE: Duration = Duration::from_secs(3);
/// Hosts that are asked.
const MOST: usize = 16;
/// Of an answer; a refusal of ours is a few hundred bytes.
const ANSWER: u64 = 16 * 1024;
/// Of a body that says nothing to us it is read this far. Whoever leaves before the end is a client that aborted.
const BODY: u64 = 8 * 1024 * 1024;

/// One answer, or why there is none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// Where it was asked.
    pub address: String,
    pub status: Option<u16>,
    /// Until the answer's head was here.
    pub seconds: Option<f64>,
    /// What clawgate calls its refusal, or why there was no answer.
    pub error: Option<String>,
}

/// Asks at every host, all at once, and writes down what came. With the process's own token it is counted nowhere there.
pub fn ask(report: &mut Report, token: Option<&str>) {
    let door = door(&report.process.listeners, own_address);
    // Nobody asks for `*.example.com` itself.
    let hosts = report.hosts.iter_mut().filter(|host| !host.name.starts_with("*.")).take(MOST);
    thread::scope(|scope| {
        for host in hosts {
            let door = &door;
            scope.spawn(move || {
                host.asked = Some(match door {
                    Some(door) => door.ask(&host.name, token),
                    None => Asked { error: Some("it listens nowhere".into()), ..Asked::default() },
                });
            });
        }
    });
}

/// Where to ask, and how.
#[derive(Debug, Clone, PartialEq)]
struct Door {
    address: SocketAddr,
    https: bool,
}

/// Of what [`Process::listeners`](super::Process) names, the first that a client from elsewhere may use: where this machine
/// has an address of one family only, the other's listener is there for nobody but itself.
fn door(listeners: &[String], own: impl Fn(bool) -> IpAddr) -> Option<Door> {
    let of = |kind: &str| {
        let listener = |text: &String| text.strip_prefix(kind)?.trim().parse::<SocketAddr>().ok();
        let mut addresses = listeners.iter().filter_map(listener).map(|mut address| {
            if address.ip().is_unspecified() {
                address.set_ip(own(address.is_ipv4()));
            }
            address
        });
        let first = addresses.next()?;
        let from_elsewhere = |address: &SocketAddr| !address.ip().is_loopback();
        Some(iter::once(first).chain(addresses).find(from_elsewhere).unwrap_or(first))
    };
    let (address, https) = match of("https ") {
        Some(address) => (address, true),
        None => (of("http ")?, false),
    };
    Some(Door { address, https })
}

/// The address that this machine goes out from; loopback where it has none. No packet is sent.
fn own_address(v4: bool) -> IpAddr {
    let (any, outside, loopback): (IpAddr, &str, IpAddr) = match v4 {
        true => (Ipv4Addr::UNSPECIFIED.into(), "192.0.2.1:9", Ipv4Addr::LOCALHOST.into()),
        false => (Ipv6Addr::UNSPECIFIED.into(), "[2001:db8::1]:9", Ipv6Addr::LOCALHOST.into()),
    };
    let local = || {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(outside)?;
        io::Result::Ok(socket.local_addr()?.ip())
    };
    local().unwrap_or(loopback)
}

impl Door {
    fn ask(&self, host: &str, token: Option<&str>) -> Asked {
        let began = Instant::now();
        let answer = self.get(host, token, began + DEADLINE);
        let address = self.address.to_string();
        match answer {
            Ok(Came { status, error, head }) => {
                let seconds = Some((head - began).as_secs_f64());
                Asked { address, status: Some(status), seconds, error }
            }
            Err(error) => {
                let error = match error.kind() {
                    io::ErrorKind::TimedOut => format!("no answer within {} s", DEADLINE.as_secs()),
                    _ => error.to_string(),
                };
                Asked { address, status: None, seconds: None, error: Some(error) }
            }
        }
    }

    fn get(&self, host: &str, token: Option<&str>, deadline: Instant) -> io::Result<Came> {
        let stream = Until::connect(&self.address, deadline)?;
        let port = match (self.https, self.address.port()) {
            (true, 443) | (false, 80) => String::new(),
            (_, port) => format!(":{port}"),
        };
        let look = token.map(|token| format!("{FIELD}: {token}\r\n")).unwrap_or_default();
        let request = format!(
            "GET {PATH} HTTP/1.1\r\nhost: {host}{port}\r\nuser-agent: clawgate-status/{}\r\naccept: */*\r\n\
             {look}connection: close\r\n\r\n",
            env!("CARGO_PKG_VERSION")
        );
        if !self.https {
            return exchange(stream, request.as_bytes());
        }
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let tls = ClientConnection::new(client_config()?, name).map_err(io::Error::other)?;
        exchange(StreamOwned::new(tls, stream), request.as_bytes())
    }
}

/// An answer.
struct Came {
    status: u16,
    error: Option<String>,
    /// When its head was here.
    head: Instant,
}

fn exchange(mut stream: impl io::Read + io::Write, request: &[u8]) -> io::Result<Came> {
    stream.write_all(request)?;
    stream.flush()?;
    let mut answer = Vec::new();
    let mut reader = io::BufReader::new(stream).take(ANSWER);
    while !answer.ends_with(b"\r\n\r\n") {
        if reader.read_until(b'\n', &mut answer)? == 0 {
            break;
        }
    }
    let (status, error) = read(&String::from_utf8_lossy(&answer))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no HTTP answer"))?;
    let head = Instant::now();
    let Some(kind) = error else {
        let _ = io::copy(&mut reader.into_inner().take(BODY), &mut io::sink());
        return Ok(Came { status, error: None, head });
    };
    // A page for programs has the reason, of which the head names the kind. However the connection ends, what came counts.
    let mut body = Vec::new();
    let _ = reader.read_to_end(&mut body);
    Ok(Came { status, error: Some(reason(&body).unwrap_or(kind)), head })
}

/// The status, and of a refusal of ours the kind as `Proxy-Status` (RFC 9209 §2.3.1) has it.
fn read(head: &str) -> Option<(u16, Option<String>)> {
    let status = head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    let error = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let (_, error) = value.split_once("error=").filter(|_| name.eq_ignore_ascii_case("proxy-status"))?;
        Some(error.split([';', ',']).next()?.trim().to_owned())
    });
    Some((status, error))
}

/// What the access log calls it too, and what has a page.
fn reason(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Refused {
        error: String,
    }
    serde_json::from_slice(body).ok().map(|Refused { error }| error)
}

fn client_config() -> io::Result<Arc<ClientConfig>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Takes whatever certificate is shown: whose it is and how long it lasts stands in a line of its own, and our own CA's
/// are as good here. Nothing is sent but the token, which is of use to nobody who is not on this machine already.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::status::Host;

    fn listeners(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn strangers_come_by_https_and_from_no_loopback_address() {
        let own = |v4| if v4 { "198.51.100.9".parse().unwrap() } else { "2001:db8::9".parse().unwrap() };
        let table = [
            (&["http 0.0.0.0:80 (redirects)", "https 0.0.0.0:443"][..], "198.51.100.9:443", true),
            (&["https [::]:443"], "[2001:db8::9]:443", true),
            (&["https 192.0.2.4:8443", "https 0.0.0.0:443"], "192.0.2.4:8443", true),
            (&["http 0.0.0.0:80 (redirects)", "http 127.0.0.1:8080"], "127.0.0.1:8080", false),
        ];
        for (texts, address, https) in table {
            let expected = Door { address: address.parse().unwrap(), https };
            assert_eq!(door(&listeners(texts), own), Some(expected), "{texts:?}");
        }
        assert_eq!(door(&listeners(&["http 0.0.0.0:80 (redirects)"]), own), None);
    }

    #[test]
    fn a_machine_with_one_family_is_asked_at_the_listener_of_that_family() {
        let (v4, v6): (IpAddr, IpAddr) = ("198.51.100.9".parse().unwrap(), "2001:db8::9".parse().unwrap());
        let both = ["https 0.0.0.0:443", "https [::]:443"];
        let at = |texts: &[&str], own: [Option<IpAddr>; 2]| {
            let loopback: [IpAddr; 2] = [Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
            let own = |v4: bool| own[usize::from(v4)].unwrap_or(loopback[usize::from(v4)]);
            door(&listeners(texts), own).unwrap().address.to_string()
        };
        assert_eq!(at(&both, [Some(v6), None]), "[2001:db8::9]:443");
        assert_eq!(at(&["https [::]:443", "https 0.0.0.0:443"], [None, Some(v4)]), "198.51.100.9:443");
        assert_eq!(at(&both, [Some(v6), Some(v4)]), "198.51.100.9:443", "the first");
        assert_eq!(at(&both, [None, None]), "127.0.0.1:443");
        assert_eq!(at(&["https 127.0.0.1:8443", "https 0.0.0.0:443"], [None, Some(v4)]), "198.51.100.9:443");
    }

    /// A connection on which all has come already.
    struct Stream(io::Cursor<Vec<u8>>);

    impl io::Read for Stream {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.0.read(into)
        }
    }

    impl io::Write for Stream {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_answer_is_read_with_the_name_that_its_refusal_has_a_page_by() {
        let answer = |text: &str| {
            let came = exchange(Stream(io::Cursor::new(text.into())), b"GET").ok()?;
            Some((came.status, came.error))
        };
        let head = "HTTP/1.1 403 Forbidden\r\nProxy-Status: clawgate; error=http_request_denied\r\n\r\n";
        let whole = format!("{head}{{\"status\":403,\"error\":\"not_allowed\",\"message\":\"x\"}}\n");
        assert_eq!(answer(&whole), Some((403, Some("not_allowed".into()))));
        assert_eq!(answer(head), Some((403, Some("http_request_denied".into()))), "cut off, its kind is left");
        let gateways = "HTTP/1.1 403 Forbidden\r\n\r\n{\"error\":\"x\"}";
        assert_eq!(answer(gateways), Some((403, None)), "the gateway's own is none of ours");
        assert_eq!(answer("HTTP/1.1 200 OK\r\nserver: error=x\r\n\r\n"), Some((200, None)));
        for garbage in ["", "SSH-2.0-x\r\n", "HTTP/1.1 2", "HTTP/1.1 abc\r\n"] {
            assert_eq!(answer(garbage), None, "{garbage:?}");
        }
    }

    #[test]
    fn a_body_is_read_to_its_end_so_that_no_look_is_a_client_that_aborted() {
        let body = "x".repeat(200_000);
        for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 404 Not Found\r\n\r\n"] {
            let mut stream = Stream(io::Cursor::new(format!("{head}{body}").into()));
            exchange(&mut stream, b"GET").unwrap();
            assert_eq!(stream.0.position(), stream.0.get_ref().len() as u64, "{head}");
        }
    }

    #[test]
    fn a_wildcard_is_not_asked() {
        let host = |name: &str| Host { name: name.into(), ..Host::default() };
        let mut report = Report { hosts: vec![host("*.a.test"), host("a.test")], ..Report::default() };
        ask(&mut report, None);
        assert!(report.hosts[0].asked.is_none() && report.hosts[1].asked.is_some());
    }

    #[test]
    fn what_cannot_be_asked_is_said_with_its_reason() {
        let mut report = Report { hosts: vec![Host { name: "a.test".into(), ..Host::default() }], ..Report::default() };
        let error = |report: &Report| report.hosts[0].asked.clone().unwrap().error.unwrap();
        ask(&mut report, None);
        assert_eq!(error(&report), "it listens nowhere");
        let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        report.process.listeners = vec![format!("https {dead}")];
        ask(&mut report, None);
        assert!(error(&report).contains("refused"), "{}", error(&report));
    }
}
