//! The heartbeat of a loop: what is running now, and whether it is still the same as a moment ago.
//!
//! The loop's thread writes it around every fiber it resumes; the watchdog's thread reads it. Two relaxed stores on each
//! side, because they are on the path of every single resume. The reader needs no ordering: it compares two samples
//! milliseconds apart, and a sample that mixes one run's number with the next run's name is gone by the second look.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::name::SharedName;

/// What one loop runs at the moment. One writer, any number of readers.
///
/// ```
/// use tenfold_fiber::Beat;
///
/// let beat = Beat::new();
/// beat.enter("GET /");
/// let first = beat.sample();
/// assert_eq!(first.name, Some("GET /"));
/// assert!(beat.sample().is_same_run(&first), "nothing has moved: whoever is there holds the loop");
/// beat.leave();
/// assert!(!beat.sample().is_same_run(&first));
/// ```
#[derive(Debug, Default)]
#[repr(align(64))] // Alone on its cache line: the watchdog's reads must not slow down the loop's other data.
pub struct Beat {
    /// Odd while something runs; grows with every `enter` and `leave`.
    seq: AtomicU64,
    /// The name of what runs; none between runs.
    running: SharedName,
}

impl Beat {
    /// A loop in which nothing runs yet.
    pub const fn new() -> Self {
        Self { seq: AtomicU64::new(0), running: SharedName::new() }
    }

    /// Notes that `name` runs from now on. Called by the loop's own thread only; another writer would muddle the
    /// numbers, no more.
    #[inline]
    pub fn enter(&self, name: &'static str) {
        self.running.set(name);
        // Not a fetch_add: there is one writer, and a locked instruction costs more than a whole switch.
        // The next odd number: two on from an odd one (entered again without leaving), one on from an even one.
        self.seq.store(self.seq.load(Relaxed).wrapping_add(1) | 1, Relaxed);
    }

    /// Notes that nothing runs any more.
    #[inline]
    pub fn leave(&self) {
        self.running.clear();
        self.seq.store((self.seq.load(Relaxed) | 1).wrapping_add(1), Relaxed);
    }

    /// What runs now. Any thread.
    pub fn sample(&self) -> BeatSample {
        let seq = self.seq.load(Relaxed);
        BeatSample { seq, name: self.running.get() }
    }
}

/// One look at a [`Beat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BeatSample {
    /// The run's number; odd while something runs.
    pub seq: u64,
    /// What runs; `None` between runs.
    pub name: Option<&'static str>,
}

impl BeatSample {
    /// Whether something was running in `earlier` and is running still, without a pause between.
    pub fn is_same_run(&self, earlier: &BeatSample) -> bool {
        self.seq == earlier.seq && self.seq & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_loop_is_never_the_same_run() {
        let beat = Beat::new();
        assert!(!beat.sample().is_same_run(&beat.sample()));
        beat.enter("a");
        beat.leave();
        let idle = beat.sample();
        assert_eq!(idle.name, None);
        assert!(!beat.sample().is_same_run(&idle));
    }

    #[test]
    fn the_same_name_twice_is_two_runs() {
        let beat = Beat::new();
        beat.enter("a");
        let first = beat.sample();
        beat.leave();
        beat.enter("a");
        assert!(!beat.sample().is_same_run(&first));
        assert!(beat.sample().is_same_run(&beat.sample()));
    }

    #[test]
    fn entering_without_leaving_is_a_new_run() {
        let beat = Beat::new();
        beat.enter("outer");
        let first = beat.sample();
        beat.enter("inner");
        let second = beat.sample();
        assert_eq!(second.name, Some("inner"));
        assert!(!second.is_same_run(&first));
        assert!(beat.sample().is_same_run(&second));
    }

    #[test]
    fn is_shared_between_threads() {
        fn assert_sync<T: Sync + Send>() {}
        assert_sync::<Beat>();
    }
}
