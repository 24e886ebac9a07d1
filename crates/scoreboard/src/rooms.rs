//! `RoomCounters`: what one process does for rooms: the keeper of the rooms gives messages their places, workers deliver them.
//!
//! ```text
//!   publish ──place──▶ the keeper ──carry──▶ a worker's pump ──deliver──▶ the last member's socket
//! ```

use crate::counter::{Counter, Gauge};
use crate::histogram::{Histogram, HistogramReading};

/// A part of a message's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum MessageStage {
    /// From the call of `publish` until the message has its place.
    Place,
    /// From there, or from when this machine has heard of it, until a worker with members has it.
    Carry,
    /// From there until it was offered to the last member of that worker.
    Deliver,
}

impl MessageStage {
    /// All of them, in their order.
    pub const ALL: [MessageStage; 3] = [MessageStage::Place, MessageStage::Carry, MessageStage::Deliver];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            MessageStage::Place => "place",
            MessageStage::Carry => "carry",
            MessageStage::Deliver => "deliver",
        }
    }
}

/// What one process does for rooms. Zeroes are a process that has done nothing.
#[derive(Debug)]
#[repr(C)]
pub struct RoomCounters {
    /// Connections: WebSockets and event streams.
    pub connections: Gauge,
    /// Memberships: a connection counts once for each room that it is in.
    pub members: Gauge,
    /// Rooms that are known here.
    pub rooms: Gauge,
    /// Bytes of the kept messages.
    pub bytes_held: Gauge,
    /// Messages that have got their places.
    pub published: Counter,
    /// Messages that members were given: one to three members counts three times.
    pub delivered: Counter,
    /// Messages that members were not given, because a newer one of the same key was.
    pub coalesced: Counter,
    /// Times that a member was told that it has missed something.
    pub resets: Counter,
    /// Connections that were ended because they took too little.
    pub disconnected: Counter,
    times: [Histogram; 3],
    /// What the values of each histogram come to.
    sums_ns: [Counter; 3],
}

impl RoomCounters {
    /// Nothing was done.
    pub const fn new() -> Self {
        Self {
            connections: Gauge::new(),
            members: Gauge::new(),
            rooms: Gauge::new(),
            bytes_held: Gauge::new(),
            published: Counter::new(),
            delivered: Counter::new(),
            coalesced: Counter::new(),
            resets: Counter::new(),
            disconnected: Counter::new(),
            times: [const { Histogram::new() }; 3],
            sums_ns: [const { Counter::new() }; 3],
        }
    }

    /// Counts what a message has spent in a stage.
    #[inline]
    pub fn record(&self, stage: MessageStage, ns: u64) {
        self.times[stage as usize].record(ns);
        self.sums_ns[stage as usize].add(ns);
    }

    /// The histogram of a stage now, and the sum of its values in nanoseconds.
    pub fn stage(&self, stage: MessageStage) -> (HistogramReading, u64) {
        (self.times[stage as usize].reading(), self.sums_ns[stage as usize].get())
    }

    /// A process that was killed has taken nothing of its own back.
    pub(crate) fn reset_gauges(&self) {
        for gauge in [&self.connections, &self.members, &self.rooms, &self.bytes_held] {
            gauge.set(0);
        }
    }
}

impl Default for RoomCounters {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_counted_apart_and_a_dead_process_has_no_members() {
        let rooms = RoomCounters::new();
        rooms.members.add(3);
        rooms.delivered.add(2);
        rooms.record(MessageStage::Carry, 5_000);
        rooms.record(MessageStage::Carry, 7_000);
        let counts = MessageStage::ALL.map(|stage| rooms.stage(stage).0.count());
        assert_eq!((counts, rooms.stage(MessageStage::Carry).1), ([0, 2, 0], 12_000));
        rooms.reset_gauges();
        assert_eq!((rooms.members.get(), rooms.delivered.get()), (0, 2));
    }
}
