//! `Shard`: a hash table over a slab of items, which are linked in the order of their last use.
//!
//! ```text
//!   table: hash → index        items: [ item | free | item | … ]       newest ⇄ … ⇄ oldest
//! ```

use std::sync::Arc;

use hashbrown::HashTable;

use super::item::Item;

/// No index.
const NONE: u32 = u32::MAX;

/// One part of a store, behind a lock.
#[derive(Debug)]
pub struct Shard {
    table: HashTable<u32>,
    items: Vec<Option<Item>>,
    free: Vec<u32>,
    newest: u32,
    oldest: u32,
    bytes: usize,
    bytes_max: usize,
    /// Counts what is stored; also the next `cas`.
    stores: u64,
    /// Items that were stored up to here are gone.
    flushed: u64,
    /// When a flush is due; 0 for none.
    flush_at: u32,
    counts: Counts,
}

/// What was counted, by memcached's names.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "their names are those of memcached's `stats`, which explains them")]
pub struct Counts {
    pub curr_items: u64,
    pub total_items: u64,
    pub bytes: u64,
    pub evictions: u64,
    pub cmd_get: u64,
    pub get_hits: u64,
    pub get_misses: u64,
    pub get_expired: u64,
    pub get_flushed: u64,
    pub cmd_set: u64,
    pub cmd_touch: u64,
    pub touch_hits: u64,
    pub touch_misses: u64,
    pub delete_hits: u64,
    pub delete_misses: u64,
    pub incr_hits: u64,
    pub incr_misses: u64,
    pub decr_hits: u64,
    pub decr_misses: u64,
    pub cas_hits: u64,
    pub cas_misses: u64,
    pub cas_badval: u64,
}

/// What is to be stored.
#[derive(Debug)]
pub struct Put<'p> {
    /// The value with CR LF behind it: copied here, or made before.
    pub value: Result<&'p [u8], Arc<[u8]>>,
    /// The client's.
    pub flags: u32,
    /// 0 is never.
    pub expires: u32,
    /// The new `cas`, if it is given.
    pub cas: Option<u64>,
}

/// What became of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was met.
    Stored,
    /// The item is there, or is not, against the condition.
    NotStored,
    /// It has changed.
    Exists,
    /// There is none.
    NotFound,
}

impl Shard {
    pub(super) fn new(bytes_max: usize) -> Shard {
        Shard {
            table: HashTable::new(),
            items: Vec::new(),
            free: Vec::new(),
            newest: NONE,
            oldest: NONE,
            bytes: 0,
            bytes_max,
            stores: 0,
            flushed: 0,
            flush_at: 0,
            counts: Counts::default(),
        }
    }

    /// The item of a key that is there now; one that has expired goes.
    #[inline]
    pub fn find(&mut self, hash: u64, key: &[u8], now: u32) -> Option<u32> {
        // Before anything is stored, so that it is not taken for older than it is.
        if self.flush_at != 0 && now >= self.flush_at {
            (self.flushed, self.flush_at) = (self.stores, 0);
        }
        let items = &self.items;
        let is_it = |index: &u32| items[*index as usize].as_ref().is_some_and(|item| *item.key == *key);
        let index = *self.table.find(hash, is_it)?;
        let item = self.item(index);
        let is_over = item.expires != 0 && item.expires <= now;
        if is_over || item.born <= self.flushed {
            self.counts.get_expired += u64::from(is_over);
            self.counts.get_flushed += u64::from(!is_over);
            self.remove(index);
            return None;
        }
        Some(index)
    }

    /// As [`Shard::look`]; the reader is noted.
    #[inline]
    pub fn get(&mut self, hash: u64, key: &[u8], now: u32) -> Option<&mut Item> {
        let item = self.look(hash, key, now)?;
        (item.accessed, item.fetched) = (now, true);
        Some(item)
    }

    /// As [`Shard::find`], for a reader: it is counted, and the item is the most recently used one.
    #[inline]
    pub fn look(&mut self, hash: u64, key: &[u8], now: u32) -> Option<&mut Item> {
        self.counts.cmd_get += 1;
        let Some(index) = self.find(hash, key, now) else {
            self.counts.get_misses += 1;
            return None;
        };
        self.counts.get_hits += 1;
        self.use_now(index);
        Some(self.item_mut(index))
    }

    /// The item at an index of [`Shard::find`].
    #[inline]
    pub fn item(&self, index: u32) -> &Item {
        self.items[index as usize].as_ref().expect("an index in the table is that of an item")
    }

    /// As [`Shard::item`], to change it.
    #[inline]
    pub fn item_mut(&mut self, index: u32) -> &mut Item {
        self.items[index as usize].as_mut().expect("an index in the table is that of an item")
    }

    /// What is counted.
    #[inline]
    pub fn counts_mut(&mut self) -> &mut Counts {
        &mut self.counts
    }

    /// Stores an item, over `old` if there is one with its key. Its new `cas`, and a large value to be dropped once the lock
    /// is given back.
    #[inline]
    pub fn put(
        &mut self,
        hash: u64,
        key: &[u8],
        old: Option<u32>,
        put: Put<'_>,
        now: u32,
    ) -> (u64, Option<Arc<[u8]>>) {
        self.counts.cmd_set += 1;
        self.counts.total_items += 1;
        let (born, cas) = self.next_store(put.cas);
        let (index, dropped) = match old {
            Some(index) => {
                let dropped = self.replace_value(index, put.value);
                let item = self.item_mut(index);
                (item.flags, item.expires) = (put.flags, put.expires);
                (item.cas, item.born, item.accessed) = (cas, born, now);
                (item.fetched, item.stale, item.won) = (false, false, false);
                self.use_now(index);
                (index, dropped)
            }
            None => {
                let item = Item {
                    key: key.into(),
                    value: put.value.map_or_else(|value| value, Arc::from),
                    hash,
                    newer: NONE,
                    older: NONE,
                    born,
                    cas,
                    flags: put.flags,
                    expires: put.expires,
                    accessed: now,
                    fetched: false,
                    stale: false,
                    won: false,
                };
                (self.insert(item), None)
            }
        };
        self.evict(index, now);
        (cas, dropped)
    }

    /// Changes an item's value and nothing else but its `cas`, which it returns.
    pub fn rewrite(&mut self, index: u32, value: &[u8], cas: Option<u64>) -> u64 {
        let (born, cas) = self.next_store(cas);
        drop(self.replace_value(index, Ok(value)));
        let item = self.item_mut(index);
        (item.cas, item.born) = (cas, born);
        self.use_now(index);
        cas
    }

    fn next_store(&mut self, cas: Option<u64>) -> (u64, u64) {
        self.stores += 1;
        (self.stores, cas.unwrap_or(self.stores))
    }

    /// A value of the same length that nobody else has is written over.
    #[inline]
    fn replace_value(&mut self, index: u32, value: Result<&[u8], Arc<[u8]>>) -> Option<Arc<[u8]>> {
        let item = self.item_mut(index);
        let before = item.value.len();
        let new: Arc<[u8]> = match value {
            Ok(bytes) => match Arc::get_mut(&mut item.value).filter(|old| old.len() == bytes.len()) {
                Some(old) => {
                    old.copy_from_slice(bytes);
                    return None;
                }
                None => bytes.into(),
            },
            Err(value) => value,
        };
        let after = new.len();
        let dropped = std::mem::replace(&mut item.value, new);
        self.bytes = self.bytes + after - before;
        Some(dropped)
    }

    /// Makes room by the least recently used, but not by `kept`.
    #[inline]
    fn evict(&mut self, kept: u32, now: u32) {
        while self.bytes > self.bytes_max && self.oldest != kept {
            let is_over = self.item(self.oldest).ttl(now) == 0;
            self.counts.evictions += u64::from(!is_over);
            self.remove(self.oldest);
        }
    }

    fn insert(&mut self, item: Item) -> u32 {
        let (hash, bytes) = (item.hash, item.bytes());
        let index = match self.free.pop() {
            Some(index) => {
                self.items[index as usize] = Some(item);
                index
            }
            None => {
                self.items.push(Some(item));
                self.items.len() as u32 - 1
            }
        };
        let items = &self.items;
        let rehash = |index: &u32| items[*index as usize].as_ref().map_or(0, |item| item.hash);
        self.table.insert_unique(hash, index, rehash);
        self.bytes += bytes;
        self.link(index);
        index
    }

    /// Removes an item; its value is to be dropped once the lock is given back.
    pub fn remove(&mut self, index: u32) -> Option<Arc<[u8]>> {
        self.unlink(index);
        let item = self.items[index as usize].take()?;
        if let Ok(entry) = self.table.find_entry(item.hash, |other| *other == index) {
            entry.remove();
        }
        self.free.push(index);
        self.bytes -= item.bytes();
        Some(item.value)
    }

    /// It is the most recently used one.
    #[inline]
    pub fn use_now(&mut self, index: u32) {
        if self.newest != index {
            self.unlink(index);
            self.link(index);
        }
    }

    fn link(&mut self, index: u32) {
        let before = std::mem::replace(&mut self.newest, index);
        let item = self.item_mut(index);
        (item.newer, item.older) = (NONE, before);
        match before {
            NONE => self.oldest = index,
            before => self.item_mut(before).newer = index,
        }
    }

    fn unlink(&mut self, index: u32) {
        let (newer, older) = (self.item(index).newer, self.item(index).older);
        match newer {
            NONE => self.newest = older,
            newer => self.item_mut(newer).older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.item_mut(older).newer = newer,
        }
    }

    pub(super) fn flush(&mut self, at: u32, now: u32) {
        match at <= now {
            true => (self.flushed, self.flush_at) = (self.stores, 0),
            false => self.flush_at = at,
        }
    }

    pub(super) fn counts(&self) -> Counts {
        Counts { curr_items: self.table.len() as u64, bytes: self.bytes as u64, ..self.counts.clone() }
    }

    pub(super) fn reset_counts(&mut self) {
        self.counts = Counts::default();
    }
}

impl Counts {
    pub(super) fn add(&mut self, other: &Counts) {
        let pairs = [
            (&mut self.curr_items, other.curr_items),
            (&mut self.total_items, other.total_items),
            (&mut self.bytes, other.bytes),
            (&mut self.evictions, other.evictions),
            (&mut self.cmd_get, other.cmd_get),
            (&mut self.get_hits, other.get_hits),
            (&mut self.get_misses, other.get_misses),
            (&mut self.get_expired, other.get_expired),
            (&mut self.get_flushed, other.get_flushed),
            (&mut self.cmd_set, other.cmd_set),
            (&mut self.cmd_touch, other.cmd_touch),
            (&mut self.touch_hits, other.touch_hits),
            (&mut self.touch_misses, other.touch_misses),
            (&mut self.delete_hits, other.delete_hits),
            (&mut self.delete_misses, other.delete_misses),
            (&mut self.incr_hits, other.incr_hits),
            (&mut self.incr_misses, other.incr_misses),
            (&mut self.decr_hits, other.decr_hits),
            (&mut self.decr_misses, other.decr_misses),
            (&mut self.cas_hits, other.cas_hits),
            (&mut self.cas_misses, other.cas_misses),
            (&mut self.cas_badval, other.cas_badval),
        ];
        for (sum, more) in pairs {
            *sum += more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::item::OVERHEAD;
    use super::*;

    fn put(shard: &mut Shard, key: &[u8], value: &[u8]) {
        let old = shard.find(7, key, 5);
        let put = Put { value: Ok(value), flags: 0, expires: 0, cas: None };
        drop(shard.put(7, key, old, put, 5));
    }

    /// All keys have one hash here: they are told apart all the same.
    #[test]
    fn the_least_recently_used_give_way_when_there_is_no_room() {
        let each = 1 + 3 + OVERHEAD;
        let mut shard = Shard::new(3 * each);
        for key in [b"a", b"b", b"c"] {
            put(&mut shard, key, b"1\r\n");
        }
        assert!(shard.get(7, b"a", 5).is_some());
        put(&mut shard, b"d", b"1\r\n");
        let there: Vec<bool> =
            [b"a", b"b", b"c", b"d"].iter().map(|key| shard.find(7, *key, 5).is_some()).collect();
        assert_eq!(there, [true, false, true, true]);
        assert_eq!((shard.counts().evictions, shard.counts().bytes as usize), (1, 3 * each));
    }

    #[test]
    fn what_has_expired_or_was_flushed_is_gone_and_its_bytes_with_it() {
        let mut shard = Shard::new(1 << 20);
        put(&mut shard, b"a", b"1\r\n");
        let index = shard.find(7, b"a", 5).unwrap();
        shard.item_mut(index).expires = 10;
        assert!(shard.find(7, b"a", 9).is_some() && shard.find(7, b"a", 10).is_none());
        put(&mut shard, b"b", b"1\r\n");
        shard.flush(5, 5);
        assert!(shard.find(7, b"b", 5).is_none());
        put(&mut shard, b"c", b"1\r\n");
        shard.flush(8, 5);
        assert!(shard.find(7, b"c", 7).is_some() && shard.find(7, b"c", 8).is_none());
        assert_eq!((shard.counts().bytes, shard.counts().curr_items), (0, 0));
    }
}
