//! One WebSocket of the stand-in: challenge, connect, a few methods, a token stream.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::Upgraded;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        protocol::{CloseFrame, Role, WebSocketConfig},
    },
};

use super::{
    Options, Place,
    connect::{self, Grant, Problem, Situation},
    page,
    visit::Visit,
};
use crate::gateway::io::HyperIo;

/// The longest message before the answer to `connect`, in bytes.
const LONGEST_FIRST: usize = 64 * 1024;
/// Events of token streams that may be under way on one connection.
const MOST_PENDING: usize = 1000;
const TICK: Duration = Duration::from_secs(30);

type Socket = WebSocketStream<TcpStream>;

/// A frame of ours, its keys in the gateway's order: what reads only the beginning finds `type` and `ok` there.
#[derive(Default, Serialize)]
struct Frame<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ok: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
}

impl<'a> Frame<'a> {
    fn event(event: &'a str, payload: Value) -> Frame<'a> {
        Frame { kind: "event", event: Some(event), payload: Some(payload), ..Frame::default() }
    }

    fn res(id: &'a str, result: Result<Value, Problem>) -> Frame<'a> {
        let (payload, error) = match result {
            Ok(payload) => (Some(payload), None),
            Err(problem) => (None, Some(problem.error())),
        };
        Frame { kind: "res", id: Some(id), ok: Some(error.is_none()), payload, error, ..Frame::default() }
    }
}

/// A request frame.
#[derive(Deserialize)]
struct Req {
    #[serde(rename = "type")]
    kind: String,
    id: String,
    method: String,
    #[serde(default)]
    params: Value,
}

/// A WebSocket that was agreed on.
pub(super) struct Session {
    visit: Visit,
    place: Place,
    options: Arc<Options>,
}

impl Session {
    pub(super) fn new(visit: Visit, place: Place, options: Arc<Options>) -> Session {
        Session { visit, place, options }
    }

    /// Until either side closes. Whatever goes wrong on the way is the client's to see.
    pub(super) async fn run(self, upgraded: Upgraded) {
        let Ok(parts) = upgraded.downcast::<HyperIo<TcpStream>>() else {
            return;
        };
        let config = WebSocketConfig::default().read_buffer_size(16 * 1024).max_message_size(Some(25 << 20));
        let read = parts.read_buf.to_vec();
        let mut socket = Socket::from_partially_read(parts.io.0, read, Role::Server, Some(config)).await;
        let _ = self.talk(&mut socket).await;
    }

    async fn talk(self, socket: &mut Socket) -> Result<(), Error> {
        let nonce = random_hex();
        send(socket, Frame::event("connect.challenge", json!({ "nonce": nonce, "ts": now_ms() }))).await?;
        let first = match timeout(self.options.handshake, next_text(socket)).await {
            Ok(Some(first)) => first?,
            Ok(None) => return Ok(()),
            Err(_) => return close(socket, 1008, "handshake timeout").await,
        };
        if first.len() > LONGEST_FIRST {
            return close(socket, 1009, "preauth payload too large").await;
        }
        let Some(req) = request(&first) else {
            return close(socket, 1008, "invalid request frame").await;
        };
        let request_id = random_hex();
        let situation = Situation {
            visit: &self.visit,
            token: self.options.token.as_deref(),
            nonce: &nonce,
            now_ms: now_ms(),
            request_id: &request_id,
        };
        let decision = if req.method == "connect" {
            connect::decide(&req.params, &situation)
        } else {
            Err(Problem::new("INVALID_REQUEST", "invalid handshake: first request must be connect", Value::Null))
        };
        let grant = match decision {
            Ok(grant) => grant,
            Err(problem) => {
                send(socket, Frame::res(&req.id, Err(problem.clone()))).await?;
                return close(socket, problem.close, &problem.message).await;
            }
        };
        send(socket, Frame::res(&req.id, Ok(hello(&grant)))).await?;
        let Session { visit, place, options } = self;
        drop(place);
        Connected { visit, grant, pace: options.pace, pending: VecDeque::new(), sent: 0 }.serve(socket).await
    }
}

/// After the hello.
struct Connected {
    visit: Visit,
    grant: Grant,
    pace: Duration,
    /// Events of token streams, to be sent one by one.
    pending: VecDeque<Value>,
    /// Events sent so far: the `seq` of the next.
    sent: u64,
}

impl Connected {
    async fn serve(mut self, socket: &mut Socket) -> Result<(), Error> {
        let mut token = Instant::now();
        let mut tick = Instant::now() + TICK;
        loop {
            tokio::select! {
                text = next_text(socket) => {
                    let Some(text) = text else {
                        return Ok(());
                    };
                    let Some(req) = request(&text?) else {
                        return close(socket, 1008, "invalid request frame").await;
                    };
                    let was_idle = self.pending.is_empty();
                    let result = self.call(&req);
                    send(socket, Frame::res(&req.id, result)).await?;
                    if was_idle {
                        token = Instant::now() + self.pace;
                    }
                }
                () = sleep_until(token), if !self.pending.is_empty() => {
                    token += self.pace;
                    if let Some(payload) = self.pending.pop_front() {
                        self.event(socket, "chat", payload).await?;
                    }
                }
                () = sleep_until(tick) => {
                    tick += TICK;
                    self.event(socket, "tick", json!({ "ts": now_ms() })).await?;
                }
            }
        }
    }

    async fn event(&mut self, socket: &mut Socket, event: &str, payload: Value) -> Result<(), Error> {
        self.sent += 1;
        send(socket, Frame { seq: Some(self.sent), ..Frame::event(event, payload) }).await
    }

    fn call(&mut self, req: &Req) -> Result<Value, Problem> {
        match req.method.as_str() {
            "health" => Ok(json!({ "ok": true, "ts": now_ms(), "standin": true })),
            "config.get" => {
                self.needs("operator.read")?;
                let seen = json!({ "client": self.visit.client, "local": self.visit.local });
                Ok(json!({ "exists": true, "valid": true, "config": { "gateway": { "mode": "local" } }, "seen": seen }))
            }
            "chat.send" => {
                self.needs("operator.write")?;
                self.chat(&req.params)
            }
            method => Err(Problem::new("INVALID_REQUEST", format!("unknown method: {method}"), Value::Null)),
        }
    }

    fn needs(&self, scope: &str) -> Result<(), Problem> {
        if self.grant.scopes.iter().any(|granted| granted == scope || granted == "operator.admin") {
            return Ok(());
        }
        Err(Problem::new("FORBIDDEN", format!("missing scope: {scope}"), Value::Null))
    }

    fn chat(&mut self, params: &Value) -> Result<Value, Problem> {
        if params["message"].as_str().is_none_or(str::is_empty) {
            return Err(Problem::new("INVALID_REQUEST", "invalid chat.send params: message required", Value::Null));
        }
        if self.pending.len() > MOST_PENDING {
            return Err(Problem::new("UNAVAILABLE", "too many chats on this connection", Value::Null));
        }
        let run = params["idempotencyKey"].as_str().map_or_else(random_hex, str::to_owned);
        let session = params["sessionKey"].as_str().unwrap_or("agent:main:main");
        let mut text = String::new();
        let event = |seq: usize, state: &str, text: &str| {
            let message = json!({ "role": "assistant", "content": [{ "type": "text", "text": text }] });
            json!({ "runId": run, "sessionKey": session, "seq": seq, "state": state, "message": message })
        };
        let mut seq = 0;
        for token in page::tokens() {
            text.push_str(token);
            self.pending.push_back(event(seq, "delta", &text));
            seq += 1;
        }
        self.pending.push_back(event(seq, "final", &text));
        Ok(json!({ "runId": run, "status": "started" }))
    }
}

/// The next text or binary message; `None` when the client closed.
async fn next_text(socket: &mut Socket) -> Option<Result<Vec<u8>, Error>> {
    loop {
        return match socket.next().await? {
            Ok(Message::Text(text)) => Some(Ok(text.as_bytes().to_vec())),
            Ok(Message::Binary(bytes)) => Some(Ok(bytes.to_vec())),
            // tungstenite answers pings, and the close with its echo, when it is polled again.
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_)) => continue,
            Err(Error::ConnectionClosed) => None,
            Err(error) => Some(Err(error)),
        };
    }
}

fn request(text: &[u8]) -> Option<Req> {
    serde_json::from_slice::<Req>(text).ok().filter(|req| req.kind == "req")
}

async fn send(socket: &mut Socket, frame: Frame<'_>) -> Result<(), Error> {
    let text = serde_json::to_string(&frame).expect("a frame has string keys only");
    socket.send(Message::text(text)).await
}

/// Closes, and reads on until the client has closed too: a socket that is dropped with unread bytes sends a reset, and
/// the client might lose the answer before it.
async fn close(socket: &mut Socket, code: u16, reason: &str) -> Result<(), Error> {
    let reason = reason[..reason.floor_char_boundary(120)].into();
    socket.close(Some(CloseFrame { code: code.into(), reason })).await?;
    let _ =
        timeout(Duration::from_secs(2), async { while next_text(socket).await.is_some_and(|text| text.is_ok()) {} })
            .await;
    Ok(())
}

fn hello(grant: &Grant) -> Value {
    json!({
        "type": "hello-ok",
        "protocol": grant.protocol,
        "server": { "version": concat!("clawgate-standin-", env!("CARGO_PKG_VERSION")), "connId": random_hex() },
        "features": { "methods": ["health", "config.get", "chat.send"], "events": ["tick", "chat"] },
        "snapshot": {},
        "auth": { "method": "token", "role": grant.role, "scopes": grant.scopes },
        "policy": { "maxPayload": 25 << 20, "maxBufferedBytes": 50 << 20, "tickIntervalMs": TICK.as_millis() as u64 },
    })
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn random_hex() -> String {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system has randomness");
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
