//! `Item`: a key, its value, and what is known of it.

use std::sync::Arc;

/// What an item costs beside its key and its value: its place in the table and the slab, and two allocations.
pub(super) const OVERHEAD: usize = size_of::<Item>() + 48;

/// One entry of a shard.
#[derive(Debug)]
pub struct Item {
    pub(super) key: Box<[u8]>,
    /// With the line's end behind it, as it goes over the wire.
    pub(super) value: Arc<[u8]>,
    pub(super) hash: u64,
    /// Towards the most recently used.
    pub(super) newer: u32,
    /// Towards the least recently used.
    pub(super) older: u32,
    /// When it was stored, in the shard's count of stores: what is older than a flush is gone.
    pub(super) born: u64,
    /// What `cas` compares.
    pub cas: u64,
    /// The client's.
    pub flags: u32,
    /// 0 is never.
    pub expires: u32,
    /// The second of the last access.
    pub accessed: u32,
    /// It was read since it was stored.
    pub fetched: bool,
    /// It was invalidated, and may be served until somebody has replaced it.
    pub stale: bool,
    /// Somebody was told to replace it.
    pub won: bool,
}

impl Item {
    /// The value with CR LF behind it.
    #[inline]
    pub fn value(&self) -> &Arc<[u8]> {
        &self.value
    }

    /// The value alone.
    #[inline]
    pub fn data(&self) -> &[u8] {
        &self.value[..self.value.len() - 2]
    }

    /// What it costs.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.key.len() + self.value.len() + OVERHEAD
    }

    /// Seconds that it has left; -1 is without end.
    pub fn ttl(&self, now: u32) -> i64 {
        if self.expires == 0 { -1 } else { i64::from(self.expires.saturating_sub(now)) }
    }
}
