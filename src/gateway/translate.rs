//! What the gateway says when it refuses, in the operator's words: the cause, and the command that mends it.
//!
//! The gateway's own texts are made for whoever runs it on a laptop; behind a proxy the same words often mean something
//! else, and the same cause shows up as an HTTP status, as the `res` to `connect` or as a close code. All of them end in
//! one [`Trouble`], whose code is what logs, pages and the documentation share. Texts are those of 2026.3.13 to 2026.9.6.

use super::{
    answer::Refusal,
    frames::{Close, Side},
};
use crate::config::model::ATTRIBUTED_SOURCE;

/// Something the gateway said.
#[derive(Debug, Clone, Copy)]
pub enum Seen<'a> {
    /// An answer to a request or an upgrade; of the body the first kilobyte is enough.
    Http { status: u16, body: &'a [u8] },
    /// The answer to `connect`.
    Refused(&'a Refusal),
    /// It let a client in that showed no device key, and granted no scope: each method is refused from then on.
    NothingGranted,
    /// The first close frame of a tunnel.
    Closed { by: Side, close: &'a Close },
}

/// Where it was seen.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// The host as the client wrote it, with the port where it is not 443.
    pub host: &'a str,
    /// Why the client came as attributed, such as "its address 203.0.113.9 is in none of `clients`"; `None` if it had D1.
    pub attributed: Option<&'a str>,
}

/// What is wrong, and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    pub trouble: Trouble,
    /// Stable, such as `gateway/pairing-required`.
    pub code: &'static str,
    pub what: &'static str,
    /// One or two sentences; commands are meant for the gateway's host.
    pub cure: String,
}

/// Translates what is known; `None` for everything else.
pub fn translate(seen: Seen<'_>, at: &Situation<'_>) -> Option<Cause> {
    let trouble = Trouble::of(seen)?;
    let request_id = match seen {
        Seen::Refused(refusal) => refusal.request_id.as_deref(),
        Seen::Http { .. } | Seen::NothingGranted | Seen::Closed { .. } => None,
    };
    Some(Cause { trouble, code: trouble.code(), what: trouble.what(), cure: trouble.cure(at, request_id) })
}

/// What a `connect` was refused for, known or not: older gateways say it in words alone, which their close frame repeats,
/// and newer ones have codes that nobody has translated yet.
pub fn refused(refusal: &Refusal, at: &Situation<'_>) -> Cause {
    let closes = |code| Close { code: Some(code), reason: refusal.message.clone() };
    let said = [1002, 1008].map(closes);
    let closed = |close| translate(Seen::Closed { by: Side::Gateway, close }, at);
    translate(Seen::Refused(refusal), at).or_else(|| said.iter().find_map(closed)).unwrap_or_else(|| {
        let trouble = Trouble::RefusedOtherwise;
        let cure = format!("it said: {}; its own log has more", words(refusal));
        Cause { trouble, code: trouble.code(), what: trouble.what(), cure }
    })
}

/// Longest text of the gateway's that is told where nobody knows what it means, in characters.
const MOST_WORDS: usize = 160;

/// In a line that a terminal can show, and nothing in it looks like a command of ours.
fn words(refusal: &Refusal) -> String {
    let parts = [Some(&refusal.code), refusal.detail.as_ref(), Some(&refusal.message)];
    let parts: Vec<&str> = parts.into_iter().flatten().map(|part| &**part).filter(|part| !part.is_empty()).collect();
    let is_plain = |c: char| matches!(c, ' '..='~') && c != '`';
    match parts.join(": ") {
        said if said.is_empty() => "nothing".into(),
        said => said.chars().map(|c| if is_plain(c) { c } else { '?' }).take(MOST_WORDS).collect(),
    }
}

/// The way out where a gateway of this machine does not run.
pub const START: &str = "start it as its user: `systemctl --user start openclaw-gateway` (where there is no such unit yet: \
                         `openclaw onboard --install-daemon`)";

/// Has the gateway ask for a token, and gives it one; to be copied as it is. The mode by itself would be a trap: without a
/// token the gateway does not start, or makes one up that nobody knows.
macro_rules! token_command {
    () => {
        "openclaw config set gateway.auth.token \"$(openssl rand -hex 32)\" && openclaw config set gateway.auth.mode token"
    };
}
pub(crate) use token_command;

/// What makes the gateway believe who attributed requests are from; to be copied as it is.
pub fn attribution_command() -> String {
    format!("openclaw config set gateway.trustedProxies '[\"{ATTRIBUTED_SOURCE}\"]'")
}

/// With these words it answers 503 while it starts and stops.
const RESTARTING: [&str; 4] = [
    "websocket admission closed",
    "websocket handlers unavailable",
    "Plugin runtime is starting",
    "unavailable while suspending or restarting",
];

/// Reasons of close frames whose code alone tells what is behind them.
const REASONS: [(&str, Trouble); 6] = [
    ("service restart", Trouble::Restarting),
    ("gateway starting", Trouble::Restarting),
    ("gateway policy changed", Trouble::PolicyChanged),
    ("connect failed", Trouble::UiConnectFailed),
    ("message too big", Trouble::TooLarge),
    // As the library words it that most clients use.
    ("Max payload size exceeded", Trouble::TooLarge),
];

/// The troubles we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trouble {
    ProxyAttributionRequired,
    PairingRequired,
    OriginNotAllowed,
    PageOutdated,
    DeviceRequired,
    MissingScope,
    CredentialMissing,
    CredentialWrong,
    RateLimited,
    ClockSkew,
    SignatureInvalid,
    ProtocolMismatch,
    PreAuthPlaces,
    Restarting,
    PolicyChanged,
    SlowConsumer,
    TooLarge,
    UiConnectFailed,
    /// A `connect`, for a reason that is not known here.
    RefusedOtherwise,
}

impl Trouble {
    pub const ALL: [Trouble; 19] = [
        Trouble::ProxyAttributionRequired,
        Trouble::PairingRequired,
        Trouble::OriginNotAllowed,
        Trouble::PageOutdated,
        Trouble::DeviceRequired,
        Trouble::MissingScope,
        Trouble::CredentialMissing,
        Trouble::CredentialWrong,
        Trouble::RateLimited,
        Trouble::ClockSkew,
        Trouble::SignatureInvalid,
        Trouble::ProtocolMismatch,
        Trouble::PreAuthPlaces,
        Trouble::Restarting,
        Trouble::PolicyChanged,
        Trouble::SlowConsumer,
        Trouble::TooLarge,
        Trouble::UiConnectFailed,
        Trouble::RefusedOtherwise,
    ];

    /// The trouble behind what was seen.
    pub fn of(seen: Seen<'_>) -> Option<Trouble> {
        match seen {
            Seen::Http { status, body } => Trouble::of_http(status, body),
            Seen::Refused(refusal) => Trouble::of_refusal(refusal),
            Seen::NothingGranted => Some(Trouble::MissingScope),
            Seen::Closed { by: Side::Gateway, close } => Trouble::of_close(close),
            // The Control UI's own code for "the connect failed"; the gateway never sends it.
            Seen::Closed { by: Side::Client, close } => (close.code == Some(4008)).then_some(Trouble::UiConnectFailed),
        }
    }

    /// The trouble behind words of the gateway that somebody read elsewhere: in the platform's log, or in a browser. They
    /// are taken for each thing in turn that the gateway can say, so what is translated here is known there too.
    pub fn of_words(words: &str) -> Option<Trouble> {
        let refused = |code: &str, detail: Option<&str>| Refusal {
            code: code.into(),
            message: words.into(),
            detail: detail.map(Into::into),
            ..Refusal::default()
        };
        let closed = |code| Close { code: Some(code), reason: words.into() };
        let http = || [403, 429, 503].into_iter().find_map(|status| Trouble::of_http(status, words.as_bytes()));
        let close = || [1002, 1008].into_iter().find_map(|code| Trouble::of_close(&closed(code)));
        let reason = || REASONS.iter().find(|(reason, _)| words.contains(reason)).map(|(_, trouble)| *trouble);
        Trouble::of_refusal(&refused(words, Some(words))).or_else(http).or_else(close).or_else(reason)
    }

    fn of_http(status: u16, body: &[u8]) -> Option<Trouble> {
        let says = |text: &str| memchr::memmem::find(&body[..body.len().min(1024)], text.as_bytes()).is_some();
        match status {
            403 if says("proxy_attribution_required") => Some(Trouble::ProxyAttributionRequired),
            403 if says("missing scope") => Some(Trouble::MissingScope),
            429 if says("Too many failed authentication attempts") => Some(Trouble::RateLimited),
            503 if says("Too many unauthenticated sockets") => Some(Trouble::PreAuthPlaces),
            503 if RESTARTING.iter().any(|text| says(text)) => Some(Trouble::Restarting),
            _ => None,
        }
    }

    fn of_refusal(refusal: &Refusal) -> Option<Trouble> {
        if refusal.reload || refusal.message.contains("Control UI updated") {
            return Some(Trouble::PageOutdated);
        }
        if let Some(trouble) = refusal.detail.as_deref().and_then(Trouble::of_detail) {
            return Some(trouble);
        }
        // 2026.3.13 leaves `details` out in places; what follows is its code and its words.
        match (&*refusal.code, &*refusal.message) {
            ("UNAVAILABLE", _) => Some(Trouble::Restarting),
            ("NOT_PAIRED", "device identity required") => Some(Trouble::DeviceRequired),
            ("NOT_PAIRED", _) => Some(Trouble::PairingRequired),
            (_, message) if message.contains("missing scope") => Some(Trouble::MissingScope),
            (_, message) if message.starts_with("origin not allowed") => Some(Trouble::OriginNotAllowed),
            (_, message) if message.starts_with("unauthorized") => Some(Trouble::CredentialWrong),
            (_, message) if message.starts_with("protocol mismatch") => Some(Trouble::ProtocolMismatch),
            _ => None,
        }
    }

    fn of_detail(detail: &str) -> Option<Trouble> {
        Some(match detail {
            "PAIRING_REQUIRED" => Trouble::PairingRequired,
            "CONTROL_UI_ORIGIN_NOT_ALLOWED" => Trouble::OriginNotAllowed,
            "CONTROL_UI_BUILD_MISMATCH" => Trouble::PageOutdated,
            "DEVICE_IDENTITY_REQUIRED" | "CONTROL_UI_DEVICE_IDENTITY_REQUIRED" => Trouble::DeviceRequired,
            "AUTH_TOKEN_MISSING" | "AUTH_PASSWORD_MISSING" | "AUTH_REQUIRED" => Trouble::CredentialMissing,
            "AUTH_RATE_LIMITED" => Trouble::RateLimited,
            "DEVICE_AUTH_SIGNATURE_EXPIRED" => Trouble::ClockSkew,
            "PROTOCOL_MISMATCH" => Trouble::ProtocolMismatch,
            detail if detail.starts_with("AUTH_") => Trouble::CredentialWrong,
            detail if detail.starts_with("DEVICE_AUTH_") => Trouble::SignatureInvalid,
            _ => return None,
        })
    }

    fn of_close(close: &Close) -> Option<Trouble> {
        let reason = &*close.reason;
        Some(match close.code? {
            1002 if reason.starts_with("protocol mismatch") => Trouble::ProtocolMismatch,
            1008 if reason.contains("Control UI updated") => Trouble::PageOutdated,
            1008 if reason.starts_with("pairing required") => Trouble::PairingRequired,
            1008 if reason == "device identity required" => Trouble::DeviceRequired,
            1008 if reason == "device signature expired" => Trouble::ClockSkew,
            1008 if reason.starts_with("device ") => Trouble::SignatureInvalid,
            1008 if reason.starts_with("origin not allowed") => Trouble::OriginNotAllowed,
            1008 if reason.starts_with("unauthorized") => Trouble::CredentialWrong,
            1008 if reason == "slow consumer" => Trouble::SlowConsumer,
            1008 if reason == "gateway ingress attribution required" => Trouble::ProxyAttributionRequired,
            1009 => Trouble::TooLarge,
            1012 | 1013 => Trouble::Restarting,
            4001 => Trouble::PolicyChanged,
            _ => return None,
        })
    }

    pub fn code(self) -> &'static str {
        match self {
            Trouble::ProxyAttributionRequired => "gateway/proxy-attribution-required",
            Trouble::PairingRequired => "gateway/pairing-required",
            Trouble::OriginNotAllowed => "gateway/origin-not-allowed",
            Trouble::PageOutdated => "gateway/page-outdated",
            Trouble::DeviceRequired => "gateway/device-required",
            Trouble::MissingScope => "gateway/missing-scope",
            Trouble::CredentialMissing => "gateway/credential-missing",
            Trouble::CredentialWrong => "gateway/credential-wrong",
            Trouble::RateLimited => "gateway/rate-limited",
            Trouble::ClockSkew => "gateway/clock-skew",
            Trouble::SignatureInvalid => "gateway/signature-invalid",
            Trouble::ProtocolMismatch => "gateway/protocol-mismatch",
            Trouble::PreAuthPlaces => "gateway/pre-auth-places",
            Trouble::Restarting => "gateway/restarting",
            Trouble::PolicyChanged => "gateway/policy-changed",
            Trouble::SlowConsumer => "gateway/slow-consumer",
            Trouble::TooLarge => "gateway/message-too-large",
            Trouble::UiConnectFailed => "gateway/ui-connect-failed",
            Trouble::RefusedOtherwise => "gateway/refused-otherwise",
        }
    }

    pub fn what(self) -> &'static str {
        match self {
            Trouble::ProxyAttributionRequired => "the gateway does not trust this proxy to name its clients",
            Trouble::PairingRequired => "the gateway wants this device approved by hand",
            Trouble::OriginNotAllowed => "the gateway does not allow its web page at this address",
            Trouble::PageOutdated => "the page in the browser is older than the gateway",
            Trouble::DeviceRequired => "the client sent no device key",
            Trouble::MissingScope => "the client lacks a scope, most often because it sent no device key",
            Trouble::CredentialMissing => "the client sent no gateway token",
            Trouble::CredentialWrong => "the client's gateway token or password is wrong",
            Trouble::RateLimited => "the gateway has locked this client out after wrong tokens",
            Trouble::ClockSkew => "the client's clock and the gateway's are more than two minutes apart",
            Trouble::SignatureInvalid => "the client's device signature does not hold",
            Trouble::ProtocolMismatch => "client and gateway do not speak the same protocol version",
            Trouble::PreAuthPlaces => "all places for clients that have not logged in yet are taken at the gateway",
            Trouble::Restarting => "the gateway is starting or stopping",
            Trouble::PolicyChanged => "the gateway's access rules were changed",
            Trouble::SlowConsumer => "the client read too slowly",
            Trouble::TooLarge => "a message was larger than the gateway takes",
            Trouble::UiConnectFailed => "the gateway's web page gave its connection up",
            Trouble::RefusedOtherwise => "the gateway refused a connect for a reason that is not known here",
        }
    }

    pub fn cure(self, at: &Situation<'_>, request_id: Option<&str>) -> String {
        match self {
            Trouble::ProxyAttributionRequired => {
                format!("tell the gateway which address clients come from: `{}`", attribution_command())
            }
            Trouble::PairingRequired => {
                let id = request_id.filter(|id| is_plain(id)).unwrap_or("REQUEST-ID");
                let approve = format!("`openclaw devices list`, then `openclaw devices approve {id}`");
                match at.attributed {
                    Some(why) => format!(
                        "approve it: {approve}. A backend that should be approved by itself did not get the loopback \
                         identity: {why}"
                    ),
                    None => format!("approve it: {approve}"),
                }
            }
            Trouble::OriginNotAllowed => {
                let host = if is_plain(at.host) { at.host } else { "your-host" };
                format!(
                    "allow it (the list replaces the one there is): \
                     `openclaw config set gateway.controlUi.allowedOrigins '[\"https://{host}\"]'`"
                )
            }
            Trouble::PageOutdated => "reload the page".into(),
            Trouble::DeviceRequired | Trouble::MissingScope => {
                "let the client sign its connect with a device key; a browser does so over https only".into()
            }
            Trouble::CredentialMissing => {
                "give the client the gateway's token: OPENCLAW_GATEWAY_TOKEN, or gateway.auth.token in openclaw.json"
                    .into()
            }
            Trouble::CredentialWrong => {
                "compare it with the gateway's: OPENCLAW_GATEWAY_TOKEN, or gateway.auth.token in openclaw.json".into()
            }
            Trouble::RateLimited => "wait five minutes, then connect with the right token".into(),
            Trouble::ClockSkew => "set both clocks by NTP: `timedatectl set-ntp true`".into(),
            Trouble::SignatureInvalid => {
                "the client has to sign the nonce of this very connection with the key it names; update the client"
                    .into()
            }
            Trouble::ProtocolMismatch => {
                "update the older side: protocol 3 was spoken until 2026.5, protocol 4 since (`openclaw --version`)"
                    .into()
            }
            Trouble::PreAuthPlaces => {
                "someone holds connections open without logging in; a place is free again within 15 s".into()
            }
            Trouble::Restarting => "try again in a few seconds; if it lasts: `openclaw gateway status`".into(),
            Trouble::PolicyChanged => "connect again; the new rules apply from then on".into(),
            Trouble::SlowConsumer => {
                "connect again over a better line; the gateway drops a client 50 MiB behind".into()
            }
            Trouble::TooLarge => "send smaller messages: 64 KiB before the connect is answered, 25 MiB after it".into(),
            Trouble::UiConnectFailed => {
                "its cause is the gateway's answer to connect just before; see the record of this connection".into()
            }
            Trouble::RefusedOtherwise => "its own words are told with it; the gateway's log has more".into(),
        }
    }
}

/// Whether `text`, which came from outside, can stand in a command that someone will paste into a shell.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 256
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
        && !text.starts_with('-')
}

#[cfg(test)]
mod tests;
