//! `Store`: the items of all loops, in shards by the key's hash.
//!
//! A shard's lock is held while an item is found, swapped or moved in its order, some tens of nanoseconds, and never over a
//! wait or a system call. Large values are made before and copied after: under the lock only a pointer changes hands.

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::Clock;

mod item;
mod shard;

pub use item::Item;
pub use shard::{Counts, Outcome, Put, Shard};

/// Bytes of a value up to which it is copied under the lock, which takes less time than to count its owners.
pub const SMALL_BYTES_MAX: usize = 1024;
/// Items of the largest size that a shard has room for at least.
const ITEMS_MIN: usize = 8;
/// Shards for each thread: two threads seldom want the same one.
const SHARDS_PER_THREAD: usize = 16;

/// What a store is made of.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Bytes of all items with what they cost; beyond, the least recently used of a shard give way.
    pub bytes_max: usize,
    /// Bytes of a value.
    pub item_bytes_max: usize,
    /// Threads that will use it.
    pub threads: usize,
}

/// Shared by all loops of a process. A clone is the same one.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shards: Box<[Mutex<Shard>]>,
    hasher: foldhash::fast::RandomState,
    clock: Clock,
    config: StoreConfig,
    connections: Connections,
}

/// How many connections there are and were.
#[derive(Debug, Default)]
pub struct Connections {
    /// At the moment.
    pub open: AtomicU64,
    /// Altogether.
    pub total: AtomicU64,
}

impl Store {
    /// An empty one.
    pub fn new(config: &StoreConfig) -> Store {
        let fit = (config.bytes_max / (ITEMS_MIN * config.item_bytes_max)).max(1);
        let wanted = (SHARDS_PER_THREAD * config.threads.max(1)).next_power_of_two();
        // A power of two that is not more than fit.
        let count = wanted.min(1 << fit.ilog2());
        let shards = (0..count).map(|_| Mutex::new(Shard::new(config.bytes_max / count))).collect();
        Store(Arc::new(Inner {
            shards,
            hasher: foldhash::fast::RandomState::default(),
            clock: Clock::new(),
            config: config.clone(),
            connections: Connections::default(),
        }))
    }

    /// Its bounds.
    pub fn config(&self) -> &StoreConfig {
        &self.0.config
    }

    /// Counts connections.
    pub fn connections(&self) -> &Connections {
        &self.0.connections
    }

    /// Now, in the store's seconds.
    #[inline]
    pub fn now(&self) -> u32 {
        self.0.clock.now()
    }

    /// Now, in seconds since 1970.
    pub fn unix(&self) -> i64 {
        self.0.clock.unix(self.now())
    }

    /// When what a client says is, in the store's seconds.
    #[inline]
    pub fn expires(&self, expiry: i64, now: u32) -> u32 {
        self.0.clock.expires(expiry, now)
    }

    /// Calls `f` with the shard of a key, locked, and the key's hash. `f` must not wait.
    #[inline]
    pub fn with<R>(&self, key: &[u8], f: impl FnOnce(&mut Shard, u64) -> R) -> R {
        let mut hasher = self.0.hasher.build_hasher();
        hasher.write(key);
        let hash = hasher.finish();
        // The table within a shard uses the lowest and the highest bits.
        let index = (hash >> 32) as usize & (self.0.shards.len() - 1);
        let mut shard = self.0.shards[index].lock().unwrap_or_else(PoisonError::into_inner);
        f(&mut shard, hash)
    }

    /// Everything that is there at `at` is gone from then on.
    pub fn flush(&self, at: u32, now: u32) {
        for shard in &self.0.shards {
            shard.lock().unwrap_or_else(PoisonError::into_inner).flush(at, now);
        }
    }

    /// The sums of all shards.
    pub fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        for shard in &self.0.shards {
            sum.add(&shard.lock().unwrap_or_else(PoisonError::into_inner).counts());
        }
        sum
    }

    /// Counts from zero again.
    pub fn reset_counts(&self) {
        for shard in &self.0.shards {
            shard.lock().unwrap_or_else(PoisonError::into_inner).reset_counts();
        }
        self.0.connections.total.store(0, Ordering::Relaxed);
    }
}
