//! The reasons, and what is said and counted for each.

use http::StatusCode;

use crate::gateway::translate::{self, token_command};

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
    CertificateRequired,
    LoginRequired,
    LoginFailed,
    LoginBusy,
    AuthDenied,
    AuthUnavailable,
    AuthInvalid,
    AuthBusy,
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
    pub const ALL: [Reason; 40] = {
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
            CertificateRequired,
            LoginRequired,
            LoginFailed,
            LoginBusy,
            AuthDenied,
            AuthUnavailable,
            AuthInvalid,
            AuthBusy,
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
                "Too many wrong tokens or passwords came from this address: it has to wait.",
            ),
            CertificateRequired => (
                403,
                Client,
                "client_certificate",
                "http_request_denied",
                "This site asks its clients for a certificate, and takes none that this one has shown.",
            ),
            LoginRequired => {
                (401, Client, "login_required", "http_request_denied", "A name and a password are asked for.")
            }
            LoginFailed => (401, Client, "login_failed", "http_request_denied", "Name or password is wrong."),
            LoginBusy => (
                503,
                Us,
                "login_busy",
                "proxy_internal_error",
                "Too many passwords wait to be looked at. Try again in a moment.",
            ),
            // The answer is the service's own.
            AuthDenied => {
                (403, Client, "auth_denied", "http_request_denied", "The login service did not let this pass.")
            }
            AuthUnavailable => (
                503,
                Us,
                "auth_unavailable",
                "proxy_internal_error",
                "The login service does not answer, so nothing is passed on. Try again in a moment.",
            ),
            AuthInvalid => (
                502,
                Us,
                "auth_invalid",
                "proxy_internal_error",
                "What the login service answered is not acceptable, so nothing is passed on.",
            ),
            AuthBusy => (
                503,
                Us,
                "auth_busy",
                "proxy_internal_error",
                "Too many requests wait for the login service. Try again in a moment.",
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

impl Row {
    /// Whether it is about the service of `forward_auth`, whose outages have lines of their own in the log.
    pub fn is_of_service(&self) -> bool {
        matches!(self.name, "auth_unavailable" | "auth_invalid" | "auth_busy")
    }

    /// What the operator should know and do, where it is not the client's own fault: code, what, cure.
    pub(super) fn trouble(&self) -> Option<(&'static str, &'static str, &'static str)> {
        const GATEWAY: &str = "is it running? as its user: systemctl --user status openclaw-gateway, and \
                               journalctl --user -u openclaw-gateway -n 50";
        Some(match self.name {
            "connection_refused" | "destination_unavailable" | "too_many_held" | "destination_ip_unroutable" => {
                ("upstream/away", "it does not answer", translate::START)
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
                concat!("give it a token: ", token_command!()),
            ),
            "loopback_client" => (
                "identity/loopback-client",
                "a client on this machine is outside of clients, and the gateway would refuse its address",
                "if what forwards from this machine is yours: trusted_proxies = [\"127.0.0.1/32\", \"::1/128\"]",
            ),
            "auth_unavailable" => (
                "auth/away",
                "the service of forward_auth does not answer in time, so nothing passes",
                "is it running? `clawgate check --only auth` asks it, and says what came",
            ),
            "auth_invalid" => (
                "auth/no-http",
                "what the service of forward_auth answers is not HTTP, or too long, so nothing passes",
                "is it the service that listens there? `clawgate check --only auth` asks it, and says what came",
            ),
            "auth_busy" => (
                "auth/busy",
                "too many requests wait for the service of forward_auth",
                "it is slow, or somebody asks without end: allow and limits.requests let fewer people ask",
            ),
            "certificate_pending" => (
                "certificate/pending",
                "its certificate is not here yet, and nothing is forwarded until it is",
                "`clawgate certs` says what it waits for",
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
