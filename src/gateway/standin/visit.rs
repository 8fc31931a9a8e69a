//! Who a request comes from, as the gateway works it out from the peer and the headers.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, header};

/// A client as the gateway sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Visit {
    /// The client's address: the peer's, or what a trusted proxy said.
    pub(super) client: IpAddr,
    /// It came from this host, through nobody, and is no web page: its device is approved by itself.
    pub(super) local: bool,
}

impl Visit {
    /// `None` where the gateway answers 403 `proxy_attribution_required`: somebody claims to speak for a client and is not
    /// trusted to, or does not say for whom.
    pub(super) fn new(headers: &HeaderMap, peer: IpAddr, trusted_proxies: &[IpAddr]) -> Option<Visit> {
        let peer = peer.to_canonical();
        if !headers.keys().any(forwards) {
            let local = peer.is_loopback() && !headers.contains_key(header::ORIGIN) && names_loopback(headers);
            return Some(Visit { client: peer, local });
        }
        if !trusted_proxies.contains(&peer) {
            return None;
        }
        let forwarded = headers.get("x-forwarded-for")?.to_str().ok()?;
        let client: IpAddr = forwarded.rsplit(',').next()?.trim().parse().ok()?;
        (!client.to_canonical().is_loopback()).then_some(Visit { client, local: false })
    }
}

/// The headers that make a request forwarded, by being there: an empty one counts.
fn forwards(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-forwarded-") || name.starts_with("tailscale-") || matches!(name, "forwarded" | "x-real-ip")
}

/// Whether `Host` is a loopback name, which 2026.3 wants of a local client.
fn names_loopback(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let bare = match host.strip_prefix('[') {
        Some(literal) => literal.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use http::HeaderValue;

    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

    fn visit(peer: IpAddr, headers: &[(&'static str, &'static str)]) -> Option<Visit> {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        Visit::new(&headers, peer, &[PROXY])
    }

    #[test]
    fn local_is_who_comes_from_this_host_through_nobody() {
        let local = Some(Visit { client: LOCAL, local: true });
        let not = Some(Visit { client: LOCAL, local: false });
        assert_eq!(visit(LOCAL, &[("host", "127.0.0.1:18789")]), local);
        assert_eq!(visit(LOCAL, &[("host", "[::1]:18789")]), local);
        assert_eq!(visit(LOCAL, &[("host", "LocalHost")]), local);
        assert_eq!(visit(LOCAL, &[("host", "claw.example.com")]), not);
        assert_eq!(visit(LOCAL, &[]), not);
        assert_eq!(visit(LOCAL, &[("host", "127.0.0.1"), ("origin", "https://localhost")]), not);
        let far = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(visit(far, &[("host", "127.0.0.1")]), Some(Visit { client: far, local: false }));
    }

    #[test]
    fn a_claim_counts_only_from_a_trusted_proxy_and_only_with_an_address() {
        for claim in ["x-forwarded-for", "x-forwarded-host", "x-real-ip", "forwarded", "tailscale-user-login"] {
            assert_eq!(visit(LOCAL, &[("host", "127.0.0.1"), (claim, "")]), None, "{claim}");
            assert_eq!(visit(PROXY, &[("host", "127.0.0.1"), (claim, "")]), None, "{claim}");
        }
        let client = IpAddr::from([203, 0, 113, 9]);
        assert_eq!(visit(PROXY, &[("x-forwarded-for", "203.0.113.9")]), Some(Visit { client, local: false }));
        assert_eq!(visit(PROXY, &[("x-forwarded-for", "127.0.0.1")]), None);
    }
}
