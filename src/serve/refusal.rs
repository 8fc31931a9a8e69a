//! Every way a request can fail, and the one table that turns it into status, header, label and page.

use std::{
    borrow::Cow,
    fmt::Write,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use time::{OffsetDateTime, macros::format_description};

use crate::{
    config::model::Hostname,
    gateway::translate,
    headers::{authority::HostError, client_address::Seen, hop::FramingError, identity, method},
    problems::Problem,
    route::path::PathError,
    tls::{Cause, Outlook},
    upstream::{Away, ConnectError},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Client,
    Upstream,
    Us,
}

/// Why a request got an answer of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    HostInvalid,
    Misdirected,
    RequestLineTooLong,
    HeaderTooLarge,
    BodyTooLarge,
    BodyTooSlow,
    BodyInvalid,
    ForeignOrigin,
    NotAllowed,
    RateLimited,
    LockedOut,
    ChallengeUnknown,
    UpgradeInvalid,
    TooManyHeld,
    HoldOver,
    PlacesFull,
    ConnectionRefused,
    ConnectionTimeout,
    DnsError,
    Unreachable,
    SourceAddress,
    Exhausted,
    ResponseIncomplete,
    ResponseInvalid,
    ResponseTimeout,
    UpgradeFailed,
    AttributionRequired,
    GatewayRefused,
    CertificatePending,
    Overloaded,
    Draining,
    Internal,
}

/// What the table says of one reason.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub status: StatusCode,
    pub side: Side,
    /// Stable: logs, metrics and the JSON answer carry it.
    pub name: &'static str,
    /// The error type of RFC 9209 §2.3 for `Proxy-Status`.
    pub error: &'static str,
    pub text: &'static str,
}

impl Reason {
    pub const ALL: [Reason; 32] = {
        use Reason::*;
        [
            HostInvalid,
            Misdirected,
            RequestLineTooLong,
            HeaderTooLarge,
            BodyTooLarge,
            BodyTooSlow,
            BodyInvalid,
            ForeignOrigin,
            NotAllowed,
            RateLimited,
            LockedOut,
            ChallengeUnknown,
            UpgradeInvalid,
            TooManyHeld,
            HoldOver,
            PlacesFull,
            ConnectionRefused,
            ConnectionTimeout,
            DnsError,
            Unreachable,
            SourceAddress,
            Exhausted,
            ResponseIncomplete,
            ResponseInvalid,
            ResponseTimeout,
            UpgradeFailed,
            AttributionRequired,
            GatewayRefused,
            CertificatePending,
            Overloaded,
            Draining,
            Internal,
        ]
    };

    pub const fn row(self) -> Row {
        use Reason::*;
        use Side::*;
        let (status, side, name, error, text) = match self {
            HostInvalid => (400, Client, "host_invalid", "http_request_error", "The request names no valid host."),
            Misdirected => {
                (421, Client, "misdirected", "http_request_denied", "This server does not serve that host here.")
            }
            RequestLineTooLong => {
                (414, Client, "request_line_too_long", "http_request_error", "The request line is too long.")
            }
            HeaderTooLarge => {
                (431, Client, "header_too_large", "http_request_error", "The request's header fields are too large.")
            }
            BodyTooLarge => (
                413,
                Client,
                "body_too_large",
                "http_request_error",
                "The request body is larger than this place accepts.",
            ),
            BodyTooSlow => (408, Client, "body_too_slow", "http_request_error", "The request body came too slowly."),
            BodyInvalid => (
                400,
                Client,
                "body_invalid",
                "http_request_error",
                "The request body ended early, or its chunks are malformed.",
            ),
            ForeignOrigin => {
                (403, Client, "foreign_origin", "http_request_denied", "Only pages of this server itself may ask here.")
            }
            NotAllowed => (
                403,
                Client,
                "not_allowed",
                "http_request_denied",
                "This server answers only the clients on its list, and this one is not on it.",
            ),
            RateLimited => {
                (429, Client, "rate_limited", "http_request_denied", "Too many requests. Try again in a moment.")
            }
            LockedOut => (
                429,
                Client,
                "locked_out",
                "http_request_denied",
                "Too many wrong tokens came from this address: it has to wait.",
            ),
            ChallengeUnknown => {
                (404, Client, "challenge_unknown", "http_request_denied", "No such challenge is pending.")
            }
            UpgradeInvalid => {
                (400, Client, "upgrade_invalid", "http_request_error", "The request for a WebSocket is not acceptable.")
            }
            TooManyHeld => (
                503,
                Upstream,
                "too_many_held",
                "destination_unavailable",
                "The gateway is away and too many requests wait for it already.",
            ),
            HoldOver => (
                503,
                Upstream,
                "destination_unavailable",
                "destination_unavailable",
                "The gateway is away. It may be restarting: try again in a moment.",
            ),
            PlacesFull => (
                503,
                Upstream,
                "places_full",
                "connection_limit_reached",
                "Too many connections to the gateway are still logging in. Try again in a moment.",
            ),
            ConnectionRefused => {
                (502, Upstream, "connection_refused", "connection_refused", "The gateway refused the connection.")
            }
            ConnectionTimeout => (
                504,
                Upstream,
                "connection_timeout",
                "connection_timeout",
                "The gateway did not accept the connection in time.",
            ),
            DnsError => (502, Upstream, "dns_error", "dns_error", "The upstream's name could not be looked up."),
            Unreachable => (
                502,
                Upstream,
                "destination_ip_unroutable",
                "destination_ip_unroutable",
                "The upstream cannot be reached.",
            ),
            SourceAddress => (
                503,
                Us,
                "source_address",
                "proxy_configuration_error",
                "The address 127.0.0.2, from which attributed requests reach the gateway, cannot be used on this machine.",
            ),
            Exhausted => (503, Us, "exhausted", "proxy_internal_error", "The proxy has no descriptor or port left."),
            ResponseIncomplete => (
                502,
                Upstream,
                "http_response_incomplete",
                "http_response_incomplete",
                "The gateway closed the connection before it answered.",
            ),
            ResponseInvalid => (
                502,
                Upstream,
                "http_protocol_error",
                "http_protocol_error",
                "The gateway's answer was not valid HTTP.",
            ),
            ResponseTimeout => {
                (504, Upstream, "http_response_timeout", "http_response_timeout", "The gateway did not answer in time.")
            }
            UpgradeFailed => (
                502,
                Upstream,
                "http_upgrade_failed",
                "http_upgrade_failed",
                "The gateway did not switch to WebSocket properly.",
            ),
            AttributionRequired => (
                403,
                Upstream,
                "proxy_attribution_required",
                "destination_unavailable",
                "The gateway does not yet trust this proxy to say who is asking. On the server, run:",
            ),
            // The status is the gateway's own.
            GatewayRefused => (
                503,
                Upstream,
                "gateway_refused",
                "http_request_denied",
                "The gateway refused this request. What it means, and what helps:",
            ),
            CertificatePending => (
                503,
                Us,
                "certificate_pending",
                "tls_certificate_error",
                "The certificate of this server is on its way, and until it is here nothing is passed on. Do not open a \
                 link with ?token= yet: nobody could say who reads it.",
            ),
            Overloaded => {
                (503, Us, "overloaded", "connection_limit_reached", "Too many connections. Try again in a moment.")
            }
            Draining => (503, Us, "draining", "proxy_internal_error", "The proxy is stopping."),
            Internal => (
                500,
                Us,
                "proxy_internal_error",
                "proxy_internal_error",
                "Something went wrong in the proxy; its log says more.",
            ),
        };
        let Ok(status) = StatusCode::from_u16(status) else { panic!("the table holds valid status codes") };
        Row { status, side, name, error, text }
    }
}

#[derive(Debug, Clone)]
pub struct Refusal {
    pub row: Row,
    /// What was wrong with this very request; shown to the client, so never a secret.
    pub detail: Option<Cow<'static, str>>,
    pub retry_after: Option<Duration>,
    /// What comes next on an HTTP/1 connection cannot be trusted to be a request (RFC 9112 §6.3).
    pub ends_connection: bool,
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
        Refusal { row: reason.row(), detail: None, retry_after, ends_connection }
    }
}

impl Row {
    /// What the operator should know and do, where it is not the client's own fault: code, what, cure.
    fn trouble(&self) -> Option<(&'static str, &'static str, &'static str)> {
        const GATEWAY: &str = "is it running? as its user: systemctl --user status openclaw-gateway, and \
                               journalctl --user -u openclaw-gateway -n 50";
        Some(match self.name {
            "connection_refused" | "destination_unavailable" | "too_many_held" | "destination_ip_unroutable" => {
                ("upstream/away", "it does not answer", GATEWAY)
            }
            "connection_timeout" | "http_response_timeout" => ("upstream/slow", "it does not answer in time", GATEWAY),
            "dns_error" => (
                "upstream/dns",
                "its name cannot be looked up",
                "mend the upstream's name in the configuration, or this machine's DNS",
            ),
            "http_response_incomplete" | "http_protocol_error" | "http_upgrade_failed" => {
                ("upstream/broken-answer", "it closed the connection, or what it answered was not HTTP", GATEWAY)
            }
            "places_full" => (
                "gateway/places-full",
                "all places for WebSockets that have not logged in are taken",
                "someone holds connections open without logging in; a place is free again within 15 s",
            ),
            "source_address" | "attributed_source" => (
                "identity/no-attributed-source",
                "127.0.0.2 cannot be used on this machine, so browsers get 503",
                "bring it up: ip address add 127.0.0.2/8 dev lo",
            ),
            "gateway_without_auth" => (
                "gateway/no-auth",
                "the gateway accepts a connect without any token, so nobody gets D1",
                "set its authentication: openclaw config set gateway.auth.mode token",
            ),
            "loopback_client" => (
                "identity/loopback-client",
                "a client on this machine is outside of clients, and the gateway would refuse its address",
                "if what forwards from this machine is yours: trusted_proxies = [\"127.0.0.1/32\", \"::1/128\"]",
            ),
            "certificate_pending" => (
                "certificate/pending",
                "its certificate is not here yet, and nothing is forwarded until it is",
                "clawgate certs says what it waits for",
            ),
            "exhausted" => {
                ("proxy/exhausted", "no descriptor or port is left", "raise LimitNOFILE: systemctl edit clawgate")
            }
            "overloaded" => ("proxy/overloaded", "there are too many connections", "raise [limits] connections"),
            "proxy_internal_error" => {
                ("proxy/internal", "something went wrong in the proxy", "journalctl -u clawgate -p err says what")
            }
            _ => return None,
        })
    }
}

impl Refusal {
    /// For `status` and the log; `None` where only the client can do something about it.
    pub fn problem(&self, about: &str) -> Option<Problem> {
        let (code, what, cure) = self.row.trouble()?;
        Some(Problem { code, what: what.into(), cure: cure.into(), about: about.into() })
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
            "the address seen is {address}; for a while: clawgate allow {address}{site} --for 2h; for good: \"{address}\" in \
             the site's allow"
        );
        Refusal::because(Reason::NotAllowed, detail)
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

    /// The answer: a page for browsers, JSON for the others.
    pub fn response(&self, html: bool) -> Response<Bytes> {
        let row = &self.row;
        let (kind, body) =
            if html { ("text/html; charset=utf-8", self.page(row)) } else { ("application/json", self.json(row)) };
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = row.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if kind.starts_with("text/html") {
            const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
            headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
        }
        let status = format!("clawgate; error={}", row.error);
        headers.insert(PROXY_STATUS, status.try_into().expect("error types are tokens"));
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, after.as_secs().into());
        }
        if row.status == StatusCode::METHOD_NOT_ALLOWED {
            // RFC 9110 §15.5.6 wants the methods that do work.
            const ALLOW: HeaderValue = HeaderValue::from_static(method::ALLOW);
            headers.insert(header::ALLOW, ALLOW);
        }
        response
    }

    fn json(&self, row: &Row) -> String {
        let mut object = serde_json::json!({
            "status": row.status.as_u16(),
            "error": row.name,
            "message": row.text,
        });
        if let Some(detail) = &self.detail {
            object["detail"] = detail.as_ref().into();
        }
        let mut text = object.to_string();
        text.push('\n');
        text
    }

    fn page(&self, row: &Row) -> String {
        let title = row.status.canonical_reason().unwrap_or("Error");
        let mut page = String::with_capacity(1024);
        let _ = write!(
            page,
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>{code} {title}</title>\
             <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:12vh auto;padding:0 1em}}\
             code{{display:block;padding:.7em;background:#8882;overflow-wrap:anywhere}}\
             small{{opacity:.7}}</style><h1>{title}</h1><p>{text}</p>",
            code = row.status.as_u16(),
            text = Escaped(row.text),
        );
        if let Some(detail) = &self.detail {
            let _ = write!(page, "<code>{}</code>", Escaped(detail));
        }
        let _ = writeln!(page, "<p><small>{} {} &middot; clawgate</small></p></html>", row.status.as_u16(), row.name);
        page
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
        Refusal { row, detail: Some(detail.into()), retry_after: None, ends_connection }
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
        Refusal { row, detail: Some(refused.to_string().into()), retry_after: None, ends_connection: false }
    }
}

/// How soon, and how late, a client is told to look again for a certificate.
const CERTIFICATE_SOON: Duration = Duration::from_secs(5);
const CERTIFICATE_LATER: Duration = Duration::from_secs(5 * 60);

fn minute(instant: SystemTime) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    OffsetDateTime::from(instant).format(format).unwrap_or_default()
}

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

pub fn wants_html(request: &HeaderMap) -> bool {
    request.get(header::ACCEPT).is_some_and(|accept| memchr::memmem::find(accept.as_bytes(), b"text/html").is_some())
}

struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}
