//! The reasons, and what is said and counted for each.

use http::StatusCode;

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
    AuthNameUnknown,
    AuthUntrusted,
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
    pub const ALL: [Reason; 42] = {
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
            AuthNameUnknown,
            AuthUntrusted,
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
            AuthNameUnknown => (
                503,
                Us,
                "auth_name_unknown",
                "proxy_internal_error",
                "The login service is not found by its name, so nothing is passed on. Try again in a moment.",
            ),
            AuthUntrusted => (
                502,
                Us,
                "auth_untrusted",
                "proxy_internal_error",
                "What answers for the login service has no certificate of it, so nothing is passed on.",
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
        matches!(self.name, "auth_unavailable" | "auth_name_unknown" | "auth_untrusted" | "auth_invalid" | "auth_busy")
    }
}
