//! What the driver meets outside itself: the clocks, chance, and the way to a CA. All of it is an argument, so that the
//! simulation (`sim`) lives through years of it in a moment.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tracing::warn;

use super::wire::{Https, Roots, RootsError, Transport};
use crate::dns::Resolver;

pub trait Outside: Send + Sync {
    /// The machine's own idea of the date. It may be wrong, and it may jump.
    fn wall(&self) -> SystemTime;

    /// How long the machine has been up. Goes on while it sleeps.
    fn since_boot(&self) -> Duration;

    /// What chooses when to come back; no key depends on it.
    fn random(&self) -> u64;

    /// The way to a CA that `roots` vouch for.
    ///
    /// # Errors
    /// When there is none.
    fn transport(&self, roots: &Roots) -> Result<Arc<dyn Transport>, RootsError>;

    /// Whom to ask about names. `None` is a world without a DNS, where no look is taken before a CA is asked.
    fn resolver(&self) -> Option<Resolver> {
        None
    }
}

/// The machine that this runs on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Machine;

impl Outside for Machine {
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn since_boot(&self) -> Duration {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // `Instant` on Linux stands still in sleep, and a laptop's certificate expires all the same.
        // SAFETY: writes one timespec to a place that is one.
        let done = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut now) };
        assert_eq!(done, 0, "every Linux that Rust runs on has CLOCK_BOOTTIME");
        Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
    }

    fn random(&self) -> u64 {
        let mut bytes = [0; 8];
        // Without randomness there would be no TLS either.
        if aws_lc_rs::rand::fill(&mut bytes).is_err() {
            warn!("the system gives no random numbers");
        }
        u64::from_le_bytes(bytes)
    }

    fn transport(&self, roots: &Roots) -> Result<Arc<dyn Transport>, RootsError> {
        Ok(Arc::new(Https::try_new(roots)?))
    }

    /// Read anew each time: DHCP may have changed it.
    fn resolver(&self) -> Option<Resolver> {
        Some(Resolver::system().unwrap_or_else(|error| {
            warn!(error = &error as &dyn std::error::Error, "no resolver");
            Resolver::new(Vec::new())
        }))
    }
}
