//! A small stand-in for the gateway: for `clawgate demo` where no gateway listens, and as an origin in tests.
//!
//! It speaks as much of the gateway's protocol as it takes to see this proxy at work: the handshake with real device
//! signatures, D1 against attributed clients, health paths, a token stream over HTTP and over the WebSocket. Its answers
//! are shaped like those of 2026.9.6. It guards nothing and remembers nothing: every device that comes locally is
//! approved, every other one is asked to pair, for ever.

mod connect;
mod page;
mod session;
mod visit;

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::{body::Incoming, service::service_fn, upgrade::OnUpgrade};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use self::{page::Body, session::Session, visit::Visit};
use super::io::HyperIo;
use crate::config::model::ATTRIBUTED_SOURCE;

/// How the stand-in behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// The gateway token; `None` is `gateway.auth.mode` none.
    pub token: Option<String>,
    /// `gateway.trustedProxies`: who may name clients in `X-Forwarded-For`.
    pub trusted_proxies: Vec<IpAddr>,
    /// Between two tokens of a stream.
    pub pace: Duration,
    /// How long a WebSocket may take to `connect`.
    pub handshake: Duration,
    /// WebSockets that may be without an answer to `connect` at once.
    pub places: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            token: Some("demo".into()),
            trusted_proxies: vec![ATTRIBUTED_SOURCE.into()],
            pace: Duration::from_millis(60),
            handshake: Duration::from_secs(15),
            places: 32,
        }
    }
}

/// The largest body of a chat request, in bytes.
const LARGEST_BODY: usize = 1 << 20;

/// The stand-in itself.
#[derive(Debug, Clone)]
pub struct Standin {
    options: Arc<Options>,
    /// WebSockets without an answer.
    unanswered: Arc<AtomicUsize>,
}

/// A WebSocket that is agreed on and begins when hyper lets go of the connection.
type Upgrade = Mutex<Option<(OnUpgrade, Session)>>;

impl Standin {
    pub fn new(options: Options) -> Standin {
        Standin { options: Arc::new(options), unanswered: Arc::default() }
    }

    /// Accepts until dropped, which ends its connections too.
    pub async fn serve(self, listener: TcpListener) -> Infallible {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        connections.spawn(self.clone().connection(stream, peer));
                    }
                    // Out of descriptors, most likely: some connection has to end first.
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }

    /// One client connection, and the WebSocket that may come of it.
    async fn connection(self, stream: TcpStream, peer: SocketAddr) {
        // Tokens go out one by one; failing at this costs smoothness only.
        let _ = stream.set_nodelay(true);
        let upgrade = Upgrade::default();
        let service = service_fn(|request| {
            let (standin, upgrade) = (&self, &upgrade);
            async move { Ok::<_, Infallible>(standin.answer(request, peer.ip(), upgrade).await) }
        });
        let http = hyper::server::conn::http1::Builder::new().serve_connection(HyperIo(stream), service);
        // However it ended, there is nobody to tell; without an agreed upgrade nothing follows.
        let _ = http.with_upgrades().await;
        let agreed = upgrade.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((upgraded, session)) = agreed
            && let Ok(upgraded) = upgraded.await
        {
            session.run(upgraded).await;
        }
    }

    async fn answer(&self, request: Request<Incoming>, peer: IpAddr, upgrade: &Upgrade) -> Response<Body> {
        let path = request.uri().path();
        // The two paths that answer anybody, misconfigured proxies included.
        if matches!(path, "/health" | "/healthz") {
            return page::json(StatusCode::OK, &json!({ "ok": true, "status": "live" }));
        }
        let Some(visit) = Visit::new(request.headers(), peer, &self.options.trusted_proxies) else {
            return page::attribution_required();
        };
        if request.headers().contains_key(header::UPGRADE) {
            return self.upgrade(request, visit, upgrade);
        }
        let reading = matches!(*request.method(), Method::GET | Method::HEAD);
        match path {
            "/readyz" => page::json(StatusCode::OK, &json!({ "ready": true, "failing": [] })),
            "/startupz" => page::json(StatusCode::OK, &json!({ "ok": true, "status": "started" })),
            "/v1/chat/completions" if request.method() == Method::POST => self.chat(request).await,
            path if reading && !path.starts_with("/v1/") => page::html(&visit, request.headers()),
            _ => page::text(StatusCode::NOT_FOUND, "Not Found"),
        }
    }

    fn upgrade(&self, mut request: Request<Incoming>, visit: Visit, upgrade: &Upgrade) -> Response<Body> {
        let Some(key) = websocket_key(&request) else {
            return closing(page::text(StatusCode::BAD_REQUEST, "Bad Request"));
        };
        let accept = derive_accept_key(key.as_bytes());
        let Some(place) = self.place() else {
            return closing(page::text(StatusCode::SERVICE_UNAVAILABLE, "Too many unauthenticated sockets"));
        };
        let session = Session::new(visit, place, Arc::clone(&self.options));
        let agreed = (hyper::upgrade::on(&mut request), session);
        *upgrade.lock().unwrap_or_else(PoisonError::into_inner) = Some(agreed);
        Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_ACCEPT, accept)
            .body(Body::default())
            .expect("a hash in base64 is a header value")
    }

    fn place(&self) -> Option<Place> {
        let places = self.options.places;
        let taken = |taken: usize| (taken < places).then_some(taken + 1);
        self.unanswered.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).ok()?;
        Some(Place(Arc::clone(&self.unanswered)))
    }

    /// An OpenAI-shaped completion, streamed unless the request says otherwise.
    async fn chat(&self, request: Request<Incoming>) -> Response<Body> {
        if !self.has_token(request.headers()) {
            let error = json!({ "error": { "message": "Unauthorized", "type": "unauthorized" } });
            return page::json(StatusCode::UNAUTHORIZED, &error);
        }
        let Ok(body) = Limited::new(request.into_body(), LARGEST_BODY).collect().await else {
            return page::text(StatusCode::PAYLOAD_TOO_LARGE, "Payload Too Large");
        };
        let body: Bytes = body.to_bytes();
        let wish: Option<Value> = serde_json::from_slice(&body).ok();
        let streams = wish.is_none_or(|wish| wish["stream"] != json!(false));
        if streams { page::token_stream(self.options.pace) } else { page::completion() }
    }

    fn has_token(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.options.token else {
            return true;
        };
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        bearer.and_then(|value| value.strip_prefix("Bearer ")) == Some(token)
    }
}

/// As the gateway refuses an upgrade: the connection ends with it.
fn closing(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// A WebSocket's place among those without an answer, free again when dropped.
#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The key of a WebSocket request as RFC 6455 §4.2.1 wants it; `None` is a 400, for `Upgrade: h2c` too.
fn websocket_key(request: &Request<Incoming>) -> Option<HeaderValue> {
    let headers = request.headers();
    let says = |name, wanted: &str| {
        let mut lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        lines.any(|line| line.split(',').any(|word| word.trim().eq_ignore_ascii_case(wanted)))
    };
    let asks = request.method() == Method::GET
        && says(header::UPGRADE, "websocket")
        && says(header::CONNECTION, "upgrade")
        && says(header::SEC_WEBSOCKET_VERSION, "13");
    asks.then(|| headers.get(header::SEC_WEBSOCKET_KEY).cloned()).flatten()
}

#[cfg(test)]
mod tests;
