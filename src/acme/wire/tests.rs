use std::{future::Future, net::Ipv4Addr};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::acme::outside::Machine;

fn wire(roots: &Roots) -> Result<Wire, RootsError> {
    Wire::try_new(&(Arc::new(Machine) as Arc<dyn Outside>), roots)
}

/// A server on loopback that gives these answers, one a request, as they are; and a client that trusts it.
struct Server {
    url: String,
    wire: Wire,
    /// How many connections it took.
    connections: Arc<Mutex<usize>>,
    _root: tempfile::NamedTempFile,
}

async fn server(answers: Vec<String>) -> Server {
    let root_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&root_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
    let leaf = leaf.signed_by(&key, &Issuer::new(params, root_key)).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), root.pem()).unwrap();

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())))
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("https://{}/x", listener.local_addr().unwrap());
    let connections = Arc::new(Mutex::new(0));
    let counted = connections.clone();
    tokio::spawn(async move {
        let mut answers = answers.into_iter();
        while answers.len() > 0 {
            let (tcp, _) = listener.accept().await.unwrap();
            *lock(&counted) += 1;
            let Ok(mut tls) = acceptor.accept(tcp).await else { continue };
            let mut request = Vec::new();
            let mut piece = [0; 4096];
            while let Ok(read @ 1..) = tls.read(&mut piece).await {
                request.extend_from_slice(&piece[..read]);
                // GET only: the head is all.
                if request.ends_with(b"\r\n\r\n") {
                    request.clear();
                    let Some(answer) = answers.next() else { return };
                    tls.write_all(answer.as_bytes()).await.unwrap();
                    if answer.contains("Connection: close") {
                        break;
                    }
                }
            }
        }
    });
    let wire = wire(&Roots::File(file.path().to_owned())).unwrap();
    Server { url, wire, connections, _root: file }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
}

async fn refused(get: impl Future<Output = Result<Answer, WireError>>) -> Refused {
    match get.await {
        Err(WireError::Refused(refused)) => *refused,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_page_of_a_load_balancer_keeps_its_status_and_its_retry_after() {
    let page = answer("503 Service Unavailable", "Retry-After: 120\r\n", "<html>\n<h1>be right  back</h1></html>");
    let server = server(vec![page]).await;
    let refused = refused(server.wire.get(&server.url)).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.problem, None);
    assert_eq!(refused.seen.retry_after, Some(Duration::from_secs(120)));
    assert_eq!(refused.excerpt, "<html> <h1>be right back</h1></html>");
}

#[tokio::test]
async fn the_library_hands_our_errors_through_unchanged() {
    let limited = r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many"}"#;
    let server = server(vec![answer("429 Too Many Requests", "Retry-After: 7\r\n", limited)]).await;
    let builder = instant_acme::Account::builder_with_http(Box::new(server.wire.clone()));
    let key = super::super::account::AccountKey::generate().unwrap();
    let account = builder.from_parts("https://x/account".into(), key.der(), server.url.clone()).await;
    let error = super::super::order::StepError::from(account.err().unwrap());
    let refused = error.refused().unwrap();
    assert!(refused.is("urn:ietf:params:acme:error:rateLimited"));
    assert_eq!(refused.seen.retry_after, Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn a_date_in_retry_after_is_counted_from_the_ca_s_own_clock() {
    let headers = "Date: Tue, 01 Jan 2030 00:00:00 GMT\r\nRetry-After: Tue, 01 Jan 2030 00:01:30 GMT\r\n";
    let server = server(vec![answer("200 OK", headers, "{}")]).await;
    let answer = server.wire.get(&server.url).await.unwrap();
    assert_eq!(answer.seen.retry_after, Some(Duration::from_secs(90)));
    assert_eq!(server.wire.seen(), answer.seen);
}

#[tokio::test]
async fn a_connection_is_kept_and_one_that_was_closed_is_made_anew() {
    let ok = answer("200 OK", "", "{}");
    let last = answer("200 OK", "Connection: close\r\n", "{}");
    let server = server(vec![ok.clone(), last, ok]).await;
    for connections in [1, 1, 2] {
        server.wire.get(&server.url).await.unwrap();
        assert_eq!(*lock(&server.connections), connections);
    }
}

#[tokio::test]
async fn who_is_not_vouched_for_by_the_root_is_not_spoken_to() {
    let server = server(vec![answer("200 OK", "", "{}")]).await;
    let wire = wire(&Roots::Public).unwrap();
    assert!(matches!(wire.get(&server.url).await, Err(WireError::Tls { .. })));
    for url in ["http://127.0.0.1/", "ftp://x/", "", "https://"] {
        assert!(matches!(wire.get(url).await, Err(WireError::NotHttps(_))), "{url}");
    }
}

#[test]
fn a_root_file_without_a_certificate_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let empty = wire(&Roots::File(file.path().to_owned()));
    assert!(matches!(empty, Err(RootsError::Empty { .. })));
    let missing = wire(&Roots::File("/nowhere/root.pem".into()));
    assert!(matches!(missing, Err(RootsError::Read { .. })));
}

/// A CA of few words.
struct Canned(Arc<Mutex<Vec<Response<Bytes>>>>);

impl Transport for Canned {
    fn exchange(&self, _: Request<Bytes>) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, WireError>> + Send>> {
        let answer = lock(&self.0).remove(0);
        Box::pin(async { Ok(answer) })
    }
}

/// A client of one.
fn canned(answers: Vec<Response<Bytes>>) -> Wire {
    Wire(Arc::new(Inner {
        transport: Arc::new(Canned(Arc::new(Mutex::new(answers)))),
        outside: Arc::new(Machine),
        seen: Mutex::default(),
        directory: Mutex::default(),
    }))
}

#[tokio::test]
async fn a_wait_longer_than_time_itself_is_survived_in_the_library_too() {
    let body = r#"{"status":"processing","authorizations":[],"finalize":"https://ca.test/f"}"#;
    let answer = || {
        let forever = Response::builder().header("Retry-After", "18446744073709551615").header("Replay-Nonce", "n");
        forever.body(Bytes::from(body)).unwrap()
    };
    let wire = canned(vec![answer(), answer(), answer()]);
    let directory =
        r#"{"newNonce":"https://ca.test/n","newAccount":"https://ca.test/a","newOrder":"https://ca.test/o"}"#;
    wire.remember_directory("https://ca.test/d", directory.into());
    let key = super::super::account::AccountKey::generate().unwrap();
    let builder = instant_acme::Account::builder_with_http(Box::new(wire.clone()));
    let account =
        builder.from_parts("https://ca.test/a/1".into(), key.der(), "https://ca.test/d".into()).await.unwrap();
    let mut order = account.order("https://ca.test/o/1".into()).await.unwrap();
    order.refresh().await.unwrap();
    assert_eq!(wire.seen().retry_after, Some(Duration::from_secs(u64::MAX)));
}
