//! `Ring`: the newest messages of a room that one worker keeps, as many as the rule says.
//!
//! ```text
//!   │ 14 │ 15 │ 16 │ 17 │     tail 14, head 17; older ones are evicted by count, bytes and age
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tenfold_server::scoreboard;

use crate::batch::{BATCH_BYTES_MAX, Batch};
use crate::envelope::{self, Encoding};
use crate::position::Position;
use crate::rule::Rule;
use crate::wire::Stored;

#[derive(Default)]
pub(crate) struct Ring {
    /// 0 until the keeper has told it.
    pub(crate) epoch: u64,
    /// The newest message's offset, kept or not.
    pub(crate) head: u64,
    entries: VecDeque<Entry>,
    bytes: usize,
}

struct Entry {
    offset: u64,
    at: Instant,
    key: Option<String>,
    text: Arc<str>,
}

impl Ring {
    pub(crate) fn position(&self) -> Position {
        Position { epoch: self.epoch, offset: self.head }
    }

    /// The oldest offset that is kept.
    pub(crate) fn tail(&self) -> u64 {
        self.entries.front().map_or(self.head + 1, |entry| entry.offset)
    }

    /// The first of the `count` newest messages, or of as many as there are.
    pub(crate) fn newest(&self, count: usize) -> u64 {
        self.head + 1 - count.min(self.entries.len()) as u64
    }

    /// The first offset behind a position, if all from there on are kept. A client may know more than this worker: it has
    /// heard from another one what the keeper's next word here will say.
    pub(crate) fn behind(&self, since: Position) -> Option<u64> {
        let next = since.offset.checked_add(1)?;
        (since.epoch == self.epoch && next >= self.tail()).then_some(next)
    }

    /// The texts from `next` on.
    pub(crate) fn texts(&self, next: u64) -> Vec<Arc<str>> {
        self.entries.iter().filter(|entry| entry.offset >= next).map(|entry| entry.text.clone()).collect()
    }

    pub(crate) fn push(&mut self, quoted: &str, rule: &Rule, message: &Stored) {
        let text: Arc<str> = envelope::message(quoted, self.epoch, message).into();
        self.head = message.offset;
        self.bytes += text.len();
        scoreboard::current().rooms.bytes_held.add(text.len() as u64);
        let at = message.placed_at();
        self.entries.push_back(Entry { offset: message.offset, at, key: message.key.clone(), text });
        self.evict(rule, 1);
    }

    /// Forgets what the rule does not keep, down to `least` messages.
    pub(crate) fn evict(&mut self, rule: &Rule, least: usize) {
        let now = Instant::now();
        while self.entries.len() > least
            && (self.entries.len() > rule.history_max
                || self.bytes > rule.history_bytes_max
                || self.entries.front().is_some_and(|entry| now - entry.at > rule.history_age))
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.entries.pop_front() {
            self.bytes -= oldest.text.len();
            scoreboard::current().rooms.bytes_held.sub(oldest.text.len() as u64);
        }
    }

    /// Begins anew behind `head`.
    pub(crate) fn restart(&mut self, epoch: u64, head: u64) {
        self.clear();
        (self.epoch, self.head) = (epoch, head);
    }

    fn clear(&mut self) {
        while !self.entries.is_empty() {
            self.forget_oldest();
        }
    }

    /// The messages from `from` on, which is not before the tail, encoded: as many as fit.
    pub(crate) fn batch(&self, encoding: Encoding, from: u64, coalesces: bool) -> Batch {
        let skip = usize::try_from(from - self.tail()).unwrap_or(usize::MAX);
        let waiting = || self.entries.iter().skip(skip);
        let is_replaced = |entry: &Entry| {
            coalesces
                && entry.key.is_some()
                && waiting().any(|later| later.offset > entry.offset && later.key == entry.key)
        };
        let mut parts: Vec<Bytes> = Vec::new();
        let (mut to, mut bytes, mut coalesced) = (from, 0, 0);
        for entry in waiting() {
            if bytes >= BATCH_BYTES_MAX {
                break;
            }
            to = entry.offset;
            if is_replaced(entry) {
                coalesced += 1;
            } else {
                let position = Position { epoch: self.epoch, offset: entry.offset };
                let part = envelope::encode(&entry.text, Some(position), encoding);
                bytes += part.len();
                parts.push(part);
            }
        }
        let bytes = match parts.len() {
            1 => parts.swap_remove(0),
            _ => parts.concat().into(),
        };
        Batch { encoding, from, to, coalesced, bytes }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.clear();
    }
}
