//! How many connections there may be: in total and per client, counted over the whole process.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use crate::network::Network;

/// Connections over a limit that may be open for the moment it takes to answer 429 or 503.
const ANSWERS: usize = 64;
/// Locks over which clients are spread, so that cores rarely meet at one.
const SHARDS: usize = 16;

/// The process's connection counters. A connection is counted for as long as its [`Permit`] lives.
#[derive(Debug)]
pub struct Admission {
    limit: AtomicUsize,
    limit_per_client: AtomicUsize,
    open: AtomicUsize,
    answering: AtomicUsize,
    /// Only clients with a connection have an entry, so memory is bounded by the limit on the total.
    clients: [Mutex<HashMap<Network, usize>>; SHARDS],
    hasher: RandomState,
    refused_total: AtomicU64,
    refused_client: AtomicU64,
}

/// Which limit a connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OverLimit {
    #[error("too many connections")]
    Total,
    #[error("too many connections from one client address")]
    Client,
}

impl OverLimit {
    /// The name in logs and labels.
    pub fn name(self) -> &'static str {
        match self {
            OverLimit::Total => "connection_limit",
            OverLimit::Client => "client_connection_limit",
        }
    }
}

/// For `status` and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub open: usize,
    pub limit: usize,
    pub refused_total: u64,
    pub refused_client: u64,
}

/// Whom a connection is counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    Client(IpAddr),
    /// A trusted proxy: it carries many clients, which [`Permit::charge`] counts where they are known.
    Nobody,
}

impl Admission {
    /// `limit` connections in total, `limit_per_client` for each client.
    pub fn new(limit: usize, limit_per_client: usize) -> Arc<Admission> {
        Arc::new(Admission {
            limit: limit.into(),
            limit_per_client: limit_per_client.into(),
            open: 0.into(),
            answering: 0.into(),
            clients: Default::default(),
            hasher: RandomState::new(),
            refused_total: 0.into(),
            refused_client: 0.into(),
        })
    }

    /// New limits after a reload. Connections that are open stay, even above a lower limit.
    pub fn set_limits(&self, limit: usize, limit_per_client: usize) {
        self.limit.store(limit, Relaxed);
        self.limit_per_client.store(limit_per_client, Relaxed);
    }

    /// A place for one more connection.
    pub fn admit(self: &Arc<Self>, charge: Charge) -> Result<Permit, OverLimit> {
        if !take(&self.open, self.limit.load(Relaxed)) {
            self.refused_total.fetch_add(1, Relaxed);
            return Err(OverLimit::Total);
        }
        let mut permit = Permit { admission: self.clone(), place: Place::Counted(None) };
        if let Charge::Client(address) = charge {
            permit.charge(address)?;
        }
        Ok(permit)
    }

    /// A place for a connection over a limit, only to be told so; `None` when too many are being told already.
    pub fn admit_answer(self: &Arc<Self>) -> Option<Permit> {
        take(&self.answering, ANSWERS).then(|| Permit { admission: self.clone(), place: Place::Answer })
    }

    pub fn counts(&self) -> Counts {
        Counts {
            open: self.open.load(Relaxed),
            limit: self.limit.load(Relaxed),
            refused_total: self.refused_total.load(Relaxed),
            refused_client: self.refused_client.load(Relaxed),
        }
    }

    fn shard(&self, client: Network) -> MutexGuard<'_, HashMap<Network, usize>> {
        // Clients choose their addresses: the shard must not be theirs to choose.
        let shard = self.hasher.hash_one(client) as usize % SHARDS;
        // Nothing can panic between two halves of a count.
        self.clients[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, client: Network) -> Result<(), OverLimit> {
        let limit = self.limit_per_client.load(Relaxed);
        let mut shard = self.shard(client);
        let open = shard.get(&client).copied().unwrap_or(0);
        if open >= limit {
            drop(shard);
            self.refused_client.fetch_add(1, Relaxed);
            return Err(OverLimit::Client);
        }
        shard.insert(client, open + 1);
        Ok(())
    }

    fn leave(&self, client: Network) {
        if let Entry::Occupied(mut open) = self.shard(client).entry(client) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }
}

/// One more, if that is within the limit.
fn take(counter: &AtomicUsize, limit: usize) -> bool {
    counter.fetch_update(Relaxed, Relaxed, |n| (n < limit).then_some(n + 1)).is_ok()
}

/// A connection's place; dropping it gives the place back.
#[derive(Debug)]
pub struct Permit {
    admission: Arc<Admission>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Counted(Option<Network>),
    Answer,
}

impl Permit {
    /// Counts the connection for the client at `address` from here on, where a trusted proxy has told us who that is.
    ///
    /// Over that client's limit the connection is counted for nobody, and its owner has to end it.
    pub fn charge(&mut self, address: IpAddr) -> Result<(), OverLimit> {
        let Place::Counted(charged) = &mut self.place else { return Ok(()) };
        let client = Network::from(address);
        if *charged == Some(client) {
            return Ok(());
        }
        if let Some(before) = charged.take() {
            self.admission.leave(before);
        }
        self.admission.enter(client)?;
        *charged = Some(client);
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        match self.place {
            Place::Counted(client) => {
                if let Some(client) = client {
                    self.admission.leave(client);
                }
                self.admission.open.fetch_sub(1, Relaxed);
            }
            Place::Answer => {
                self.admission.answering.fetch_sub(1, Relaxed);
            }
        }
    }
}

/// The default for the total: a third of the descriptors this process may open. A connection needs two, ours and the
/// upstream's, and the rest is for everything else.
pub fn default_limit() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live rlimit of our own.
    let answer = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    assert_eq!(answer, 0, "getrlimit knows RLIMIT_NOFILE and the pointer is valid");
    // RLIM_INFINITY is the largest number.
    usize::try_from(limit.rlim_cur / 3).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str) -> Charge {
        Charge::Client(address.parse().unwrap())
    }

    #[test]
    fn a_place_is_given_back_when_its_connection_ends() {
        let admission = Admission::new(2, 2);
        let first = admission.admit(client("192.0.2.1")).unwrap();
        let _second = admission.admit(client("192.0.2.2")).unwrap();
        assert_eq!(admission.admit(client("192.0.2.3")).unwrap_err(), OverLimit::Total);
        drop(first);
        admission.admit(client("192.0.2.3")).unwrap();
        assert_eq!(admission.counts(), Counts { open: 1, limit: 2, refused_total: 1, refused_client: 0 });
    }

    #[test]
    fn one_client_cannot_take_everybodys_places() {
        let admission = Admission::new(100, 2);
        let held: Vec<Permit> = (0..2).map(|_| admission.admit(client("192.0.2.1")).unwrap()).collect();
        assert_eq!(admission.admit(client("192.0.2.1")).unwrap_err(), OverLimit::Client);
        assert_eq!(admission.admit(client("::ffff:192.0.2.1")).unwrap_err(), OverLimit::Client, "the same address");
        admission.admit(client("192.0.2.2")).unwrap();
        assert_eq!(admission.counts().open, 2, "a refused connection holds no place");
        drop(held);
        admission.admit(client("192.0.2.1")).unwrap();
        assert!(admission.clients.iter().all(|shard| shard.lock().unwrap().is_empty()), "nor memory");
    }

    #[test]
    fn an_ipv6_client_is_its_64() {
        let admission = Admission::new(100, 1);
        let _held = admission.admit(client("2001:db8:0:1::1")).unwrap();
        assert_eq!(admission.admit(client("2001:db8:0:1:ffff::2")).unwrap_err(), OverLimit::Client);
        admission.admit(client("2001:db8:0:2::1")).unwrap();
    }

    #[test]
    fn a_trusted_proxy_is_counted_by_its_clients() {
        let admission = Admission::new(100, 1);
        let mut one = admission.admit(Charge::Nobody).unwrap();
        let mut two = admission.admit(Charge::Nobody).unwrap();
        let address = "192.0.2.1".parse().unwrap();
        one.charge(address).unwrap();
        one.charge(address).unwrap();
        assert_eq!(two.charge(address), Err(OverLimit::Client));
        drop(one);
        two.charge(address).unwrap();
        two.charge("192.0.2.2".parse().unwrap()).unwrap();
        admission.admit(Charge::Client(address)).unwrap();
    }

    #[test]
    fn answers_to_those_over_the_limit_are_bounded_too() {
        let admission = Admission::new(0, 0);
        let answers: Vec<Permit> = std::iter::from_fn(|| admission.admit_answer()).collect();
        assert_eq!(answers.len(), ANSWERS);
        drop(answers);
        assert!(admission.admit_answer().is_some());
        assert_eq!(admission.counts().open, 0);
    }

    #[test]
    fn a_reload_lowers_the_limit_for_new_connections_only() {
        let admission = Admission::new(10, 10);
        let held: Vec<Permit> = (0..5).map(|_| admission.admit(client("192.0.2.1")).unwrap()).collect();
        admission.set_limits(3, 3);
        assert_eq!(admission.admit(client("192.0.2.2")).unwrap_err(), OverLimit::Total);
        drop(held);
        admission.admit(client("192.0.2.2")).unwrap();
    }

    #[test]
    fn the_counters_hold_when_all_cores_count_at_once() {
        const LIMIT: usize = 8;
        let admission = Admission::new(LIMIT, 4);
        std::thread::scope(|scope| {
            for core in 0u8..4 {
                let admission = &admission;
                scope.spawn(move || {
                    let mut held = Vec::new();
                    for turn in 0u32..5000 {
                        held.extend(admission.admit(Charge::Client([192, 0, 2, (turn % 3) as u8].into())));
                        assert!(admission.counts().open <= LIMIT);
                        if turn % (u32::from(core) + 2) == 0 {
                            held.pop();
                        }
                    }
                });
            }
        });
        assert_eq!(admission.counts().open, 0);
        assert!(admission.clients.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }

    #[test]
    fn the_default_is_a_third_of_the_descriptors() {
        let limit = default_limit();
        assert!(limit >= 1);
        let text = std::fs::read_to_string("/proc/self/limits").unwrap();
        let line = text.lines().find(|line| line.starts_with("Max open files")).unwrap();
        if let Ok(soft) = line.split_ascii_whitespace().nth(3).unwrap().parse::<usize>() {
            assert_eq!(limit, soft / 3);
        }
    }
}
