//! What a client says about itself, and nobody may believe.
//!
//! A field is a claim when some server reads it as *who or where the client is*: its address, the host, scheme or path
//! it asked for, its certificate, its user. Only whoever stands at the edge can know, so whatever comes from outside is
//! removed, and what the gateway may believe is made anew (`forwarded`). The gateway takes one such field, even an
//! empty one, as the sign of a foreign proxy, and in its trusted-proxy mode takes a user name from one.

use http::{HeaderMap, HeaderName};

/// One spelling of a claim; `-` stands for any byte that is neither letter nor digit, see [`is_claim`].
enum Claim {
    Is(&'static [u8]),
    /// The name and everything that continues it.
    Begins(&'static [u8]),
}
use Claim::{Begins, Is};

/// By first letter, so that a name is compared with a few others at most.
const fn claims(first: u8) -> &'static [Claim] {
    match first {
        b'a' => &[Is(b"ali-cdn-real-ip")],
        b'c' => &[
            // Cloudflare: address, country, scheme, user. Its signed `cf-access-jwt-assertion` proves itself and stays.
            Begins(b"cf-connecting-"),
            Is(b"cf-pseudo-ipv4"),
            Is(b"cf-ipcountry"),
            Is(b"cf-visitor"),
            Begins(b"cf-access-authenticated-user"),
            Is(b"cdn-src-ip"),
            Is(b"cdn-loop"),
            // Says that we ask ourselves (`look`); behind us it says nothing.
            Is(b"clawgate-look"),
            Is(b"client-ip"),
            // RFC 9440: "a reverse proxy MUST sanitize" them.
            Begins(b"client-cert"),
        ],
        b'd' => &[Is(b"do-connecting-ip")],
        b'f' => &[
            // RFC 7239.
            Is(b"forwarded"),
            Begins(b"forwarded-"),
            Is(b"fastly-client-ip"),
            Is(b"fastly-ssl"),
            Is(b"fly-client-ip"),
            Begins(b"fly-forwarded-"),
            Is(b"front-end-https"),
        ],
        b'h' => &[
            // Old CGI names sent as fields (`HTTP_X_FORWARDED_FOR`); the variable `HTTP_HOST` is made from `Host`.
            Begins(b"http-x-forwarded"),
            Is(b"http-client-ip"),
            Is(b"http-forwarded"),
        ],
        b'p' => &[Is(b"proxy-client-ip")],
        b'r' => &[Begins(b"remote-")],
        b's' => &[Begins(b"ssl-client-")],
        b't' => &[Is(b"true-client-ip"), Begins(b"tailscale-")],
        // Each proxy on the way adds itself here (RFC 9110 §7.6.3), so it tells of proxies in front of us, or pretends to.
        // Ours is added when the request leaves; the gateway makes nothing of it.
        b'v' => &[Is(b"via")],
        b'w' => &[Is(b"wl-proxy-client-ip")],
        b'x' => &[
            // Any of them counts for the gateway; X-Forwarded-User is its own example for a trusted proxy's user.
            Is(b"x-forwarded"),
            Begins(b"x-forwarded-"),
            Begins(b"x-original-"),
            Begins(b"x-real-"),
            // The addresses that CDNs, load balancers and their imitators send.
            Is(b"x-client-ip"),
            Is(b"x-cluster-client-ip"),
            Is(b"x-proxyuser-ip"),
            Is(b"x-originating-ip"),
            Begins(b"x-remote-"),
            Begins(b"x-azure-"),
            Is(b"x-appengine-user-ip"),
            Is(b"x-envoy-external-address"),
            Is(b"x-envoy-internal"),
            Is(b"x-nf-client-connection-ip"),
            Begins(b"x-vercel-forwarded-"),
            Begins(b"x-vercel-ip-"),
            Is(b"x-vercel-proxied-for"),
            Is(b"x-ms-forwarded-client-ip"),
            Is(b"x-coming-from"),
            Is(b"x-backend-host"),
            // Another path, host or scheme than the one we routed by.
            Is(b"x-rewrite-url"),
            Is(b"x-envoy-original-path"),
            Is(b"x-envoy-original-host"),
            Is(b"x-accel-redirect"),
            Is(b"x-host"),
            Is(b"x-http-host-override"),
            Is(b"x-scheme"),
            Is(b"x-url-scheme"),
            Is(b"x-https"),
            // A certificate or a user that somebody else has verified.
            Begins(b"x-ssl-"),
            Begins(b"x-client-cert"),
            Begins(b"x-client-verify"),
            Is(b"x-arr-clientcert"),
            Begins(b"x-auth-request-"),
            Begins(b"x-authenticated-"),
            Begins(b"x-authentik-"),
            Begins(b"x-webauth-"),
            Begins(b"x-pomerium-claim-"),
            Begins(b"x-goog-authenticated-user-"),
            Begins(b"x-ms-client-principal"),
            Begins(b"x-amzn-oidc-identity"),
            Begins(b"x-tailscale-"),
        ],
        _ => &[],
    }
}

/// Whether a field of this name (lower case, as [`HeaderName`] keeps it) is a claim about the client.
///
/// Everything that is not a letter or digit counts as a hyphen: CGI and its heirs turn `-` and `_`, and some of them
/// every such byte, into the same `_`, so `x_forwarded_for` and `x.forwarded-for` may arrive as the same variable.
pub fn is_claim(name: &str) -> bool {
    let name = name.as_bytes();
    let Some(first) = name.first() else { return false };
    claims(*first).iter().any(|claim| match claim {
        Is(whole) => name.len() == whole.len() && begins(name, whole),
        Begins(start) => begins(name, start),
    })
}

fn begins(name: &[u8], start: &[u8]) -> bool {
    name.len() >= start.len()
        && start.iter().zip(name).all(|(want, is)| if *want == b'-' { !is.is_ascii_alphanumeric() } else { want == is })
}

/// Whether a `Connection` line or an underscore could make this name pass for `other`, which has hyphens.
pub(super) fn is_spelling_of(name: &str, other: &str) -> bool {
    name.len() == other.len() && begins(name.as_bytes(), other.as_bytes())
}

/// Whether any claim is there.
pub fn any(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| is_claim(name.as_str()))
}

/// Removes every claim about the client, however spelled, repeated or empty. A map without one costs the pass over its
/// names and nothing else.
pub fn remove(headers: &mut HeaderMap) {
    let found: Vec<HeaderName> = headers.keys().filter(|name| is_claim(name.as_str())).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn claims_are_known_in_every_spelling() {
        for name in "
            x-forwarded-for x-forwarded-host x-forwarded-proto x-forwarded-anything x-forwarded-
            x-forwarded x_forwarded_for x-forwarded_for x.forwarded.for x~forwarded!for x-real-ip x_real_ip
            forwarded forwarded-for tailscale-user-login tailscale_user_login tailscale-headers-info via
            cf-connecting-ip cf-connecting-ipv6 true-client-ip true_client-ip x-client-ip fastly-client-ip
            x-cluster-client-ip x-original-url x-original-forwarded-for x-rewrite-url x-proxyuser-ip
            x-azure-clientip x-azure-socketip remote-user remote_addr x-remote-user x-auth-request-email
            x-pomerium-claim-email client-cert client-cert-chain ssl-client-verify http-x-forwarded-for
        "
        .split_whitespace()
        {
            assert!(is_claim(name), "{name}");
        }
    }

    #[test]
    fn other_fields_are_left_alone() {
        for name in "
            x host origin cookie authorization user-agent x-request-id x-requested-with xforwardedfor
            x-forwardedfor x-openclaw-scopes sec-websocket-key sec-fetch-site content-type client-ip-x
            viaduct tailscale forwardedfor remote x-realm cf-ray cf-access-jwt-assertion x-csrf-token te
            traceparent accept referer range x-api-key priority
        "
        .split_whitespace()
        {
            assert!(!is_claim(name), "{name}");
        }
        assert!(!is_claim(""));
        assert!(is_claim(crate::look::FIELD));
    }

    #[test]
    fn every_line_of_a_claim_goes_and_the_rest_stays() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("X-Forwarded-For", "1.2.3.4"),
            ("x-forwarded-for", ""),
            ("X_Forwarded_For", "x"),
            ("accept", "a"),
            ("accept", "b"),
            ("FORWARDED", ""),
            ("via", "1.1 x"),
            ("host", "a.test"),
        ] {
            headers.append(HeaderName::try_from(name).expect("a name"), HeaderValue::from_static(value));
        }
        remove(&mut headers);
        assert!(!any(&headers));
        assert_eq!(headers.len(), 3);
        assert_eq!(headers.get_all("accept").iter().count(), 2);
    }

    #[test]
    fn the_table_is_filed_under_the_right_letters() {
        for first in 0..=255u8 {
            for claim in claims(first) {
                let (Is(text) | Begins(text)) = claim;
                assert_eq!(text[0], first);
                assert!(text.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-'));
            }
        }
    }
}
