//! The gateway's restart is a pause, not an outage: dials wait for an upstream that is away, within bounds.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::SystemTime,
};

use tokio::{
    net::TcpStream,
    sync::{Notify, watch},
    time::Instant,
};

use super::{ConnectError, Health, Source, Tls, connect};
use crate::config::model;

/// One upstream as all cores see it.
pub struct Upstream {
    /// Not reused in the life of the process: pools are keyed by it.
    pub id: u64,
    pub config: model::Upstream,
    pub state: Arc<State>,
    /// What is spoken over a stream of [`Upstream::dial`]; `None` is plain HTTP.
    pub tls: Option<Tls>,
    /// Asked for every stream in place of [`connect()`].
    pub within: Option<Within>,
}

/// Makes streams to an upstream that is a part of this process, which only tests have: no network, and no chance in it.
pub type Within = Box<dyn Fn(Source) -> Result<TcpStream, ConnectError> + Send + Sync>;

/// What survives a reload that leaves the endpoint alone.
pub struct State {
    id: u64,
    seen: watch::Sender<Seen>,
    /// Mirrors [`Seen`] so that a request that need not wait takes no lock.
    fast: AtomicU8,
    /// Wakes the watcher when a dial failed.
    lost: Notify,
    /// Wakes it when something else makes it doubtful that anybody is there.
    doubted: Notify,
    /// It has said once that it is ready: it is what it should be, and silence means that it is busy.
    met: AtomicBool,
    /// What the watcher's last look found.
    look: AtomicU8,
    held: Mutex<Held>,
    changed: Mutex<SystemTime>,
    pub traffic: Traffic,
}

/// What was dialled and held. Shared by all cores: a dial is a system call or three, beside which this is nothing.
#[derive(Debug, Default)]
pub struct Traffic {
    pub dialled: AtomicU64,
    /// By [`ConnectError::index`].
    pub failed: [AtomicU64; ConnectError::NAMES.len()],
    pub held: AtomicU64,
    pub held_micros: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Seen {
    /// Not looked at yet, or it listens and says nothing: a dial finds out more.
    Unknown = 0,
    /// Answers, and its authentication is on (or is not ours to judge).
    Up = 1,
    /// Answers, and lets anyone in without token or device: D1 is not given.
    UpWithoutAuth = 2,
    /// A dial failed, or it says that it is starting: the watcher is on it.
    Away = 3,
}

impl Seen {
    pub fn is_up(self) -> bool {
        matches!(self, Seen::Up | Seen::UpWithoutAuth)
    }
}

#[derive(Default)]
struct Held {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// How many may wait for one upstream.
#[derive(Debug, Clone, Copy)]
pub struct HoldLimits {
    pub total: usize,
    pub per_client: usize,
    /// We ask ourselves ([`crate::look`]): that waits too, and takes no place and counts nowhere.
    pub look: bool,
}

/// Why there is no connection to the upstream.
#[derive(Debug, thiserror::Error)]
pub enum Away {
    #[error("the upstream did not come back in time")]
    HoldOver,
    #[error("too many requests already wait for the upstream")]
    TooManyHeld,
    #[error(transparent)]
    Connect(ConnectError),
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Upstream {
    pub fn new(config: model::Upstream, state: Option<Arc<State>>) -> Upstream {
        let state = state.unwrap_or_else(|| {
            Arc::new(State {
                id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
                seen: watch::Sender::new(Seen::Unknown),
                fast: AtomicU8::new(Seen::Unknown as u8),
                lost: Notify::new(),
                doubted: Notify::new(),
                met: AtomicBool::new(false),
                look: AtomicU8::new(0),
                held: Mutex::default(),
                changed: Mutex::new(SystemTime::now()),
                traffic: Traffic::default(),
            })
        });
        let tls = config.tls.as_ref().map(Tls::new);
        Upstream { id: state.id, config, state, tls, within: None }
    }

    /// Dials; while the upstream is away the dial waits `until` then. One that is known to be away is not dialled before
    /// the watcher has seen it up: OpenClaw listens for seconds before it can answer what is asked of it.
    pub async fn dial(
        &self,
        source: Source,
        client: IpAddr,
        until: Instant,
        limits: HoldLimits,
    ) -> Result<TcpStream, Away> {
        let mut ticket = None;
        if self.state.now() == Seen::Away && Instant::now() < until {
            ticket = self.state.hold(client, limits)?;
            self.state.lost.notify_one();
            self.state.wait_up(until).await?;
        }
        loop {
            let dialled = match &self.within {
                None => connect(&self.config.endpoint, source, self.config.connect_timeout).await,
                Some(within) => within(source),
            };
            let traffic = &self.state.traffic;
            match &dialled {
                Ok(_) => traffic.dialled.fetch_add(1, Ordering::Relaxed),
                Err(error) => traffic.failed[error.index()].fetch_add(1, Ordering::Relaxed),
            };
            match dialled {
                Ok(stream) => return Ok(stream),
                Err(error) if !error.upstream_away() => return Err(Away::Connect(error)),
                Err(error) => {
                    // Also where nothing waits for it: the metrics and `status` are to say it at once.
                    self.state.mark_lost();
                    if Instant::now() >= until {
                        return Err(Away::Connect(error));
                    }
                }
            }
            if ticket.is_none() {
                ticket = self.state.hold(client, limits)?;
            }
            self.state.wait_up(until).await?;
        }
    }

    /// Waits until it is known whether this upstream may be given D1. Costs one atomic load when it is.
    pub async fn known(&self, client: IpAddr, until: Instant, limits: HoldLimits) -> Result<Seen, Away> {
        let now = self.state.now();
        if now.is_up() {
            return Ok(now);
        }
        let _ticket = self.state.hold(client, limits)?;
        self.state.wait_up(until).await?;
        Ok(self.state.now())
    }
}

impl State {
    pub fn now(&self) -> Seen {
        match self.fast.load(Ordering::Acquire) {
            1 => Seen::Up,
            2 => Seen::UpWithoutAuth,
            3 => Seen::Away,
            _ => Seen::Unknown,
        }
    }

    pub fn set(&self, seen: Seen) {
        if self.fast.swap(seen as u8, Ordering::AcqRel) != seen as u8 {
            *self.changed.lock().unwrap_or_else(PoisonError::into_inner) = SystemTime::now();
        }
        self.seen.send_replace(seen);
    }

    /// Since when [`State::now`] has been what it is.
    pub fn since(&self) -> SystemTime {
        *self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A dial failed, or a fresh connection broke: whoever waits now waits for the watcher.
    pub fn mark_lost(&self) {
        self.set(Seen::Away);
        self.lost.notify_one();
    }

    /// Somebody else of ours, who may be at fault himself, did not get through: the watcher knocks at once.
    pub fn doubt(&self) {
        self.doubted.notify_one();
    }

    /// Whether it has ever said that it is ready.
    pub fn is_met(&self) -> bool {
        self.met.load(Ordering::Relaxed)
    }

    pub fn meet(&self) {
        self.met.store(true, Ordering::Relaxed);
    }

    /// What is known of a gateway's own health; `None` where nobody could look.
    pub fn last_look(&self) -> Option<Health> {
        let place = usize::from(self.look.load(Ordering::Relaxed));
        place.checked_sub(1).and_then(|place| Health::ALL.get(place).copied())
    }

    pub fn looked(&self, found: Option<Health>) {
        self.look.store(found.map_or(0, |health| health as u8 + 1), Ordering::Relaxed);
    }

    /// For the watcher: returns when a dial has failed, or one waits.
    pub async fn lost(&self) {
        self.lost.notified().await;
    }

    /// For the watcher: returns when there is a [doubt](State::doubt).
    pub async fn doubted(&self) {
        self.doubted.notified().await;
    }

    pub fn held(&self) -> usize {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).total
    }

    async fn wait_up(&self, until: Instant) -> Result<(), Away> {
        let mut seen = self.seen.subscribe();
        let up = seen.wait_for(|s| s.is_up());
        match tokio::time::timeout_at(until, up).await {
            Ok(Ok(_)) => Ok(()),
            // The sender is in `self`, so the channel cannot have closed.
            Ok(Err(_)) | Err(_) => Err(Away::HoldOver),
        }
    }

    fn hold(self: &Arc<Self>, client: IpAddr, limits: HoldLimits) -> Result<Option<Ticket>, Away> {
        if limits.look {
            return Ok(None);
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let of_client = held.by_address.get(&client).copied().unwrap_or(0);
        if held.total >= limits.total || of_client >= limits.per_client {
            return Err(Away::TooManyHeld);
        }
        held.total += 1;
        held.by_address.insert(client, of_client + 1);
        self.traffic.held.fetch_add(1, Ordering::Relaxed);
        Ok(Some(Ticket { state: self.clone(), client, since: Instant::now() }))
    }
}

/// A place among those who wait.
struct Ticket {
    state: Arc<State>,
    client: IpAddr,
    since: Instant,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let waited = self.since.elapsed().as_micros() as u64;
        self.state.traffic.held_micros.fetch_add(waited, Ordering::Relaxed);
        let mut held = self.state.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.total -= 1;
        if let Some(n) = held.by_address.get_mut(&self.client) {
            *n -= 1;
            if *n == 0 {
                held.by_address.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests;
