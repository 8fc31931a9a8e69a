//! What may be shown of a request that an operator typed: it may be a real one, token and all.

use http::{HeaderName, HeaderValue, header};

use crate::serve::access::Redacted;

/// Parts of names whose values are credentials, more often than not.
const SUSPICIOUS: [&str; 12] = [
    "authorization",
    "cookie",
    "token",
    "secret",
    "password",
    "passwd",
    "api-key",
    "apikey",
    "credential",
    "signature",
    "session",
    "jwt",
];

/// The value of a field without what is secret in it.
pub(super) fn shown(name: &HeaderName, value: &HeaderValue) -> String {
    let text = printable(value.as_bytes());
    let named = |parts: &[&str]| parts.iter().any(|part| name.as_str().contains(part));
    // Sensitive is what the configuration took from outside: ${env:...}, ${file:...}, ${cred:...}.
    if value.is_sensitive() {
        return "***".into();
    }
    if *name == header::AUTHORIZATION || *name == header::PROXY_AUTHORIZATION {
        // "Bearer ***"; a value without a scheme is a secret as a whole.
        return text.split_once(' ').map_or("***".into(), |(scheme, _)| format!("{scheme} ***"));
    }
    if *name == header::COOKIE {
        let crumb = |crumb: &str| match crumb.split_once('=') {
            Some((name, _)) => format!("{name}=***"),
            None => "***".into(),
        };
        return text.split(';').map(|part| crumb(part.trim())).collect::<Vec<_>>().join("; ");
    }
    if *name == header::SEC_WEBSOCKET_PROTOCOL {
        // Browsers can send no Authorization with a WebSocket, so pages put tokens here.
        let short = |protocol: &str| if protocol.len() <= 16 { protocol.to_owned() } else { "***".into() };
        return text.split(',').map(|protocol| short(protocol.trim())).collect::<Vec<_>>().join(", ");
    }
    if named(&SUSPICIOUS) || name.as_str().ends_with("-auth") {
        return if text.is_empty() { text } else { "***".into() };
    }
    if *name == header::REFERER || text.contains('?') {
        return Redacted::new(&text).to_string();
    }
    text
}

/// A request target without the values of its query.
pub(super) fn target(target: &str) -> String {
    printable(Redacted::new(target).to_string().as_bytes())
}

/// No control character reaches the terminal.
pub(super) fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown_and_what_is_none_is() {
        for (name, value, text) in [
            ("authorization", "Bearer s3cret", "Bearer ***"),
            ("authorization", "s3cret", "***"),
            ("proxy-authorization", "Basic s3cret", "Basic ***"),
            ("cookie", "a=s3cret; b=s3cret;s3cret", "a=***; b=***; ***"),
            ("x-api-key", "s3cret", "***"),
            ("x-openclaw-token", "s3cret", "***"),
            ("x-session-id", "s3cret", "***"),
            ("sec-websocket-protocol", "chat, s3cret-s3cret-s3cret-s3cret", "chat, ***"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("referer", "https://a.test/?token=s3cret#s3cret", "https://a.test/?token=***"),
            ("referer", "https://u:s3cret@a.test/", "https://a.test/"),
            ("x-original-url", "/?token=s3cret", "/?token=***"),
            ("origin", "https://a.test", "https://a.test"),
            ("accept", "text/html, */*", "text/html, */*"),
        ] {
            let shown = shown(&HeaderName::from_static(name), &HeaderValue::from_static(value));
            assert_eq!(shown, text, "{name}: {value}");
        }
        let mut from_outside = HeaderValue::from_static("s3cret");
        from_outside.set_sensitive(true);
        assert_eq!(shown(&HeaderName::from_static("x-plain"), &from_outside), "***");
    }
}
