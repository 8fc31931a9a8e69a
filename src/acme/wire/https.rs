//! The transport to a real CA: HTTP/1.1 in TLS in TCP.
//!
//! One connection for each authority is kept for the next request: an order is fifteen of them, a moment apart.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::{Roots, RootsError, Transport, WireError, lock};

/// For one address of the CA; the next one is tried after it.
const CONNECT: Duration = Duration::from_secs(5);
/// A kept connection is not used after this: the CA may be about to close it.
const IDLE: Duration = Duration::from_secs(20);
/// A certificate chain is some kilobytes; nothing a CA has to say is longer than this.
const ANSWER: usize = 1 << 20;

/// Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Https(Arc<Inner>);

struct Inner {
    tls: TlsConnector,
    kept: Mutex<HashMap<String, Kept>>,
}

struct Kept {
    sender: SendRequest<Full<Bytes>>,
    since: Instant,
}

impl Transport for Https {
    fn exchange(
        &self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, WireError>> + Send>> {
        let https = self.clone();
        Box::pin(async move {
            let url = request.uri().to_string();
            let (parts, body) = https.send(request.map(Full::new), &url).await?.into_parts();
            let body = Limited::new(body, ANSWER).collect().await;
            let body = body.map_err(|source| WireError::Broken { url, source })?.to_bytes();
            Ok(Response::from_parts(parts, body))
        })
    }
}

impl Https {
    /// # Errors
    /// When `roots` names a file without usable certificates.
    pub fn try_new(roots: &Roots) -> Result<Https, RootsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(load(roots)?)
            .with_no_client_auth();
        Ok(Https(Arc::new(Inner { tls: TlsConnector::from(Arc::new(config)), kept: Mutex::default() })))
    }

    async fn send(
        &self,
        request: Request<Full<Bytes>>,
        url: &str,
    ) -> Result<Response<hyper::body::Incoming>, WireError> {
        let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let broken = |source: hyper::Error| WireError::Broken { url: url.to_owned(), source: source.into() };
        let mut request = in_origin_form(request);
        let kept = lock(&self.0.kept).remove(&authority);
        if let Some(Kept { mut sender, since }) = kept
            && since.elapsed() < IDLE
            && sender.ready().await.is_ok()
        {
            match sender.try_send_request(request).await {
                Ok(response) => {
                    self.keep(authority, sender);
                    return Ok(response);
                }
                // Only what certainly was not sent is sent again.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(broken(error.into_error())),
                },
            }
        }
        let mut sender = self.connect(url).await?;
        let response = sender.send_request(request).await.map_err(broken)?;
        self.keep(authority, sender);
        Ok(response)
    }

    fn keep(&self, authority: String, sender: SendRequest<Full<Bytes>>) {
        lock(&self.0.kept).insert(authority, Kept { sender, since: Instant::now() });
    }

    async fn connect(&self, url: &str) -> Result<SendRequest<Full<Bytes>>, WireError> {
        let not_https = || WireError::NotHttps(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| not_https())?;
        let host = uri.host().ok_or_else(not_https)?;
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host).to_owned();
        let name = ServerName::try_from(host.clone()).map_err(|_| not_https())?;
        let found = tokio::net::lookup_host((&*host, uri.port_u16().unwrap_or(443))).await;
        let addresses: Vec<SocketAddr> =
            found.map_err(|source| WireError::Lookup { host: host.clone(), source })?.collect();
        let tcp = dial(&addresses).await.map_err(|source| WireError::Connect { host: host.clone(), source })?;
        let tls = self.0.tls.connect(name, tcp).await.map_err(|source| WireError::Tls { host, source })?;
        let handshake = http1::handshake(TokioIo::new(tls)).await;
        let (sender, connection) =
            handshake.map_err(|source| WireError::Broken { url: url.to_owned(), source: source.into() })?;
        // Its error reaches whoever waits for an answer; it ends with the sender.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }
}

/// As HTTP/1.1 wants it of a client that talks to the origin itself (RFC 9112 §3.2.1).
fn in_origin_form(mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    let uri = request.uri().clone();
    if let Some(host) = uri.authority().and_then(|a| HeaderValue::from_str(a.as_str()).ok()) {
        request.headers_mut().insert(header::HOST, host);
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().expect("the path of a URI is a URI");
    request
}

/// The first address that answers.
async fn dial(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => {
                tcp.set_nodelay(true)?;
                return Ok(tcp);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, format!("{address} did not answer")),
        }
    }
    Err(last)
}

fn load(roots: &Roots) -> Result<RootCertStore, RootsError> {
    let path = match roots {
        Roots::Public => return Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }),
        Roots::File(path) => path,
    };
    let read = |source| RootsError::Read { path: path.clone(), source };
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(read)? {
        let added = store.add(certificate.map_err(read)?);
        added.map_err(|source| RootsError::Unusable { path: path.clone(), source })?;
    }
    if store.is_empty() { Err(RootsError::Empty { path: path.clone() }) } else { Ok(store) }
}
