//! Somebody from outside comes with a name whose certificate is waited for: the network may be mended. The control thread
//! says which names it waits for, the connection cores say who came.
//!
//! While nothing is waited for this costs a connection one relaxed load; while something is, a name is told at most once
//! in [`EACH`].

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

/// Strangers wake the control thread no more often for one name.
pub const EACH: Duration = Duration::from_secs(10);

/// Somebody came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Knock {
    /// The name or address that was asked for, as it was waited for.
    pub name: String,
    pub from: IpAddr,
    pub door: Door,
}

/// Where: what came through there shows which challenge can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Http,
    Https,
}

#[derive(Debug)]
pub struct Knocks {
    /// Something is waited for: the only thing that is looked at otherwise.
    any: AtomicBool,
    /// When each name was told last, in milliseconds since `began`, and one more; 0 is never.
    waited: RwLock<HashMap<Box<str>, AtomicU64>>,
    heard: Mutex<Vec<Knock>>,
    news: Notify,
    began: Instant,
}

impl Default for Knocks {
    fn default() -> Knocks {
        Knocks {
            any: AtomicBool::new(false),
            waited: RwLock::default(),
            heard: Mutex::default(),
            news: Notify::new(),
            began: Instant::now(),
        }
    }
}

impl Knocks {
    /// Waits for these names, and for no others.
    pub fn wait_for(&self, names: impl IntoIterator<Item = String>) {
        let mut waited = self.waited.write().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *waited);
        waited.extend(names.into_iter().map(|name| {
            let told = before.remove(name.as_str()).unwrap_or_default();
            (name.into_boxed_str(), told)
        }));
        self.any.store(!waited.is_empty(), Ordering::Relaxed);
    }

    /// Whether anything is waited for.
    pub fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// `peer` came to our address `local` with `name` (lower case, no trailing dot, an address without brackets). This
    /// machine itself is nobody from outside.
    pub fn heard(&self, name: &str, peer: IpAddr, local: Option<IpAddr>, door: Door) {
        let (peer, local) = (peer.to_canonical(), local.map(|ip| ip.to_canonical()));
        if !self.any() || peer.is_loopback() || peer.is_unspecified() || local == Some(peer) {
            return;
        }
        let waited = self.waited.read().unwrap_or_else(PoisonError::into_inner);
        let Some(told) = waited.get(name) else { return };
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1;
        let before = told.load(Ordering::Relaxed);
        if !is_due(before, now) || told.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        let knock = Knock { name: name.to_owned(), from: peer, door };
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).push(knock);
        self.news.notify_one();
    }

    /// The next ones who came, for the one that waits.
    pub async fn next(&self) -> Vec<Knock> {
        loop {
            let heard = std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner));
            if !heard.is_empty() {
                return heard;
            }
            self.news.notified().await;
        }
    }
}

fn is_due(told: u64, now: u64) -> bool {
    told == 0 || now.saturating_sub(told) >= EACH.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTSIDE: &str = "192.0.2.9";

    fn heard(knocks: &Knocks, name: &str, peer: &str, local: &str) -> usize {
        knocks.heard(name, peer.parse().unwrap(), local.parse().ok(), Door::Https);
        knocks.heard.lock().unwrap().len()
    }

    #[test]
    fn only_an_outsider_with_a_name_that_is_waited_for_is_heard() {
        let knocks = Knocks::default();
        assert_eq!(heard(&knocks, "a.test", OUTSIDE, "192.0.2.1"), 0);
        knocks.wait_for(["a.test".to_owned()]);
        for (name, peer) in [("b.test", OUTSIDE), ("a.test", "127.0.0.9"), ("a.test", "::1"), ("a.test", "192.0.2.1")] {
            assert_eq!(heard(&knocks, name, peer, "192.0.2.1"), 0, "{name} {peer}");
        }
        // An IPv4 client of a dual-stack listener.
        assert_eq!(heard(&knocks, "a.test", "::ffff:192.0.2.1", "192.0.2.1"), 0);
        assert_eq!(heard(&knocks, "a.test", OUTSIDE, "192.0.2.1"), 1);
        knocks.wait_for([]);
        assert!(!knocks.any());
        assert_eq!(heard(&knocks, "a.test", OUTSIDE, "192.0.2.1"), 1);
    }

    #[test]
    fn a_name_is_told_once_in_ten_seconds_also_where_it_is_waited_for_anew() {
        let knocks = Knocks::default();
        knocks.wait_for(["a.test".to_owned(), "b.test".to_owned()]);
        for _ in 0..100 {
            heard(&knocks, "a.test", OUTSIDE, "192.0.2.1");
        }
        knocks.wait_for(["a.test".to_owned(), "b.test".to_owned()]);
        assert_eq!(heard(&knocks, "a.test", OUTSIDE, "192.0.2.1"), 1);
        assert_eq!(heard(&knocks, "b.test", OUTSIDE, "192.0.2.1"), 2);
        assert!(is_due(0, 1) && !is_due(1, 10_000) && is_due(1, 10_001));
    }

    #[tokio::test]
    async fn who_waits_gets_every_knock_once() {
        let knocks = Knocks::default();
        knocks.wait_for(["a.test".to_owned()]);
        heard(&knocks, "a.test", OUTSIDE, "192.0.2.1");
        let knock = Knock { name: "a.test".into(), from: OUTSIDE.parse().unwrap(), door: Door::Https };
        assert_eq!(knocks.next().await, [knock]);
        let again = tokio::time::timeout(Duration::from_millis(1), knocks.next());
        assert!(again.await.is_err());
    }
}
