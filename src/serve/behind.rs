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
    pub fn new(config: model::Upstream, old: Option<&Behind>) -> Behind {
        let kept =
            old.filter(|o| o.upstream.config.endpoint == config.endpoint && o.upstream.config.kind == config.kind);
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
