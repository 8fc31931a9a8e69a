//! A line as it was copied out of a log, a browser or a terminal: what of it is known.

use super::{Page, heard, number, shown};
use crate::{acme, gateway::translate::Trouble};

/// What the gateway says, in lower case, wherever it stands in a line; the more telling before the less.
const PHRASES: [(&str, Trouble); 21] = [
    ("control ui updated", Trouble::PageOutdated),
    ("proxy_attribution_required", Trouble::ProxyAttributionRequired),
    ("ingress attribution required", Trouble::ProxyAttributionRequired),
    ("device identity", Trouble::DeviceRequired),
    ("device signature expired", Trouble::ClockSkew),
    ("device signature", Trouble::SignatureInvalid),
    ("device nonce", Trouble::SignatureInvalid),
    ("pairing required", Trouble::PairingRequired),
    ("origin not allowed", Trouble::OriginNotAllowed),
    ("missing scope", Trouble::MissingScope),
    ("protocol mismatch", Trouble::ProtocolMismatch),
    ("too many failed authentication attempts", Trouble::RateLimited),
    ("too many unauthenticated sockets", Trouble::PreAuthPlaces),
    ("token missing", Trouble::CredentialMissing),
    ("password missing", Trouble::CredentialMissing),
    ("token mismatch", Trouble::CredentialWrong),
    ("password mismatch", Trouble::CredentialWrong),
    ("slow consumer", Trouble::SlowConsumer),
    ("gateway policy changed", Trouble::PolicyChanged),
    ("service restart", Trouble::Restarting),
    ("retryafterms", Trouble::Restarting),
];

/// Codes that are sent beside a better one, or beside words that tell more.
const VAGUE: [&str; 2] = ["NOT_PAIRED", "UNAVAILABLE"];

/// A CA's own words, with the type (RFC 8555 §6.7) that they come with.
const OF_CAS: [(&str, &str); 3] = [
    ("too many failed authorizations", "rateLimited"),
    ("too many certificates", "rateLimited"),
    ("too many new orders", "rateLimited"),
];

/// The pages of what is known of it, if anything is.
pub(super) fn page(all: &[Page], line: &str) -> Option<String> {
    let named = |code: &str| all.iter().find(|page| page.code == code);
    let of_codes = |codes: Vec<&'static str>| {
        let pages: Vec<String> = codes.into_iter().filter_map(named).map(shown).collect();
        (!pages.is_empty()).then(|| pages.join("\n"))
    };
    of_ca(line)
        .and_then(|code| named(code).map(shown))
        .or_else(|| own(all, line).map(shown))
        .or_else(|| heard::elsewhere(all, line))
        .or_else(|| called(all, line, '_').map(shown))
        .or_else(|| number::within(all, line))
        // Last, because other servers say so too.
        .or_else(|| {
            let said = line.to_ascii_lowercase().contains("unauthorized");
            said.then(|| heard::of_trouble(Trouble::CredentialWrong)).and_then(of_codes)
        })
}

/// One of our own codes, which stands before what a check or the log says: `error[dns/no-address]: ...`.
pub(super) fn own<'p>(all: &'p [Page], line: &str) -> Option<&'p Page> {
    called(all, line, '/')
}

/// What is called by a word of the line that has `mark` in it: the others are words of any language.
fn called<'p>(all: &'p [Page], line: &str, mark: char) -> Option<&'p Page> {
    let words = line.split(|c: char| !c.is_ascii_alphanumeric() && !"/_-".contains(c));
    words.filter(|word| word.contains(mark)).find_map(|word| all.iter().find(|page| page.code == word))
}

fn of_ca(line: &str) -> Option<&'static str> {
    let lower = line.to_ascii_lowercase();
    let told = line
        .split_once("urn:ietf:params:acme:error:")
        .map(|(_, kind)| kind.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default());
    let kind = told.or_else(|| OF_CAS.iter().find(|(words, _)| lower.contains(words)).map(|(_, kind)| *kind))?;
    Some(acme::trouble::of_type(kind).code)
}

/// What the gateway means by it.
pub(super) fn of_gateway(line: &str) -> Option<Trouble> {
    let words = || line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let is_code = |word: &&str| word.len() > 4 && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    let of = |vague: bool| words().filter(is_code).filter(move |word| VAGUE.contains(word) == vague);
    let lower = line.to_ascii_lowercase();
    let phrase = || PHRASES.iter().find(|(phrase, _)| lower.contains(phrase)).map(|(_, trouble)| *trouble);
    of(false).find_map(Trouble::of_words).or_else(phrase).or_else(|| of(true).find_map(Trouble::of_words))
}

#[cfg(test)]
mod tests {
    use crate::explain::code::page;

    /// Each as somebody has it before his eyes, and the beginning of the page that helps.
    #[test]
    fn a_line_as_it_was_pasted_finds_its_page() {
        for (line, code) in [
            ("error: NOT_PAIRED pairing required", "gateway/pairing-required"),
            (r#"{"code":"NOT_PAIRED"}"#, "gateway/pairing-required"),
            (r#"{"code":"NOT_PAIRED","message":"device identity required"}"#, "gateway/device-required"),
            (
                r#"connect failed: {"code":"INVALID_REQUEST","message":"unauthorized","details":{"code":"AUTH_TOKEN_MISSING"}}"#,
                "gateway/credential-missing",
            ),
            (
                "[ws] closed before connect remote=127.0.0.2 code=1008 reason=pairing required: device is not approved yet \
                 (requestId: 5078e146) phase=auth_validated",
                "gateway/pairing-required",
            ),
            ("PAIRING_REQUIRED / NOT_PAIRED, close 1008", "gateway/pairing-required"),
            ("CONTROL_UI_ORIGIN_NOT_ALLOWED", "gateway/origin-not-allowed"),
            (
                "Error: origin not allowed (open the Control UI from the gateway host or allow it in \
                 gateway.controlUi.allowedOrigins)",
                "gateway/origin-not-allowed",
            ),
            ("disconnected (1008): control ui requires device identity (use HTTPS)", "gateway/device-required"),
            (r#"closed: "Control UI updated" close 1008"#, "gateway/page-outdated"),
            ("Config push: missing scope: operator.read", "gateway/missing-scope"),
            ("unauthorized / token mismatch", "gateway/credential-wrong"),
            ("Error: unauthorized", "gateway/credential-wrong"),
            ("unauthorized: gateway token missing (open the dashboard URL)", "gateway/credential-missing"),
            ("PROTOCOL_MISMATCH close 1002", "gateway/protocol-mismatch"),
            (r#"503 "Too many unauthenticated sockets""#, "gateway/pre-auth-places"),
            (r#"close 1012 "service restart""#, "gateway/restarting"),
            ("UNAVAILABLE gateway is starting retryAfterMs=500", "gateway/restarting"),
            (r#"close 4001 "gateway policy changed""#, "gateway/policy-changed"),
            ("HTTP 403 proxy_attribution_required", "gateway/proxy-attribution-required"),
            ("close 4008", "4008"),
            ("websocket closed with code 1006", "1006"),
            ("upstream answered HTTP/1.1 502 Bad Gateway", "502"),
            ("OPENCLAW_GATEWAY_TOKEN not found", "OPENCLAW_GATEWAY_TOKEN"),
            (r#"MissingEnvVarError: Missing env var "OPENCLAW_GATEWAY_TOKEN""#, "MissingEnvVarError"),
            ("net::ERR_CONNECTION_TIMED_OUT", "ERR_CONNECTION_TIMED_OUT"),
            ("FailoverError: Unknown model: anthropic/claude-sonnet-4-20250514", "Unknown model"),
            ("Linger=no", "Linger=no"),
            ("urn:ietf:params:acme:error:rateLimited", "certificate/rate-limited"),
            (
                r#"too many failed authorizations (5) for "chat.example.com" in the last 1h0m0s, retry after 2026-01-01"#,
                "certificate/rate-limited",
            ),
            ("urn:ietf:params:acme:error:unauthorized :: 404", "certificate/wrong-answer"),
            ("refusal=certificate_pending host=chat.example.com", "certificate_pending"),
            ("error[dns/no-address]: chat.example.com has no address", "dns/no-address"),
            ("clawgate.service: Main process exited, code=exited, status=217/USER", "217/USER"),
        ] {
            let text = page(line).unwrap_or_else(|unknown| panic!("{line}: {unknown}"));
            assert!(text.starts_with(&format!("{code}: ")), "{line}: {text}");
        }
    }

    #[test]
    fn a_line_that_nobody_knows_is_not_guessed_at() {
        for line in ["a code of 17", "a token", "it failed", "http", "close the window", ""] {
            assert!(page(line).is_err(), "{line}");
        }
        assert_eq!(page(" ").unwrap_err().to_string(), "nothing was asked; `clawgate explain` lists all codes");
    }
}
