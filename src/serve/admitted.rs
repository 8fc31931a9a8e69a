//! The rule that let a tunnel in, to be asked again after a reload.

use hyper::upgrade::OnUpgrade;

use super::{
    core::Core,
    judge::{self, Plan},
    snapshot::Snapshot,
};
use crate::headers::{
    client_address::Seen,
    identity::{self, Decision, Identity},
};

/// What a request for a tunnel was judged by, and the client's stream once hyper lets go of it.
pub struct Asked {
    pub host: Box<str>,
    pub path: Box<str>,
    pub browser: bool,
    pub seen: Seen,
    pub from_client: OnUpgrade,
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
    pub fn new(asked: Asked, plan: &Plan) -> (Admitted, OnUpgrade) {
        let Asked { host, path, browser, seen, from_client } = asked;
        let upstream = plan.behind().upstream.id;
        (Admitted { host, path, browser, seen, identity: plan.identity(), upstream }, from_client)
    }

    /// Whether the same request would still be admitted, as the same identity, to the same upstream. What the gateway
    /// and its clients did meanwhile (demotion, authentication off) does not count: it is not policy.
    pub fn still_holds(&self, core: &Core, snapshot: &Snapshot) -> bool {
        let Some(site) = snapshot.site(&self.host) else { return false };
        let route = snapshot.find(site, &self.host, &self.path);
        let behind = snapshot.behind(route);
        let facts = judge::facts(core, behind, snapshot.policy(route), &self.seen, self.browser, true);
        let same = matches!(identity::decide(&facts), Decision::Forward { identity, .. } if identity == self.identity);
        same && behind.upstream.id == self.upstream
    }
}
