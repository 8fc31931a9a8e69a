//! The rule that let a tunnel in, to be asked again after a reload.

use std::sync::Arc;

use rustls_pki_types::UnixTime;

use super::{
    core::Core,
    head,
    judge::Plan,
    snapshot::Snapshot,
    tunnel::{Key, Watching},
};
use crate::{
    config::model::{ForwardAuth, User},
    gateway::pin::{self, Origin},
    headers::{
        client_address::Seen,
        identity::{self, Decision, Identity, Rule},
    },
    tls::client_auth::Chain,
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
    /// Who has logged in for it.
    user: Option<User>,
    /// Which service has agreed to it.
    service: Option<Arc<ForwardAuth>>,
    /// What its client has shown.
    chain: Option<Chain>,
}

impl Admitted {
    pub fn new(asked: Asked, plan: &Plan, chain: Option<Chain>) -> Admitted {
        let Asked { host, path, browser, seen } = asked;
        Admitted {
            host,
            path,
            browser,
            seen,
            identity: plan.identity(),
            upstream: plan.behind().upstream.id,
            user: plan.user.clone(),
            service: plan.policy().forward_auth.clone(),
            chain,
        }
    }

    /// Whether the same request would still be admitted, as the same identity, to the same upstream, and the key that was
    /// shown is still pinned for what it asked. What the gateway
    /// and its clients did meanwhile (demotion, authentication off) does not count: it is not policy.
    pub fn still_holds(&self, core: &Core, snapshot: &Snapshot, watching: &Watching) -> bool {
        let Some(site) = snapshot.site(&self.host) else { return false };
        let route = snapshot.find(site, &self.host, &self.path);
        let behind = snapshot.behind(route);
        let attributed_source = core.shared.attributed_source;
        let policy = snapshot.policy(route);
        let facts = head::facts(attributed_source, behind, policy, &self.seen, self.browser, true);
        let Decision::Forward { identity, rule } = identity::decide(&facts) else { return false };
        let origin = Origin { address: self.seen.address, disputed: self.seen.disputed };
        let key = match (&watching.key, &watching.gate) {
            (Key::Pinned(shown), _) => pin::admits(&policy.device_keys, shown, origin).is_ok(),
            (_, Some(gate)) => gate.has_keys(&policy.device_keys),
            (_, None) => rule != Rule::PinnedKey,
        };
        let logged_in = match (&policy.basic_auth, &self.user) {
            (None, _) => true,
            // By name and hash: another password is another login.
            (Some(auth), Some(user)) => auth.users.contains(user),
            (Some(_), None) => false,
        };
        let agreed = match (&policy.forward_auth, &self.service) {
            (None, _) => true,
            // Other fields: the tunnel was opened with what the service, or the client, said in the old ones.
            (Some(now), Some(then)) => {
                (&now.tls, &now.host, &now.target, &now.copy) == (&then.tls, &then.host, &then.target, &then.copy)
            }
            (Some(_), None) => false,
        };
        snapshot.may_ask(route, &self.seen)
            && self.is_taken(snapshot, site)
            && logged_in
            && agreed
            && key
            && identity == self.identity
            && behind.upstream.id == self.upstream
    }

    fn is_taken(&self, snapshot: &Snapshot, site: usize) -> bool {
        let shown = self.chain.as_deref().unwrap_or_default();
        snapshot.client_rule(site).is_none_or(|rule| rule.admits(shown, UnixTime::now()))
    }
}
