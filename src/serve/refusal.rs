//! Every way a request can fail, and the one table that turns it into status, header, label and page.

mod page;
mod reason;
mod trouble;

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use http::{HeaderValue, StatusCode};
use time::{OffsetDateTime, macros::format_description};

pub use self::{
    page::wants_html,
    reason::{Reason, Row, Side},
};
use crate::{
    config::model::{Hostname, UpstreamKind},
    gateway::translate,
    headers::{authority::HostError, client_address::Seen, handshake::HandshakeError, hop::FramingError, identity},
    problems::Problem,
    route::path::PathError,
    tls::{Cause, Outlook},
    upstream::{Away, ConnectError},
};

#[derive(Debug, Clone)]
pub struct Refusal {
    pub row: Row,
    /// What was wrong with this very request; shown to the client, so never a secret.
    pub detail: Option<Cow<'static, str>>,
    pub retry_after: Option<Duration>,
    /// What comes next on an HTTP/1 connection cannot be trusted to be a request (RFC 9112 §6.3).
    pub ends_connection: bool,
    /// What a 401 asks for.
    pub authenticate: Option<Box<HeaderValue>>,
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        let retry_after = match reason {
            Reason::HoldOver | Reason::TooManyHeld | Reason::PlacesFull => Some(Duration::from_secs(5)),
            Reason::Overloaded | Reason::Exhausted | Reason::Draining => Some(Duration::from_secs(10)),
            _ => None,
        };
        // RFC 9112 §6.3: what delimits the body is in doubt, and so is where the next request begins.
        let ends_connection = matches!(reason, Reason::BodyInvalid | Reason::HostInvalid);
        Refusal { row: reason.row(), detail: None, retry_after, ends_connection, authenticate: None }
    }
}

impl Refusal {
    /// For `status` and the log; `None` where only the client can do something about it. `kind` is what stands behind.
    pub fn problem(&self, about: &str, kind: UpstreamKind) -> Option<Problem> {
        let (code, what, cure) = self.row.trouble(kind)?;
        Some(Problem { code, what: what.into(), cure: cure.into(), about: about.into() })
    }

    /// In the words for what stands behind.
    pub fn of(mut self, kind: UpstreamKind) -> Refusal {
        if kind == UpstreamKind::Generic {
            self.row.text = self.row.text_of_generic();
        }
        self
    }

    pub fn because(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { detail: Some(detail.into()), ..reason.into() }
    }

    /// The host has no certificate of its own yet.
    pub fn without_certificate(outlook: &Outlook, now: SystemTime) -> Refusal {
        let wait = outlook.next_try.and_then(|at| at.duration_since(now).ok()).filter(|wait| !wait.is_zero());
        let next = match (outlook.cause, outlook.next_try.filter(|_| wait.is_some())) {
            (Cause::Operator, None) => "",
            (_, None) => " It is being tried now.",
            (_, Some(at)) => &format!(" The next try is at {}.", minute(at)),
        };
        let detail = format!("{}{next}", outlook.cause.text());
        // Long waits are shortened by what the operator does, so a client looks again before.
        let after = wait.unwrap_or(CERTIFICATE_SOON).clamp(CERTIFICATE_SOON, CERTIFICATE_LATER);
        let retry_after = Some(Duration::from_secs(after.as_secs()));
        Refusal { retry_after, ends_connection: true, ..Refusal::because(Reason::CertificatePending, detail) }
    }

    /// The client is on no list. Which address that is about is the first thing somebody has to know.
    pub fn not_allowed(seen: &Seen, hosts: &[Hostname]) -> Refusal {
        let address = seen.address;
        if seen.peer_loopback_claims {
            let detail = format!(
                "the address seen is {address}, of something on this machine that forwards for others: name it in \
                 trusted_proxies"
            );
            return Refusal::because(Reason::NotAllowed, detail);
        }
        if seen.disputed {
            let detail =
                "the trusted proxy's X-Forwarded-For and Forwarded name different clients: let it send one of them";
            return Refusal::because(Reason::NotAllowed, detail);
        }
        let site = hosts.first().map_or_else(String::new, |host| format!(" --site {host}"));
        let detail = format!(
            "the address seen is {address}; for a while: `clawgate allow {address}{site} --for 2h`; for good: \"{address}\" in \
             the site's allow"
        );
        Refusal::because(Reason::NotAllowed, detail)
    }

    /// What is no request for a WebSocket. Another version is told by 426 which one there is (RFC 6455 §4.2.2), but for
    /// HTTP/2, whose answers cannot have the `Upgrade` that belongs to it.
    pub fn of_handshake(error: HandshakeError, h2: bool) -> Refusal {
        let mut refusal = Refusal::because(Reason::UpgradeInvalid, error.to_string());
        if error == HandshakeError::OtherVersion && !h2 {
            refusal.row.status = StatusCode::UPGRADE_REQUIRED;
        }
        Refusal { ends_connection: true, ..refusal }
    }

    pub fn from_away(away: &Away) -> Refusal {
        Refusal::from(match away {
            Away::HoldOver => Reason::HoldOver,
            Away::TooManyHeld => Reason::TooManyHeld,
            Away::Connect(error) => match error {
                ConnectError::Refused { .. } => Reason::ConnectionRefused,
                ConnectError::Timeout { .. } => Reason::ConnectionTimeout,
                ConnectError::Lookup { .. } => Reason::DnsError,
                ConnectError::SourceAddress { .. } => Reason::SourceAddress,
                ConnectError::Unreachable { .. } => Reason::Unreachable,
                ConnectError::Exhausted { .. } => Reason::Exhausted,
            },
        })
    }
}

impl Refusal {
    /// The request itself is at fault; the room that found out knows status and name.
    ///
    /// A malformed one ends the connection: whoever passed it on to us may read on differently (RFC 9112 §11.2).
    fn malformed(status: StatusCode, name: &'static str, detail: String) -> Refusal {
        let text = "The request is not acceptable.";
        let row = Row { status, side: Side::Client, name, error: "http_request_error", text };
        let ends_connection = status == StatusCode::BAD_REQUEST;
        Refusal { row, detail: Some(detail.into()), retry_after: None, ends_connection, authenticate: None }
    }
}

impl Refusal {
    /// The gateway's own refusal, in words that help whoever reads them.
    pub fn of_gateway(status: StatusCode, cause: &translate::Cause, retry_after: Option<Duration>) -> Refusal {
        let detail = format!("{}: {}", cause.what, cause.cure);
        let row = Row { status, ..Reason::GatewayRefused.row() };
        Refusal { row, retry_after, ..Refusal::because(Reason::GatewayRefused, detail) }
    }
}

impl From<HostError> for Refusal {
    fn from(error: HostError) -> Self {
        Refusal::malformed(error.status(), error.name(), error.to_string())
    }
}

impl From<PathError> for Refusal {
    fn from(error: PathError) -> Self {
        Refusal::malformed(error.status(), error.name(), error.to_string())
    }
}

impl From<FramingError> for Refusal {
    fn from(error: FramingError) -> Self {
        let refusal = Refusal::malformed(error.status(), error.name(), error.to_string());
        Refusal { ends_connection: true, ..refusal }
    }
}

impl From<identity::Refused> for Refusal {
    fn from(refused: identity::Refused) -> Self {
        let text = "This client cannot be passed on to the gateway. The reason, and what to do on the server:";
        let row =
            Row { status: refused.status(), side: Side::Us, name: refused.name(), error: "http_request_denied", text };
        let detail = Some(refused.to_string().into());
        Refusal { row, detail, retry_after: None, ends_connection: false, authenticate: None }
    }
}

/// How soon, and how late, a client is told to look again for a certificate.
const CERTIFICATE_SOON: Duration = Duration::from_secs(5);
const CERTIFICATE_LATER: Duration = Duration::from_secs(5 * 60);

fn minute(instant: SystemTime) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    OffsetDateTime::from(instant).format(format).unwrap_or_default()
}
