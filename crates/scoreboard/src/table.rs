//! `Table`: a hash table in shared memory, the same for every worker.
//!
//! Reading takes no lock. A writer locks the groups of its key, fills a free copy of the row and publishes it with one store;
//! one that is killed in between leaves the row as it was, and the kernel unlocks for it (`robust.rs`).

mod error;
mod make;
mod place;
mod rows;

use std::time::Duration;

pub use error::TableError;
use place::Place;
use rows::{GROUP, Head, Row, Rows};

use crate::now_ns;
use crate::robust::{Locked, RobustLocks};

/// How often a read is repeated because its row changes, before it takes the lock.
const READS: u32 = 64;

/// How large a table is; it never grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableConfig {
    /// Rows that it holds; default 65,536. There is a quarter more of them, which may be used too.
    pub rows: usize,
    /// Longest key in bytes, rounded up to a multiple of 8; default 64.
    pub key_bytes: usize,
    /// Longest value in bytes, rounded up to a multiple of 8; default 192.
    pub value_bytes: usize,
    /// Whether a new key takes the place of the least recently used of those that it competes with, where there is no free
    /// one; default false, then it is refused with [`TableError::Full`]. Uses are told apart by hundredths of a second.
    pub evict: bool,
}

impl Default for TableConfig {
    fn default() -> Self {
        TableConfig { rows: 65_536, key_bytes: 64, value_bytes: 192, evict: false }
    }
}

/// A hash table in shared memory: fixed size, keys and values of bytes, times to live, counters.
///
/// Make it before the workers are forked, in `main` before the application is started, and give handlers clones: a handle is
/// a few words. It stays over reloads; over an upgrade, and over restarts, if it is in a file ([`Table::open`]).
///
/// Memory: two copies of each row, `2 × (16 + key_bytes + value_bytes) + 16` bytes, of a quarter more rows than asked for.
/// Pages count once they are touched.
///
/// # Guarantees
/// Each call takes effect at once and as a whole, or not at all, also when its process is killed in it. What a call has
/// returned from, everybody sees.
///
/// # Cost
/// A read takes about 100 ns and no lock. A write takes one or two locks for less than a microsecond; who has to wait for a
/// lock blocks its thread, on a fiber too, because nobody holds one over a wait.
///
/// ```
/// use std::time::Duration;
/// use tenfold_scoreboard::{Table, TableConfig};
///
/// let table = Table::new(TableConfig { rows: 1000, ..TableConfig::default() })?;
/// table.set("greeting", "hello")?;
/// assert_eq!(table.get("greeting").as_deref(), Some(&b"hello"[..]));
///
/// assert_eq!(table.add("visits", 1)?, 1);
/// assert_eq!(table.add("visits", 41)?, 42);
///
/// assert!(table.insert("lock", "mine", Some(Duration::from_secs(30)))?);
/// assert!(!table.insert("lock", "too late", None)?);
/// # Ok::<(), tenfold_scoreboard::TableError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Table {
    rows: Rows,
    locks: RobustLocks,
    seed: u64,
    key_bytes_max: usize,
    value_bytes_max: usize,
    evict: bool,
}

/// What becomes of a row.
enum Change {
    Keep,
    Put(Vec<u8>, u64),
    Remove,
}

impl Table {
    /// The value of a key.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<Vec<u8>> {
        let mut value = Vec::new();
        self.get_into(key, &mut value).then_some(value)
    }

    /// Appends the value of a key to `into`; false, and nothing appended, if it has none.
    pub fn get_into(&self, key: impl AsRef<[u8]>, into: &mut Vec<u8>) -> bool {
        let key = key.as_ref();
        let place = Place::of(self.seed, key, self.rows.shape.groups);
        let start = into.len();
        for _ in 0..READS {
            match self.try_get(&place, key, into) {
                Some(found) => return found,
                None => into.truncate(start),
            }
        }
        // Its row changes all the time; under the lock it cannot.
        match self.lock(&place) {
            Ok(_locked) => self.try_get(&place, key, into).unwrap_or_default(),
            Err(_) => false,
        }
    }

    /// `None` when what was read was being changed.
    fn try_get(&self, place: &Place, key: &[u8], into: &mut Vec<u8>) -> Option<bool> {
        for row in place.rows() {
            let head = self.rows.head(row);
            if !head.has_tag(place.tag) {
                continue;
            }
            let expires = self.rows.has_key(row, head, key);
            if expires.is_some() {
                self.rows.value(row, head, into);
            }
            if !self.rows.is_still(row, head) {
                return None;
            }
            match expires {
                Some(expires) if is_over(expires) => return Some(false),
                Some(_) => {
                    if self.evict {
                        self.rows.note_use(row, now_ns());
                    }
                    return Some(true);
                }
                None => {}
            }
        }
        Some(false)
    }

    /// The value as a counter of [`Table::add`]; `None` if there is none, or something else.
    pub fn number(&self, key: impl AsRef<[u8]>) -> Option<i64> {
        self.get(key).and_then(|value| number(&value))
    }

    /// Sets the value of a key, for as long as nobody changes it.
    ///
    /// # Errors
    /// [`TableError::Key`] and [`TableError::Value`] for what is too long; [`TableError::Full`]; [`TableError::Busy`].
    pub fn set(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), TableError> {
        self.set_for(key, value, None)
    }

    /// As [`Table::set`], for so long.
    ///
    /// # Errors
    /// As [`Table::set`].
    pub fn set_for(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        ttl: Option<Duration>,
    ) -> Result<(), TableError> {
        let value = self.checked(value.as_ref())?;
        self.change(key.as_ref(), |_| Ok((Change::Put(value.to_vec(), expiry(ttl)), ())))
    }

    /// Sets the value of a key that has none; false if it has one.
    ///
    /// # Errors
    /// As [`Table::set`].
    pub fn insert(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        ttl: Option<Duration>,
    ) -> Result<bool, TableError> {
        let value = self.checked(value.as_ref())?;
        self.change(key.as_ref(), |old| {
            Ok(match old {
                Some(_) => (Change::Keep, false),
                None => (Change::Put(value.to_vec(), expiry(ttl)), true),
            })
        })
    }

    /// Sets the value of a key if it is `expected` (`None`: if there is none), and keeps its time to live; false if it is
    /// another.
    ///
    /// # Errors
    /// As [`Table::set`].
    pub fn compare_and_set(
        &self,
        key: impl AsRef<[u8]>,
        expected: Option<&[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<bool, TableError> {
        let value = self.checked(value.as_ref())?;
        self.change(key.as_ref(), |old| {
            if old.map(|old| &old.value[..]) != expected {
                return Ok((Change::Keep, false));
            }
            let expires = old.map_or(0, |old| old.expires);
            Ok((Change::Put(value.to_vec(), expires), true))
        })
    }

    /// Adds to a counter, which begins at 0, and returns what it is then; its time to live stays. It wraps at the ends.
    ///
    /// # Errors
    /// As [`Table::set`]; [`TableError::NotANumber`] for a value that no counter is.
    pub fn add(&self, key: impl AsRef<[u8]>, delta: i64) -> Result<i64, TableError> {
        self.checked(&[0; 8])?;
        self.change(key.as_ref(), |old| {
            let (before, expires) = match old {
                None => (0, 0),
                Some(old) => (number(&old.value).ok_or(TableError::NotANumber)?, old.expires),
            };
            let sum = before.wrapping_add(delta);
            Ok((Change::Put(sum.to_le_bytes().to_vec(), expires), sum))
        })
    }

    /// Removes a key; whether it was there.
    ///
    /// # Errors
    /// [`TableError::Key`]; [`TableError::Busy`].
    pub fn remove(&self, key: impl AsRef<[u8]>) -> Result<bool, TableError> {
        self.change(key.as_ref(), |old| Ok((Change::Remove, old.is_some())))
    }

    /// Removes a key if its value is `expected`: the owner of a lock gives it back so. Whether it did.
    ///
    /// # Errors
    /// [`TableError::Key`]; [`TableError::Busy`].
    pub fn remove_if(&self, key: impl AsRef<[u8]>, expected: impl AsRef<[u8]>) -> Result<bool, TableError> {
        self.change(key.as_ref(), |old| {
            let is_same = old.is_some_and(|old| old.value == expected.as_ref());
            Ok((if is_same { Change::Remove } else { Change::Keep }, is_same))
        })
    }

    /// Runs `look` on every key and its value. Each row is true by itself; rows that change meanwhile may be left out or come
    /// as they were before. Cost: a look at every row, about 2 ns for a free one.
    pub fn for_each(&self, mut look: impl FnMut(&[u8], &[u8])) {
        for row in 0..self.rows.shape.rows() {
            for _ in 0..READS {
                let head = self.rows.head(row);
                if !head.is_taken() {
                    break;
                }
                let read = self.rows.read(row, head);
                if self.rows.is_still(row, head) {
                    if !is_over(read.expires) {
                        look(&read.key, &read.value);
                    }
                    break;
                }
            }
        }
    }

    /// How many keys there are. Cost: a look at every row.
    pub fn len(&self) -> usize {
        let mut count = 0;
        self.for_each(|_, _| count += 1);
        count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows that there is memory for: a quarter more than were asked for.
    pub fn rows(&self) -> usize {
        self.rows.shape.rows()
    }

    /// Changes what a key has, under its lock, as `decide` says from what it has now.
    fn change<R>(
        &self,
        key: &[u8],
        decide: impl FnOnce(Option<&Row>) -> Result<(Change, R), TableError>,
    ) -> Result<R, TableError> {
        if key.len() > self.key_bytes_max {
            return Err(TableError::Key { bytes: key.len(), bytes_max: self.key_bytes_max });
        }
        let place = Place::of(self.seed, key, self.rows.shape.groups);
        let _locked = self.lock(&place)?;
        let found = place.rows().find(|row| self.holds(*row, &place, key));
        let old = found.map(|row| (row, self.rows.read(row, self.rows.head(row))));
        let alive = old.as_ref().map(|(_, old)| old).filter(|old| !is_over(old.expires));
        let (change, result) = decide(alive)?;
        match (change, found) {
            (Change::Put(value, expires), found) => {
                let row = found.or_else(|| self.free_row(&place)).ok_or(TableError::Full)?;
                self.rows.publish(row, place.tag, key, &value, expires);
                if self.evict {
                    self.rows.note_use(row, now_ns());
                }
            }
            (Change::Remove, Some(row)) => self.rows.free(row),
            _ => {}
        }
        Ok(result)
    }

    fn holds(&self, row: usize, place: &Place, key: &[u8]) -> bool {
        let head = self.rows.head(row);
        head.has_tag(place.tag) && self.rows.has_key(row, head, key).is_some()
    }

    /// A row for a new key: a free one of the emptier group, else an expired one, else the one to be evicted.
    fn free_row(&self, place: &Place) -> Option<usize> {
        let heads: Vec<(usize, Head)> = place.rows().map(|row| (row, self.rows.head(row))).collect();
        let free_in = |group: usize| {
            heads
                .iter()
                .filter(move |(row, head)| row / GROUP == group && !head.is_taken())
                .map(|(row, _)| *row)
        };
        let emptier = place.groups.into_iter().max_by_key(|group| free_in(*group).count())?;
        let free = free_in(emptier).next();
        let expired = || {
            heads
                .iter()
                .map(|(row, head)| (*row, *head))
                .find(|(row, head)| is_over(self.rows.expires(*row, *head)))
        };
        let eldest = || {
            heads.iter().map(|(row, _)| *row).filter(|_| self.evict).min_by_key(|row| self.rows.used(*row))
        };
        free.or_else(|| expired().map(|(row, _)| row)).or_else(eldest)
    }

    /// Locks both groups of a key, in an order that is the same for everybody.
    fn lock(&self, place: &Place) -> Result<(Locked, Option<Locked>), TableError> {
        let [mut first, mut second] = place.groups.map(|group| group % self.locks.count());
        if first > second {
            std::mem::swap(&mut first, &mut second);
        }
        let one = self.locks.lock(first).ok_or(TableError::Busy)?;
        let other = match first == second {
            true => None,
            false => Some(self.locks.lock(second).ok_or(TableError::Busy)?),
        };
        Ok((one, other))
    }

    fn checked<'v>(&self, value: &'v [u8]) -> Result<&'v [u8], TableError> {
        match value.len() <= self.value_bytes_max {
            true => Ok(value),
            false => Err(TableError::Value { bytes: value.len(), bytes_max: self.value_bytes_max }),
        }
    }
}

fn number(value: &[u8]) -> Option<i64> {
    Some(i64::from_le_bytes(value.try_into().ok()?))
}

/// 0 is never.
fn expiry(ttl: Option<Duration>) -> u64 {
    let ns = ttl.map(|ttl| u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX));
    ns.map_or(0, |ns| now_ns().saturating_add(ns).max(1))
}

fn is_over(expires: u64) -> bool {
    expires != 0 && expires <= now_ns()
}
