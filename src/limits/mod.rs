//! How often a client may ask, and who has guessed too often: counted for the whole process.
//!
//! A client is an IPv4 address or an IPv6 /64, and what one does never changes what another may do. Beside that each site has
//! a budget for all strangers together, and one of the same size for the clients that it knows (inside a fence, or with a
//! `connect` that the gateway approved): whoever fills the first cannot touch the second.
//!
//! All that is remembered of clients stands in one table of 65,536 entries, below 11 MiB when it is full; the entry that was
//! idle longest makes room for a new one, and that is counted. Nothing survives the process. The arithmetic is
//! governor's (`pace`), time is an argument, and nothing here waits.

mod lockout;
mod pace;
mod table;

use std::{
    collections::HashMap,
    net::IpAddr,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use lru::LruCache;

pub use self::lockout::{FIRST, FORGIVEN_AFTER, LONGEST};
use self::{
    lockout::Failures,
    pace::{Nanos, Shared, Slot},
    table::Table,
};
use crate::{
    config::model::{Config, Pace, Paces},
    network::Network,
};

/// Clients that are remembered at once.
pub const ENTRIES: usize = 1 << 16;
/// Clients remembered because a gateway approved a connect of theirs. They keep that when their entry is dropped.
const KNOWN: usize = 4096;

/// Whom an entry is about: an IPv4 address or an IPv6 /64, on the sites that share their limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Client {
    network: Network,
    /// 0 for all sites that say nothing of their own.
    scope: u32,
}

impl Client {
    pub fn new(address: IpAddr, scope: u32) -> Client {
        Client { network: address.into(), scope }
    }
}

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    Request,
    /// Of a WebSocket; counts as no request.
    Upgrade,
}

/// At what a client failed to say who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The gateway refused its token, password or signature.
    Gateway,
    /// Our own login in front of it did.
    Login,
}

impl Kind {
    pub const ALL: [Kind; 2] = [Kind::Gateway, Kind::Login];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Gateway => "gateway",
            Kind::Login => "login",
        }
    }
}

/// What came of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// So many more until the client is locked out.
    Counted { left: u32 },
    /// This was the one that locked it out, for so long.
    LockedNow { left: Duration },
    /// It was locked out before this one, and nothing changes.
    Locked { left: Duration },
}

/// Why somebody has to wait, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// The client asks too often.
    Client { wait: Duration },
    /// All strangers, or all known clients, of this site do.
    Site { wait: Duration, known: bool },
    /// Failed too often.
    Locked { kind: Kind, wait: Duration },
}

/// A client that is locked out, for `status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedOut {
    pub client: String,
    /// The site with limits of its own that this is about; `None` is all the others.
    pub site: Option<Arc<str>>,
    pub kind: Kind,
    pub left: Duration,
    /// How often in a row.
    pub times: u8,
}

/// For metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub entries: usize,
    pub dropped: u64,
    /// By [`Kind`].
    pub lockouts: [u64; 2],
}

/// What is counted of one client.
#[derive(Debug, Default)]
struct State {
    requests: Nanos,
    upgrades: Nanos,
    handshakes: Nanos,
    failures: [Failures; 2],
    known: bool,
}

/// What all strangers of a site ask for together, and all whom it knows.
#[derive(Debug, Default)]
struct Budget {
    requests: AtomicU64,
    upgrades: AtomicU64,
}

/// One site's part. Kept over reloads.
#[derive(Debug)]
pub struct OfSite {
    name: Arc<str>,
    /// Of [`Client`], where the site has limits of its own.
    own_scope: u32,
    strangers: Budget,
    known: Budget,
}

impl OfSite {
    /// Under whom this site counts a client.
    pub fn client(&self, address: IpAddr, paces: &Paces) -> Client {
        Client::new(address, if paces.own { self.own_scope } else { 0 })
    }
}

/// The process's.
#[derive(Debug)]
pub struct Limits {
    began: Instant,
    clients: Table<State>,
    known: Mutex<LruCache<Network, ()>>,
    sites: Mutex<HashMap<Arc<str>, Arc<OfSite>>>,
    handshakes: Handshakes,
    lockouts: [AtomicU64; 2],
}

#[derive(Debug, Default)]
struct Handshakes {
    strangers: AtomicU64,
    known: AtomicU64,
}

impl Limits {
    pub fn new(now: Instant) -> Limits {
        Limits::with_room(now, ENTRIES, table::SHARDS)
    }

    /// Remembers so many clients, spread over so many locks.
    pub fn with_room(now: Instant, entries: usize, shards: usize) -> Limits {
        Limits {
            // Zero is "nothing yet", so no state may come out as it.
            began: now.checked_sub(Duration::from_secs(1)).unwrap_or(now),
            clients: Table::new(entries, shards),
            known: Mutex::new(LruCache::new(NonZeroUsize::new(KNOWN).expect("not zero"))),
            sites: Mutex::default(),
            handshakes: Handshakes::default(),
            lockouts: Default::default(),
        }
    }

    /// The parts of a configuration's sites, in its order: looked up once, so that a request only indexes.
    pub fn of_sites(&self, config: &Config) -> Box<[Arc<OfSite>]> {
        let mut sites = lock(&self.sites);
        let of = |site: &crate::config::model::Site| {
            let name: Arc<str> = site.hosts.first().map_or("-", |host| host.as_str()).into();
            let own_scope = sites.len() as u32 + 1;
            let (strangers, known) = (Budget::default(), Budget::default());
            let new = || Arc::new(OfSite { name: name.clone(), own_scope, strangers, known });
            sites.entry(name.clone()).or_insert_with(new).clone()
        };
        config.sites.iter().map(of).collect()
    }

    /// A client asks for something at a site. `fenced` is one inside the route's fence; `gateway` whether an OpenClaw
    /// gateway is what it asks for, whose lock-outs count. Whether the client is known to the site, as far as anything is
    /// counted.
    #[inline]
    pub fn ask(&self, site: &OfSite, paces: &Paces, asking: Asking, now: Instant) -> Result<bool, Over> {
        let (per_client, of_site) = match asking.what {
            Ask::Request => (paces.requests_per_client, paces.requests),
            Ask::Upgrade => (paces.upgrades_per_client, paces.upgrades),
        };
        let locks = asking.gateway && paces.auth_failures.is_some();
        if per_client.is_none() && of_site.is_none() && !locks {
            return Ok(asking.fenced);
        }
        let now = self.nanos(now);
        let client = site.client(asking.address, paces);
        let locked = |state: &State| match state.failures[Kind::Gateway as usize].locked(now) {
            Some(wait) if locks => Err(Over::Locked { kind: Kind::Gateway, wait }),
            _ => Ok(state.known || asking.fenced),
        };
        if per_client.is_none() && of_site.is_none() {
            // Nothing is counted, so whoever has no entry needs none.
            return self.clients.existing(client, |state| locked(state)).unwrap_or(Ok(asking.fenced));
        }
        let known = self.clients.with(
            client,
            || self.fresh(client),
            |state| {
                let known = locked(state)?;
                if let Some(pace) = per_client {
                    let slot = match asking.what {
                        Ask::Request => &mut state.requests,
                        Ask::Upgrade => &mut state.upgrades,
                    };
                    pace::take(Slot::new(slot), pace, now).map_err(|wait| Over::Client { wait })?;
                }
                Ok(known)
            },
        )?;
        let Some(pace) = of_site else { return Ok(known) };
        let budget = if known { &site.known } else { &site.strangers };
        let slot = match asking.what {
            Ask::Request => &budget.requests,
            Ask::Upgrade => &budget.upgrades,
        };
        pace::take(Shared(slot), pace, now).map_err(|wait| Over::Site { wait, known })?;
        Ok(known)
    }

    /// Somebody wants a TLS handshake. `fenced` is inside any site's fence. Which site it will be about only the client
    /// can say, so all share one budget.
    pub fn handshake(
        &self,
        address: Option<IpAddr>,
        fenced: bool,
        (per_client, total): (Option<Pace>, Option<Pace>),
        now: Instant,
    ) -> Result<(), Over> {
        let now = self.nanos(now);
        let mut known = fenced;
        if let Some(address) = address.filter(|_| per_client.is_some() || total.is_some()) {
            let client = Client::new(address, 0);
            known |= self.clients.with(
                client,
                || self.fresh(client),
                |state| {
                    if let Some(pace) = per_client {
                        pace::take(Slot::new(&mut state.handshakes), pace, now)
                            .map_err(|wait| Over::Client { wait })?;
                    }
                    Ok(state.known)
                },
            )?;
        }
        if let Some(pace) = total {
            let slot = if known { &self.handshakes.known } else { &self.handshakes.strangers };
            pace::take(Shared(slot), pace, now).map_err(|wait| Over::Site { wait, known })?;
        }
        Ok(())
    }

    /// A client failed to say who it is; `pace` is how often it may.
    pub fn failure(&self, client: Client, kind: Kind, pace: Pace, now: Instant) -> Verdict {
        let now = self.nanos(now);
        let failed = |state: &mut State| state.failures[kind as usize].failed(pace, now);
        let verdict = self.clients.with(client, || self.fresh(client), failed);
        if matches!(verdict, Verdict::LockedNow { .. }) {
            self.lockouts[kind as usize].fetch_add(1, Relaxed);
        }
        verdict
    }

    /// How much longer a client is locked out.
    pub fn locked(&self, client: Client, kind: Kind, now: Instant) -> Option<Duration> {
        if self.lockouts[kind as usize].load(Relaxed) == 0 {
            return None;
        }
        self.clients.existing(client, |state| state.failures[kind as usize].locked(self.nanos(now))).flatten()
    }

    /// A client said who it is: its failures so far were slips.
    pub fn success(&self, client: Client, kind: Kind) {
        self.clients.existing(client, |state| state.failures[kind as usize].forget_count());
    }

    /// A gateway approved a connect of this client's: it is a stranger nowhere from now on.
    pub fn approved(&self, client: Client) {
        lock(&self.known).put(client.network, ());
        // Handshakes are counted under the scope that all share.
        for client in [client, Client { scope: 0, ..client }] {
            self.clients.with(client, State::default, |state| state.known = true);
        }
    }

    /// Who is locked out now.
    pub fn locked_out(&self, now: Instant) -> Vec<LockedOut> {
        if self.lockouts.iter().all(|n| n.load(Relaxed) == 0) {
            return Vec::new();
        }
        let names: HashMap<u32, Arc<str>> =
            lock(&self.sites).values().map(|site| (site.own_scope, site.name.clone())).collect();
        let now = self.nanos(now);
        let mut locked = Vec::new();
        self.clients.each(|client, state| {
            for kind in Kind::ALL {
                let failures = &state.failures[kind as usize];
                if let Some(left) = failures.locked(now) {
                    let site = names.get(&client.scope).cloned();
                    locked.push(LockedOut {
                        client: client.network.to_string(),
                        site,
                        kind,
                        left,
                        times: failures.times(),
                    });
                }
            }
        });
        locked.sort_by(|a, b| b.left.cmp(&a.left).then_with(|| a.client.cmp(&b.client)));
        locked
    }

    pub fn counts(&self) -> Counts {
        Counts {
            entries: self.clients.len(),
            dropped: self.clients.dropped(),
            lockouts: [self.lockouts[0].load(Relaxed), self.lockouts[1].load(Relaxed)],
        }
    }

    fn fresh(&self, client: Client) -> State {
        State { known: lock(&self.known).contains(&client.network), ..State::default() }
    }

    fn nanos(&self, now: Instant) -> Nanos {
        pace::nanos(now.saturating_duration_since(self.began))
    }
}

/// Who asks for what.
#[derive(Debug, Clone, Copy)]
pub struct Asking {
    pub address: IpAddr,
    pub what: Ask,
    pub fenced: bool,
    pub gateway: bool,
}

/// What these locks guard is valid at every step, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
