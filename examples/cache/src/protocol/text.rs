//! The classic commands.

use std::sync::Arc;

use super::words::Words;
use super::{BAD_CHUNK, BAD_LINE, Call, Done, ERROR, KEY_BYTES_MAX, TOO_LARGE, number};
use crate::store::{Item, Outcome, Put, SMALL_BYTES_MAX, Shard, Store};

/// How an item is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Set,
    Add,
    Replace,
    Append,
    Prepend,
    /// If it is what the client has seen.
    Cas,
}

/// What a storage command says.
#[derive(Debug)]
pub(super) struct Order<'o> {
    pub(super) key: &'o [u8],
    pub(super) flags: u32,
    pub(super) expires: u32,
    /// What the item has to be, and what it is to become.
    pub(super) compare: Option<u64>,
    pub(super) new_cas: Option<u64>,
    /// Where it has changed since, it is stored all the same, and is stale.
    pub(super) invalidates: bool,
    /// With CR LF behind it.
    pub(super) value: &'o [u8],
}

impl Call<'_> {
    #[inline]
    pub(super) fn get(&mut self, keys: Words<'_>, with_cas: bool) -> Done {
        self.get_all(keys, with_cas, None)
    }

    pub(super) fn get_and_touch(&mut self, mut words: Words<'_>, with_cas: bool) -> Done {
        let Some(expiry) = words.next() else { return self.say(ERROR) };
        match number::signed(expiry) {
            Some(expiry) => self.get_all(words, with_cas, Some(self.store.expires(expiry, self.now))),
            None => self.say(b"CLIENT_ERROR invalid exptime argument\r\n"),
        }
    }

    #[inline]
    fn get_all(&mut self, keys: Words<'_>, with_cas: bool, touch: Option<u32>) -> Done {
        let before = self.out.len();
        // A time alone is enough for memcached.
        let mut found_a_key = touch.is_some();
        for key in keys {
            found_a_key = true;
            if key.len() > KEY_BYTES_MAX {
                self.out.truncate(before);
                return self.say(BAD_LINE);
            }
            self.get_one(key, with_cas, touch);
        }
        if found_a_key { self.say(b"END\r\n") } else { self.say(ERROR) }
    }

    #[inline]
    fn get_one(&mut self, key: &[u8], with_cas: bool, touch: Option<u32>) {
        let (now, out) = (self.now, &mut *self.out);
        let large = self.store.with(key, |shard, hash| {
            if touch.is_some() {
                shard.counts_mut().cmd_touch += 1;
            }
            let item = shard.get(hash, key, now)?;
            item.expires = touch.unwrap_or(item.expires);
            let mut digits = itoa::Buffer::new();
            out.extend_from_slice(b"VALUE ");
            out.extend_from_slice(key);
            out.push(b' ');
            out.extend_from_slice(digits.format(item.flags).as_bytes());
            out.push(b' ');
            out.extend_from_slice(digits.format(item.data().len()).as_bytes());
            if with_cas {
                out.push(b' ');
                out.extend_from_slice(digits.format(item.cas).as_bytes());
            }
            out.extend_from_slice(b"\r\n");
            copy_small(item, out)
        });
        if let Some(value) = large {
            self.out.extend_from_slice(&value);
        }
    }

    #[inline]
    pub(super) fn put(&mut self, mut words: Words<'_>, mode: Mode) -> Done {
        let is_quiet = words.is_noreply();
        let (Some(key), Some(flags), Some(expiry), Some(bytes)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return self.say(ERROR);
        };
        let compare = if mode == Mode::Cas { words.next() } else { None };
        if mode == Mode::Cas && compare.is_none() {
            return self.say(ERROR);
        }
        let numbers = (number::flags(flags), number::signed(expiry), number::length(bytes));
        let compare = compare.map(number::unsigned);
        let (Some(flags), Some(expiry), Some(bytes)) = numbers else { return self.say(BAD_LINE) };
        if key.len() > KEY_BYTES_MAX || compare == Some(None) {
            return self.say(BAD_LINE);
        }
        if bytes > self.store.config().item_bytes_max {
            return self.refuse_large(key, bytes, mode == Mode::Set);
        }
        let value = match self.value(bytes) {
            Ok(value) => value,
            Err(done) => return done,
        };
        if !value.ends_with(b"\r\n") {
            self.say(BAD_CHUNK);
            return Done::Used(bytes + 2);
        }
        let expires = self.store.expires(expiry, self.now);
        let compare = compare.flatten();
        let order = Order { key, flags, expires, compare, new_cas: None, invalidates: false, value };
        let (outcome, _) = store(self.store, self.now, mode, &order);
        let text: &[u8] = match outcome {
            Outcome::Stored => b"STORED\r\n",
            Outcome::NotStored => b"NOT_STORED\r\n",
            Outcome::Exists => b"EXISTS\r\n",
            Outcome::NotFound => b"NOT_FOUND\r\n",
        };
        self.tell(text, is_quiet);
        Done::Used(bytes + 2)
    }

    /// The value is read and thrown away. A `set` leaves nothing old behind, which its client means to be gone.
    pub(super) fn refuse_large(&mut self, key: &[u8], bytes: usize, replaces: bool) -> Done {
        if replaces {
            let now = self.now;
            self.store
                .with(key, |shard, hash| shard.find(hash, key, now).and_then(|index| shard.remove(index)));
        }
        self.say(TOO_LARGE);
        Done::Swallow(bytes + 2)
    }

    pub(super) fn delete(&mut self, mut words: Words<'_>) -> Done {
        let is_quiet = words.is_noreply();
        let Some(key) = words.next() else { return self.say(ERROR) };
        if key.len() > KEY_BYTES_MAX {
            return self.say(BAD_LINE);
        }
        // Long ago a time could be said here; 0 still may be.
        if words.next().is_some_and(|word| word != b"0" && word != b"noreply") {
            return self.say(b"CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n");
        }
        let now = self.now;
        let removed = self.store.with(key, |shard, hash| {
            let index = shard.find(hash, key, now);
            let counts = shard.counts_mut();
            counts.delete_hits += u64::from(index.is_some());
            counts.delete_misses += u64::from(index.is_none());
            index.map(|index| shard.remove(index))
        });
        self.tell(if removed.is_some() { b"DELETED\r\n" } else { b"NOT_FOUND\r\n" }, is_quiet)
    }

    pub(super) fn touch(&mut self, mut words: Words<'_>) -> Done {
        let is_quiet = words.is_noreply();
        let (Some(key), Some(expiry)) = (words.next(), words.next()) else { return self.say(ERROR) };
        if key.len() > KEY_BYTES_MAX {
            return self.say(BAD_LINE);
        }
        let Some(expiry) = number::signed(expiry) else {
            return self.say(b"CLIENT_ERROR invalid exptime argument\r\n");
        };
        let (now, expires) = (self.now, self.store.expires(expiry, self.now));
        let is_there = self.store.with(key, |shard, hash| {
            let index = shard.find(hash, key, now);
            let counts = shard.counts_mut();
            counts.cmd_touch += 1;
            counts.touch_hits += u64::from(index.is_some());
            counts.touch_misses += u64::from(index.is_none());
            let Some(index) = index else { return false };
            shard.use_now(index);
            shard.item_mut(index).expires = expires;
            true
        });
        self.tell(if is_there { b"TOUCHED\r\n" } else { b"NOT_FOUND\r\n" }, is_quiet)
    }

    pub(super) fn count(&mut self, mut words: Words<'_>, up: bool) -> Done {
        let is_quiet = words.is_noreply();
        let (Some(key), Some(delta)) = (words.next(), words.next()) else { return self.say(ERROR) };
        if key.len() > KEY_BYTES_MAX {
            return self.say(BAD_LINE);
        }
        let Some(delta) = number::unsigned(delta) else {
            return self.say(b"CLIENT_ERROR invalid numeric delta argument\r\n");
        };
        let now = self.now;
        let outcome = self.store.with(key, |shard, hash| {
            let Some(index) = shard.find(hash, key, now) else {
                let counts = shard.counts_mut();
                *(if up { &mut counts.incr_misses } else { &mut counts.decr_misses }) += 1;
                return Err(&b"NOT_FOUND\r\n"[..]);
            };
            add(shard, index, up, delta, None)
                .ok_or(&b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"[..])
        });
        match outcome {
            Ok(_) if is_quiet => Done::Used(0),
            Ok(number) => {
                self.push_number(number);
                self.say(b"\r\n")
            }
            Err(text) => self.tell(text, is_quiet && text[0] == b'N'),
        }
    }
}

/// Copies a small value; a large one is given away, to be copied when the lock is given back.
#[inline]
pub(super) fn copy_small(item: &Item, out: &mut Vec<u8>) -> Option<Arc<[u8]>> {
    if item.value().len() > SMALL_BYTES_MAX {
        return Some(item.value().clone());
    }
    out.extend_from_slice(item.value());
    None
}

/// Adds to an item that is a number, or takes from it: it wraps upwards and stops at 0. `None` when it is none.
pub(super) fn add(shard: &mut Shard, index: u32, up: bool, delta: u64, cas: Option<u64>) -> Option<u64> {
    let data = shard.item(index).data();
    // Decrementing may have left spaces behind.
    let before = number::unsigned(data.trim_ascii_end())?;
    let number = if up { before.wrapping_add(delta) } else { before.saturating_sub(delta) };
    let mut digits = itoa::Buffer::new();
    let mut text = digits.format(number).as_bytes().to_vec();
    // As memcached does it: what becomes shorter keeps its length.
    text.resize(text.len().max(data.len()), b' ');
    text.extend_from_slice(b"\r\n");
    shard.rewrite(index, &text, cas);
    let counts = shard.counts_mut();
    *(if up { &mut counts.incr_hits } else { &mut counts.decr_hits }) += 1;
    Some(number)
}

/// Stores what is ordered under a condition; the new `cas` with it.
#[inline]
pub(super) fn store(store: &Store, now: u32, mode: Mode, order: &Order<'_>) -> (Outcome, u64) {
    if matches!(mode, Mode::Append | Mode::Prepend) {
        return join(store, now, mode, order);
    }
    let mut value = match order.value.len() <= SMALL_BYTES_MAX {
        true => Ok(order.value),
        false => Err(Arc::from(order.value)),
    };
    let (outcome, _dropped) = store.with(order.key, |shard, hash| {
        let old = shard.find(hash, order.key, now);
        let mut is_stale = false;
        match (mode, old) {
            (Mode::Add, Some(index)) => {
                shard.use_now(index);
                return ((Outcome::NotStored, 0), None);
            }
            (Mode::Replace, None) => return ((Outcome::NotStored, 0), None),
            (_, None) if order.compare.is_some() => {
                shard.counts_mut().cas_misses += 1;
                return ((Outcome::NotFound, 0), None);
            }
            (_, Some(index)) => match compare(shard, index, order) {
                Some(stale) => is_stale = stale,
                None => return ((Outcome::Exists, 0), None),
            },
            _ => {}
        }
        let value = std::mem::replace(&mut value, Ok(&[]));
        let put = Put { value, flags: order.flags, expires: order.expires, cas: order.new_cas };
        let (cas, dropped) = shard.put(hash, order.key, old, put, now);
        if let Some(index) = old.filter(|_| is_stale) {
            shard.item_mut(index).stale = true;
        }
        ((Outcome::Stored, cas), dropped)
    });
    outcome
}

/// Whether the item is what it has to be: `Some(true)` when it is not and is to be stale instead.
#[inline]
pub(super) fn compare(shard: &mut Shard, index: u32, order: &Order<'_>) -> Option<bool> {
    let Some(expected) = order.compare else { return Some(false) };
    let cas = shard.item(index).cas;
    let counts = shard.counts_mut();
    if cas == expected {
        counts.cas_hits += 1;
        return Some(false);
    }
    counts.cas_badval += 1;
    (order.invalidates && expected < cas).then_some(true)
}

/// Appends or prepends. The joined value is made without the lock, and stored if the item is still the same.
fn join(store: &Store, now: u32, mode: Mode, order: &Order<'_>) -> (Outcome, u64) {
    let (key, more) = (order.key, &order.value[..order.value.len() - 2]);
    loop {
        let seen = store.with(key, |shard, hash| {
            let index = shard.find(hash, key, now)?;
            if compare(shard, index, order).is_none() {
                return Some(Err(()));
            }
            let item = shard.item(index);
            Some(Ok((item.value().clone(), item.cas)))
        });
        let (old, cas) = match seen {
            None if order.compare.is_some() => return (Outcome::NotFound, 0),
            None => return (Outcome::NotStored, 0),
            Some(Err(())) => return (Outcome::Exists, 0),
            Some(Ok(seen)) => seen,
        };
        let data = &old[..old.len() - 2];
        let joined = match mode {
            Mode::Append => [data, more, b"\r\n"].concat(),
            _ => [more, data, b"\r\n"].concat(),
        };
        if joined.len() - 2 > store.config().item_bytes_max {
            return (Outcome::NotStored, 0);
        }
        let joined: Arc<[u8]> = joined.into();
        let stored = store.with(key, |shard, hash| {
            let index = shard.find(hash, key, now).filter(|index| shard.item(*index).cas == cas)?;
            let (flags, expires) = (shard.item(index).flags, shard.item(index).expires);
            let put = Put { value: Err(joined), flags, expires, cas: order.new_cas };
            Some(shard.put(hash, key, Some(index), put, now))
        });
        if let Some((cas, _dropped)) = stored {
            return (Outcome::Stored, cas);
        }
    }
}
