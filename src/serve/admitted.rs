//! The rule that let a tunnel in, to be asked again after a reload.

use super::{
    core::Core,
    exchange::{self, Judged},
    snapshot::Snapshot,
};
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
    asked: Asked,
    identity: Identity,
    upstream: u64,
}

impl Admitted {
    pub fn new(asked: Asked, judged: &Judged<'_>) -> Admitted {
        Admitted { asked, identity: judged.identity, upstream: judged.behind.upstream.id }
    }

    /// Whether the same request would still be admitted, as the same identity, to the same upstream. What the gateway
    /// and its clients did meanwhile (demotion, authentication off) does not count: it is not policy.
    pub fn still_holds(&self, core: &Core, snapshot: &Snapshot) -> bool {
        let asked = &self.asked;
        let Some(site) = snapshot.site(&asked.host) else { return false };
        let target = snapshot.target(site, &asked.host, &asked.path);
        let behind = &snapshot.behind[target.upstream.0];
        let facts = exchange::facts(core, behind, target.policy, &asked.seen, asked.browser);
        let same = matches!(identity::decide(&facts), Decision::Forward { identity, .. } if identity == self.identity);
        same && behind.upstream.id == self.upstream
    }
}
