//! Whether the gateway takes a backend: one real `connect`, and what its answer means.

use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use super::{
    answer::{Answer, Refusal},
    client::{Ask, Client, ClientError, Door, Greeting},
    frames::Side,
    key::DeviceKey,
    translate::{Cause, Seen, Situation, Trouble, translate},
};

/// All that is asked for: enough to see that a scope is granted, too little to change anything.
pub const SCOPES: [&str; 1] = ["operator.read"];

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Approved {
        /// The gateway's, such as `2026.9.6`.
        version: Option<String>,
        /// The device has an entry in the gateway's list now.
        listed: bool,
    },
    Refused(Refused),
    /// What answers there is no gateway.
    NoGateway(String),
    /// No connection, or no answer in time.
    Unreachable(String),
}

/// In the gateway's words and in the operator's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// `None` for words that nobody has translated yet.
    pub trouble: Option<Trouble>,
    pub cause: Option<Cause>,
    pub said: String,
    /// What `openclaw devices approve` wants to hear.
    pub request_id: Option<String>,
}

/// How long a gateway is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until its challenge: whoever is silent for longer is not there.
    pub challenge: Duration,
    /// Until its last word. Since 2026.9 a gateway keeps whoever shows a wrong token waiting for up to 5 s, the longer the
    /// more of them there were; and each that comes meanwhile makes it longer.
    pub whole: Duration,
}

/// Connects at `door`.
pub async fn ask(door: &Door, ask: Ask<'_>, at: &Situation<'_>, patience: Patience) -> Outcome {
    let silent = |waited: Duration| Outcome::Unreachable(format!("no answer within {} s", waited.as_secs()));
    let connected = async {
        match timeout(patience.challenge, Client::knock(door)).await {
            Ok(client) => connect(client?, ask, at).await,
            Err(_) => Ok(silent(patience.challenge)),
        }
    };
    match timeout(patience.whole, connected).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => failed(&error, at),
        Err(_) => silent(patience.whole),
    }
}

async fn connect(mut client: Client, ask: Ask<'_>, at: &Situation<'_>) -> Result<Outcome, ClientError> {
    let Greeting { answer, version, listed } = client.connect(ask).await?;
    let outcome = match answer {
        Answer::Refused(refusal) => refused(&refusal, at),
        Answer::Unknown => Outcome::NoGateway("its answer to connect cannot be read".into()),
        // Releases before 2026.5 do not say what they grant, so only doing shows it.
        Answer::Approved(_) => match client.call("system-presence", json!({})).await? {
            Err(refusal) if Trouble::of(Seen::Refused(&refusal)) == Some(Trouble::MissingScope) => {
                refused(&refusal, at)
            }
            _ => Outcome::Approved { version, listed },
        },
    };
    client.close().await;
    Ok(outcome)
}

fn refused(refusal: &Refusal, at: &Situation<'_>) -> Outcome {
    let seen = Seen::Refused(refusal);
    Outcome::Refused(Refused {
        trouble: Trouble::of(seen),
        cause: translate(seen, at),
        said: format!("{}: {}", refusal.code, refusal.message),
        request_id: refusal.request_id.as_deref().map(str::to_owned),
    })
}

fn failed(error: &ClientError, at: &Situation<'_>) -> Outcome {
    let seen = match error {
        ClientError::Http { status, body } => Some(Seen::Http { status: status.as_u16(), body }),
        ClientError::Closed(close) => Some(Seen::Closed { by: Side::Gateway, close }),
        _ => None,
    };
    let trouble = seen.and_then(Trouble::of);
    match (trouble, seen) {
        (Some(trouble), Some(seen)) => Outcome::Refused(Refused {
            trouble: Some(trouble),
            cause: translate(seen, at),
            said: error.to_string(),
            request_id: None,
        }),
        _ if error.is_no_gateway() => Outcome::NoGateway(error.to_string()),
        _ => Outcome::Unreachable(error.to_string()),
    }
}

/// Takes back what a key that nobody keeps has left at the gateway: its entry, or its request to be paired. It goes in
/// as a local client with the right for just that; whether nothing is left.
pub async fn forget(door: &Door, token: Option<&str>, key: &DeviceKey, request_id: Option<&str>, now_ms: i64) -> bool {
    let take_back = async {
        let mut client = Client::knock(door).await?;
        let ask = Ask { token, key: Some(key), scopes: &["operator.pairing"], now_ms };
        if !matches!(client.connect(ask).await?.answer, Answer::Approved(_)) {
            return Ok(false);
        }
        let taken = match request_id {
            Some(id) => client.call("device.pair.reject", json!({ "requestId": id })).await?,
            None => client.call("device.pair.remove", json!({ "deviceId": key.id() })).await?,
        };
        client.close().await;
        Ok::<_, ClientError>(taken.is_ok())
    };
    matches!(timeout(Duration::from_secs(2), take_back).await, Ok(Ok(true)))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use tokio::net::TcpListener;

    use super::*;
    use crate::{
        config::model::{ATTRIBUTED_SOURCE, LOOPBACK_SOURCE},
        gateway::standin::{Options, Standin},
    };

    const SOON: Patience = Patience { challenge: Duration::from_secs(10), whole: Duration::from_secs(10) };
    const AT: Situation<'_> = Situation { host: "claw.test", attributed: None };

    async fn standin(options: Options) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(Standin::new(options).serve(listener));
        address
    }

    async fn outcome(door: &Door, token: &str) -> Outcome {
        let key = DeviceKey::generate().unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        let shown = Ask { token: Some(token), key: Some(&key), scopes: &SCOPES, now_ms: now as i64 };
        ask(door, shown, &AT, SOON).await
    }

    fn code(outcome: &Outcome) -> &str {
        match outcome {
            Outcome::Refused(refused) => refused.cause.as_ref().map_or("", |cause| cause.code),
            other => panic!("not refused: {other:?}"),
        }
    }

    #[tokio::test]
    async fn each_way_it_can_end_is_told_from_the_others() {
        let at = standin(Options::default()).await;
        let local = Door::plain(at, Some(LOOPBACK_SOURCE));
        let mut attributed = Door::plain(at, Some(ATTRIBUTED_SOURCE));
        attributed.headers.insert("x-forwarded-for", "192.0.2.7".parse().unwrap());
        assert!(matches!(outcome(&local, "demo").await, Outcome::Approved { .. }));
        assert_eq!(code(&outcome(&local, "wrong").await), "gateway/credential-wrong");
        let pairing = outcome(&attributed, "demo").await;
        assert_eq!(code(&pairing), "gateway/pairing-required");
        assert!(matches!(&pairing, Outcome::Refused(Refused { request_id: Some(_), .. })));

        let strict = standin(Options { trusted_proxies: Vec::new(), ..Options::default() }).await;
        let unknown = Door { endpoint: strict, ..attributed };
        assert_eq!(code(&outcome(&unknown, "demo").await), "gateway/proxy-attribution-required");

        // A port that was ours a moment ago has no listener.
        let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
        assert!(matches!(outcome(&Door::plain(gone, None), "demo").await, Outcome::Unreachable(_)));
    }

    #[tokio::test]
    async fn a_web_server_is_no_gateway() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 4096];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut head).await;
            let page = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
            tokio::io::AsyncWriteExt::write_all(&mut stream, page).await.unwrap();
        });
        assert!(matches!(outcome(&Door::plain(at, None), "t").await, Outcome::NoGateway(_)));
    }
}
