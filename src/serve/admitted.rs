//! The rule that let a tunnel in, to be asked again after a reload.

use std::net::IpAddr;

use super::{exchange::Judged, snapshot::Snapshot};
use crate::headers::identity::{self, Identity};

/// What a tunnel was judged by, kept for as long as it is open.
pub struct Admitted {
    host: Box<str>,
    path: Box<str>,
    client: IpAddr,
    browser: bool,
    identity: Identity,
    upstream: u64,
}

impl Admitted {
    pub fn new(judged: &Judged<'_>) -> Admitted {
        Admitted {
            host: judged.host.into(),
            path: judged.path.into(),
            client: judged.client,
            browser: judged.browser,
            identity: judged.identity,
            upstream: judged.behind.upstream.id,
        }
    }

    /// Whether the same request would still be admitted, as the same identity, to the same upstream. What the gateway
    /// and its clients did meanwhile (demotion, authentication off) does not count: it is not policy.
    pub fn still_holds(&self, snapshot: &Snapshot) -> bool {
        let Some(site) = snapshot.site(&self.host) else { return false };
        let target = snapshot.target(site, &self.host, &self.path);
        let behind = &snapshot.behind[target.upstream.0];
        let facts = identity::Facts {
            browser: self.browser,
            ..super::exchange::facts(target.policy, behind, self.client)
        };
        behind.upstream.id == self.upstream && identity::decide(&facts).is_ok_and(|d| d.identity == self.identity)
    }
}
