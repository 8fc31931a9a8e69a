//! One entry for each client, so many and no more; who was idle longest goes first.

use std::{
    hash::{BuildHasher, RandomState},
    num::NonZeroUsize,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use lru::LruCache;

use super::Client;

/// Locks over which clients are spread, so that cores rarely meet at one.
pub(super) const SHARDS: usize = 64;

pub(super) struct Table<V> {
    shards: Box<[Mutex<LruCache<Client, V, RandomState>>]>,
    hasher: RandomState,
    dropped: AtomicU64,
}

impl<V> Table<V> {
    pub(super) fn new(entries: usize, shards: usize) -> Table<V> {
        let each = NonZeroUsize::new(entries / shards).unwrap_or(NonZeroUsize::MIN);
        // Clients choose their addresses: neither shard nor bucket must be theirs to choose.
        let shard = || Mutex::new(LruCache::with_hasher(each, RandomState::new()));
        Table {
            shards: std::iter::repeat_with(shard).take(shards).collect(),
            hasher: RandomState::new(),
            dropped: AtomicU64::new(0),
        }
    }

    /// The client's entry, made if there is none.
    #[inline]
    pub(super) fn with<R>(&self, client: Client, make: impl FnOnce() -> V, act: impl FnOnce(&mut V) -> R) -> R {
        let mut shard = self.shard(client);
        if let Some(value) = shard.get_mut(&client) {
            return act(value);
        }
        let mut value = make();
        let result = act(&mut value);
        if shard.push(client, value).is_some() {
            self.dropped.fetch_add(1, Relaxed);
        }
        result
    }

    pub(super) fn existing<R>(&self, client: Client, act: impl FnOnce(&mut V) -> R) -> Option<R> {
        self.shard(client).get_mut(&client).map(act)
    }

    /// Every entry, a shard at a time; none becomes younger by it.
    pub(super) fn each(&self, mut see: impl FnMut(Client, &V)) {
        for shard in &self.shards {
            for (client, value) in super::lock(shard).iter() {
                see(*client, value);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| super::lock(shard).len()).sum()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    fn shard(&self, client: Client) -> MutexGuard<'_, LruCache<Client, V, RandomState>> {
        super::lock(&self.shards[self.hasher.hash_one(client) as usize % self.shards.len()])
    }
}

impl<V> std::fmt::Debug for Table<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("entries", &self.len()).field("dropped", &self.dropped()).finish()
    }
}
