//! One configuration, compiled for look-ups: immutable, swapped whole, loaded once a request.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use ipnet::IpNet;

use super::behind::Behind;
use crate::{
    allow::{self, Openings},
    config::{
        Config,
        model::{ListenerKind, Policy, Route, Site},
    },
    headers::client_address::{self, Seen},
    route,
    tls::client_auth::Rule,
};

pub struct Snapshot {
    /// Not reused in the life of the process, as an address would be.
    pub number: u64,
    pub config: Arc<Config>,
    /// In the order of `config.upstreams`.
    pub behind: Vec<Arc<Behind>>,
    sites: Vec<route::Table>,
    /// What `allow` means now.
    pub openings: Arc<Openings>,
    /// As many as sites: the site's own list, and those of its routes.
    allowed: Vec<Allowed>,
    /// Every network of every `clients`, of sites, routes and device keys.
    fenced: Box<[IpNet]>,
    /// As many as sites: whose certificates they take.
    client_rules: Vec<Option<Rule>>,
    exact: HashMap<Box<str>, usize>,
    /// Keyed by what follows `*.`.
    wildcard: HashMap<Box<str>, usize>,
    /// Where a redirect leads; `None` is the default port.
    pub https_port: Option<u16>,
}

/// Who may ask, as networks; `None` is everyone.
struct Allowed {
    site: Option<Box<[IpNet]>>,
    routes: Vec<Option<Box<[IpNet]>>>,
}

/// A route of a site, or the site itself: where a request goes and under which rules. Small, so that a request keeps it
/// beside its snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteRef {
    site: usize,
    route: Option<usize>,
}

impl RouteRef {
    /// The site's place in the configuration.
    pub fn site(self) -> usize {
        self.site
    }
}

impl Snapshot {
    pub fn new(config: Arc<Config>, behind: Vec<Arc<Behind>>, openings: Arc<Openings>) -> Snapshot {
        let mut exact = HashMap::new();
        let mut wildcard = HashMap::new();
        for (index, site) in config.sites.iter().enumerate() {
            for host in &site.hosts {
                match host.wildcard_suffix() {
                    Some(suffix) => wildcard.insert(suffix.into(), index),
                    None => exact.insert(host.as_str().into(), index),
                };
            }
        }
        let sites = config.sites.iter().map(route::Table::new).collect();
        let allowed = |site: &Site| {
            let networks = |policy: &Policy| allow::networks(&policy.allow, &site.hosts, &openings);
            let routes = site.routes.iter().map(|route| networks(&route.policy)).collect();
            Allowed { site: networks(&site.policy), routes }
        };
        let allowed = config.sites.iter().map(allowed).collect();
        let https = config.listeners.iter().find(|l| l.kind == ListenerKind::Https);
        let https_port = https.map(|l| l.address.port()).filter(|p| *p != 443);
        let policies = config.sites.iter().flat_map(|s| s.routes.iter().map(|r| &r.policy).chain([&s.policy]));
        let of_keys = |p: &Policy| p.device_keys.iter().flat_map(|key| key.clients.clone()).collect::<Vec<_>>();
        let fenced = policies.flat_map(|policy| policy.clients.iter().copied().chain(of_keys(policy))).collect();
        let rule = |site: &Site| site.client_certificate.as_deref().map(Rule::new);
        let client_rules = config.sites.iter().map(rule).collect();
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Snapshot { number, config, behind, sites, openings, allowed, fenced, client_rules, exact, wildcard, https_port }
    }

    /// The site a host name belongs to. `host` is lower case, without port, brackets and trailing dot.
    pub fn site(&self, host: &str) -> Option<usize> {
        if let Some(index) = self.exact.get(host) {
            return Some(*index);
        }
        if self.wildcard.is_empty() {
            return None;
        }
        let (label, suffix) = host.split_once('.')?;
        if label.is_empty() { None } else { self.wildcard.get(suffix).copied() }
    }

    /// The same on a connection whose TLS asked for `sni`. RFC 9110 §7.4: one that is not the SNI's is misdirected.
    pub fn site_on(&self, host: &str, sni: Option<&str>) -> Option<usize> {
        let site = self.site(host)?;
        sni.is_none_or(|sni| self.site(sni) == Some(site)).then_some(site)
    }

    /// Which route of `site` (from [`Snapshot::site`]) a request takes.
    pub fn find(&self, site: usize, host: &str, path: &str) -> RouteRef {
        RouteRef { site, route: self.sites[site].find(host, path) }
    }

    pub fn site_of(&self, at: RouteRef) -> &Site {
        &self.config.sites[at.site]
    }

    /// `None` for the site itself.
    pub fn route(&self, at: RouteRef) -> Option<&Route> {
        at.route.map(|route| &self.config.sites[at.site].routes[route])
    }

    pub fn policy(&self, at: RouteRef) -> &Policy {
        let site = &self.config.sites[at.site];
        at.route.map_or(&site.policy, |route| &site.routes[route].policy)
    }

    /// Whether `client` may ask there. One whose address is in dispute is on no list.
    pub fn may_ask(&self, at: RouteRef, client: &Seen) -> bool {
        let allowed = &self.allowed[at.site];
        match at.route.map_or(&allowed.site, |route| &allowed.routes[route]) {
            None => true,
            Some(networks) => !client.disputed && client_address::is_inside(networks, client.address),
        }
    }

    /// Whose certificates the clients of a site have to show; `None` is nobody's.
    pub fn client_rule(&self, site: usize) -> Option<&Rule> {
        self.client_rules[site].as_ref()
    }

    /// Inside a fence of any site or route: for what is counted before it is known where a client wants to go.
    pub fn is_fenced(&self, client: IpAddr) -> bool {
        client_address::is_inside(&self.fenced, client)
    }

    pub fn behind(&self, at: RouteRef) -> &Arc<Behind> {
        let site = &self.config.sites[at.site];
        let upstream = at.route.map_or(site.upstream, |route| site.routes[route].upstream);
        &self.behind[upstream.0]
    }

    /// Which service is asked there first; `None` is none.
    pub fn service(&self, at: RouteRef) -> Option<&Arc<Behind>> {
        self.policy(at).forward_auth.as_ref().map(|auth| &self.behind[auth.service.0])
    }

    pub fn rewrite(&self, at: RouteRef) -> Option<&route::Rewrite> {
        self.sites[at.site].rewrite(at.route?)
    }

    /// The configured path, or `*` for the site itself.
    pub fn route_name(&self, at: RouteRef) -> &Arc<str> {
        static WHOLE_SITE: std::sync::LazyLock<Arc<str>> = std::sync::LazyLock::new(|| "*".into());
        at.route.map_or(&WHOLE_SITE, |route| &self.config.sites[at.site].routes[route].name)
    }
}
