//! One upstream with what is known of the gateway there: shared by all cores, kept over reloads.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    config::model::{self, UpstreamKind},
    gateway::{demote::Demotions, places::Places},
    upstream::Upstream,
};

pub struct Behind {
    pub upstream: Upstream,
    /// Only where an OpenClaw gateway stands.
    pub gateway: Option<Arc<Gateway>>,
}

/// What the process has learnt of one gateway's clients.
pub struct Gateway {
    pub places: Places,
    pub demotions: Demotions,
    last_approved: Mutex<Option<IpAddr>>,
}

impl Behind {
    pub fn new(config: model::Upstream, old: Option<&Behind>) -> Behind {
        let kept = old.filter(|o| o.upstream.config.endpoint == config.endpoint && o.upstream.config.kind == config.kind);
        let gateway = match config.kind {
            UpstreamKind::Openclaw => {
                Some(kept.and_then(|k| k.gateway.clone()).unwrap_or_else(|| Arc::new(Gateway::new())))
            }
            UpstreamKind::Generic => None,
        };
        Behind { upstream: Upstream::new(config, kept.map(|k| k.upstream.state.clone())), gateway }
    }
}

impl Gateway {
    fn new() -> Gateway {
        Gateway { places: Places::new(), demotions: Demotions::new(), last_approved: Mutex::new(None) }
    }

    /// A backend's connect was approved from here: the address that a fence should name.
    pub fn approved(&self, client: IpAddr) {
        *self.last_approved.lock().unwrap_or_else(PoisonError::into_inner) = Some(client);
    }

    pub fn last_approved(&self) -> Option<IpAddr> {
        *self.last_approved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
