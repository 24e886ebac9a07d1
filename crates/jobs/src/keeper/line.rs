//! `Line`: one queue as the keeper has it in memory: who is next, and how many there are.
//!
//! ```text
//!             delayed (the book's list, by time)
//!                │ due
//!                ▼
//!   arrive ──► keyed? ── no ──────────────► ready ──take──► leased ──► release
//!                │ yes                        ▲                          │
//!                └──► waits behind its key ───┘ while the key has room ◄─┘
//! ```
//!
//! Pure bookkeeping: no clock, no file. Times are milliseconds that the caller passes in.

use std::collections::{BTreeSet, HashMap};

use super::ledger::Switches;
use crate::wire::QueueSpec;

/// Who comes first: higher priorities, then earlier arrivals.
pub(super) type Place = (i16, i64);

#[derive(Debug)]
pub(super) struct Line {
    pub(super) spec: QueueSpec,
    pub(super) switches: Switches,
    /// Jobs that may start now.
    ready: BTreeSet<Place>,
    /// Jobs whose key has something to wait for, or is in use. A key that has neither is not in it.
    keys: HashMap<Box<str>, Key>,
    /// Jobs that have not ended, and the bytes of their payloads.
    pub(super) live: u64,
    pub(super) bytes: u64,
    pub(super) leased: u64,
    pub(super) dead: u64,
    bucket: Bucket,
    pub(super) counts: Counts,
}

/// One key of a queue that bounds its keys.
#[derive(Debug, Default)]
struct Key {
    /// Places that are in `ready` or leased, and, in an ordered queue, one that waits to be tried again.
    used: u32,
    waiting: BTreeSet<Place>,
}

/// Since the keeper has started.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) taken: u64,
    pub(super) done: u64,
    pub(super) retried: u64,
    pub(super) died: u64,
    pub(super) crashed: u64,
    pub(super) refused: u64,
    pub(super) dropped: u64,
    pub(super) cancelled: u64,
}

/// Starts that a rate allows: a bucket of one second's worth.
#[derive(Debug, Default)]
struct Bucket {
    tokens: f64,
    filled_at: i64,
}

impl Line {
    pub(super) fn new(spec: QueueSpec) -> Line {
        Line {
            spec,
            switches: Switches::default(),
            ready: BTreeSet::new(),
            keys: HashMap::new(),
            live: 0,
            bytes: 0,
            leased: 0,
            dead: 0,
            bucket: Bucket::default(),
            counts: Counts::default(),
        }
    }

    /// Whether `count` more jobs of `bytes` have room.
    pub(super) fn has_room(&self, count: u64, bytes: u64) -> bool {
        self.live + count <= self.spec.capacity && self.bytes + bytes <= self.spec.bytes_max
    }

    /// Most jobs of one key at a time, where there is such a bound.
    fn key_bound(&self) -> Option<u32> {
        if self.spec.ordered { Some(1) } else { self.spec.per_key.filter(|bound| *bound > 0) }
    }

    /// A job may start as far as time is concerned.
    pub(super) fn arrive(&mut self, place: Place, key: Option<&str>) {
        match (self.key_bound(), key) {
            (Some(bound), Some(name)) => {
                if !self.keys.contains_key(name) {
                    self.keys.insert(name.into(), Key::default());
                }
                let key = self.keys.get_mut(name).expect("it was put there");
                key.waiting.insert(place);
                key.promote(bound, &mut self.ready);
            }
            _ => drop(self.ready.insert(place)),
        }
    }

    /// A job of this key is over, or back in the line, or delayed.
    pub(super) fn release(&mut self, key: Option<&str>) {
        let (Some(bound), Some(name)) = (self.key_bound(), key) else { return };
        if let Some(key) = self.keys.get_mut(name) {
            key.used = key.used.saturating_sub(1);
            key.promote(bound, &mut self.ready);
            if key.used == 0 && key.waiting.is_empty() {
                self.keys.remove(name);
            }
        }
    }

    /// A job that was tried keeps its key's place, so that the others of its key stay behind it.
    pub(super) fn holds_while_delayed(&self, key: Option<&str>) -> bool {
        self.spec.ordered && key.is_some()
    }

    /// A job that held its key's place may start again.
    pub(super) fn arrive_holding(&mut self, place: Place) {
        self.ready.insert(place);
    }

    /// Takes a job out that has not started. Whether it held a place of its key.
    pub(super) fn withdraw(&mut self, place: Place, key: Option<&str>) -> bool {
        if self.ready.remove(&place) {
            return true;
        }
        if let Some(key) = key.and_then(|name| self.keys.get_mut(name)) {
            key.waiting.remove(&place);
        }
        false
    }

    /// The next job to start, if the queue may start one.
    pub(super) fn take(&mut self, now: i64) -> Option<i64> {
        if self.switches.paused || self.ready.is_empty() || !self.bucket.take(self.spec.rate, now) {
            return None;
        }
        self.ready.pop_first().map(|(_, seq)| seq)
    }

    /// Whether there is something that could start, were there somebody to run it.
    pub(super) fn has_ready(&self) -> bool {
        !self.switches.paused && !self.ready.is_empty()
    }

    /// When the rate allows the next start, if something waits for that.
    pub(super) fn next_start(&self, now: i64) -> Option<i64> {
        let rate = self.spec.rate.filter(|_| self.has_ready())?;
        Some(now + self.bucket.wait_ms(rate, now))
    }

    pub(super) fn ready_len(&self) -> usize {
        self.ready.len()
    }

    pub(super) fn blocked_len(&self) -> usize {
        self.keys.values().map(|key| key.waiting.len()).sum()
    }

    /// The earliest arrival of each priority that is ready: one of them is the oldest.
    pub(super) fn heads(&self) -> Vec<i64> {
        let (mut heads, mut from) = (Vec::new(), i16::MIN);
        while let Some((priority, seq)) = self.ready.range((from, i64::MIN)..).next() {
            heads.push(*seq);
            from = priority + 1;
        }
        heads
    }
}

impl Key {
    fn promote(&mut self, bound: u32, ready: &mut BTreeSet<Place>) {
        while self.used < bound {
            let Some(place) = self.waiting.pop_first() else { return };
            ready.insert(place);
            self.used += 1;
        }
    }
}

impl Bucket {
    fn fill(&mut self, rate: f64, now: i64) {
        let passed = (now - self.filled_at).max(0) as f64 / 1000.0;
        self.tokens = (self.tokens + passed * rate).min(rate.max(1.0));
        self.filled_at = now;
    }

    fn take(&mut self, rate: Option<f64>, now: i64) -> bool {
        let Some(rate) = rate else { return true };
        self.fill(rate, now);
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }

    fn wait_ms(&self, rate: f64, now: i64) -> i64 {
        let passed = (now - self.filled_at).max(0) as f64 / 1000.0;
        let missing = 1.0 - (self.tokens + passed * rate);
        if missing <= 0.0 { 0 } else { (missing / rate * 1000.0).ceil().min(60_000.0) as i64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(spec: QueueSpec) -> Line {
        Line::new(spec)
    }

    fn taken(line: &mut Line, now: i64) -> Vec<i64> {
        std::iter::from_fn(|| line.take(now)).collect()
    }

    #[test]
    fn a_higher_priority_comes_first_and_equals_in_their_order() {
        let mut line = line(QueueSpec::default());
        for (priority, seq) in [(0, 1), (0, 2), (-5, 3), (9, 4)] {
            line.arrive((-priority, seq), None);
        }
        assert_eq!(line.heads(), [4, 1, 3]);
        assert_eq!(taken(&mut line, 0), [4, 1, 2, 3]);
    }

    #[test]
    fn a_key_has_its_bound_and_does_not_hold_others_up() {
        let mut line = line(QueueSpec { per_key: Some(2), ..QueueSpec::default() });
        for seq in 1..=4 {
            line.arrive((0, seq), Some("a"));
        }
        line.arrive((0, 5), Some("b"));
        line.arrive((0, 6), None);
        assert_eq!(taken(&mut line, 0), [1, 2, 5, 6]);
        assert_eq!(line.blocked_len(), 2);
        line.release(Some("a"));
        assert_eq!(taken(&mut line, 0), [3]);
        assert!(!line.withdraw((0, 4), Some("a")), "it held no place");
        line.release(Some("a"));
        line.release(Some("a"));
        assert!(!line.keys.contains_key("a"), "a key that nobody uses takes no memory");
    }

    #[test]
    fn a_rate_lets_a_second_s_worth_start_and_then_one_after_another() {
        let mut line = line(QueueSpec { rate: Some(10.0), ..QueueSpec::default() });
        for seq in 0..30 {
            line.arrive((0, seq), None);
        }
        assert_eq!(taken(&mut line, 1_000_000).len(), 10);
        assert_eq!(line.next_start(1_000_000), Some(1_000_100));
        assert_eq!(taken(&mut line, 1_000_099).len(), 0);
        assert_eq!(taken(&mut line, 1_000_250).len(), 2);
    }

    #[test]
    fn a_paused_queue_starts_nothing() {
        let mut line = line(QueueSpec::default());
        line.arrive((0, 1), None);
        line.switches.paused = true;
        assert_eq!((line.take(0), line.has_ready()), (None, false));
    }
}
