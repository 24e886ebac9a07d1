//! `Place`: in which rows of a table a key may be; and how many rows, locks and words a table has.

use std::hash::{DefaultHasher, Hasher};

use super::rows::{GROUP, Shape};
use super::{TableConfig, TableError};
use crate::robust::LOCK_WORDS;

/// Words before the locks: what a file says of itself.
pub(super) const HEADER_WORDS: usize = 16;
const LOCKS_MAX: usize = 256;
/// Share of the rows that are counted on: with sixteen places in each of two groups, one key in very many finds both full
/// before nine tenths of all are taken.
const FILL_PERCENT: usize = 80;

/// Where a key may be: two groups, so that one of them has room nearly always (Mitzenmacher, "The power of two choices in
/// randomized load balancing", 2001).
pub(super) struct Place {
    pub(super) tag: u16,
    pub(super) groups: [usize; 2],
}

impl Place {
    #[inline]
    pub(super) fn of(seed: u64, key: &[u8], groups: usize) -> Place {
        let hash = hash(seed, key);
        // Numbers below the count of groups (Lemire, "Fast random integer generation in an interval", 2019) from two parts
        // of the hash; the tag is the end of it.
        let below = |part: u64| ((u64::from(part as u32) * groups as u64) >> 32) as usize;
        Place { tag: hash as u16, groups: [below(hash >> 32), below(hash.rotate_left(7) ^ (hash >> 25))] }
    }

    #[inline]
    pub(super) fn rows(&self) -> impl Iterator<Item = usize> + use<> {
        let [one, other] = self.groups;
        let second = if one == other { 0..0 } else { other * GROUP..(other + 1) * GROUP };
        (one * GROUP..(one + 1) * GROUP).chain(second)
    }
}

/// And how many locks it has.
pub(super) fn shape(config: &TableConfig) -> Result<(Shape, usize), TableError> {
    let size = || TableError::Size { rows: config.rows };
    if config.rows == 0 {
        return Err(size());
    }
    let rows = config.rows.checked_mul(100).ok_or_else(size)?.div_ceil(FILL_PERCENT);
    // Four at least: of fewer, two are no choice.
    let groups = rows.div_ceil(GROUP).max(4);
    if u32::try_from(groups).is_err() {
        return Err(size());
    }
    let shape = Shape {
        groups,
        key_words: config.key_bytes.div_ceil(8).max(1),
        value_words: config.value_bytes.div_ceil(8).max(1),
    };
    Ok((shape, groups.min(LOCKS_MAX)))
}

pub(super) fn total_words(shape: &Shape, locks: usize) -> Result<usize, TableError> {
    let words = shape.words().and_then(|words| words.checked_add(HEADER_WORDS + locks * LOCK_WORDS));
    words.filter(|words| *words < isize::MAX as usize / 8).ok_or(TableError::Size { rows: shape.rows() })
}

/// SipHash 1-3, begun with the table's own seed.
#[inline]
fn hash(seed: u64, key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(seed);
    hasher.write(key);
    hasher.finish()
}

/// Another shape, or another hash function of std's, is another number.
pub(super) fn check(seed: u64, shape: &Shape) -> u64 {
    let numbers = [shape.groups, shape.key_words, shape.value_words];
    numbers.into_iter().fold(seed, |sum, number| hash(sum, &number.to_le_bytes()))
}
