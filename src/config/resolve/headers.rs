//! Header operations: which headers may be touched, and how a route's combine with its site's.

use http::{HeaderName, HeaderValue};

use crate::{
    claim::{self, Claim},
    config::{
        file,
        finding::{At, Code, Place, Report},
        model::HeaderOps,
        read::{Key, Named},
    },
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

/// Why a header is not the operator's to change.
pub(super) fn forbidden(name: &HeaderName, direction: Direction) -> Option<&'static str> {
    // Some servers take an underscore, or any such byte, for a hyphen (CGI does, RFC 3875 §4.1.18).
    let name = name.as_str().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    if FRAMING.contains(&name.as_str()) {
        return Some("the proxy frames messages and connections itself");
    }
    if name.starts_with("sec-websocket-") {
        return Some("the two ends of a WebSocket agree with it");
    }
    // By the table that clients' claims are removed by. Who the user is may be said here, as a login service may say it:
    // whoever writes it knows whom the site is for.
    (direction == Direction::Request && claim::of(&name) == Some(Claim::Way))
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
        for name in "
            x-forwarded-for x_forwarded_for x.forwarded.for x-real_ip forwarded tailscale-user-login host te via
            transfer.encoding sec_websocket_key client-ip client-cert ssl-client-verify cf-connecting-ip fly-client-ip
            x-original-url x-rewrite-url x-remote-ip remote_addr x-azure-clientip x-envoy-external-address x-host
        "
        .split_whitespace()
        {
            assert!(forbidden(&HeaderName::from_static(name), Direction::Request).is_some(), "{name}");
        }
        assert!(forbidden(&HeaderName::from_static("x-real-ip"), Direction::Response).is_none());
        assert!(forbidden(&HeaderName::from_static("transfer_encoding"), Direction::Response).is_some());
        for name in ["authorization", "remote-user", "x-webauth-user", "x-team"] {
            assert!(forbidden(&HeaderName::from_static(name), Direction::Request).is_none(), "{name}");
        }
    }
}
