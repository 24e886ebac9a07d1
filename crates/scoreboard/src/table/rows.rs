//! `Rows`: the words of a table, and how a row is read and published.
//!
//! ```text
//!   head of a row      │ number │ which copy │ taken │ tag │        one word
//!   copy 0             │ expires │ lengths │ key … │ value … │
//!   copy 1             │ expires │ lengths │ key … │ value … │
//! ```
//!
//! A writer, under the lock of the row's group, fills the copy that the head does not name and then stores a new head. So a
//! writer that is killed leaves the row as it was. A reader takes no lock: it reads the copy that the head names and looks
//! whether the head is still the same.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};

/// Rows of a group: a key may be in any row of two groups.
pub(crate) const GROUP: usize = 16;
/// Words of a copy in front of its key.
const COPY_HEAD: usize = 2;

/// A row that is read all the time is not written all the time.
const USE_NS: u64 = 10_000_000;

const TAG_BITS: u32 = 16;
const TAKEN: u64 = 1 << TAG_BITS;
const WHICH: u64 = 1 << (TAG_BITS + 1);
const NUMBER: u64 = 1 << (TAG_BITS + 2);

/// How long keys and values may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) groups: usize,
    pub(crate) key_words: usize,
    pub(crate) value_words: usize,
}

impl Shape {
    pub(crate) fn rows(&self) -> usize {
        self.groups * GROUP
    }

    fn copy_words(&self) -> usize {
        COPY_HEAD + self.key_words + self.value_words
    }

    /// Words of all rows: head, last use, two copies.
    pub(crate) fn words(&self) -> Option<usize> {
        self.copy_words().checked_mul(2)?.checked_add(2)?.checked_mul(self.rows())
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    pub(crate) shape: Shape,
    heads: &'static [AtomicU64],
    used: &'static [AtomicU64],
    copies: &'static [AtomicU64],
}

/// What a row's head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head(u64);

impl Head {
    pub(crate) fn is_taken(self) -> bool {
        self.0 & TAKEN != 0
    }

    pub(crate) fn has_tag(self, tag: u16) -> bool {
        self.is_taken() && self.0 as u16 == tag
    }

    fn which(self) -> usize {
        usize::from(self.0 & WHICH != 0)
    }

    /// The next head, which names the other copy.
    fn next(self, tag: Option<u16>) -> Head {
        let kept = self.0 & !(TAKEN | (TAKEN - 1));
        Head((kept.wrapping_add(NUMBER) ^ WHICH) | tag.map_or(0, |tag| TAKEN | u64::from(tag)))
    }
}

/// A copy as it was read, with its buffers.
#[derive(Debug, Default)]
pub(crate) struct Row {
    pub(crate) expires: u64,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

impl Rows {
    /// `words` are as many as the shape says.
    pub(crate) fn new(shape: Shape, words: &'static [AtomicU64]) -> Rows {
        let (heads, rest) = words.split_at(shape.rows());
        let (used, copies) = rest.split_at(shape.rows());
        Rows { shape, heads, used, copies }
    }

    #[inline]
    pub(crate) fn head(&self, row: usize) -> Head {
        Head(self.heads[row].load(Acquire))
    }

    /// Whether the row has not changed since its head was read.
    #[inline]
    pub(crate) fn is_still(&self, row: usize, head: Head) -> bool {
        fence(Acquire);
        self.heads[row].load(Relaxed) == head.0
    }

    /// Whether the copy that `head` names has this key; if so, when it expires. Means nothing unless the row
    /// [`Rows::is_still`] the same.
    #[inline]
    pub(crate) fn has_key(&self, row: usize, head: Head, key: &[u8]) -> Option<u64> {
        let copy = self.copy(row, head.which());
        let lengths = copy[1].load(Relaxed);
        if (lengths >> 32) as usize != key.len() {
            return None;
        }
        let words = &copy[COPY_HEAD..COPY_HEAD + self.shape.key_words];
        let (whole, rest) = key.as_chunks::<8>();
        let mut same =
            whole.iter().zip(words).all(|(chunk, word)| word.load(Relaxed) == u64::from_le_bytes(*chunk));
        if !rest.is_empty() {
            same = same && words[whole.len()].load(Relaxed) == short(rest);
        }
        same.then(|| copy[0].load(Relaxed))
    }

    /// Appends the value of the copy that `head` names. Means nothing unless the row [`Rows::is_still`] the same.
    #[inline]
    pub(crate) fn value(&self, row: usize, head: Head, into: &mut Vec<u8>) {
        let copy = self.copy(row, head.which());
        let length = copy[1].load(Relaxed) as u32 as usize;
        take(&copy[COPY_HEAD + self.shape.key_words..], length, into);
    }

    /// The whole copy. Means nothing unless the row [`Rows::is_still`] the same.
    pub(crate) fn read(&self, row: usize, head: Head) -> Row {
        let copy = self.copy(row, head.which());
        let lengths = copy[1].load(Relaxed);
        let mut read = Row { expires: copy[0].load(Relaxed), ..Row::default() };
        take(&copy[COPY_HEAD..COPY_HEAD + self.shape.key_words], (lengths >> 32) as usize, &mut read.key);
        take(&copy[COPY_HEAD + self.shape.key_words..], lengths as u32 as usize, &mut read.value);
        read
    }

    /// When the copy that `head` names expires; 0 is never. Under the lock.
    pub(crate) fn expires(&self, row: usize, head: Head) -> u64 {
        self.copy(row, head.which())[0].load(Relaxed)
    }

    /// Puts key and value into a row. Under the lock of its group; both are known to fit.
    pub(crate) fn publish(&self, row: usize, tag: u16, key: &[u8], value: &[u8], expires: u64) {
        let head = self.head(row);
        let next = head.next(Some(tag));
        let copy = self.copy(row, next.which());
        // What follows may not become visible before the head that names the other copy: a reader of an older head, which
        // named this one, has to notice.
        fence(Release);
        copy[0].store(expires, Relaxed);
        copy[1].store((key.len() as u64) << 32 | value.len() as u64, Relaxed);
        put(&copy[COPY_HEAD..COPY_HEAD + self.shape.key_words], key);
        put(&copy[COPY_HEAD + self.shape.key_words..], value);
        self.used[row].store(0, Relaxed);
        self.heads[row].store(next.0, Release);
    }

    /// Frees a row. Under the lock of its group.
    pub(crate) fn free(&self, row: usize) {
        self.heads[row].store(self.head(row).next(None).0, Release);
    }

    /// When it was last used, by [`crate::now_ns`]'s clock, to within [`USE_NS`].
    pub(crate) fn used(&self, row: usize) -> u64 {
        self.used[row].load(Relaxed)
    }

    #[inline]
    pub(crate) fn note_use(&self, row: usize, at: u64) {
        if at.saturating_sub(self.used(row)) >= USE_NS {
            self.used[row].store(at, Relaxed);
        }
    }

    #[inline]
    fn copy(&self, row: usize, which: usize) -> &'static [AtomicU64] {
        let words = self.shape.copy_words();
        let from = (2 * row + which) * words;
        &self.copies[from..from + words]
    }
}

#[inline]
fn short(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

fn put(words: &[AtomicU64], bytes: &[u8]) {
    let (whole, rest) = bytes.as_chunks::<8>();
    for (word, chunk) in words.iter().zip(whole) {
        word.store(u64::from_le_bytes(*chunk), Relaxed);
    }
    if !rest.is_empty() {
        words[whole.len()].store(short(rest), Relaxed);
    }
}

/// A length that is being overwritten may be anything: it is cut to what there is.
#[inline]
fn take(words: &[AtomicU64], length: usize, into: &mut Vec<u8>) {
    let length = length.min(8 * words.len());
    into.reserve(length);
    let start = into.len();
    for word in &words[..length.div_ceil(8)] {
        into.extend_from_slice(&word.load(Relaxed).to_le_bytes());
    }
    into.truncate(start + length);
}
