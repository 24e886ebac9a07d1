//! `History`: the messages of a room that its keeper has, the oldest first, within what the room's rule says.

use std::collections::VecDeque;
use std::time::Instant;

use tenfold_server::scoreboard;

use crate::rule::Rule;
use crate::wire::{Snapshot, Stored};

/// An epoch, how far it has counted, and the newest of its messages. Adding one costs the same however many there are.
#[derive(Default)]
pub(super) struct History {
    pub(super) epoch: u64,
    /// The offset of the newest message that there ever was.
    pub(super) head: u64,
    messages: VecDeque<(Instant, Stored)>,
    /// Of all their data; the scoreboard knows of them.
    bytes: usize,
}

impl History {
    pub(super) fn new(epoch: u64) -> History {
        let mut history = History::default();
        history.epoch = epoch;
        history
    }

    /// Takes the place of what is known.
    pub(super) fn replace(&mut self, snapshot: Snapshot, rule: &Rule) {
        self.clear();
        (self.epoch, self.head) = (snapshot.epoch, snapshot.head);
        for message in snapshot.messages {
            self.add(message);
        }
        self.evict(Instant::now(), rule, 0);
    }

    /// Adds the next message, whose offset becomes the head.
    pub(super) fn push(&mut self, message: Stored, rule: &Rule) {
        self.head = message.offset;
        self.add(message);
        self.evict(Instant::now(), rule, 1);
    }

    fn add(&mut self, message: Stored) {
        self.bytes += message.data.len();
        scoreboard::current().rooms.bytes_held.add(message.data.len() as u64);
        self.messages.push_back((message.placed_at(), message));
    }

    /// Forgets what the rule does not keep, down to `least` messages.
    pub(super) fn evict(&mut self, now: Instant, rule: &Rule, least: usize) {
        while self.messages.len() > least
            && (self.messages.len() > rule.history_max
                || self.bytes > rule.history_bytes_max
                || self.messages.front().is_some_and(|(at, _)| now - *at > rule.history_age))
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, oldest)) = self.messages.pop_front() {
            self.bytes -= oldest.data.len();
            scoreboard::current().rooms.bytes_held.sub(oldest.data.len() as u64);
        }
    }

    fn clear(&mut self) {
        while !self.messages.is_empty() {
            self.forget_oldest();
        }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let messages = self.messages.iter().map(|(_, message)| message.clone()).collect();
        Snapshot { epoch: self.epoch, head: self.head, messages }
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wire::Kind;

    fn message(offset: u64, bytes: usize) -> Stored {
        Stored::new(offset, Kind::Data, None, "x".repeat(bytes))
    }

    #[test]
    fn count_bytes_and_age_are_bounds_and_the_newest_stays() {
        let rule = Rule::new("*").history(3, Duration::from_secs(60)).history_bytes(100);
        let mut history = History::new(7);
        (1..=5).for_each(|offset| history.push(message(offset, 10), &rule));
        assert_eq!((history.len(), history.bytes(), history.head), (3, 30, 5));
        history.push(message(6, 95), &rule);
        assert_eq!((history.len(), history.bytes()), (1, 95), "the bytes of the others do not fit beside it");
        history.push(message(7, 200), &rule);
        assert_eq!(history.len(), 1, "the newest is kept in any case");
        history.evict(Instant::now() + Duration::from_secs(61), &rule, 0);
        assert_eq!((history.len(), history.bytes(), history.head), (0, 0, 7));
    }

    #[test]
    fn messages_keep_their_age_on_their_way_from_another_keeper() {
        let rule = Rule::new("*").history(10, Duration::from_secs(60));
        let old = Stored { at_ms: message(1, 1).at_ms - 61_000, ..message(1, 1) };
        let snapshot = Snapshot { epoch: 7, head: 2, messages: vec![old, message(2, 1)] };
        let mut history = History::new(0);
        history.replace(snapshot, &rule);
        let kept: Vec<u64> = history.snapshot().messages.iter().map(|message| message.offset).collect();
        assert_eq!((history.epoch, history.head, kept), (7, 2, vec![2]));
    }
}
