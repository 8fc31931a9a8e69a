//! Two questions to the gateway that only a client can ask: does it want a credential at all, and is it ready?

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use serde_json::json;
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{self, ClientRequestBuilder, protocol::WebSocketConfig},
};

use super::{
    answer::{self, Answer, Message, Refusal},
    io::HyperIo,
};

/// Whether the gateway lets a client in that shows nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoAuth {
    /// It wants a token, a password or the like. All is well.
    AuthRequired,
    /// Its auth is off: with D1 whoever reaches us would be its operator.
    AuthOff,
    /// Nobody answered there.
    Unreachable(String),
    /// What answered is no gateway: it has no WebSocket, or one that begins otherwise.
    NoGateway(String),
    /// It answered, and that decides nothing: the gateway is starting, or full.
    Unclear(String),
}

/// A token that nobody has; it is no secret and meant to be refused.
const NO_TOKEN: &str = "clawgate-probe-not-a-token";

/// Connects from `source` to see whether the gateway at `endpoint` asks for a credential, `deadline` for all of it.
///
/// Without token and device first. That alone does not decide: a gateway may ask for a device key before it looks at
/// tokens. Then once more with a token that cannot be right, still without a device: who minds the device but not the
/// token has no token to compare. Seen with the gateway on loopback, as `gateway-client`/`backend`:
///
/// ```text
///                             nothing                          a wrong token
/// 2026.9.6   auth.mode token  DEVICE_IDENTITY_REQUIRED         AUTH_TOKEN_MISMATCH (after 0.25 s)
///            auth.mode none   ok, with the scopes asked for    ok, with the scopes asked for
/// 2026.3.13  auth.mode token  DEVICE_IDENTITY_REQUIRED         AUTH_TOKEN_MISMATCH
///            auth.mode none   DEVICE_IDENTITY_REQUIRED         DEVICE_IDENTITY_REQUIRED
/// ```
///
/// 2026.3.13 without auth pairs any fresh device key at once, so it is as open as the newer one. The probe shows no key:
/// nothing is paired by it. A wrong token without an `Origin` counts towards no lock-out of the gateway.
pub async fn probe_no_auth(endpoint: SocketAddr, source: Ipv4Addr, deadline: Duration) -> NoAuth {
    let both = async {
        match connect(endpoint, source, None).await {
            Ok(Answer::Refused(refusal)) if wants_device(&refusal) => connect(endpoint, source, Some(NO_TOKEN)).await,
            first => first,
        }
    };
    match timeout(deadline, both).await {
        Ok(Ok(answer)) => judge(&answer),
        Ok(Err(ProbeError::Dial(error))) => NoAuth::Unreachable(error.to_string()),
        Ok(Err(error)) if error.is_no_gateway() => NoAuth::NoGateway(error.to_string()),
        Ok(Err(error)) => NoAuth::Unclear(error.to_string()),
        Err(_) => NoAuth::Unclear(format!("no answer to connect within {deadline:?}")),
    }
}

/// What the last answer of the probe means.
fn judge(answer: &Answer) -> NoAuth {
    match answer {
        Answer::Approved(_) => NoAuth::AuthOff,
        // The token was wrong, and this is what it minds.
        Answer::Refused(refusal) if wants_device(refusal) => NoAuth::AuthOff,
        Answer::Refused(refusal) => match refusal.detail.as_deref() {
            Some(detail) if detail.starts_with("AUTH_") => NoAuth::AuthRequired,
            _ if refusal.message.starts_with("unauthorized") => NoAuth::AuthRequired,
            _ => NoAuth::Unclear(format!("the gateway answered {}: {}", refusal.code, refusal.message)),
        },
        Answer::Unknown => NoAuth::Unclear("the gateway's answer to connect could not be read".into()),
    }
}

fn wants_device(refusal: &Refusal) -> bool {
    refusal.detail.as_deref() == Some("DEVICE_IDENTITY_REQUIRED") || &*refusal.message == "device identity required"
}

#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error("cannot connect: {0}")]
    Dial(#[from] io::Error),
    #[error("no websocket: {0}")]
    WebSocket(#[from] Box<tungstenite::Error>),
    #[error("the connection ended before the answer to connect")]
    Ended,
    #[error("the first message is no connect.challenge")]
    NoGateway,
}

impl ProbeError {
    /// Whether no gateway answers like this, not even one that starts or is full (it says 503).
    fn is_no_gateway(&self) -> bool {
        match self {
            ProbeError::NoGateway => true,
            ProbeError::WebSocket(error) => match &**error {
                tungstenite::Error::Http(answer) => !answer.status().is_server_error(),
                tungstenite::Error::Protocol(_) | tungstenite::Error::HttpFormat(_) => true,
                _ => false,
            },
            ProbeError::Dial(_) | ProbeError::Ended => false,
        }
    }
}

impl From<tungstenite::Error> for ProbeError {
    fn from(error: tungstenite::Error) -> ProbeError {
        ProbeError::WebSocket(Box::new(error))
    }
}

/// One `connect` without a device.
async fn connect(endpoint: SocketAddr, source: Ipv4Addr, token: Option<&str>) -> Result<Answer, ProbeError> {
    let stream = dial(endpoint, Some(source)).await?;
    let uri = format!("ws://{endpoint}/").parse().expect("an address makes a URI");
    let config = WebSocketConfig::default().read_buffer_size(16 * 1024).max_message_size(Some(1 << 20));
    let (mut socket, _) = client_async_with_config(ClientRequestBuilder::new(uri), stream, Some(config)).await?;
    if next(&mut socket).await? != Message::Challenge {
        return Err(ProbeError::NoGateway);
    }
    let auth = token.map_or_else(|| json!({}), |token| json!({ "token": token }));
    let request = json!({
        "type": "req",
        "id": "clawgate-probe",
        "method": "connect",
        "params": {
            "minProtocol": 3,
            "maxProtocol": 4,
            "role": "operator",
            "scopes": ["operator.read"],
            "caps": [],
            "client": {
                "id": "gateway-client",
                "version": env!("CARGO_PKG_VERSION"),
                "platform": "linux",
                "mode": "backend",
            },
            "auth": auth,
        },
    });
    socket.send(request.to_string().into()).await?;
    loop {
        match next(&mut socket).await? {
            Message::Answer(answer) => {
                // Politeness only: the answer is in, whatever becomes of the close.
                let _ = socket.close(None).await;
                return Ok(answer);
            }
            Message::Challenge | Message::Event | Message::Other => {}
        }
    }
}

async fn next(socket: &mut WebSocketStream<TcpStream>) -> Result<Message, ProbeError> {
    loop {
        let message = socket.next().await.ok_or(ProbeError::Ended)??;
        match message {
            tungstenite::Message::Text(text) => return Ok(answer::read(text.as_bytes(), false)),
            tungstenite::Message::Binary(_) => return Ok(Message::Other),
            tungstenite::Message::Close(_) => return Err(ProbeError::Ended),
            tungstenite::Message::Ping(_) | tungstenite::Message::Pong(_) | tungstenite::Message::Frame(_) => {}
        }
    }
}

/// What `/readyz` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    /// It answered, and not 2xx.
    NotReady(StatusCode),
    /// A connection, and no HTTP on it within the deadline.
    Silent(String),
    /// No connection.
    Unreachable(String),
}

/// `GET /readyz` on a connection of its own: while it starts the gateway has no listener or says 503 there.
pub async fn readiness(endpoint: SocketAddr, deadline: Duration) -> Readiness {
    match timeout(deadline, get_readyz(endpoint)).await {
        Ok(Ok(status)) if status.is_success() => Readiness::Ready,
        Ok(Ok(status)) => Readiness::NotReady(status),
        Ok(Err(error @ ReadinessError::Dial(_))) => Readiness::Unreachable(error.to_string()),
        Ok(Err(error @ ReadinessError::Http(_))) => Readiness::Silent(error.to_string()),
        Err(_) => Readiness::Silent(format!("no answer within {deadline:?}")),
    }
}

#[derive(Debug, thiserror::Error)]
enum ReadinessError {
    #[error("cannot connect: {0}")]
    Dial(#[from] io::Error),
    #[error("no answer to GET /readyz: {0}")]
    Http(#[from] hyper::Error),
}

async fn get_readyz(endpoint: SocketAddr) -> Result<StatusCode, ReadinessError> {
    let stream = dial(endpoint, None).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(HyperIo(stream)).await?;
    let request = Request::get("/readyz")
        .header(header::HOST, endpoint.to_string())
        .body(Empty::<Bytes>::new())
        .expect("a constant request");
    let mut connection = std::pin::pin!(connection);
    let mut response = std::pin::pin!(sender.send_request(request));
    tokio::select! {
        response = &mut response => Ok(response?.status()),
        // It ends first only when it fails, or when the answer is already there.
        ended = &mut connection => {
            ended?;
            Ok(response.await?.status())
        }
    }
}

async fn dial(endpoint: SocketAddr, source: Option<Ipv4Addr>) -> io::Result<TcpStream> {
    match (source, endpoint) {
        (Some(source), SocketAddr::V4(_)) => {
            let socket = TcpSocket::new_v4()?;
            socket.bind((source, 0).into())?;
            socket.connect(endpoint).await
        }
        _ => TcpStream::connect(endpoint).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: &str, message: &str, detail: &str) -> Answer {
        let detail = Some(detail.into());
        Answer::Refused(Refusal { code: code.into(), message: message.into(), detail, ..Refusal::default() })
    }

    #[test]
    fn only_an_answer_about_credentials_proves_that_auth_is_on() {
        let device = refusal("NOT_PAIRED", "device identity required", "DEVICE_IDENTITY_REQUIRED");
        assert_eq!(judge(&device), NoAuth::AuthOff);
        assert_eq!(judge(&Answer::Approved(answer::Approval::default())), NoAuth::AuthOff);
        let token = refusal("INVALID_REQUEST", "unauthorized: gateway token mismatch", "AUTH_TOKEN_MISMATCH");
        assert_eq!(judge(&token), NoAuth::AuthRequired);
        let starting = refusal("UNAVAILABLE", "gateway starting; retry shortly", "gateway-starting");
        assert!(matches!(judge(&starting), NoAuth::Unclear(_)));
        assert!(matches!(judge(&Answer::Unknown), NoAuth::Unclear(_)));
    }
}
