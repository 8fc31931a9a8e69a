//! What a site adds to answers so that a browser is careful with them.
//!
//! Only where the answer has nothing of the kind: the gateway knows its pages better. OpenClaw sends all but
//! `Strict-Transport-Security` with the control UI, and stricter than this.

use http::{HeaderMap, HeaderValue, header};

use crate::config::model::SecurityHeaders;

/// After the operator's own edits; nothing is made here, the values are shared.
pub fn apply(headers: &mut HeaderMap, wanted: &SecurityHeaders, https: bool) {
    const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
    const SAME_ORIGIN: HeaderValue = HeaderValue::from_static("SAMEORIGIN");
    // A link with ?token= is not told to other sites.
    const REFERRER: HeaderValue = HeaderValue::from_static("same-origin");
    if wanted.nosniff {
        headers.entry(header::X_CONTENT_TYPE_OPTIONS).or_insert(NOSNIFF);
    }
    if wanted.frame && !says_who_may_frame(headers) {
        headers.entry(header::X_FRAME_OPTIONS).or_insert(SAME_ORIGIN);
    }
    if wanted.referrer {
        headers.entry(header::REFERRER_POLICY).or_insert(REFERRER);
    }
    // RFC 6797 §7.2: never over plain http.
    if let Some(hsts) = wanted.hsts.as_ref().filter(|_| https) {
        headers.entry(header::STRICT_TRANSPORT_SECURITY).or_insert_with(|| hsts.clone());
    }
}

/// CSP Level 3 §6.4.2: `frame-ancestors` replaces X-Frame-Options, and may allow what that would not.
fn says_who_may_frame(headers: &HeaderMap) -> bool {
    let directive = b"frame-ancestors";
    let names = |value: &HeaderValue| {
        value.as_bytes().windows(directive.len()).any(|window| window.eq_ignore_ascii_case(directive))
    };
    headers.get_all(header::CONTENT_SECURITY_POLICY).iter().any(names)
}

/// The fields that would be added to an answer without any of them, for whoever asks what a site does.
pub fn listed(wanted: &SecurityHeaders, https: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    apply(&mut headers, wanted, https);
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> SecurityHeaders {
        let hsts = Some(HeaderValue::from_static("max-age=300"));
        SecurityHeaders { nosniff: true, frame: true, referrer: true, hsts }
    }

    #[test]
    fn what_the_gateway_says_itself_is_left_alone() {
        let sent = [
            ("x-content-type-options", "theirs"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("strict-transport-security", "max-age=1; includeSubDomains"),
        ];
        let field = |(name, value): &(&'static str, &'static str)| {
            (http::HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let before: HeaderMap = sent.iter().map(field).collect();
        let mut after = before.clone();
        apply(&mut after, &all(), true);
        assert_eq!(after, before);
    }

    #[test]
    fn a_policy_that_says_who_may_frame_is_not_narrowed() {
        let mut headers = HeaderMap::new();
        let policy = HeaderValue::from_static("default-src 'self'; Frame-Ancestors https://app.test");
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        apply(&mut headers, &all(), true);
        assert!(!headers.contains_key(header::X_FRAME_OPTIONS));
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'self'"));
        apply(&mut headers, &all(), true);
        assert_eq!(headers[header::X_FRAME_OPTIONS], "SAMEORIGIN");
    }

    #[test]
    fn https_is_not_promised_over_http() {
        assert!(!listed(&all(), false).contains_key(header::STRICT_TRANSPORT_SECURITY));
        assert_eq!(listed(&all(), true)[header::STRICT_TRANSPORT_SECURITY], "max-age=300");
    }
}
