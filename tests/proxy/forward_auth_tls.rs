//! A service that is asked over TLS: known by its certificate, or told nothing.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    harness::{Origin, Proxy, client, eventually, origin, proxy},
    numbers::counts,
};

type Issuer = CertifiedIssuer<'static, KeyPair>;

const ALLOWED: &str = "HTTP/1.1 200 OK\r\nremote-user: ann\r\ncontent-length: 0\r\n\r\n";

fn authority(name: &str) -> Issuer {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Of a server called so; an address is a name too.
fn params(names: &[&str]) -> CertificateParams {
    CertificateParams::new(names.iter().map(|name| name.to_string()).collect::<Vec<_>>()).unwrap()
}

fn signed(params: &CertificateParams, issuer: &Issuer) -> ServerConfig {
    let key = KeyPair::generate().unwrap();
    shown(params.signed_by(&key, issuer).unwrap(), &key)
}

fn shown(certificate: rcgen::Certificate, key: &KeyPair) -> ServerConfig {
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

/// Ends TLS before an origin, as the service's own server would.
struct Service {
    address: SocketAddr,
    /// Handshakes that were done.
    open: Arc<AtomicUsize>,
    accepts: JoinHandle<()>,
}

impl proxy::Upstream for Service {
    fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.accepts.abort();
    }
}

async fn over_tls(origin: &Origin, config: ServerConfig) -> Service {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, behind) = (listener.local_addr().unwrap(), origin.address);
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let open = Arc::new(AtomicUsize::new(0));
    let done = open.clone();
    let accepts = tokio::spawn(async move {
        let mut tasks = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, done) = (acceptor.clone(), done.clone());
            tasks.spawn(async move {
                // Whoever only looks whether somebody is there says nothing, and who finds the certificate bad hangs up.
                let Ok(mut tls) = acceptor.accept(stream).await else { return };
                assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
                done.fetch_add(1, Ordering::SeqCst);
                let mut plain = TcpStream::connect(behind).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut tls, &mut plain).await;
            });
        }
    });
    Service { address, open, accepts }
}

fn at(address: impl std::fmt::Display, ca: Option<&Issuer>) -> String {
    let ca = ca.map(|ca| format!(", ca = '''{}'''", ca.pem())).unwrap_or_default();
    // One line is what an inline table has to be, but for such a text.
    format!("forward_auth = {{ url = \"https://{address}/check?a=b\", copy_headers = [\"Remote-User\"]{ca} }}")
}

/// What the proxy says about the only thing that is wrong.
fn problem(proxy: &Proxy) -> (String, String) {
    let report = proxy.app().report();
    let [problem] = &report.problems[..] else { panic!("{:?}", report.problems) };
    assert!(problem.about.starts_with("auth:127.0.0.1:"), "{problem:?}");
    (problem.code.to_string(), problem.what.to_string())
}

#[tokio::test]
async fn a_service_is_asked_over_tls_and_its_connection_is_kept() {
    let (gateway, behind) = (origin::ok().run().await, origin::answering(ALLOWED).run().await);
    let ours = authority("ours");
    for names in [["127.0.0.1"], ["localhost"]] {
        let service = over_tls(&behind, signed(&params(&names), &ours)).await;
        let asking = at(format!("{}:{}", names[0], service.address.port()), Some(&ours));
        let proxy = proxy().site("chat.test", &gateway).more(&asking).run().await;
        for _ in 0..5 {
            assert_eq!(proxy.client().get("chat.test", "/a?b", &["cookie: s=1", "remote-user: eve"]).await.status, 200);
        }
        assert_eq!(gateway.last().all("remote-user"), ["ann"]);
        let asked = behind.last();
        assert_eq!((asked.method(), asked.target()), ("GET", "/check?a=b"));
        assert_eq!((asked.get("cookie"), asked.get("x-forwarded-uri")), (Some("s=1"), Some("/a?b")));
        assert_eq!(asked.get("host"), Some(&*format!("{}:{}", names[0], service.address.port())));
        assert_eq!(service.open.load(Ordering::SeqCst), 1, "kept");
        counts(&proxy, "clawgate_forward_auth_total{result=\"allowed\"} 5").await;
    }
}

#[tokio::test]
async fn over_tls_too_a_refusal_and_a_redirect_are_the_services_own() {
    let page = "x".repeat(60_000);
    let denied = format!("HTTP/1.1 401 No\r\nwww-authenticate: Basic\r\ncontent-length: 60000\r\n\r\n{page}");
    let redirect = "HTTP/1.1 302 Found\r\nlocation: https://auth.test/\r\nset-cookie: a=b\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n";
    let until_closed = "HTTP/1.1 403 No\r\nconnection: close\r\n\r\nno";
    let ours = authority("ours");
    for (answer, status, field, body) in [
        (&*denied, 401, "www-authenticate", &*page),
        (redirect, 302, "set-cookie", "no"),
        (until_closed, 403, "content-length", "no"),
    ] {
        let (gateway, behind) = (origin::ok().run().await, origin::answering(answer).run().await);
        let service = over_tls(&behind, signed(&params(&["127.0.0.1"]), &ours)).await;
        let proxy = proxy().site("chat.test", &gateway).more(&at(service.address, Some(&ours))).run().await;
        for _ in 0..2 {
            let refused = proxy.client().get("chat.test", "/", &[]).await;
            assert_eq!((refused.status, refused.has(field)), (status, true), "{refused:?}");
            assert!(refused.text() == body, "{status}");
        }
        let mut h2 = proxy.client().h2("chat.test").await;
        assert_eq!(h2.websocket("/ws", &[]).await.err().expect("no WebSocket").status, status);
        assert!(gateway.requests().is_empty());
    }
}

#[tokio::test]
async fn who_cannot_show_the_services_certificate_is_told_nothing_and_nobody_passes() {
    let (gateway, behind) = (origin::ok().run().await, origin::answering(ALLOWED).run().await);
    let (ours, others) = (authority("ours"), authority("Other Works"));
    let here = || params(&["127.0.0.1"]);
    let mut over = here();
    (over.not_before, over.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2021, 1, 1));
    let mut early = here();
    (early.not_before, early.not_after) = (rcgen::date_time_ymd(2090, 1, 1), rcgen::date_time_ymd(2091, 1, 1));
    let mut addressed = params(&["auth.test", "*.auth.test"]);
    addressed.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 2].into()));
    let mut for_clients = here();
    for_clients.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let alone = |params: CertificateParams| {
        let key = KeyPair::generate().unwrap();
        shown(params.self_signed(&key).unwrap(), &key)
    };
    // As `openssl req -x509` makes one.
    let mut of_ca = here();
    of_ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    for (config, ca, words) in [
        (signed(&over, &ours), Some(&ours), "its certificate was good until 2021-01-01 and is over"),
        (signed(&early, &ours), Some(&ours), "its certificate is good from 2090-01-01 on, and not today"),
        (
            signed(&addressed, &ours),
            Some(&ours),
            "its certificate is for auth.test, *.auth.test, 127.0.0.2, and not for 127.0.0.1",
        ),
        (signed(&here(), &others), Some(&ours), "its certificate is of a CA that is not trusted here: Other Works"),
        (signed(&here(), &ours), None, "its certificate is of a CA that is not trusted here: ours"),
        (alone(here()), Some(&ours), "its certificate is signed by itself, and not trusted here"),
        (
            alone(of_ca),
            Some(&ours),
            "its certificate is that of a CA (CA:TRUE), which is good for signing others and not for a server",
        ),
        (signed(&for_clients, &ours), Some(&ours), "its certificate is not good: "),
    ] {
        let service = over_tls(&behind, config).await;
        let proxy = proxy().site("chat.test", &gateway).more(&at(service.address, ca)).run().await;
        let client = proxy.client();
        for _ in 0..2 {
            let refused = client.get("chat.test", "/", &["cookie: s=1"]).await;
            assert_eq!((refused.status, refused.json()["error"].clone()), (502, "auth_untrusted".into()), "{words}");
            assert!(!refused.text().contains("2021") && !refused.text().contains("Works"), "not the client's business");
        }
        let mut wire = client.h1("chat.test").await;
        wire.send(client::upgrade("chat.test", "/ws", &[])).await;
        assert_eq!(wire.response().await.status, 502);
        let (code, what) = problem(&proxy);
        assert_eq!(code, "auth/untrusted");
        let begin = "the certificate of the service of forward_auth is not good here, so nothing passes: ";
        assert!(what.strip_prefix(begin).is_some_and(|rest| rest.starts_with(words)), "{what}");
        counts(&proxy, "clawgate_forward_auth_total{result=\"untrusted\"} 3").await;
        assert_eq!(service.open.load(Ordering::SeqCst), 0, "{words}");
    }
    assert!(behind.requests().is_empty() && gateway.requests().is_empty());
}

#[tokio::test]
async fn a_service_that_is_away_silent_or_speaks_no_tls_lets_nobody_pass() {
    let gateway = origin::ok().run().await;
    let ours = authority("ours");
    let away = origin::place();
    // Takes connections, and never a byte.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain = plain_http().await;
    let patient = |asking: String| asking.replace(", copy_headers", ", timeout = \"100ms\", copy_headers");
    for (asking, status, error, code, words) in [
        (at(away.address, Some(&ours)), 503, "auth_unavailable", "auth/away", "refused the connection"),
        (
            patient(at(silent.local_addr().unwrap(), Some(&ours))),
            503,
            "auth_unavailable",
            "auth/away",
            "it did not answer in time",
        ),
        (at(plain, Some(&ours)), 502, "auth_invalid", "auth/no-http", "what answers there does not speak TLS"),
        (
            at("auth.invalid:9", None),
            503,
            "auth_name_unknown",
            "auth/name-unknown",
            "the name auth.invalid could not be looked up",
        ),
    ] {
        let proxy = proxy().site("chat.test", &gateway).more(&asking).run().await;
        let refused = proxy.client().get("chat.test", "/", &[]).await;
        assert_eq!((refused.status, refused.json()["error"].clone()), (status, error.into()), "{words}");
        let report = proxy.app().report();
        let [problem] = &report.problems[..] else { panic!("{:?}", report.problems) };
        assert_eq!(problem.code, code);
        assert!(problem.what.contains(words), "{}", problem.what);
    }
    assert!(gateway.requests().is_empty());
}

/// A server of plain HTTP that says what such a one says to a ClientHello; its address.
async fn plain_http() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            if stream.read(&mut [0; 4096]).await.is_ok_and(|n| n > 0) {
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await;
            }
        }
    });
    address
}

#[tokio::test]
async fn a_reload_to_another_ca_asks_over_no_connection_of_the_old_one() {
    let (gateway, behind) = (origin::websocket().run().await, origin::answering(ALLOWED).run().await);
    let (ours, others) = (authority("ours"), authority("others"));
    let service = over_tls(&behind, signed(&params(&["127.0.0.1"]), &ours)).await;
    let begin = |ca: &Issuer| proxy().site("chat.test", &gateway).more(&at(service.address, Some(ca)));
    let proxy = begin(&ours).run().await;
    let client = proxy.client().at("203.0.113.7");
    let mut ws = client.websocket("chat.test", "/ws", &[]).await;
    proxy.reload(begin(&ours));
    ws.send("still here").await;
    assert_eq!(ws.next().await, "still here");
    let _ws = client.websocket("chat.test", "/ws", &[]).await;
    assert_eq!(service.open.load(Ordering::SeqCst), 1, "the same CA, the same connection");
    proxy.reload(begin(&others));
    assert_eq!(ws.closed().await.0, 1008);
    assert_eq!(client.get("chat.test", "/", &[]).await.status, 502);
    proxy.reload(begin(&ours));
    let _ws = client.websocket("chat.test", "/ws", &[]).await;
    assert_eq!((service.open.load(Ordering::SeqCst), behind.requests().len()), (2, 3));
}

/// Shows the first certificate until it is told to show the second.
#[derive(Debug)]
struct Renewed([Arc<CertifiedKey>; 2], Arc<AtomicUsize>);

impl ResolvesServerCert for Renewed {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0[self.1.load(Ordering::SeqCst)].clone())
    }
}

/// A session that is resumed would show none.
#[tokio::test]
async fn a_certificate_that_was_good_once_is_looked_at_again() {
    let closing = ALLOWED.replace("remote-user", "connection: close\r\nremote-user");
    let (gateway, behind) = (origin::ok().run().await, origin::answering(closing).run().await);
    let ours = authority("ours");
    let certified = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let der = params(&[name]).signed_by(&key, &ours).unwrap().der().clone();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        Arc::new(CertifiedKey::from_der(vec![der], key, &aws_lc_rs::default_provider()).unwrap())
    };
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let now = Arc::new(AtomicUsize::new(0));
        let renewed = Renewed([certified("127.0.0.1"), certified("127.0.0.2")], now.clone());
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(renewed));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let service = over_tls(&behind, config).await;
        let proxy = proxy().site("chat.test", &gateway).more(&at(service.address, Some(&ours))).run().await;
        for (at, status) in [(0, 200), (0, 200), (1, 502), (0, 200)] {
            now.store(at, Ordering::SeqCst);
            assert_eq!(proxy.client().get("chat.test", "/", &[]).await.status, status);
        }
        assert_eq!(service.open.load(Ordering::SeqCst), 3);
    }
}

/// Gives two answers to each question, the second right behind the first.
async fn answering_twice(config: ServerConfig) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let questions = Arc::new(AtomicUsize::new(0));
    let (acceptor, asked) = (TlsAcceptor::from(Arc::new(config)), questions.clone());
    tokio::spawn(async move {
        let mut tasks = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, asked) = (acceptor.clone(), asked.clone());
            tasks.spawn(async move {
                let Ok(mut tls) = acceptor.accept(stream).await else { return };
                let mut head = [0; 4096];
                while tls.read(&mut head).await.is_ok_and(|n| n > 0) {
                    asked.fetch_add(1, Ordering::SeqCst);
                    let denied = "HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno";
                    tls.write_all(format!("{denied}{ALLOWED}").as_bytes()).await.unwrap();
                    tls.flush().await.unwrap();
                }
            });
        }
    });
    (address, questions)
}

#[tokio::test]
async fn what_comes_behind_an_answer_over_tls_is_nobodys_answer() {
    let gateway = origin::ok().run().await;
    let ours = authority("ours");
    let (service, questions) = answering_twice(signed(&params(&["127.0.0.1"]), &ours)).await;
    let proxy = proxy().site("chat.test", &gateway).more(&at(service, Some(&ours))).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    for n in 1..=5 {
        wire.send(client::get("chat.test", "/", &[])).await;
        assert_eq!(wire.response().await.status, 403, "{n}");
        assert_eq!(questions.load(Ordering::SeqCst), n, "each has an answer of its own");
    }
    assert!(gateway.requests().is_empty());
}

#[tokio::test]
async fn a_kept_connection_over_tls_that_the_service_has_closed_fails_no_request() {
    let (gateway, behind) = (origin::ok().run().await, origin::by_hand().run().await);
    let ours = authority("ours");
    let service = over_tls(&behind, signed(&params(&["127.0.0.1"]), &ours)).await;
    let proxy = proxy().site("chat.test", &gateway).more(&at(service.address, Some(&ours))).run().await;
    let mut wire = proxy.client().h1("chat.test").await;
    for n in 1..6 {
        wire.send(client::get("chat.test", "/", &[])).await;
        let mut asked = behind.connection().await;
        asked.request().await;
        asked.send(ALLOWED).await;
        assert_eq!(wire.response().await.status, 200);
        // Closed with the next question on it, or before.
        if n % 2 == 0 {
            wire.send(client::get("chat.test", "/again", &[])).await;
            asked.request().await;
            drop(asked);
            let mut again = behind.connection().await;
            again.request().await;
            again.send(ALLOWED).await;
            assert_eq!(wire.response().await.status, 200);
            drop(again);
        }
    }
    eventually("every request at the gateway", || gateway.requests().len() == 7).await;
}
