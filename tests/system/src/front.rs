//! Stands before the test CA, passes everything on, and counts: what a CA saw is what a client is judged by.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine as _};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client, server, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer as _};

use crate::{Authority, Dial, authority::Identity, leaf::Key};

/// Requests by kind: `new-order`, `challenge`, ...
pub type Counts = BTreeMap<&'static str, usize>;

pub struct Front {
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

/// What Let's Encrypt answers to a client that asks too often.
struct Limit {
    kind: &'static str,
    detail: String,
    retry_after: Option<u64>,
}

#[derive(Default)]
struct Seen {
    counts: Counts,
    /// Bodies of signed requests for orders, decoded.
    orders: Vec<serde_json::Value>,
    /// Bodies of requests to finalize, decoded.
    finalized: Vec<serde_json::Value>,
    /// Answer everything with a load balancer's page.
    down: bool,
    limit: Option<Limit>,
    /// Instead of the CA's own time.
    date: Option<http::HeaderValue>,
}

impl Front {
    pub async fn before(authority: &Authority) -> Front {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port on loopback");
        let address = listener.local_addr().expect("a bound socket has an address");
        let acceptor = acceptor(&authority.identity);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let behind = Dial {
            to: authority.address(),
            from: None,
            // The URLs in Pebble's answers are made of this.
            authority: address.to_string(),
            tls: Some(authority.identity.roots()),
        };
        let task = tokio::spawn({
            let seen = seen.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (acceptor, seen, behind) = (acceptor.clone(), seen.clone(), behind.clone());
                    tokio::spawn(async move {
                        let stream = acceptor.accept(stream).await?;
                        let service = service_fn(|request| pass(request, &seen, &behind));
                        let served =
                            server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                        served.await.map_err(std::io::Error::other)
                    });
                }
            }
        });
        Front { address, seen, task }
    }

    pub fn directory(&self) -> String {
        format!("https://{}/dir", self.address)
    }

    pub fn counts(&self) -> Counts {
        self.lock().counts.clone()
    }

    /// How many requests of this kind the CA saw.
    pub fn count(&self, kind: &str) -> usize {
        self.lock().counts.get(kind).copied().unwrap_or(0)
    }

    /// What was ordered.
    pub fn orders(&self) -> Vec<serde_json::Value> {
        self.lock().orders.clone()
    }

    /// From now on, or no longer, everything is answered with 503 and a page.
    pub fn set_down(&self, down: bool) {
        self.lock().down = down;
    }

    /// For which keys certificates were asked.
    pub fn keys(&self) -> Vec<Key> {
        let key = |body: &serde_json::Value| {
            let request = BASE64.decode(body["csr"].as_str().expect("a request to finalize has a CSR"));
            let request = request.expect("base64url");
            let (_, request) = X509CertificationRequest::from_der(&request).expect("a request for a certificate");
            Key::of(&request.certification_request_info.subject_pki)
        };
        self.lock().finalized.iter().map(key).collect()
    }

    /// From now on, requests of this kind are over a limit, until so many seconds have passed, or as long as nobody
    /// visits the page in the text.
    pub fn limit(&self, kind: &'static str, detail: &str, retry_after: Option<u64>) {
        self.lock().limit = Some(Limit { kind, detail: detail.to_owned(), retry_after });
    }

    pub fn end_limit(&self) {
        self.lock().limit = None;
    }

    /// What the CA's clock says in every answer from now on (RFC 9110 §5.6.7).
    pub fn set_date(&self, date: &str) {
        self.lock().date = Some(date.parse().expect("a date is a header's value"));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// By the paths that Pebble uses.
fn kind(path: &str) -> &'static str {
    match path {
        "/dir" => "directory",
        "/nonce-plz" => "new-nonce",
        "/sign-me-up" => "new-account",
        "/order-plz" => "new-order",
        "/revoke-cert" => "revoke",
        _ if path.starts_with("/chalZ/") => "challenge",
        _ if path.starts_with("/authZ/") => "authorization",
        _ if path.starts_with("/finalize-order/") => "finalize",
        _ if path.starts_with("/certZ/") => "certificate",
        _ if path.starts_with("/draft-ietf-acme-ari") || path.starts_with("/renewal-info") => "renewal-info",
        _ if path.starts_with("/my-order/") => "order",
        _ => "other",
    }
}

async fn pass(
    request: Request<Incoming>,
    seen: &Mutex<Seen>,
    behind: &Dial,
) -> Result<Response<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
    let (mut head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let kind = kind(head.uri.path());
    {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen.counts.entry(kind).or_default() += 1;
        match kind {
            "new-order" => seen.orders.push(payload(&body)),
            "finalize" => seen.finalized.push(payload(&body)),
            _ => {}
        }
        if seen.down {
            let mut page = Response::new(Full::from("<html><h1>503 Service Temporarily Unavailable</h1></html>"));
            *page.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return Ok(page);
        }
        if let Some(limit) = seen.limit.as_ref().filter(|limit| limit.kind == kind) {
            return Ok(limit.answer());
        }
    }
    head.headers.insert(header::HOST, behind.authority.parse()?);
    let stream = behind.connect(&["http/1.1"]).await?;
    let (mut sender, connection) = client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let answer = sender.send_request(Request::from_parts(head, Full::new(body))).await?;
    let (mut head, body) = answer.into_parts();
    let date = seen.lock().unwrap_or_else(PoisonError::into_inner).date.clone();
    if let Some(date) = date {
        head.headers.insert(header::DATE, date);
    }
    Ok(Response::from_parts(head, Full::new(body.collect().await?.to_bytes())))
}

impl Limit {
    fn answer(&self) -> Response<Full<Bytes>> {
        let kind = "urn:ietf:params:acme:error:rateLimited";
        let problem = serde_json::json!({ "type": kind, "detail": self.detail, "status": 429 });
        let answer = Response::builder().status(StatusCode::TOO_MANY_REQUESTS);
        let answer = answer.header(header::CONTENT_TYPE, "application/problem+json");
        let answer = match self.retry_after {
            Some(seconds) => answer.header(header::RETRY_AFTER, seconds),
            None => answer,
        };
        answer.body(Full::from(problem.to_string())).expect("an answer")
    }
}

/// What a JWS says (RFC 7515 §7.2.2), unverified.
fn payload(jws: &[u8]) -> serde_json::Value {
    let jws: serde_json::Value = serde_json::from_slice(jws).unwrap_or_default();
    let payload = BASE64.decode(jws["payload"].as_str().unwrap_or_default()).unwrap_or_default();
    serde_json::from_slice(&payload).unwrap_or_default()
}

fn acceptor(identity: &Identity) -> TlsAcceptor {
    let chain = fs::read(&identity.certificate).expect("the CA has a certificate");
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&chain).collect();
    let key = PrivateKeyDer::from_pem_file(&identity.key).expect("the CA has a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider knows TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(chain.expect("well-formed PEM"), key)
        .expect("they belong together");
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}
