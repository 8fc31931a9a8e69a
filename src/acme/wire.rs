//! HTTPS to a certificate authority: our own client under `instant-acme`, because what a CA says beside its JSON
//! (`Retry-After`, `Date`, an HTML 503) decides our schedule and its default client drops it, and has no timeout.
//!
//! One connection for each authority is kept for the next request: an order is fifteen of them, a moment apart.

use std::{
    collections::HashMap,
    fmt, io,
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, ServerName, pem, pem::PemObject};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::problem::{BAD_NONCE, Problem};

/// For one address of the CA; the next one is tried after it.
const CONNECT: Duration = Duration::from_secs(5);
/// For a whole exchange, connecting included. Boulder's own limit on a request is below it.
const EXCHANGE: Duration = Duration::from_secs(45);
/// A kept connection is not used after this: the CA may be about to close it.
const IDLE: Duration = Duration::from_secs(20);
/// A certificate chain is some kilobytes; nothing a CA has to say is longer than this.
const ANSWER: usize = 1 << 20;
/// What of a foreign error page goes into an error text.
const EXCERPT: usize = 160;

/// Sent with every request (RFC 8555 §6.1).
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("clawgate/", env!("CARGO_PKG_VERSION")));

/// Whom to believe that it is the CA.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Roots {
    /// Mozilla's list, compiled in.
    Public,
    /// The certificates in a PEM file, and no others: a CA of one's own.
    File(PathBuf),
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    #[error("cannot read the CA's root certificates from {}", path.display())]
    Read { path: PathBuf, source: pem::Error },
    #[error("no certificate in {}", path.display())]
    Empty { path: PathBuf },
    #[error("a certificate in {} is not usable as a root", path.display())]
    Unusable { path: PathBuf, source: rustls::Error },
    #[error("the TLS provider does not work")]
    Tls(#[from] rustls::Error),
}

/// Why an exchange gave nothing to use.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// RFC 8555 §6.1: ACME is spoken over HTTPS only.
    #[error("{0} is no https URL")]
    NotHttps(String),
    #[error("cannot look up {host}")]
    Lookup { host: String, source: io::Error },
    #[error("cannot connect to {host}")]
    Connect { host: String, source: io::Error },
    #[error("no TLS with {host}")]
    Tls { host: String, source: io::Error },
    #[error("{url} did not answer within {} s", EXCHANGE.as_secs())]
    Timeout { url: String },
    #[error("the exchange with {url} broke off")]
    Broken { url: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error(transparent)]
    Refused(#[from] Box<Refused>),
}

/// An answer that says no, with all that matters of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    pub url: String,
    pub status: StatusCode,
    /// What the CA's own words are; `None` where something else answered, such as a load balancer with a page.
    pub problem: Option<Problem>,
    /// The beginning of what came instead.
    pub excerpt: String,
    pub seen: Seen,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            Some(problem) => problem.fmt(f),
            None => write!(f, "{} answered {}: {}", self.url, self.status, self.excerpt),
        }
    }
}

impl std::error::Error for Refused {}

/// What the headers of an answer say about time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// The CA's clock.
    pub date: Option<SystemTime>,
    /// How long it wants to be left alone. A date is counted from the CA's own clock, so a wrong one of ours does no harm.
    pub retry_after: Option<Duration>,
}

impl Seen {
    fn of(headers: &HeaderMap) -> Seen {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::trim);
        let date = text(header::DATE).and_then(|date| httpdate::parse_http_date(date).ok());
        let retry_after = text(header::RETRY_AFTER).and_then(|value| match value.parse() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            // RFC 9110 §10.2.3: a date, or seconds.
            Err(_) => {
                let until = httpdate::parse_http_date(value).ok()?;
                let now = date.unwrap_or_else(SystemTime::now);
                Some(until.duration_since(now).unwrap_or(Duration::ZERO))
            }
        });
        Seen { date, retry_after }
    }
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub headers: HeaderMap,
    pub seen: Seen,
    pub body: Bytes,
}

/// A client for one CA. Cheap to clone; clones share connections and what was last seen.
#[derive(Clone)]
pub struct Wire(Arc<Inner>);

struct Inner {
    tls: TlsConnector,
    kept: Mutex<HashMap<String, Kept>>,
    seen: Mutex<Seen>,
    /// A directory that was just fetched, for `instant-acme`, which wants to fetch it again.
    directory: Mutex<Option<(String, Bytes)>>,
}

struct Kept {
    sender: SendRequest<BodyWrapper<Bytes>>,
    since: Instant,
}

impl Wire {
    /// # Errors
    /// When `roots` names a file without usable certificates.
    pub fn try_new(roots: &Roots) -> Result<Wire, RootsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(load(roots)?)
            .with_no_client_auth();
        Ok(Wire(Arc::new(Inner {
            tls: TlsConnector::from(Arc::new(config)),
            kept: Mutex::default(),
            seen: Mutex::default(),
            directory: Mutex::default(),
        })))
    }

    /// The headers of the last answer, whatever it was.
    pub fn seen(&self) -> Seen {
        *lock(&self.0.seen)
    }

    /// A plain GET.
    ///
    /// # Errors
    /// Whatever is no success.
    pub async fn get(&self, url: &str) -> Result<Answer, WireError> {
        self.exchange(request(Method::GET, url, BodyWrapper::default())?).await
    }

    /// A nonce of the CA's own choice (RFC 8555 §7.2).
    ///
    /// # Errors
    /// Whatever is no success.
    pub async fn head(&self, url: &str) -> Result<Answer, WireError> {
        self.exchange(request(Method::HEAD, url, BodyWrapper::default())?).await
    }

    /// A signed request (RFC 8555 §6.2).
    ///
    /// # Errors
    /// Whatever is no success.
    pub async fn post(&self, url: &str, jose: Vec<u8>) -> Result<Answer, WireError> {
        let mut request = request(Method::POST, url, BodyWrapper::from(jose))?;
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/jose+json"));
        self.exchange(request).await
    }

    /// Has the next GET of `url` that `instant-acme` makes answered with `body`.
    pub(super) fn remember_directory(&self, url: &str, body: Bytes) {
        *lock(&self.0.directory) = Some((url.to_owned(), body));
    }

    /// One exchange; an answer that is no success is an error.
    async fn exchange(&self, request: Request<BodyWrapper<Bytes>>) -> Result<Answer, WireError> {
        let url = request.uri().to_string();
        let (status, answer) = self.whole(request, &url).await?;
        if status.is_success() {
            return Ok(answer);
        }
        // A redirect, too, is no answer: RFC 8555 knows none, and a signed request names its URL.
        Err(Box::new(refused(url, status, &answer)).into())
    }

    async fn whole(&self, request: Request<BodyWrapper<Bytes>>, url: &str) -> Result<(StatusCode, Answer), WireError> {
        let whole = async {
            let response = self.send(request).await?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, ANSWER).collect().await;
            let body = body.map_err(|source| WireError::Broken { url: url.to_owned(), source })?.to_bytes();
            Ok::<_, WireError>((parts, body))
        };
        let (parts, body) =
            timeout(EXCHANGE, whole).await.map_err(|_| WireError::Timeout { url: url.to_owned() })??;
        let seen = Seen::of(&parts.headers);
        *lock(&self.0.seen) = seen;
        Ok((parts.status, Answer { headers: parts.headers, seen, body }))
    }

    async fn send(&self, request: Request<BodyWrapper<Bytes>>) -> Result<Response<hyper::body::Incoming>, WireError> {
        let url = request.uri().to_string();
        let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let broken = |source: hyper::Error| WireError::Broken { url: url.clone(), source: source.into() };
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
        let mut sender = self.connect(&url).await?;
        let response = sender.send_request(request).await.map_err(broken)?;
        self.keep(authority, sender);
        Ok(response)
    }

    fn keep(&self, authority: String, sender: SendRequest<BodyWrapper<Bytes>>) {
        lock(&self.0.kept).insert(authority, Kept { sender, since: Instant::now() });
    }

    async fn connect(&self, url: &str) -> Result<SendRequest<BodyWrapper<Bytes>>, WireError> {
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

/// What `instant-acme` sends. It gets answers and problems with a bad nonce, which it takes the new nonce from; every
/// other no comes to its caller as [`WireError`] in [`instant_acme::Error::Other`].
impl HttpClient for Wire {
    fn request(
        &self,
        mut request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let wire = self.clone();
        Box::pin(async move {
            let url = request.uri().to_string();
            if request.method() == Method::GET
                && let Some((_, body)) = lock(&wire.0.directory).as_ref().filter(|(directory, _)| *directory == url)
            {
                return Ok(answer(StatusCode::OK, HeaderMap::new(), body.clone()));
            }
            let other = |error: WireError| instant_acme::Error::Other(Box::new(error));
            if request.uri().scheme_str() != Some("https") {
                return Err(other(WireError::NotHttps(url)));
            }
            request.headers_mut().insert(header::USER_AGENT, USER_AGENT);
            let (status, whole) = wire.whole(request, &url).await.map_err(other)?;
            if status.is_success() {
                // The library knows 200 only.
                return Ok(answer(StatusCode::OK, whole.headers, whole.body));
            }
            let refused = refused(url, status, &whole);
            if refused.is(BAD_NONCE) {
                return Ok(answer(StatusCode::BAD_REQUEST, whole.headers, whole.body));
            }
            Err(other(Box::new(refused).into()))
        })
    }
}

impl Refused {
    /// Whether this is the CA's problem of that type.
    pub fn is(&self, kind: &str) -> bool {
        self.problem.as_ref().is_some_and(|problem| problem.kind == kind)
    }
}

fn answer(status: StatusCode, headers: HeaderMap, body: Bytes) -> BytesResponse {
    let mut response = Response::new(http_body_util::Full::new(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    BytesResponse::from(response)
}

fn request(method: Method, url: &str, body: BodyWrapper<Bytes>) -> Result<Request<BodyWrapper<Bytes>>, WireError> {
    let not_https = || WireError::NotHttps(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| not_https())?;
    if uri.scheme_str() != Some("https") || uri.authority().is_none() {
        return Err(not_https());
    }
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    request.headers_mut().insert(header::USER_AGENT, USER_AGENT);
    Ok(request)
}

/// As HTTP/1.1 wants it of a client that talks to the origin itself (RFC 9112 §3.2.1).
fn in_origin_form(mut request: Request<BodyWrapper<Bytes>>) -> Request<BodyWrapper<Bytes>> {
    let uri = request.uri().clone();
    if let Some(host) = uri.authority().and_then(|a| HeaderValue::from_str(a.as_str()).ok()) {
        request.headers_mut().insert(header::HOST, host);
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().expect("the path of a URI is a URI");
    request
}

fn refused(url: String, status: StatusCode, answer: &Answer) -> Refused {
    let problem = Problem::parse(&answer.body);
    let text = String::from_utf8_lossy(&answer.body[..answer.body.len().min(4 * EXCERPT)]);
    let words: Vec<&str> = text.split_whitespace().collect();
    let excerpt = words.join(" ").chars().filter(|c| !c.is_control()).take(EXCERPT).collect();
    Refused { url, status, problem, excerpt, seen: answer.seen }
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every write under these locks is one assignment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
