//! Two questions to the gateway that only a client can ask: does it want a credential at all, and is it ready?

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use http::StatusCode;
use tokio::time::timeout;

use super::{
    answer::{Answer, Refusal},
    client::{self, Ask, Client, ClientError, Door},
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
        Ok(Err(error @ ClientError::Dial(_))) => NoAuth::Unreachable(error.to_string()),
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

/// One `connect` without a device.
async fn connect(endpoint: SocketAddr, source: Ipv4Addr, token: Option<&str>) -> Result<Answer, ClientError> {
    let mut client = Client::knock(&Door::plain(endpoint, Some(source))).await?;
    // Nothing is signed, so the time is of no matter.
    let ask = Ask { token, key: None, scopes: &["operator.read"], now_ms: 0 };
    let greeting = client.connect(ask).await?;
    client.close().await;
    Ok(greeting.answer)
}

/// Whether the gateway has started.
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

/// What `/startupz` says. Not every release has it: the older ones show a page there.
#[derive(serde::Deserialize)]
struct Startup {
    ok: bool,
    /// Not read, but what tells this answer from another's JSON.
    #[serde(rename = "status")]
    _status: String,
}

/// `GET /startupz`, and where there is none `/readyz`, on connections of their own.
///
/// While it starts the gateway has no listener, or one behind which all but pages is 503 "Plugin runtime is starting"
/// (2026.9.6, 2 s and more). `/readyz` alone would not do: it is 503 for as long as any chat channel is out of order, and
/// the gateway answers everything else then.
pub async fn readiness(endpoint: SocketAddr, deadline: Duration) -> Readiness {
    let door = Door::plain(endpoint, None);
    let ask = async {
        let (status, body) = client::get(&door, "/startupz").await?;
        match serde_json::from_slice(&body) {
            Ok(Startup { ok, .. }) => Ok((status, ok)),
            Err(_) => client::get(&door, "/readyz").await.map(|(status, _)| (status, status.is_success())),
        }
    };
    match timeout(deadline, ask).await {
        Ok(Ok((_, true))) => Readiness::Ready,
        Ok(Ok((status, false))) => Readiness::NotReady(status),
        Ok(Err(error @ ClientError::Dial(_))) => Readiness::Unreachable(error.to_string()),
        Ok(Err(error)) => Readiness::Silent(format!("no answer to GET /startupz or /readyz: {error}")),
        Err(_) => Readiness::Silent(format!("no answer within {deadline:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::answer;

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
