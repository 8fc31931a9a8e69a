//! HTTPS to a certificate authority: our own client under `instant-acme`, because what a CA says beside its JSON
//! (`Retry-After`, `Date`, an HTML 503) decides our schedule and its default client drops it, and has no timeout.
//!
//! Below it is a [`Transport`]: [`Https`], or the CA of the simulation.

mod https;

use std::{
    fmt, io,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Collected};
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use rustls_pki_types::pem;
use tokio::time::timeout;

use super::{
    outside::Outside,
    problem::{BAD_NONCE, Problem},
};
pub use https::Https;

/// For a whole exchange, connecting included. Boulder's own limit on a request is below it.
const EXCHANGE: Duration = Duration::from_secs(45);
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
    /// `now` is the time where the CA does not say it.
    fn of(headers: &HeaderMap, now: impl FnOnce() -> SystemTime) -> Seen {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::trim);
        let date = text(header::DATE).and_then(|date| httpdate::parse_http_date(date).ok());
        let retry_after = text(header::RETRY_AFTER).and_then(|value| match value.parse() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            // RFC 9110 §10.2.3: a date, or seconds.
            Err(_) => {
                let until = httpdate::parse_http_date(value).ok()?;
                let now = date.unwrap_or_else(now);
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

/// Takes a request to a CA and brings the whole answer, whatever it says. It knows nothing of ACME.
pub trait Transport: Send + Sync {
    fn exchange(
        &self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, WireError>> + Send>>;
}

/// A client for one CA. Cheap to clone; clones share connections and what was last seen.
#[derive(Clone)]
pub struct Wire(Arc<Inner>);

struct Inner {
    transport: Arc<dyn Transport>,
    outside: Arc<dyn Outside>,
    seen: Mutex<Seen>,
    /// A directory that was just fetched, for `instant-acme`, which wants to fetch it again.
    directory: Mutex<Option<(String, Bytes)>>,
}

impl Wire {
    /// # Errors
    /// When `roots` names a file without usable certificates.
    pub fn try_new(outside: &Arc<dyn Outside>, roots: &Roots) -> Result<Wire, RootsError> {
        Ok(Wire(Arc::new(Inner {
            transport: outside.transport(roots)?,
            outside: outside.clone(),
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
        self.exchange(request(Method::GET, url, Bytes::new())?).await
    }

    /// A nonce of the CA's own choice (RFC 8555 §7.2).
    ///
    /// # Errors
    /// Whatever is no success.
    pub async fn head(&self, url: &str) -> Result<Answer, WireError> {
        self.exchange(request(Method::HEAD, url, Bytes::new())?).await
    }

    /// A signed request (RFC 8555 §6.2).
    ///
    /// # Errors
    /// Whatever is no success.
    pub async fn post(&self, url: &str, jose: Vec<u8>) -> Result<Answer, WireError> {
        let mut request = request(Method::POST, url, Bytes::from(jose))?;
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/jose+json"));
        self.exchange(request).await
    }

    /// Has the next GET of `url` that `instant-acme` makes answered with `body`.
    pub(super) fn remember_directory(&self, url: &str, body: Bytes) {
        *lock(&self.0.directory) = Some((url.to_owned(), body));
    }

    /// One exchange; an answer that is no success is an error.
    async fn exchange(&self, request: Request<Bytes>) -> Result<Answer, WireError> {
        let url = request.uri().to_string();
        let (status, answer) = self.whole(request, &url).await?;
        if status.is_success() {
            return Ok(answer);
        }
        // A redirect, too, is no answer: RFC 8555 knows none, and a signed request names its URL.
        Err(Box::new(refused(url, status, &answer)).into())
    }

    async fn whole(&self, request: Request<Bytes>, url: &str) -> Result<(StatusCode, Answer), WireError> {
        let whole = self.0.transport.exchange(request);
        let response = timeout(EXCHANGE, whole).await.map_err(|_| WireError::Timeout { url: url.to_owned() })??;
        let (parts, body) = response.into_parts();
        let seen = Seen::of(&parts.headers, || self.0.outside.wall());
        *lock(&self.0.seen) = seen;
        Ok((parts.status, Answer { headers: parts.headers, seen, body }))
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
            let (parts, body) = request.into_parts();
            let Ok(body) = body.collect().await.map(Collected::to_bytes);
            let (status, whole) = wire.whole(Request::from_parts(parts, body), &url).await.map_err(other)?;
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

fn answer(status: StatusCode, mut headers: HeaderMap, body: Bytes) -> BytesResponse {
    // The library adds it to the machine's clock, which panics where the sum is no time; we have read it already.
    headers.remove(header::RETRY_AFTER);
    let mut response = Response::new(http_body_util::Full::new(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    BytesResponse::from(response)
}

fn request(method: Method, url: &str, body: Bytes) -> Result<Request<Bytes>, WireError> {
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

fn refused(url: String, status: StatusCode, answer: &Answer) -> Refused {
    let problem = Problem::parse(&answer.body);
    let text = String::from_utf8_lossy(&answer.body[..answer.body.len().min(4 * EXCERPT)]);
    let words: Vec<&str> = text.split_whitespace().collect();
    let excerpt = words.join(" ").chars().filter(|c| !c.is_control()).take(EXCERPT).collect();
    Refused { url, status, problem, excerpt, seen: answer.seen }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every write under these locks is one assignment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
