//! Idle connections to upstreams, one pool per core, without locks.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use super::{Source, http1::Connection};

/// At most this many idle connections per upstream and identity are kept on a core.
const KEEP: usize = 256;

/// One identity's way to one upstream; two identities never share a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// [`super::Upstream::id`].
    pub upstream: u64,
    pub source: Source,
}

struct Idle {
    key: Key,
    since: Instant,
    connection: Connection,
}

#[derive(Default)]
pub struct Pool {
    idle: RefCell<Vec<Idle>>,
}

impl Pool {
    /// The youngest usable connection. `look` asks the kernel first: for a request that cannot be sent twice.
    pub fn take(&self, key: Key, now: Instant, max_idle: Duration, look: bool) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        let mut at = idle.len();
        while at > 0 {
            at -= 1;
            if idle[at].key != key {
                continue;
            }
            let Idle { since, mut connection, .. } = idle.remove(at);
            if now.saturating_duration_since(since) >= max_idle || connection.is_stale(look) {
                continue;
            }
            connection.is_reused();
            return Some(connection);
        }
        None
    }

    pub fn put(&self, key: Key, connection: Connection, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= KEEP
            && idle.iter().filter(|i| i.key == key).count() >= KEEP
            && let Some(oldest) = idle.iter().position(|i| i.key == key)
        {
            idle.remove(oldest);
        }
        idle.push(Idle { key, since: now, connection });
    }

    /// Closes what is kept for `key`: who keeps silent on one connection is not asked over the others.
    pub fn close(&self, key: Key) {
        self.idle.borrow_mut().retain(|idle| idle.key != key);
    }

    /// Connections that wait for their next request.
    pub fn len(&self) -> usize {
        self.idle.borrow().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Closes what has been idle too long, and what its upstream has closed: called by the core about once a second.
    pub fn sweep(&self, now: Instant, max_idle: Duration) {
        self.idle
            .borrow_mut()
            .retain(|i| now.saturating_duration_since(i.since) < max_idle && !i.connection.is_stale(false));
    }
}
