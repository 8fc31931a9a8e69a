//! Header operations: which headers may be touched, and how a route's combine with its site's.

use http::{HeaderName, HeaderValue};

use crate::config::{
    file,
    finding::{At, Code, Place, Report},
    model::HeaderOps,
    read::{Key, Named},
};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Request,
    Response,
}

/// Connection management (RFC 9110 §7.6.1) and message framing (§6.4, RFC 9112 §6): the proxy's own business.
const FRAMING: [&str; 11] = [
    "connection",
    "content-length",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "proxy-authenticate",
];

/// What says who the client is; the gateway trusts these, so only the identity rules write them.
const CLAIMS: [&str; 6] =
    ["forwarded", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip", "x-cluster-client-ip"];
const CLAIM_PREFIXES: [&str; 2] = ["x-forwarded-", "tailscale-"];

/// Why a header is not the operator's to change.
pub(super) fn forbidden(name: &HeaderName, direction: Direction) -> Option<&'static str> {
    // Many servers take an underscore for a hyphen (CGI does, RFC 3875 §4.1.18).
    let name = name.as_str().replace('_', "-");
    if FRAMING.contains(&name.as_str()) {
        return Some("the proxy frames messages and connections itself");
    }
    if name.starts_with("sec-websocket-") {
        return Some("the two ends of a WebSocket agree with it");
    }
    let is_claim = CLAIMS.contains(&name.as_str()) || CLAIM_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    (direction == Direction::Request && is_claim)
        .then_some("identity decides what the gateway is told about the client")
}

/// What the site says where the route says nothing about a header; per header, the route's word replaces the site's.
pub(super) fn resolve(
    site: &HeaderOps,
    key: Key<file::HeaderOps>,
    direction: Direction,
    report: &mut Report<'_>,
) -> HeaderOps {
    let Key::Given(At { value: file, .. }) = key else { return site.clone() };
    let mut allowed = |name: &HeaderName, place: Place| {
        let why = forbidden(name, direction);
        if let Some(why) = why {
            report.add(Code::HeadersForbidden, place, format!("this header cannot be changed: {why}"), "remove it");
        }
        why.is_none()
    };
    let mut own = HeaderOps::default();
    for name in file.remove.value().unwrap_or_default() {
        if allowed(&name.value, name.place) {
            own.remove.push(name.value);
        }
    }
    let mut set: Vec<(At<HeaderName>, HeaderValue)> = Vec::new();
    for (name, value) in file.set.value().map(|Named(pairs)| pairs).unwrap_or_default() {
        if allowed(&name.value, name.place) {
            set.push((name, value.value));
        }
    }
    for (name, values) in file.add.value().map(|Named(pairs)| pairs).unwrap_or_default() {
        if allowed(&name.value, name.place) {
            own.add.extend(values.0.into_iter().map(|value| (name.value.clone(), value.value)));
        }
    }
    for (index, (name, _)) in set.iter().enumerate() {
        if let Some((first, _)) = set[..index].iter().find(|(other, _)| other.value == name.value) {
            let message = format!("`{}` is set twice", name.value);
            let also = [(first.place, "it is set here too")];
            report.add_also(Code::HeadersTwice, name.place, message, "remove one, or use add", &also);
        }
    }
    own.set = set.into_iter().map(|(name, value)| (name.value, value)).collect();
    over(site, own)
}

fn over(site: &HeaderOps, own: HeaderOps) -> HeaderOps {
    let is_sites = |name: &HeaderName| {
        let mut named = own.remove.iter().chain(own.set.iter().map(|(n, _)| n)).chain(own.add.iter().map(|(n, _)| n));
        !named.any(|own| own == name)
    };
    let pairs = |pairs: &[(HeaderName, HeaderValue)]| -> Vec<_> {
        pairs.iter().filter(|(name, _)| is_sites(name)).cloned().collect()
    };
    let remove: Vec<HeaderName> = site.remove.iter().filter(|name| is_sites(name)).cloned().collect();
    let (set, add) = (pairs(&site.set), pairs(&site.add));
    HeaderOps {
        remove: remove.into_iter().chain(own.remove).collect(),
        set: set.into_iter().chain(own.set).collect(),
        add: add.into_iter().chain(own.add).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ops(
        remove: &[&'static str],
        set: &[(&'static str, &'static str)],
        add: &[(&'static str, &'static str)],
    ) -> HeaderOps {
        let name = |name: &'static str| HeaderName::from_static(name);
        let pairs = |pairs: &[(&'static str, &'static str)]| {
            pairs.iter().map(|(n, v)| (name(n), HeaderValue::from_static(v))).collect()
        };
        HeaderOps { remove: remove.iter().map(|n| name(n)).collect(), set: pairs(set), add: pairs(add) }
    }

    #[test]
    fn a_route_speaks_per_header_and_the_site_for_the_others() {
        let site = ops(&["server"], &[("strict-transport-security", "max-age=1"), ("x-a", "site")], &[("x-b", "site")]);
        let route = ops(&["x-a"], &[("x-b", "route")], &[("x-c", "route")]);
        let both = ops(
            &["server", "x-a"],
            &[("strict-transport-security", "max-age=1"), ("x-b", "route")],
            &[("x-c", "route")],
        );
        assert_eq!(over(&site, route), both);
    }

    #[test]
    fn claims_are_forbidden_in_any_spelling_on_the_way_to_the_gateway() {
        for name in
            ["x-forwarded-for", "x_forwarded_for", "x-real_ip", "forwarded", "tailscale-user-login", "host", "te"]
        {
            assert!(forbidden(&HeaderName::from_static(name), Direction::Request).is_some(), "{name}");
        }
        assert!(forbidden(&HeaderName::from_static("x-real-ip"), Direction::Response).is_none());
        assert!(forbidden(&HeaderName::from_static("transfer_encoding"), Direction::Response).is_some());
        assert!(forbidden(&HeaderName::from_static("authorization"), Direction::Request).is_none());
    }
}
