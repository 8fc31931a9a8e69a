//! Where the numbers of a running proxy are: what a scrape, `status` and `top` read. Nothing here is asked of a core.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

use super::{
    busiest::Busiest,
    history::{History, Totals},
};
use crate::{
    acme::board::Board,
    gateway::{standing, translate::Trouble},
    listen::Admission,
    metrics::{Count, count::Readings},
    serve::{
        core::Shared,
        counters::{Counters, OfSite},
    },
    tls::CertStore,
};

/// Shared by the process, which answers with it, and the control thread, which looks at it each second.
pub(crate) struct Numbers {
    pub(super) shared: Arc<Shared>,
    /// Of each core.
    pub(super) counters: Box<[Arc<Counters>]>,
    pub(super) admission: Arc<Admission>,
    pub(super) store: Arc<CertStore>,
    pub(super) certificates: Board,
    /// What became of `[probe]`.
    pub(super) probed: standing::Board,
    pub(super) started: SystemTime,
    began: Instant,
    looks: Mutex<Looks>,
}

#[derive(Default)]
struct Looks {
    history: History,
    busiest: Busiest,
    /// Until when single requests are collected for `top`.
    sampled_until: Option<Instant>,
}

/// After the last question of a `top`.
const SAMPLED: Duration = Duration::from_secs(10);

impl Numbers {
    pub(super) fn new(
        shared: Arc<Shared>,
        cores: usize,
        admission: Arc<Admission>,
        store: Arc<CertStore>,
        certificates: Board,
    ) -> Numbers {
        Numbers {
            shared,
            counters: (0..cores).map(|_| Arc::default()).collect(),
            admission,
            store,
            certificates,
            probed: standing::Board::default(),
            started: SystemTime::now(),
            began: Instant::now(),
            looks: Mutex::default(),
        }
    }

    /// Once a second.
    pub(super) fn turn(&self) {
        let totals = self.totals();
        let samples = self.shared.samples.take();
        self.look(|looks| {
            let sampling = looks.sampled_until.is_some_and(|until| Instant::now() < until);
            self.shared.samples.want(sampling);
            looks.busiest.turn(samples);
            looks.history.turn(self.began.elapsed(), totals);
        });
    }

    pub(super) fn history<T>(&self, on: impl FnOnce(&History) -> T) -> T {
        self.look(|looks| on(&looks.history))
    }

    /// Somebody looks at single requests: they are collected from now on.
    pub(super) fn busiest<T>(&self, on: impl FnOnce(&Busiest) -> T) -> T {
        self.look(|looks| {
            looks.sampled_until = Some(Instant::now() + SAMPLED);
            self.shared.samples.want(true);
            on(&looks.busiest)
        })
    }

    fn look<T>(&self, on: impl FnOnce(&mut Looks) -> T) -> T {
        // Every step leaves it whole.
        on(&mut self.looks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Of all cores.
    pub(super) fn sum(&self, of: impl Fn(&Counters) -> u64) -> u64 {
        self.counters.iter().map(|counters| of(counters)).sum()
    }

    /// The sites' counters of all cores, by the site's name.
    pub(super) fn sites(&self) -> BTreeMap<Arc<str>, Vec<Arc<OfSite>>> {
        let mut sites: BTreeMap<Arc<str>, Vec<Arc<OfSite>>> = BTreeMap::new();
        for site in self.counters.iter().flat_map(|counters| counters.sites()) {
            sites.entry(site.name.clone()).or_default().push(site);
        }
        sites
    }

    /// Of all cores, in the order of their table.
    pub(super) fn refusals(&self) -> Vec<(&'static str, u64)> {
        self.named(|counters| counters.refusals.read().collect())
    }

    pub(super) fn failed_handshakes(&self) -> Vec<(&'static str, u64)> {
        self.named(|counters| counters.handshakes_failed.read().collect())
    }

    pub(super) fn unverified(&self) -> Vec<(&'static str, u64)> {
        self.named(|counters| counters.unverified.read().collect())
    }

    pub(super) fn troubles(&self) -> Vec<(&'static str, u64)> {
        let of = |counters: &Counters| {
            Trouble::ALL.iter().zip(&counters.troubles).map(|(trouble, count)| (trouble.code(), count.get())).collect()
        };
        self.named(of)
    }

    fn named(&self, of: impl Fn(&Counters) -> Vec<(&'static str, u64)>) -> Vec<(&'static str, u64)> {
        let mut sums: Vec<(&'static str, u64)> = Vec::new();
        for counters in &self.counters {
            let own = of(counters);
            match sums.is_empty() {
                true => sums = own,
                false => sums.iter_mut().zip(own).for_each(|(sum, (_, n))| sum.1 += n),
            }
        }
        sums
    }

    pub(super) fn totals(&self) -> Totals {
        let mut latency = Readings::default();
        let (mut bytes_in, mut bytes_out) = (0, 0);
        for site in self.sites().values().flatten() {
            latency.add(&site.duration.read());
            bytes_in += site.request_bytes.get();
            bytes_out += site.response_bytes.get();
        }
        Totals {
            requests: latency.count(),
            latency,
            bytes_in: bytes_in + self.sum(|c| c.tunnel_bytes_up.get()),
            bytes_out: bytes_out + self.sum(|c| c.tunnel_bytes_down.get()),
            websockets: self.sum(Counters::open_tunnels),
            refusals: self.refusals(),
            answers: self.troubles(),
        }
    }

    /// Of one cell of a table, all cores.
    pub(super) fn cell<'a>(sites: &'a [Arc<OfSite>], of: impl Fn(&'a OfSite) -> &'a Count) -> u64 {
        sites.iter().map(|site| of(site).get()).sum()
    }
}

/// Counters that several threads write.
pub(super) fn loose(count: &std::sync::atomic::AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}
