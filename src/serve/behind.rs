//! One upstream with what is known of the gateway there: shared by all cores, kept over reloads.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Instant, SystemTime},
};

use http::HeaderValue;

use super::forward_auth::Standing;
use crate::{
    config::model::{self, UpstreamKind},
    gateway::{
        demote::Demotions,
        pin::Shown,
        places::{self, Places},
        seen::{Outcome, Seen, SeenKeys},
    },
    headers::forwarded,
    upstream::Upstream,
};

pub struct Behind {
    pub upstream: Upstream,
    /// The `Host` of D1.
    pub endpoint: HeaderValue,
    /// Only where an OpenClaw gateway stands.
    pub gateway: Option<Arc<Gateway>>,
    /// Of a service that is asked: whether it answers.
    pub standing: Arc<Standing>,
}

/// What the process has learnt of one gateway's clients.
pub struct Gateway {
    pub places: Places,
    demotions: Mutex<Demotions>,
    /// Whether any connect was refused yet: spares all other requests the lock.
    any_refused: AtomicBool,
    last_approved: Mutex<Option<IpAddr>>,
    version: Mutex<Option<Box<str>>>,
    keys: Mutex<SeenKeys>,
}

impl Behind {
    /// The upstreams of a new configuration, each with what is known of it from the `old` one.
    ///
    /// One is the same as before if it is at the same place, is the same sort of server, and has its name; or if it has
    /// another name now and nobody has the old one. Nobody's knowledge goes to two: pools and watchers are kept by it.
    pub fn after(old: &[Arc<Behind>], upstreams: &[model::Upstream]) -> Vec<Arc<Behind>> {
        let mut left: Vec<&Arc<Behind>> = old.iter().collect();
        let mut kept: Vec<Option<&Arc<Behind>>> = vec![None; upstreams.len()];
        for renamed in [false, true] {
            for (upstream, kept) in upstreams.iter().zip(&mut kept).filter(|(_, kept)| kept.is_none()) {
                let is_it = |old: &&Arc<Behind>| {
                    let old = &old.upstream.config;
                    let sort = |u: &model::Upstream| (u.kind, u.asked);
                    old.endpoint == upstream.endpoint
                        && sort(old) == sort(upstream)
                        // With others, even the connections are not what they were.
                        && old.tls == upstream.tls
                        && (renamed || old.name == upstream.name)
                };
                *kept = left.iter().position(is_it).map(|at| left.remove(at));
            }
        }
        let both = upstreams.iter().zip(kept);
        both.map(|(upstream, kept)| Arc::new(Behind::new(upstream.clone(), kept.map(Arc::as_ref)))).collect()
    }

    /// `kept` is the same upstream in the configuration before.
    pub fn new(config: model::Upstream, kept: Option<&Behind>) -> Behind {
        let gateway = match config.kind {
            UpstreamKind::Openclaw => {
                Some(kept.and_then(|k| k.gateway.clone()).unwrap_or_else(|| Arc::new(Gateway::new())))
            }
            UpstreamKind::Generic => None,
        };
        let endpoint = forwarded::endpoint_value(&config.endpoint).unwrap_or(const { HeaderValue::from_static("") });
        let standing = kept.map(|k| k.standing.clone()).unwrap_or_default();
        Behind { endpoint, upstream: Upstream::new(config, kept.map(|k| k.upstream.state.clone())), gateway, standing }
    }
}

impl Gateway {
    fn new() -> Gateway {
        Gateway {
            places: Places::new(places::Limits::default()),
            demotions: Mutex::new(Demotions::new()),
            any_refused: AtomicBool::new(false),
            last_approved: Mutex::new(None),
            version: Mutex::new(None),
            keys: Mutex::default(),
        }
    }

    /// The gateway refused a connect of `client`; true if that demotes it from D1 for a while.
    pub fn refused(&self, client: IpAddr) -> bool {
        self.any_refused.store(true, Ordering::Relaxed);
        lock(&self.demotions).refused(client, Instant::now())
    }

    pub fn is_demoted(&self, client: IpAddr) -> bool {
        self.any_refused.load(Ordering::Relaxed) && lock(&self.demotions).until(client, Instant::now()).is_some()
    }

    /// A D1 connect was approved from here: the address that a fence should name.
    pub fn approved(&self, client: IpAddr) {
        *lock(&self.last_approved) = Some(client);
    }

    /// What a hello said of the gateway.
    pub fn says_version(&self, version: Option<&str>) {
        let mut known = lock(&self.version);
        if version.is_some() && known.as_deref() != version {
            *known = version.map(Into::into);
        }
    }

    /// The gateway's version, since somebody was approved.
    pub fn version(&self) -> Option<Box<str>> {
        lock(&self.version).clone()
    }

    /// A device key was there, with a good signature.
    pub fn seen_key(&self, shown: &Shown, address: IpAddr, outcome: Outcome) {
        lock(&self.keys).note(Seen { shown: shown.clone(), address, at: SystemTime::now(), outcome });
    }

    /// The keys seen lately, the last one first.
    pub fn seen_keys(&self) -> Vec<Seen> {
        lock(&self.keys).all().to_vec()
    }

    pub fn last_approved(&self) -> Option<IpAddr> {
        *lock(&self.last_approved)
    }
}

/// What these locks guard is valid at every step, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::model::Endpoint;

    const GATEWAY: UpstreamKind = UpstreamKind::Openclaw;
    const OTHER: UpstreamKind = UpstreamKind::Generic;

    fn upstream(name: &str, port: u16, kind: UpstreamKind) -> model::Upstream {
        model::Upstream {
            name: name.into(),
            endpoint: Endpoint::Address(([127, 0, 0, 1], port).into()),
            kind,
            asked: name.starts_with("auth:"),
            hold: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(4),
            tls: None,
        }
    }

    /// For each upstream of the second configuration, the name of the one that it goes on for.
    fn goes_on_for<const N: usize>(
        before: &[model::Upstream],
        after: [(&str, u16, UpstreamKind); N],
    ) -> [Option<String>; N] {
        let old = Behind::after(&[], before);
        let new = Behind::after(&old, &after.map(|(name, port, kind)| upstream(name, port, kind)));
        let mut ids: Vec<u64> = new.iter().map(|new| new.upstream.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), N, "one state for two");
        std::array::from_fn(|at| {
            let new = &new[at];
            let old = old.iter().find(|old| old.upstream.id == new.upstream.id)?;
            assert!(Arc::ptr_eq(&old.standing, &new.standing) && Arc::ptr_eq(&old.upstream.state, &new.upstream.state));
            assert_eq!(old.gateway.as_ref().map(Arc::as_ptr), new.gateway.as_ref().map(Arc::as_ptr));
            Some(old.upstream.config.name.to_string())
        })
    }

    #[test]
    fn a_reload_confuses_no_upstream_with_another_at_its_address() {
        let before = [
            upstream("chat", 1, GATEWAY),
            upstream("files", 2, OTHER),
            upstream("pages", 2, OTHER),
            upstream("auth:127.0.0.1:2", 2, OTHER),
        ];
        let is = |name: &str| Some(name.to_owned());
        // In another order.
        assert_eq!(
            goes_on_for(
                &before,
                [("auth:127.0.0.1:2", 2, OTHER), ("pages", 2, OTHER), ("chat", 1, GATEWAY), ("files", 2, OTHER)]
            ),
            [is("auth:127.0.0.1:2"), is("pages"), is("chat"), is("files")]
        );
        // Called otherwise; one more there than before.
        assert_eq!(
            goes_on_for(&before, [("new", 2, OTHER), ("talk", 1, GATEWAY), ("files", 2, OTHER), ("third", 2, OTHER)]),
            [is("pages"), is("chat"), is("files"), None]
        );
        // Elsewhere, or another sort of server.
        assert_eq!(goes_on_for(&before, [("chat", 3, GATEWAY), ("pages", 2, GATEWAY)]), [None, None]);
        // What is asked is not what is forwarded to, also where one of them is gone.
        assert_eq!(goes_on_for(&before[1..2], [("auth:127.0.0.1:2", 2, OTHER)]), [None]);
        assert_eq!(goes_on_for(&before[3..], [("files", 2, OTHER)]), [None]);
    }
}
