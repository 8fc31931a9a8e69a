//! The rule that let a tunnel in, to be asked again after a reload.

use super::{core::Core, head, judge::Plan, snapshot::Snapshot};
use crate::headers::{
    client_address::Seen,
    identity::{self, Decision, Identity},
};

/// What a request for a tunnel was judged by.
pub struct Asked {
    pub host: Box<str>,
    pub path: Box<str>,
    pub browser: bool,
    pub seen: Seen,
}

/// Kept for as long as the tunnel is open.
pub struct Admitted {
    host: Box<str>,
    path: Box<str>,
    browser: bool,
    seen: Seen,
    identity: Identity,
    upstream: u64,
}

impl Admitted {
    pub fn new(asked: Asked, plan: &Plan) -> Admitted {
        let Asked { host, path, browser, seen } = asked;
        Admitted { host, path, browser, seen, identity: plan.identity(), upstream: plan.behind().upstream.id }
    }

    /// Whether the same request would still be admitted, as the same identity, to the same upstream. What the gateway
    /// and its clients did meanwhile (demotion, authentication off) does not count: it is not policy.
    pub fn still_holds(&self, core: &Core, snapshot: &Snapshot) -> bool {
        let Some(site) = snapshot.site(&self.host) else { return false };
        let route = snapshot.find(site, &self.host, &self.path);
        let behind = snapshot.behind(route);
        let attributed_source = core.shared.attributed_source;
        let facts = head::facts(attributed_source, behind, snapshot.policy(route), &self.seen, self.browser, true);
        let same = matches!(identity::decide(&facts), Decision::Forward { identity, .. } if identity == self.identity);
        same && behind.upstream.id == self.upstream
    }
}
