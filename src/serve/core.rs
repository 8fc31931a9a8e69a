//! What one connection core owns. Everything here stays on its thread.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Waker},
};

use slab::Slab;
use tokio::time::Instant;

use super::{
    access,
    counters::{Counters, OfSite, Sample},
    forward_auth,
    slow::Slow,
    snapshot::Snapshot,
};
use crate::{
    gateway::translate::Cause,
    limits,
    login::Logins,
    look::Look,
    problems::{Problem, Problems},
    tls,
    upstream::pool::Pool,
};

/// The configuration as one core holds it. All cores share the inner count, so a request counts on an outer one that
/// is this core's alone.
pub struct Present {
    snapshot: Arc<Snapshot>,
    /// This core's counters of each site.
    pub sites: Box<[Arc<OfSite>]>,
    /// What is left of each site's limits; all cores'.
    pub limits: Box<[Arc<limits::OfSite>]>,
}

impl std::ops::Deref for Present {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.snapshot
    }
}

/// What all cores share.
pub struct Shared {
    pub challenges: Arc<crate::challenge::Challenges>,
    pub tls: Arc<tls::Terminator>,
    /// Whether 127.0.0.2 can be dialled from.
    pub attributed_source: bool,
    /// When a loopback peer that is not trusted last brought claims about a client: something on this host forwards to us.
    pub forwarder_on_host: Mutex<Option<Instant>>,
    pub problems: Problems,
    pub limits: limits::Limits,
    pub logins: Logins,
    pub samples: Samples,
    pub look: Look,
}

/// Single requests, for `clawgate top`: collected while somebody looks, and no more than are wanted at once.
#[derive(Debug, Default)]
pub struct Samples {
    wanted: AtomicBool,
    taken: Mutex<Vec<Sample>>,
}

/// Between two looks of the control thread.
const MOST_SAMPLES: usize = 4096;
/// Between two flushes of a core.
const MOST_SAMPLES_OF_CORE: usize = 512;

impl Samples {
    pub fn want(&self, wanted: bool) {
        self.wanted.store(wanted, Ordering::Relaxed);
    }

    #[inline]
    pub fn are_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    pub fn take(&self) -> Vec<Sample> {
        std::mem::take(&mut *self.taken.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn hand_over(&self, samples: &mut Vec<Sample>) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MOST_SAMPLES.saturating_sub(taken.len());
        taken.extend(samples.drain(..).take(room));
    }
}

pub struct Core {
    pub shared: Arc<Shared>,
    pub counters: Arc<Counters>,
    pub pool: Pool,
    /// Questions to services of `forward_auth` under way.
    pub asking: forward_auth::Places,
    access: Option<RefCell<access::Writer>>,
    /// Where tunnels read into; nothing stays in it between two polls.
    pub scratch: RefCell<Box<[u8]>>,
    /// What clients over HTTP/2 do not take.
    pub slow: Slow,
    samples: RefCell<Vec<Sample>>,
    snapshot: RefCell<Rc<Present>>,
    stage: Cell<Stage>,
    generation: Cell<u64>,
    /// Every connection and tunnel that wants to hear of a new stage or configuration.
    listeners: RefCell<Slab<Option<Waker>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Serving,
    /// No new requests; open ones finish.
    Draining,
    /// The drain time is over: tunnels say 1001 and end, requests are cut.
    Closing,
}

impl Core {
    pub fn new(
        shared: Arc<Shared>,
        counters: Arc<Counters>,
        snapshot: Arc<Snapshot>,
        access: Option<access::Writer>,
    ) -> Rc<Core> {
        let sites = counters.of_sites(&snapshot.config);
        let limits = shared.limits.of_sites(&snapshot.config);
        Rc::new(Core {
            shared,
            counters,
            pool: Pool::default(),
            asking: forward_auth::Places::default(),
            access: access.map(RefCell::new),
            scratch: RefCell::new(vec![0; 64 * 1024].into_boxed_slice()),
            slow: Slow::new(Instant::now()),
            samples: RefCell::default(),
            snapshot: RefCell::new(Rc::new(Present { snapshot, sites, limits })),
            stage: Cell::new(Stage::Serving),
            generation: Cell::new(0),
            listeners: RefCell::default(),
        })
    }

    /// The present configuration; held by a request for as long as it runs. No atomic is touched.
    pub fn snapshot(&self) -> Rc<Present> {
        self.snapshot.borrow().clone()
    }

    pub fn replace(&self, snapshot: Arc<Snapshot>) {
        let sites = self.counters.of_sites(&snapshot.config);
        let limits = self.shared.limits.of_sites(&snapshot.config);
        *self.snapshot.borrow_mut() = Rc::new(Present { snapshot, sites, limits });
        self.generation.set(self.generation.get() + 1);
        self.wake_all();
    }

    pub fn logs_access(&self) -> bool {
        self.access.is_some() && self.snapshot.borrow().config.log.access
    }

    pub fn log(&self, record: &access::Record<'_>) {
        if let Some(writer) = &self.access {
            writer.borrow_mut().write(record);
        }
    }

    /// The gateway refused something, and this is what it means: counted, remembered for `status`, logged.
    pub fn gateway_says(&self, cause: Cause, about: String) {
        let Cause { trouble, code, what, cure } = cause;
        self.counters.troubles[trouble as usize].add(1);
        self.shared.problems.note(Problem { code, what: what.into(), cure: cure.into(), about });
    }

    /// For whoever looks at single requests; what is too much is left out.
    pub fn sample(&self, sample: Sample) {
        let mut samples = self.samples.borrow_mut();
        if samples.len() < MOST_SAMPLES_OF_CORE {
            samples.push(sample);
        }
    }

    /// Hands the log what this core has written: called about ten times a second, and at the end.
    pub fn flush(&self) {
        let mut samples = self.samples.borrow_mut();
        if !samples.is_empty() {
            self.shared.samples.hand_over(&mut samples);
        }
        if let Some(writer) = &self.access {
            writer.borrow_mut().flush();
        }
    }

    /// Closes pooled connections before the gateway does, and ends what no client takes.
    pub fn sweep(&self) {
        let cut = self.slow.look(Instant::now(), self.snapshot().config.limits.idle_timeout);
        if cut > 0 {
            tracing::debug!(cut, "answers over HTTP/2 whose client took nothing of them were ended");
        }
        let longest = self.snapshot().config.upstreams.iter().map(|u| u.idle_timeout).max().unwrap_or_default();
        self.pool.sweep(std::time::Instant::now(), longest);
        self.counters.idle.set(self.pool.len() as u64);
    }

    pub fn stage(&self) -> Stage {
        self.stage.get()
    }

    pub fn generation(&self) -> u64 {
        self.generation.get()
    }

    pub fn enter(&self, stage: Stage) {
        if stage > self.stage.get() {
            self.stage.set(stage);
            self.wake_all();
        }
    }

    fn wake_all(&self) {
        for (_, waker) in self.listeners.borrow_mut().iter_mut() {
            if let Some(waker) = waker.take() {
                waker.wake();
            }
        }
    }

    pub fn listen(self: &Rc<Self>) -> Listening {
        Listening { core: self.clone(), key: self.listeners.borrow_mut().insert(None) }
    }
}

/// A task's place in the list of those woken by a new stage or configuration.
pub struct Listening {
    core: Rc<Core>,
    key: usize,
}

impl Listening {
    /// To be called at every poll: the waker may have changed.
    pub fn register(&self, cx: &Context<'_>) {
        let mut listeners = self.core.listeners.borrow_mut();
        match &mut listeners[self.key] {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            slot => *slot = Some(cx.waker().clone()),
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.core.listeners.borrow_mut().remove(self.key);
    }
}
