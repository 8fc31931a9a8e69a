//! As what a site's backend reaches the gateway, for who asks without a request: the check and the watch on pairings.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

use super::{
    forwarded::{self, Values},
    identity::{self, Decision, Facts},
    policy,
};
use crate::config::model::{Hostname, Policy, Upstream};

/// An address that is nobody's (RFC 5737), for a backend whose own is not known.
pub const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// What is known beside the configuration.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known {
    /// Where the last approved backend came from.
    pub address: Option<IpAddr>,
    /// The gateway's auth is off.
    pub gateway_without_auth: bool,
    /// 127.0.0.2 can be bound.
    pub attributed_source: bool,
}

/// How a backend that `policy` means comes to `upstream`, and the fields that a request of its has there. It is no
/// browser, and where there is a fence it is inside.
pub fn backend(policy: &Policy, upstream: &Upstream, host: &Hostname, known: Known) -> (Decision, HeaderMap) {
    let client = address(policy, known.address);
    let decision = identity::decide(&Facts {
        kind: upstream.kind,
        rule: policy.identity,
        browser: false,
        fenced: is_fenced(policy),
        inside_fence: is_inside(policy, client),
        pinned: !policy.device_keys.is_empty(),
        upgrade: true,
        address_disputed: false,
        client_loopback: client.is_loopback(),
        demoted: false,
        endpoint_loopback: upstream.endpoint.is_ipv4_loopback(),
        gateway_without_auth: known.gateway_without_auth,
        attributed_source: known.attributed_source,
    });
    let mut headers = HeaderMap::new();
    policy::apply(&mut headers, &policy.request_headers);
    if let (Decision::Forward { identity, .. }, Some(endpoint)) =
        (decision, forwarded::endpoint_value(&upstream.endpoint))
    {
        let host = HeaderValue::from_str(host.as_str()).ok();
        let values =
            Values { client: &forwarded::client_value(client), host: host.as_ref(), https: true, endpoint: &endpoint };
        forwarded::apply(&mut headers, identity, &values);
    }
    (decision, headers)
}

fn is_fenced(policy: &Policy) -> bool {
    let keys = &policy.device_keys;
    !policy.clients.is_empty() || (!keys.is_empty() && keys.iter().all(|key| !key.clients.is_empty()))
}

fn is_inside(policy: &Policy, address: IpAddr) -> bool {
    let keys = &policy.device_keys;
    let is_in = |networks: &[IpNet]| networks.is_empty() || networks.iter().any(|network| network.contains(&address));
    is_in(&policy.clients) && (keys.is_empty() || keys.iter().any(|key| is_in(&key.clients)))
}

/// The backend's own address where it is known and inside the fence; else one of the fence's.
fn address(policy: &Policy, known: Option<IpAddr>) -> IpAddr {
    let networks = policy.clients.iter().chain(policy.device_keys.iter().flat_map(|key| &key.clients));
    let ones = networks.map(|network| network.hosts().next().unwrap_or(network.addr()));
    let mut candidates = known.into_iter().chain(ones).chain([NOBODY]);
    candidates.find(|address| is_inside(policy, *address)).unwrap_or(NOBODY)
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::{
        config::model::{Endpoint, HeaderOps, IdentityRule, UpstreamKind},
        headers::identity::{Identity, Rule},
    };

    fn policy(identity: IdentityRule, clients: &[&str]) -> Policy {
        Policy {
            identity,
            clients: clients.iter().map(|network| network.parse().unwrap()).collect(),
            allow: Vec::new(),
            device_keys: Arc::default(),
            body_limit: None,
            response_timeout: None,
            request_headers: HeaderOps {
                set: vec![("x-gateway".parse().unwrap(), HeaderValue::from_static("edge"))],
                ..HeaderOps::default()
            },
            response_headers: HeaderOps::default(),
            security_headers: Default::default(),
            basic_auth: None,
            forward_auth: None,
        }
    }

    fn come(policy: &Policy, address: Option<&str>) -> (Decision, Vec<String>) {
        let upstream = Upstream {
            name: "gateway".into(),
            endpoint: Endpoint::Address(([127, 0, 0, 1], 18789).into()),
            kind: UpstreamKind::Openclaw,
            asked: false,
            hold: Duration::ZERO,
            connect_timeout: Duration::ZERO,
            idle_timeout: Duration::ZERO,
            tls: None,
        };
        let known = Known {
            address: address.map(|a| a.parse().unwrap()),
            gateway_without_auth: false,
            attributed_source: true,
        };
        let host = Hostname::try_from("claw.test").unwrap();
        let (decision, headers) = backend(policy, &upstream, &host, known);
        let mut lines: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        (decision, lines)
    }

    #[test]
    fn a_backend_is_local_where_nothing_is_configured_and_where_it_is_inside_the_fence() {
        let local = ["host: 127.0.0.1:18789", "x-gateway: edge"].map(str::to_owned).to_vec();
        let forward = |rule| Decision::Forward { identity: Identity::Loopback, rule };
        let cases = [
            (policy(IdentityRule::Auto, &[]), Rule::NotABrowser),
            (policy(IdentityRule::Loopback, &[]), Rule::ConfiguredLoopback),
            (policy(IdentityRule::Auto, &["198.51.100.0/24"]), Rule::InsideFence),
            (policy(IdentityRule::Auto, &["2001:db8::7/128"]), Rule::InsideFence),
        ];
        for (policy, rule) in cases {
            assert_eq!(come(&policy, None), (forward(rule), local.clone()));
            // An address that the fence no longer holds is not the backend's any more.
            assert_eq!(come(&policy, Some("203.0.113.9")), (forward(rule), local.clone()));
        }
    }

    #[test]
    fn an_attributed_backend_has_its_address_where_that_is_known() {
        let attributed = policy(IdentityRule::Attributed, &[]);
        for (known, told) in [(None, "192.0.2.1"), (Some("203.0.113.9"), "203.0.113.9")] {
            let (decision, lines) = come(&attributed, known);
            let rule = Rule::ConfiguredAttributed;
            assert_eq!(decision, Decision::Forward { identity: Identity::Attributed, rule });
            let expected = [
                "host: claw.test".to_owned(),
                format!("x-forwarded-for: {told}"),
                "x-forwarded-host: claw.test".to_owned(),
                "x-forwarded-proto: https".to_owned(),
                "x-gateway: edge".to_owned(),
            ];
            assert_eq!(lines, expected);
        }
    }
}
