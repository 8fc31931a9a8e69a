//! What one connection core owns. Everything here stays on its thread.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Waker},
};

use slab::Slab;

use super::{access, body::RequestBody, snapshot::Snapshot};
use crate::{tls, upstream::pool::Pool};

/// The configuration as one core holds it. All cores share the inner count, so a request counts on an outer one that
/// is this core's alone.
pub struct Present(Arc<Snapshot>);

impl std::ops::Deref for Present {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.0
    }
}

/// What all cores share.
pub struct Shared {
    pub counts: Counts,
    pub challenges: Arc<crate::challenge::Challenges>,
    pub tls: Arc<tls::Terminator>,
    /// Whether 127.0.0.2 can be dialled from.
    pub attributed_source: bool,
    /// A loopback peer that is not trusted brought claims about a client: something on this host forwards to us.
    pub forwarder_on_host: AtomicBool,
}

/// Process-wide numbers, written by cores and read by the control thread.
#[derive(Default)]
pub struct Counts {
    pub connections: AtomicUsize,
    pub requests: AtomicUsize,
    pub tunnels: AtomicUsize,
    pub served: AtomicU64,
    pub panics: AtomicU64,
    pub resent: AtomicU64,
}

/// Adds one for as long as it lives.
pub struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    pub fn new(counter: &'a AtomicUsize) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Counted(counter)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

pub struct Core {
    pub shared: Arc<Shared>,
    pub pool: Pool<RequestBody>,
    access: Option<RefCell<access::Writer>>,
    /// Where tunnels read into; nothing stays in it between two polls.
    pub scratch: RefCell<Box<[u8]>>,
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
    pub fn new(shared: Arc<Shared>, snapshot: Arc<Snapshot>, access: Option<access::Writer>) -> Rc<Core> {
        Rc::new(Core {
            shared,
            pool: Pool::default(),
            access: access.map(RefCell::new),
            scratch: RefCell::new(vec![0; 64 * 1024].into_boxed_slice()),
            snapshot: RefCell::new(Rc::new(Present(snapshot))),
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
        *self.snapshot.borrow_mut() = Rc::new(Present(snapshot));
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

    /// Hands the log what this core has written: called about ten times a second, and at the end.
    pub fn flush(&self) {
        if let Some(writer) = &self.access {
            writer.borrow_mut().flush();
        }
    }

    /// Closes pooled connections before the gateway does.
    pub fn sweep(&self) {
        let longest = self.snapshot().config.upstreams.iter().map(|u| u.idle_timeout).max().unwrap_or_default();
        self.pool.sweep(std::time::Instant::now(), longest);
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
