//! As whom a request reaches the gateway.
//!
//! The gateway believes two things about a peer, and we choose between them per request: a request that comes from
//! 127.0.0.1 without any forwarding field is *local*, its device key is approved at once (D1); one from 127.0.0.2 with
//! our `X-Forwarded-For` belongs to a client with an address, who has to be paired by a human. Everything that decides
//! is in [`Facts`], every way through [`decide`] has a [`Rule`] with a name that logs and `explain` show.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, StatusCode, header::ORIGIN};

use crate::config::model::{ATTRIBUTED_SOURCE, IdentityRule, LOOPBACK_SOURCE, UpstreamKind};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// As whom the gateway sees a client. Connections of one identity are never used for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    /// D1: a local program.
    Loopback,
    /// A client with an address, told by our X-Forwarded-For.
    Attributed,
    /// A client on this host whose address the gateway would refuse in an X-Forwarded-For: no forwarding field, but
    /// Host as it came, so that a browser's Origin still agrees with it.
    AttributedHeaderless,
}

impl Identity {
    pub const ALL: [Identity; 3] = [Identity::Loopback, Identity::Attributed, Identity::AttributedHeaderless];

    /// A stable name for logs and labels.
    pub fn name(self) -> &'static str {
        match self {
            Identity::Loopback => "loopback",
            Identity::Attributed => "attributed",
            Identity::AttributedHeaderless => "attributed_headerless",
        }
    }

    /// The source address towards an endpoint in 127.0.0.0/8. Without headers it must not be the attributed one: a
    /// trusted proxy that names no client is the one thing on which the gateway's versions differ.
    pub fn source(self) -> Ipv4Addr {
        match self {
            Identity::Attributed => ATTRIBUTED_SOURCE,
            Identity::Loopback | Identity::AttributedHeaderless => LOOPBACK_SOURCE,
        }
    }
}

/// What is known about a request and the world when its identity is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    pub kind: UpstreamKind,
    /// The site's or route's `identity`.
    pub rule: IdentityRule,
    /// [`is_browser`], asked before anything was removed from the request.
    pub browser: bool,
    /// Addresses are looked at: `clients` is configured, or every device key has its own.
    pub fenced: bool,
    /// The client address is inside `clients`, and some device key may come from there. Not looked at without a fence.
    pub inside_fence: bool,
    /// `device_keys` is configured.
    pub pinned: bool,
    /// A WebSocket: only its first message can show a device key.
    pub upgrade: bool,
    /// `Seen::disputed`.
    pub address_disputed: bool,
    /// The client address (not only the peer's) is a loopback one.
    pub client_loopback: bool,
    /// The client address had too many refused connects in the last minutes.
    pub demoted: bool,
    /// `Endpoint::is_ipv4_loopback`.
    pub endpoint_loopback: bool,
    /// The gateway let us in without token and device: its auth is off, and D1 would be an open shell.
    pub gateway_without_auth: bool,
    /// 127.0.0.2 can be bound.
    pub attributed_source: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Forward { identity: Identity, rule: Rule },
    Refuse { refusal: Refused, rule: Rule },
}

impl Decision {
    pub fn rule(self) -> Rule {
        match self {
            Decision::Forward { rule, .. } | Decision::Refuse { rule, .. } => rule,
        }
    }
}

/// Which rule chose between D1 and attributed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// D1, because the request is not a browser's and there is no fence.
    NotABrowser,
    /// D1, because the client is inside `clients`.
    InsideFence,
    /// D1 on condition: the client's first message has to be signed by a pinned key.
    PinnedKey,
    /// D1, because `identity = "loopback"` says so, without a fence.
    ConfiguredLoopback,
    /// Attributed, because `identity = "attributed"` says so.
    ConfiguredAttributed,
    /// Attributed, because the upstream is no gateway: D1 means nothing there, an X-Forwarded-For does.
    GenericUpstream,
    /// Attributed, because the request carries `Origin` or `Sec-Fetch-Site`.
    Browser,
    /// Attributed, because D1 is switched off as long as the gateway's own auth is.
    GatewayWithoutAuth,
    /// Attributed, because a gateway on another host cannot take us for local.
    EndpointNotLoopback,
    /// Attributed, because two fields of a trusted proxy contradict each other about the client.
    AddressDisputed,
    /// Attributed, because the client is outside of `clients`.
    OutsideFence,
    /// Attributed, because a request that is no WebSocket cannot show one of the pinned keys.
    NoKeyShown,
    /// Attributed for a while, because the gateway refused the address too often.
    Demoted,
}

impl Rule {
    pub const ALL: [Rule; 13] = [
        Rule::NotABrowser,
        Rule::InsideFence,
        Rule::PinnedKey,
        Rule::ConfiguredLoopback,
        Rule::ConfiguredAttributed,
        Rule::GenericUpstream,
        Rule::Browser,
        Rule::GatewayWithoutAuth,
        Rule::EndpointNotLoopback,
        Rule::AddressDisputed,
        Rule::OutsideFence,
        Rule::NoKeyShown,
        Rule::Demoted,
    ];

    /// A stable name for logs, labels and `explain`.
    pub fn name(self) -> &'static str {
        match self {
            Rule::NotABrowser => "not_a_browser",
            Rule::InsideFence => "inside_clients",
            Rule::PinnedKey => "pinned_key",
            Rule::ConfiguredLoopback => "configured_loopback",
            Rule::ConfiguredAttributed => "configured_attributed",
            Rule::GenericUpstream => "generic_upstream",
            Rule::Browser => "browser",
            Rule::GatewayWithoutAuth => "gateway_without_auth",
            Rule::EndpointNotLoopback => "endpoint_not_loopback",
            Rule::AddressDisputed => "client_address_disputed",
            Rule::OutsideFence => "outside_clients",
            Rule::NoKeyShown => "no_key_shown",
            Rule::Demoted => "demoted",
        }
    }

    /// What the operator wants to know when a backend at `client` was not given D1.
    pub fn why_attributed(self, client: IpAddr) -> Option<String> {
        Some(match self {
            Rule::NotABrowser | Rule::InsideFence | Rule::PinnedKey | Rule::ConfiguredLoopback => return None,
            Rule::ConfiguredAttributed => "the site or route says identity = \"attributed\"".into(),
            Rule::GenericUpstream => "its upstream is of kind generic".into(),
            Rule::Browser => "it carries Origin or Sec-Fetch-Site, as a browser's requests do".into(),
            Rule::GatewayWithoutAuth => "the gateway's own authentication is off".into(),
            Rule::EndpointNotLoopback => "its gateway is not on this machine's loopback".into(),
            Rule::AddressDisputed => "the trusted proxy's X-Forwarded-For and Forwarded name different clients".into(),
            Rule::OutsideFence => format!("its address {client} is in none of `clients`"),
            Rule::NoKeyShown => "the site has device keys, and only a WebSocket can show one".into(),
            Rule::Demoted => format!("the gateway refused five connects of {client} within ten minutes"),
        })
    }
}

/// Why a request is not forwarded under any identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    /// Something on this host forwards for others, or a browser runs here, while a fence says that not everyone is local.
    #[error(
        "the client address is this host's own, which the gateway accepts from nobody; if a tunnel or proxy on this host \
         forwards for others, name it in trusted_proxies"
    )]
    LoopbackClient,
    /// A client on this host would go without a forwarding field, which is D1 by another name.
    #[error(
        "the gateway's own authentication is off, so nobody is passed on as a local client; switch gateway.auth on, and \
         name a tunnel or proxy on this host in trusted_proxies"
    )]
    GatewayWithoutAuth,
    /// The other identity's address is no substitute: from 127.0.0.1 the request would be a local one.
    #[error(
        "{ATTRIBUTED_SOURCE} cannot be used on this host, and without it the gateway could not tell this client from a local one"
    )]
    NoAttributedSource,
}

impl Refused {
    /// Every one, for their pages.
    pub const ALL: [Refused; 3] = [Refused::LoopbackClient, Refused::GatewayWithoutAuth, Refused::NoAttributedSource];

    /// The answer's status.
    pub fn status(self) -> StatusCode {
        match self {
            Refused::LoopbackClient | Refused::GatewayWithoutAuth => StatusCode::FORBIDDEN,
            Refused::NoAttributedSource => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// A stable name for logs and labels.
    pub fn name(self) -> &'static str {
        match self {
            Refused::LoopbackClient => "loopback_client",
            Refused::GatewayWithoutAuth => "gateway_without_auth",
            Refused::NoAttributedSource => "attributed_source",
        }
    }
}

/// Whether a browser sent this: it puts `Origin` on every WebSocket and every POST, and `Sec-Fetch-Site` on everything,
/// and no script can take them off. An empty field counts. Ask before [`super::hop::strip_request`].
pub fn is_browser(headers: &HeaderMap) -> bool {
    headers.contains_key(ORIGIN) || headers.contains_key(SEC_FETCH_SITE)
}

/// As whom this request is forwarded, by which rule, or why it is not.
pub fn decide(facts: &Facts) -> Decision {
    let rule = match choose(facts) {
        Choice::D1(rule) => return Decision::Forward { identity: Identity::Loopback, rule },
        Choice::Attributed(rule) => rule,
    };
    let forward = |identity| Decision::Forward { identity, rule };
    let refuse = |refusal| Decision::Refuse { refusal, rule };
    if facts.kind == UpstreamKind::Generic {
        // What an X-Forwarded-For may name, and from where, are the gateway's rules and nobody else's.
        return forward(Identity::Attributed);
    }
    if facts.client_loopback {
        // The gateway answers 403 to a loopback address in X-Forwarded-For. A client here could dial the gateway
        // itself, so leaving the field out gives it nothing, unless a fence says that addresses are looked at.
        return match (facts.fenced || facts.pinned, facts.gateway_without_auth) {
            (true, _) => refuse(Refused::LoopbackClient),
            (false, true) => refuse(Refused::GatewayWithoutAuth),
            (false, false) => forward(Identity::AttributedHeaderless),
        };
    }
    if facts.endpoint_loopback && !facts.attributed_source {
        return refuse(Refused::NoAttributedSource);
    }
    forward(Identity::Attributed)
}

enum Choice {
    D1(Rule),
    Attributed(Rule),
}

/// D1 or attributed. Every reason against D1 is looked at before D1 is given.
fn choose(facts: &Facts) -> Choice {
    match (facts.rule, facts.kind) {
        (IdentityRule::Attributed, _) => return Choice::Attributed(Rule::ConfiguredAttributed),
        (IdentityRule::Auto, UpstreamKind::Generic) => return Choice::Attributed(Rule::GenericUpstream),
        (IdentityRule::Auto, UpstreamKind::Openclaw) if facts.browser => return Choice::Attributed(Rule::Browser),
        (IdentityRule::Auto | IdentityRule::Loopback, _) => {}
    }
    if facts.gateway_without_auth {
        return Choice::Attributed(Rule::GatewayWithoutAuth);
    }
    if !facts.endpoint_loopback {
        return Choice::Attributed(Rule::EndpointNotLoopback);
    }
    if facts.fenced {
        if facts.address_disputed {
            return Choice::Attributed(Rule::AddressDisputed);
        }
        if !facts.inside_fence {
            return Choice::Attributed(Rule::OutsideFence);
        }
    }
    if facts.pinned && !facts.upgrade {
        return Choice::Attributed(Rule::NoKeyShown);
    }
    if facts.demoted {
        return Choice::Attributed(Rule::Demoted);
    }
    Choice::D1(match (facts.pinned, facts.fenced, facts.rule) {
        (true, _, _) => Rule::PinnedKey,
        (false, true, _) => Rule::InsideFence,
        (false, false, IdentityRule::Loopback) => Rule::ConfiguredLoopback,
        (false, false, _) => Rule::NotABrowser,
    })
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
