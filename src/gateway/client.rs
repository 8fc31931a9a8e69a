//! A client of a gateway: what the proxy itself is when it asks whether all is well there.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        self, ClientRequestBuilder, client::IntoClientRequest as _, error::ProtocolError, protocol::WebSocketConfig,
    },
};

use super::{
    answer::{self, Answer, Message, Refusal},
    device::{ClientInfo, Connect, Credentials},
    frames::Close,
    io::HyperIo,
    key::DeviceKey,
};
use crate::cause;

/// From where and as whom one comes to a gateway.
#[derive(Debug, Clone)]
pub struct Door {
    pub endpoint: SocketAddr,
    /// `None` is the system's choice; towards an IPv6 endpoint it is always that.
    pub source: Option<Ipv4Addr>,
    /// The `Host` and forwarding fields of an identity. Without `Host` it is the endpoint.
    pub headers: HeaderMap,
}

impl Door {
    /// Without any forwarding field.
    pub fn plain(endpoint: SocketAddr, source: Option<Ipv4Addr>) -> Door {
        Door { endpoint, source, headers: HeaderMap::new() }
    }

    async fn dial(&self) -> io::Result<TcpStream> {
        match (self.source, self.endpoint) {
            (Some(source), SocketAddr::V4(_)) => {
                let socket = TcpSocket::new_v4()?;
                socket.bind((source, 0).into())?;
                socket.connect(self.endpoint).await
            }
            _ => TcpStream::connect(self.endpoint).await,
        }
    }
}

/// What is shown to the gateway, and asked for. Not to be printed.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    pub token: Option<&'a str>,
    pub key: Option<&'a DeviceKey>,
    pub scopes: &'a [&'a str],
    /// For the signature: milliseconds since 1970.
    pub now_ms: i64,
}

/// The gateway's word, and what came with an approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    pub answer: Answer,
    /// Such as `2026.9.6`.
    pub version: Option<String>,
    /// The device has an entry of its own in the gateway's list: it got a token for it.
    pub listed: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot connect: {}", cause::plain(.0))]
    Dial(#[from] io::Error),
    #[error("the upgrade was answered with {status}")]
    Http { status: StatusCode, body: Vec<u8> },
    #[error("{}", plainly(.0))]
    WebSocket(Box<tungstenite::Error>),
    #[error("no HTTP: {0}")]
    Hyper(#[from] hyper::Error),
    #[error("the gateway closed with {} {:?}", .0.code.unwrap_or(1005), .0.reason)]
    Closed(Close),
    #[error("the connection ended before the answer to connect")]
    Ended,
    #[error("the first message is no connect.challenge")]
    NoChallenge,
}

/// Without the name of the library's own kind of error.
fn plainly(error: &tungstenite::Error) -> String {
    let why = match error {
        // It would say what the version has to be, and not what it is.
        tungstenite::Error::Protocol(ProtocolError::WrongHttpVersion) => return "it answers HTTP/1.0".into(),
        tungstenite::Error::Protocol(ProtocolError::HttparseError(error)) => format!("its answer is no HTTP ({error})"),
        tungstenite::Error::Protocol(error) => error.to_string(),
        tungstenite::Error::HttpFormat(error) => error.to_string(),
        tungstenite::Error::Io(error) => cause::plain(error),
        other => other.to_string(),
    };
    format!("it agrees to no WebSocket: {why}")
}

impl ClientError {
    /// Whether no gateway answers like this, not even one that starts or is full (it says 503).
    pub fn is_no_gateway(&self) -> bool {
        match self {
            ClientError::NoChallenge => true,
            ClientError::Http { status, .. } => !status.is_server_error(),
            ClientError::WebSocket(error) => {
                matches!(**error, tungstenite::Error::Protocol(_) | tungstenite::Error::HttpFormat(_))
            }
            ClientError::Dial(_) | ClientError::Hyper(_) | ClientError::Closed(_) | ClientError::Ended => false,
        }
    }
}

impl From<tungstenite::Error> for ClientError {
    fn from(error: tungstenite::Error) -> ClientError {
        match error {
            tungstenite::Error::Http(answer) => {
                let (head, body) = answer.into_parts();
                ClientError::Http { status: head.status, body: body.unwrap_or_default() }
            }
            error => ClientError::WebSocket(Box::new(error)),
        }
    }
}

/// A client that was let in by HTTP and has heard the challenge.
pub struct Client {
    socket: WebSocketStream<TcpStream>,
    nonce: String,
    calls: u32,
}

/// How [`Client`] names itself: what a backend is, and what the gateway pairs by itself where it takes it for local.
const ID: &str = "gateway-client";
const MODE: &str = "backend";
/// The oldest gateway speaks 3, the newest 4.
const PROTOCOLS: (u32, u32) = (3, 4);

impl Client {
    /// Upgrades, and waits for the challenge. Has no deadline of its own, as nothing here has.
    pub async fn knock(door: &Door) -> Result<Client, ClientError> {
        let stream = door.dial().await?;
        let uri = format!("ws://{}/", door.endpoint).parse().expect("an address makes a URI");
        let mut request = ClientRequestBuilder::new(uri).into_client_request()?;
        for (name, value) in &door.headers {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        let config = WebSocketConfig::default().read_buffer_size(16 * 1024).max_message_size(Some(1 << 20));
        let (socket, _) = client_async_with_config(request, stream, Some(config)).await?;
        let mut client = Client { socket, nonce: String::new(), calls: 0 };
        let text = client.text().await?;
        if !matches!(answer::read(text.as_bytes(), false), Message::Challenge { .. }) {
            return Err(ClientError::NoChallenge);
        }
        client.nonce = serde_json::from_str(&text).map(|Challenge { payload }| payload.nonce).unwrap_or_default();
        Ok(client)
    }

    pub async fn connect(&mut self, ask: Ask<'_>) -> Result<Greeting, ClientError> {
        let mut connect = Connect {
            min_protocol: PROTOCOLS.0,
            max_protocol: PROTOCOLS.1,
            client: ClientInfo {
                id: ID.into(),
                mode: MODE.into(),
                platform: "linux".into(),
                device_family: String::new(),
            },
            role: "operator".into(),
            scopes: ask.scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            auth: Credentials::of_token(ask.token),
            device: None,
        };
        connect.device = ask.key.map(|key| key.sign(&connect, &self.nonce, ask.now_ms));
        let text = self.ask("connect", params(&connect)).await?;
        let Message::Answer(answer) = answer::read(text.as_bytes(), false) else { return Err(ClientError::Ended) };
        let hello: Hello = serde_json::from_str(&text).unwrap_or_default();
        Ok(Greeting {
            answer,
            version: hello.payload.server.version.filter(|version| version.len() <= 64),
            listed: hello.payload.auth.device_token.is_some(),
        })
    }

    /// Calls a method; what it gives back is not looked at.
    pub async fn call(&mut self, method: &str, params: Value) -> Result<Result<(), Refusal>, ClientError> {
        let text = self.ask(method, params).await?;
        Ok(match answer::read(text.as_bytes(), false) {
            Message::Answer(Answer::Approved(_)) => Ok(()),
            Message::Answer(Answer::Refused(refusal)) => Err(refusal),
            _ => Err(Refusal::default()),
        })
    }

    /// Politely, whatever becomes of it.
    pub async fn close(mut self) {
        let _ = self.socket.close(None).await;
    }

    /// Sends a request, and waits for its answer past whatever else comes.
    async fn ask(&mut self, method: &str, params: Value) -> Result<String, ClientError> {
        self.calls += 1;
        let id = format!("clawgate-{}", self.calls);
        let request = json!({ "type": "req", "id": id, "method": method, "params": params });
        self.socket.send(request.to_string().into()).await?;
        loop {
            let text = self.text().await?;
            if matches!(serde_json::from_str(&text), Ok(Reply { id: of }) if of == id) {
                return Ok(text);
            }
        }
    }

    async fn text(&mut self) -> Result<String, ClientError> {
        loop {
            match self.socket.next().await.ok_or(ClientError::Ended)?? {
                tungstenite::Message::Text(text) => return Ok(text.as_str().to_owned()),
                tungstenite::Message::Binary(_) => return Err(ClientError::NoChallenge),
                tungstenite::Message::Close(Some(frame)) => {
                    let close = Close { code: Some(frame.code.into()), reason: frame.reason.as_str().into() };
                    return Err(ClientError::Closed(close));
                }
                tungstenite::Message::Close(None) => return Err(ClientError::Ended),
                tungstenite::Message::Ping(_) | tungstenite::Message::Pong(_) | tungstenite::Message::Frame(_) => {}
            }
        }
    }
}

fn params(connect: &Connect) -> Value {
    let mut params = json!({
        "minProtocol": connect.min_protocol,
        "maxProtocol": connect.max_protocol,
        "role": connect.role,
        "scopes": connect.scopes,
        "caps": [],
        "client": {
            "id": connect.client.id,
            "version": env!("CARGO_PKG_VERSION"),
            "platform": connect.client.platform,
            "mode": connect.client.mode,
        },
        "auth": connect.auth.token.as_ref().map_or_else(|| json!({}), |token| json!({ "token": token })),
    });
    if let Some(device) = &connect.device {
        params["device"] = json!({
            "id": device.id,
            "publicKey": device.public_key,
            "signedAt": device.signed_at,
            "nonce": device.nonce,
            "signature": device.signature,
        });
    }
    params
}

#[derive(Deserialize)]
struct Challenge {
    payload: Nonce,
}

#[derive(Deserialize)]
struct Nonce {
    nonce: String,
}

#[derive(Deserialize)]
struct Reply {
    id: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Hello {
    payload: HelloPayload,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct HelloPayload {
    server: Server,
    auth: HelloAuth,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Server {
    version: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct HelloAuth {
    device_token: Option<serde::de::IgnoredAny>,
}

/// `GET` on a connection of its own: the status, and the beginning of the body.
pub async fn get(door: &Door, path: &str) -> Result<(StatusCode, Bytes), ClientError> {
    /// Whatever is said about a refusal is in its first kilobyte.
    const LOOKED_AT: usize = 16 * 1024;
    let stream = door.dial().await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(HyperIo(stream)).await?;
    let mut request = Request::get(path).body(Empty::<Bytes>::new()).expect("a path of ours");
    let host = door.endpoint.to_string().parse().expect("an address is a field value");
    request.headers_mut().insert(http::header::HOST, host);
    for (name, value) in &door.headers {
        request.headers_mut().insert(name.clone(), value.clone());
    }
    // Sent before the connection is looked at: an answer that comes before its question is an error.
    let response = sender.send_request(request);
    let exchange = async {
        let response = response.await?;
        let status = response.status();
        // A longer one is no refusal.
        let body = Limited::new(response.into_body(), LOOKED_AT).collect().await;
        Ok((status, body.map(|body| body.to_bytes()).unwrap_or_default()))
    };
    let (mut connection, mut exchange) = (std::pin::pin!(connection), std::pin::pin!(exchange));
    tokio::select! {
        answer = &mut exchange => answer,
        // It ends first only when it fails, or when the answer is already there.
        ended = &mut connection => {
            ended?;
            exchange.await
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::{
        config::model::{ATTRIBUTED_SOURCE, LOOPBACK_SOURCE},
        gateway::{
            standin::{Options, Standin},
            translate::{Seen, Trouble},
        },
    };

    async fn standin(options: Options) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(Standin::new(options).serve(listener));
        address
    }

    fn attributed(endpoint: SocketAddr) -> Door {
        let mut door = Door::plain(endpoint, Some(ATTRIBUTED_SOURCE));
        door.headers.insert("x-forwarded-for", "192.0.2.7".parse().unwrap());
        door
    }

    fn now_ms() -> i64 {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
    }

    #[tokio::test]
    async fn a_key_is_approved_locally_and_asked_to_pair_as_somebody_else() {
        let at = standin(Options::default()).await;
        let key = DeviceKey::generate().unwrap();
        let ask = Ask { token: Some("demo"), key: Some(&key), scopes: &["operator.read"], now_ms: now_ms() };
        let mut client = Client::knock(&Door::plain(at, Some(LOOPBACK_SOURCE))).await.unwrap();
        let greeting = client.connect(ask).await.unwrap();
        assert!(matches!(&greeting.answer, Answer::Approved(approval) if *approval.scopes == ["operator.read".into()]));
        assert!(client.call("health", json!({})).await.unwrap().is_ok());
        let refused = client.call("nope", json!({})).await.unwrap().unwrap_err();
        assert_eq!(&*refused.message, "unknown method: nope");
        client.close().await;

        let mut client = Client::knock(&attributed(at)).await.unwrap();
        let Answer::Refused(refusal) = client.connect(ask).await.unwrap().answer else { panic!("approved") };
        assert!(refusal.request_id.is_some());
        assert_eq!(Trouble::of(Seen::Refused(&refusal)), Some(Trouble::PairingRequired));
    }

    #[tokio::test]
    async fn a_proxy_that_the_gateway_does_not_know_is_told_so_in_http() {
        let at = standin(Options { trusted_proxies: Vec::new(), ..Options::default() }).await;
        let Err(ClientError::Http { status, body }) = Client::knock(&attributed(at)).await else { panic!("let in") };
        let seen = Seen::Http { status: status.as_u16(), body: &body };
        assert_eq!(Trouble::of(seen), Some(Trouble::ProxyAttributionRequired));
        let (status, body) = get(&attributed(at), "/").await.unwrap();
        assert_eq!(
            Trouble::of(Seen::Http { status: status.as_u16(), body: &body }),
            Some(Trouble::ProxyAttributionRequired)
        );
        assert_eq!(get(&attributed(at), "/healthz").await.unwrap().0, StatusCode::OK);
    }
}
