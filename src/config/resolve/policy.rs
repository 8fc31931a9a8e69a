//! What a site says of its requests and a route may override.

use std::sync::Arc;

use super::{
    basic_auth, device_keys, forward_auth,
    headers::{self, Direction},
    upstream::Upstreams,
    values,
};
use crate::config::{
    file,
    finding::{At, Code, Place, Report},
    model::{
        AllowEntry, BasicAuth, ForwardAuth, HeaderOps, IdentityRule, PinnedKey, Policy, SecurityHeaders, UpstreamId,
        UpstreamKind,
    },
    read::{Key, OneOrMany, OrOff},
    security_headers::{self, Hsts},
    value::{Limit, Size},
};

/// The keys that sites and routes have in common.
pub(super) struct Stated {
    pub(super) identity: Key<IdentityRule>,
    pub(super) clients: Key<Vec<At<ipnet::IpNet>>>,
    pub(super) allow: Key<Vec<At<AllowEntry>>>,
    pub(super) device_keys: Key<OneOrMany<file::DeviceKey>>,
    pub(super) body_limit: Key<Limit<Size>>,
    pub(super) response_timeout: Key<Limit<std::time::Duration>>,
    pub(super) request_headers: Key<file::HeaderOps>,
    pub(super) response_headers: Key<file::HeaderOps>,
    pub(super) basic_auth: Key<OrOff<file::BasicAuth>>,
    pub(super) forward_auth: Key<OrOff<file::ForwardAuth>>,
    pub(super) security_headers: Key<bool>,
    pub(super) hsts: Key<Hsts>,
}

/// A policy before it is known where it will send to.
#[derive(Clone)]
pub(super) struct Inherited {
    pub(super) identity: IdentityRule,
    pub(super) identity_place: Option<Place>,
    pub(super) clients: Vec<ipnet::IpNet>,
    pub(super) allow: Vec<AllowEntry>,
    pub(super) device_keys: Arc<[PinnedKey]>,
    /// Only where they are written here: who inherits them did not ask for them.
    pub(super) device_keys_place: Option<Place>,
    pub(super) body_limit: Option<u64>,
    pub(super) response_timeout: Option<std::time::Duration>,
    pub(super) request_headers: HeaderOps,
    pub(super) response_headers: HeaderOps,
    pub(super) basic_auth: Option<Arc<BasicAuth>>,
    pub(super) forward_auth: Option<Arc<ForwardAuth>>,
    /// `None` where nobody said anything: a gateway's answers get them, another upstream's do not.
    pub(super) security_headers: Option<bool>,
    pub(super) hsts: Hsts,
}

impl Default for Inherited {
    fn default() -> Inherited {
        Inherited {
            identity: IdentityRule::Auto,
            identity_place: None,
            clients: Vec::new(),
            allow: Vec::new(),
            device_keys: Arc::new([]),
            device_keys_place: None,
            body_limit: None,
            response_timeout: None,
            request_headers: HeaderOps::default(),
            response_headers: HeaderOps::default(),
            basic_auth: None,
            forward_auth: None,
            security_headers: None,
            hsts: security_headers::HSTS,
        }
    }
}

impl Stated {
    pub(super) fn over(self, base: &Inherited, upstreams: &mut Upstreams, report: &mut Report<'_>) -> Inherited {
        let identity_place = self.identity.place().or(base.identity_place);
        Inherited {
            identity: self.identity.value().unwrap_or(base.identity),
            identity_place,
            allow: self.allow.value().map_or_else(|| base.allow.clone(), values),
            device_keys_place: self.device_keys.place(),
            device_keys: device_keys::resolve(self.device_keys, &base.device_keys, report),
            clients: self.clients.value().map_or_else(|| base.clients.clone(), values),
            body_limit: self.body_limit.value().map_or(base.body_limit, |limit| limit.0.map(|size| size.0)),
            response_timeout: self.response_timeout.value().map_or(base.response_timeout, |limit| limit.0),
            request_headers: headers::resolve(&base.request_headers, self.request_headers, Direction::Request, report),
            response_headers: headers::resolve(
                &base.response_headers,
                self.response_headers,
                Direction::Response,
                report,
            ),
            basic_auth: basic_auth::resolve(self.basic_auth, &base.basic_auth, report),
            forward_auth: forward_auth::resolve(self.forward_auth, &base.forward_auth, upstreams, report),
            security_headers: self.security_headers.value().or(base.security_headers),
            hsts: self.hsts.value().unwrap_or(base.hsts),
        }
    }
}

impl Inherited {
    /// `auto` towards anything but a loopback endpoint is `attributed`: a gateway elsewhere never takes us for a
    /// local client, so there is nothing to decide per request.
    pub(super) fn policy(&self, target: Option<UpstreamId>, upstreams: &Upstreams) -> Policy {
        let is_loopback = target.is_none_or(|id| upstreams.get(id).endpoint.is_ipv4_loopback());
        let is_gateway = target.is_none_or(|id| upstreams.get(id).kind == UpstreamKind::Openclaw);
        let identity = match (self.identity, is_loopback) {
            (IdentityRule::Auto, false) => IdentityRule::Attributed,
            (identity, _) => identity,
        };
        Policy {
            identity,
            clients: self.clients.clone(),
            allow: self.allow.clone(),
            basic_auth: self.basic_auth.clone(),
            forward_auth: self.forward_auth.clone(),
            device_keys: self.device_keys.clone(),
            body_limit: self.body_limit,
            response_timeout: self.response_timeout,
            request_headers: self.request_headers.clone(),
            response_headers: self.response_headers.clone(),
            security_headers: SecurityHeaders::new(
                self.security_headers.unwrap_or(is_gateway),
                self.hsts,
                &self.response_headers,
            ),
        }
    }
}

/// A fence around nothing is a mistake somewhere.
pub(super) fn check_device_keys(
    policy: &Inherited,
    target: Option<UpstreamId>,
    upstreams: &Upstreams,
    report: &mut Report<'_>,
) {
    let (Some(place), false) = (policy.device_keys_place, policy.device_keys.is_empty()) else { return };
    let Some(id) = target else { return };
    let upstream = upstreams.get(id);
    let message = match policy.policy(target, upstreams).identity {
        IdentityRule::Attributed if policy.identity == IdentityRule::Attributed => {
            "identity is attributed for everyone"
        }
        IdentityRule::Attributed => "the gateway is not on this machine's loopback, so nobody is a local client there",
        IdentityRule::Auto if upstream.kind == UpstreamKind::Generic => "only an OpenClaw gateway has local clients",
        IdentityRule::Auto | IdentityRule::Loopback => return,
    };
    report.add(Code::DeviceKeysUnused, place, message, "remove the keys, or say identity = \"auto\" or \"loopback\"");
}

/// Reported at the upstream where that is written there, else at the identity.
pub(super) fn check_loopback(
    identity: IdentityRule,
    identity_place: Option<Place>,
    target: Option<UpstreamId>,
    upstream_place: Option<Place>,
    upstreams: &Upstreams,
    report: &mut Report<'_>,
) {
    let endpoint = target.and_then(|id| upstreams.endpoint(id));
    let (Some(endpoint), Some(identity_place)) = (endpoint, identity_place) else { return };
    if identity != IdentityRule::Loopback || endpoint.is_ipv4_loopback() {
        return;
    }
    let message = format!("{endpoint} is not an IPv4 loopback address");
    let also: Vec<(Place, &str)> = upstream_place.map(|place| (place, "the upstream is this")).into_iter().collect();
    let way_out = "use \"attributed\" here, or an upstream at 127.0.0.1";
    report.add_also(Code::IdentityLoopback, identity_place, message, way_out, &also);
}
