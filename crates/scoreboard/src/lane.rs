//! `LaneCounters`: how full one lane of one worker is.

use crate::counter::{Counter, Gauge};
use crate::text::Text;

/// Lanes of one worker that can be seen, with a second door for uploads counted as another. Those beyond work as well.
pub const LANES_PER_SLOT: usize = 32;

/// One door of a lane: that to its places, or the one before it for requests whose bodies are still on their way.
///
/// The process with the lane writes, under the lane's own lock. Zeroes are a place that no lane has taken.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct LaneCounters {
    /// 64 bytes of it; lanes that differ only behind those would share a place.
    name: Text<8>,
    /// Not zero for the door of uploads.
    uploads: Gauge,
    /// Requests inside.
    pub in_use: Gauge,
    /// Most of them at the moment: where the number is found by measuring, what was found last.
    pub at_once: Gauge,
    /// Most of them that there can ever be; zero while no worker has the lane.
    pub at_once_max: Gauge,
    /// Requests that wait for their turn.
    pub queued: Gauge,
    /// Most of them.
    pub queue_max: Gauge,
    /// When the one came that waits longest, by [`crate::now_ns`]; zero while nobody waits.
    pub oldest_ns: Gauge,
    /// Requests that were refused at this door.
    pub shed: Counter,
}

impl LaneCounters {
    /// A place that no lane has taken.
    pub const fn new() -> Self {
        Self {
            name: Text::new(),
            uploads: Gauge::new(),
            in_use: Gauge::new(),
            at_once: Gauge::new(),
            at_once_max: Gauge::new(),
            queued: Gauge::new(),
            queue_max: Gauge::new(),
            oldest_ns: Gauge::new(),
            shed: Counter::new(),
        }
    }

    /// The lane's name; empty where no lane has taken the place.
    pub fn name(&self) -> String {
        self.name.get()
    }

    /// Whether this is the door for uploads.
    pub fn is_for_uploads(&self) -> bool {
        self.uploads.get() != 0
    }

    /// Whether a worker has the lane now.
    pub fn is_open(&self) -> bool {
        self.at_once_max.get() != 0
    }

    /// Whether this place is that lane's, or becomes it because it was nobody's.
    pub(crate) fn take(&self, name: &str, uploads: bool) -> bool {
        let wanted = Text::<8>::new();
        wanted.set(name);
        if self.name.words() == [0; 8] {
            self.uploads.set(u64::from(uploads));
            self.name.set(name);
            return true;
        }
        self.name.words() == wanted.words() && self.is_for_uploads() == uploads
    }

    /// A worker that was killed has taken nothing of its own back.
    pub(crate) fn reset_gauges(&self) {
        for gauge in
            [&self.in_use, &self.at_once, &self.at_once_max, &self.queued, &self.queue_max, &self.oldest_ns]
        {
            gauge.set(0);
        }
    }
}

impl Default for LaneCounters {
    fn default() -> Self {
        Self::new()
    }
}
