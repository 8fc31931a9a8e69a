//! Which fields are claims about the client, by name: for the configuration, which lets nobody write them, and for
//! whatever removes them (`headers::claims`).
//!
//! A field is a claim when some server reads it as *who or where the client is*: its address, the host, scheme or path
//! it asked for, its certificate, its user. Only whoever stands at the edge can know the way that a client came; who its
//! user is, a login service may know too.

/// What a claim is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The way a client came: its address, its certificate, what it asked for.
    Way,
    /// Who its user is.
    User,
}

/// One spelling of a claim; `-` stands for any byte that is neither letter nor digit, see [`of`].
enum Spelling {
    Is(&'static [u8]),
    /// The name and everything that continues it.
    Begins(&'static [u8]),
    /// The same, of a name that says who the user is.
    User(&'static [u8]),
}
use Spelling::{Begins, Is, User};

/// By first letter, so that a name is compared with a few others at most. The first that fits counts.
const fn spellings(first: u8) -> &'static [Spelling] {
    match first {
        b'a' => &[Is(b"ali-cdn-real-ip")],
        b'c' => &[
            // Cloudflare: address, country, scheme, user. Its signed `cf-access-jwt-assertion` proves itself and stays.
            Begins(b"cf-connecting-"),
            Is(b"cf-pseudo-ipv4"),
            Is(b"cf-ipcountry"),
            Is(b"cf-visitor"),
            User(b"cf-access-authenticated-user"),
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
        b'r' => &[
            // RFC 3875 §4.1: of the server's variables with this beginning only REMOTE_USER is about a person.
            Begins(b"remote-addr"),
            Begins(b"remote-host"),
            Begins(b"remote-port"),
            Begins(b"remote-ip"),
            User(b"remote-"),
        ],
        b's' => &[Begins(b"ssl-client-")],
        // The gateway's own: with `gateway.auth.allowTailscale` it takes a user from it without a password.
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
            Begins(b"x-remote-addr"),
            Begins(b"x-remote-host"),
            Begins(b"x-remote-port"),
            Begins(b"x-remote-ip"),
            User(b"x-remote-"),
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
            User(b"x-auth-request-"),
            User(b"x-authenticated-"),
            User(b"x-authentik-"),
            User(b"x-webauth-"),
            User(b"x-pomerium-claim-"),
            User(b"x-goog-authenticated-user-"),
            User(b"x-ms-client-principal"),
            User(b"x-amzn-oidc-identity"),
            Begins(b"x-tailscale-"),
        ],
        _ => &[],
    }
}

/// What a field of this name (lower case, as `HeaderName` keeps it) claims about the client; `None` is nothing.
///
/// Everything that is not a letter or digit counts as a hyphen: CGI and its heirs turn `-` and `_`, and some of them
/// every such byte, into the same `_`, so `x_forwarded_for` and `x.forwarded-for` may arrive as the same variable.
pub fn of(name: &str) -> Option<Claim> {
    let name = name.as_bytes();
    spellings(*name.first()?).iter().find_map(|spelling| match spelling {
        Is(whole) => (name.len() == whole.len() && begins(name, whole)).then_some(Claim::Way),
        Begins(start) => begins(name, start).then_some(Claim::Way),
        User(start) => begins(name, start).then_some(Claim::User),
    })
}

fn begins(name: &[u8], start: &[u8]) -> bool {
    name.len() >= start.len() && start.iter().zip(name).all(|(want, is)| same(*want, *is))
}

fn same(one: u8, other: u8) -> bool {
    one == other || (!one.is_ascii_alphanumeric() && !other.is_ascii_alphanumeric())
}

/// Whether two names (lower case) are one to some servers.
pub fn is_spelling_of(name: &str, other: &str) -> bool {
    name.len() == other.len() && begins(name.as_bytes(), other.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_known_in_every_spelling() {
        for name in "
            x-forwarded-for x-forwarded-host x-forwarded-proto x-forwarded-anything x-forwarded-
            x-forwarded x_forwarded_for x-forwarded_for x.forwarded.for x~forwarded!for x-real-ip x_real_ip
            forwarded forwarded-for tailscale-user-login tailscale_user_login tailscale-headers-info via
            cf-connecting-ip cf-connecting-ipv6 true-client-ip true_client-ip x-client-ip fastly-client-ip
            x-cluster-client-ip x-original-url x-original-forwarded-for x-rewrite-url x-proxyuser-ip
            x-azure-clientip x-azure-socketip remote_addr client-cert client-cert-chain ssl-client-verify
            http-x-forwarded-for x-remote-ip
        "
        .split_whitespace()
        {
            assert_eq!(of(name), Some(Claim::Way), "{name}");
        }
        for name in "
            remote-user remote_groups x-remote-user x-auth-request-email x-pomerium-claim-email x-authentik-username
            cf-access-authenticated-user-email x_webauth_user
        "
        .split_whitespace()
        {
            assert_eq!(of(name), Some(Claim::User), "{name}");
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
            assert_eq!(of(name), None, "{name}");
        }
        assert_eq!(of(""), None);
    }

    #[test]
    fn the_table_is_filed_under_the_right_letters() {
        for first in 0..=255u8 {
            for spelling in spellings(first) {
                let (Is(text) | Begins(text) | User(text)) = spelling;
                assert_eq!(text[0], first);
                assert!(text.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-'));
            }
        }
    }

    #[test]
    fn one_name_is_spelled_with_any_separator_and_with_no_other_letter() {
        for (name, other, same) in [
            ("x-a", "x_a", true),
            ("x.a", "x-a", true),
            ("x-a", "x-b", false),
            ("x-a", "x-a-", false),
            ("x-a", "xaa", false),
        ] {
            assert_eq!(is_spelling_of(name, other), same, "{name} {other}");
            assert_eq!(is_spelling_of(other, name), same, "{other} {name}");
        }
    }
}
