//! A platform's backend: connects over WebSocket, signs the gateway's nonce with its Ed25519 device key, calls methods.

use std::{
    collections::VecDeque,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, Message, client::IntoClientRequest},
};

use crate::{Dial, dial::Stream, gateway::TOKEN};

const SCOPES: [&str; 3] = ["operator.read", "operator.write", "operator.admin"];

/// The oldest gateway speaks protocol 3, the newest 4.
const PROTOCOLS: (u32, u32) = (3, 4);

/// Longer than the proxy holds a dial in any test.
const ANSWER_WITHIN: Duration = Duration::from_secs(90);

/// How the signed text is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    V2,
    /// V2 and the client's platform and device family.
    V3,
}

/// Why a connect did not succeed.
#[derive(Debug)]
pub enum Refused {
    /// The upgrade was answered with something else than 101.
    Http { status: StatusCode, body: String },
    /// The gateway's own answer to `connect`.
    Connect { code: String, message: String, details: Value },
    /// Closed before that answer.
    Closed { code: u16, reason: String },
    /// The connection itself failed.
    Broken(String),
}

impl Refused {
    /// Whether the gateway wants a person to approve the device first.
    pub fn is_pairing_required(&self) -> bool {
        match self {
            Refused::Connect { code, details, .. } => code == "NOT_PAIRED" && details["code"] == "PAIRING_REQUIRED",
            _ => false,
        }
    }
}

/// What is wrong with a connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    NoDevice,
    /// Signed ten minutes ago.
    Old,
    /// Signs a nonce that the gateway did not send.
    OtherNonce,
    /// Speaks a protocol that no gateway knows.
    Protocol,
    /// A first message of 100 KiB.
    Large,
    /// The Control UI's own words, though it is none.
    Page,
    /// The same, of a gateway that was replaced meanwhile.
    OldPage,
}

/// A client that is about to connect.
pub struct Backend {
    fault: Option<Fault>,
    key: Ed25519KeyPair,
    signature: Signature,
    token: Option<String>,
    scopes: Vec<&'static str>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Backend {
    /// With a device key that no gateway has ever seen.
    pub fn fresh() -> Backend {
        let key = Ed25519KeyPair::generate().expect("random bytes");
        Backend {
            fault: None,
            key,
            signature: Signature::V2,
            token: Some(TOKEN.to_owned()),
            scopes: SCOPES.to_vec(),
            headers: Vec::new(),
        }
    }

    pub fn signing(mut self, signature: Signature) -> Backend {
        self.signature = signature;
        self
    }

    /// Asks for these instead of all that a platform needs.
    pub fn asking_for(mut self, scopes: &[&'static str]) -> Backend {
        self.scopes = scopes.to_vec();
        self
    }

    pub fn token(mut self, token: &str) -> Backend {
        self.token = Some(token.to_owned());
        self
    }

    pub fn without_token(mut self) -> Backend {
        self.token = None;
        self
    }

    pub fn with(mut self, fault: Fault) -> Backend {
        self.fault = Some(fault);
        self
    }

    /// One more header line on the upgrade request; the same name may come again.
    pub fn header(mut self, name: &str, value: &str) -> Backend {
        let name = name.parse().expect("a header name");
        self.headers.push((name, value.parse().expect("a header value")));
        self
    }

    /// What makes a client a browser.
    pub fn origin(self, origin: &str) -> Backend {
        self.header("origin", origin)
    }

    /// Hex of the SHA-256 of the public key: the name under which the gateway lists the device.
    pub fn device_id(&self) -> String {
        let hash = digest(&SHA256, self.key.public_key().as_ref());
        hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The private key as a platform keeps it.
    pub fn pem(&self) -> String {
        let der = self.key.to_pkcs8v1().expect("a key can be written");
        let body = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
        format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
    }

    /// Upgrades, answers the challenge, and waits for the gateway's word.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn connect(&self, dial: &Dial) -> Result<Session, Refused> {
        match tokio::time::timeout(ANSWER_WITHIN, self.try_connect(dial)).await {
            Ok(result) => result,
            Err(_) => Err(Refused::Broken(format!("no answer within {ANSWER_WITHIN:?}"))),
        }
    }

    /// Upgrades and says nothing: holds one of the gateway's places for clients that did not yet connect.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn linger(&self, dial: &Dial) -> Result<impl Sized + Send + use<>, Refused> {
        self.upgrade(dial).await
    }

    async fn try_connect(&self, dial: &Dial) -> Result<Session, Refused> {
        let mut session =
            Session { socket: self.upgrade(dial).await?, events: VecDeque::new(), hello: json!({}), calls: 0 };
        let challenge = session.until_event(|event| event["event"] == "connect.challenge").await?;
        let nonce = challenge["payload"]["nonce"].as_str().unwrap_or_default().to_owned();
        session.hello = session.try_call("connect", self.connect_params(&nonce)).await?;
        Ok(session)
    }

    async fn upgrade(&self, dial: &Dial) -> Result<WebSocketStream<Box<dyn Stream>>, Refused> {
        let scheme = if dial.tls.is_some() { "wss" } else { "ws" };
        let mut request = format!("{scheme}://{}/", dial.authority).into_client_request().expect("a valid URL");
        for (name, value) in &self.headers {
            request.headers_mut().append(name.clone(), value.clone());
        }
        let stream = dial.connect(&["http/1.1"]).await.map_err(|e| Refused::Broken(e.to_string()))?;
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((socket, _)) => Ok(socket),
            Err(tungstenite::Error::Http(response)) => {
                let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
                Err(Refused::Http { status: response.status(), body })
            }
            Err(error) => Err(Refused::Broken(error.to_string())),
        }
    }

    fn connect_params(&self, nonce: &str) -> Value {
        const PLATFORM: &str = "linux";
        let page = matches!(self.fault, Some(Fault::Page | Fault::OldPage));
        let (id, mode) = if page { ("openclaw-control-ui", "webchat") } else { ("gateway-client", "backend") };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_millis() as u64;
        let signed_at = if self.fault == Some(Fault::Old) { now - 600_000 } else { now };
        let nonce = if self.fault == Some(Fault::OtherNonce) { "another-nonce" } else { nonce };
        let device = self.device_id();
        let token = self.token.as_deref().unwrap_or_default();
        let scopes = self.scopes.join(",");
        let text = match self.signature {
            Signature::V2 => format!("v2|{device}|{id}|{mode}|operator|{scopes}|{signed_at}|{token}|{nonce}"),
            // The last field is the device family, which this client does not name.
            Signature::V3 => {
                format!("v3|{device}|{id}|{mode}|operator|{scopes}|{signed_at}|{token}|{nonce}|{PLATFORM}|")
            }
        };
        let mut params = json!({
            "minProtocol": PROTOCOLS.0,
            "maxProtocol": PROTOCOLS.1,
            "role": "operator",
            "scopes": self.scopes,
            "caps": [],
            "client": { "id": id, "version": "1.0.0", "platform": PLATFORM, "mode": mode },
            "device": {
                "id": device,
                "publicKey": URL_SAFE_NO_PAD.encode(self.key.public_key()),
                "signedAt": signed_at,
                "nonce": nonce,
                "signature": URL_SAFE_NO_PAD.encode(self.key.sign(text.as_bytes())),
            },
        });
        if self.token.is_some() {
            params["auth"] = json!({ "token": token });
        }
        match self.fault {
            Some(Fault::NoDevice) => drop(params.as_object_mut().expect("an object").remove("device")),
            Some(Fault::Protocol) => (params["minProtocol"], params["maxProtocol"]) = (99.into(), 99.into()),
            Some(Fault::Large) => params["client"]["displayName"] = "x".repeat(100 << 10).into(),
            Some(Fault::OldPage) => params["client"]["buildId"] = "0000000".into(),
            Some(Fault::Old | Fault::OtherNonce | Fault::Page) | None => {}
        }
        params
    }
}

/// A connected and approved client.
pub struct Session {
    socket: WebSocketStream<Box<dyn Stream>>,
    events: VecDeque<(Instant, Value)>,
    hello: Value,
    calls: u64,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({})", self.hello)
    }
}

impl Session {
    /// Does one thing for each scope that a platform needs, as it does when it pushes its config.
    ///
    /// # Errors
    /// The gateway's, where it did not grant one: releases before 2026.5 do not list the scopes in their answer, so
    /// only doing shows them.
    pub async fn uses_every_scope(&mut self) -> Result<(), Refused> {
        if let Some(granted) = self.hello["auth"]["scopes"].as_array() {
            assert!(SCOPES.iter().all(|scope| granted.contains(&json!(scope))), "granted: {granted:?}");
        }
        self.call("config.get", json!({})).await?; // operator.read
        self.call("chat.abort", json!({ "sessionKey": "agent:main:nothing" })).await?; // operator.write
        let file = json!({ "agentId": "main", "name": "IDENTITY.md", "content": "# from a test\n" });
        self.call("agents.files.set", file).await?; // operator.admin
        Ok(())
    }

    /// Calls a method and waits for its answer; events that come meanwhile are kept for [`Session::event`].
    ///
    /// # Errors
    /// The gateway's own, and those of the connection.
    pub async fn call(&mut self, method: &str, params: Value) -> Result<Value, Refused> {
        match tokio::time::timeout(ANSWER_WITHIN, self.try_call(method, params)).await {
            Ok(result) => result,
            Err(_) => Err(Refused::Broken(format!("{method}: no answer within {ANSWER_WITHIN:?}"))),
        }
    }

    /// The next event that `wanted` holds for, and when it came.
    ///
    /// # Panics
    /// When none comes.
    pub async fn event(&mut self, wanted: impl Fn(&Value) -> bool) -> (Instant, Value) {
        let next = async {
            loop {
                while let Some((at, event)) = self.events.pop_front() {
                    if wanted(&event) {
                        return (at, event);
                    }
                }
                let at_and_event = self.read_event().await.expect("the connection stays open");
                self.events.extend(at_and_event);
            }
        };
        tokio::time::timeout(ANSWER_WITHIN, next).await.expect("the event comes in time")
    }

    /// Waits until the other side ends it; the close code and reason.
    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            match tokio::time::timeout(ANSWER_WITHIN, self.read()).await.expect("the close comes in time") {
                Ok(_) => {}
                Err(Refused::Closed { code, reason }) => return (code, reason),
                Err(error) => return (1006, format!("{error:?}")),
            }
        }
    }

    async fn try_call(&mut self, method: &str, params: Value) -> Result<Value, Refused> {
        self.calls += 1;
        let id = self.calls.to_string();
        let frame = json!({ "type": "req", "id": id, "method": method, "params": params });
        // An answer may already be on its way when sending fails: what was said is the better reason.
        let sent = self.socket.send(Message::text(frame.to_string())).await;
        loop {
            let frame = match (self.read().await, &sent) {
                (Ok(frame), _) => frame,
                (Err(Refused::Broken(_)), Err(error)) => return Err(Refused::Broken(error.to_string())),
                (Err(error), _) => return Err(error),
            };
            if frame["type"] == "event" {
                self.events.push_back((Instant::now(), frame));
            } else if frame["type"] == "res" && frame["id"] == id.as_str() {
                return if frame["ok"] == true { Ok(frame["payload"].clone()) } else { Err(refused(&frame["error"])) };
            }
        }
    }

    async fn until_event(&mut self, wanted: impl Fn(&Value) -> bool) -> Result<Value, Refused> {
        loop {
            if let Some((_, event)) = self.read_event().await?.filter(|(_, event)| wanted(event)) {
                return Ok(event);
            }
        }
    }

    async fn read_event(&mut self) -> Result<Option<(Instant, Value)>, Refused> {
        let frame = self.read().await?;
        Ok((frame["type"] == "event").then(|| (Instant::now(), frame)))
    }

    async fn read(&mut self) -> Result<Value, Refused> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    return serde_json::from_str(&text).map_err(|e| Refused::Broken(format!("{e} in {text}")));
                }
                Some(Ok(Message::Close(frame))) => {
                    let (code, reason) = frame.map_or((1005, String::new()), |f| (f.code.into(), f.reason.to_string()));
                    return Err(Refused::Closed { code, reason });
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(Refused::Broken(error.to_string())),
                None => return Err(Refused::Broken("the connection ended".to_owned())),
            }
        }
    }
}

fn refused(error: &Value) -> Refused {
    let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
    Refused::Connect { code: text("code"), message: text("message"), details: error["details"].clone() }
}
