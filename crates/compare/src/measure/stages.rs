//! Where a request's time went: the server's own counters, read from its scoreboard, as stages of a request.
//!
//! The counters are ticked by the runtime when it parks and wakes, not by instrumentation in a handler. This file is the
//! only one that knows how the scoreboard keeps them.

use serde::{Deserialize, Serialize};

/// One stage of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// `accept`, `read`, `parse`, `queue`, `run`, `wait: database` …, `render`, `write`.
    pub name: String,
    /// Mean time of a request in it, in microseconds.
    pub us: f64,
    /// Whether the processor is free for others meanwhile.
    pub waits: bool,
}

/// The stages of a mean request, in their order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stages {
    /// All stages that any request was in.
    pub stages: Vec<Stage>,
}

/// The most that a run could have reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    /// Requests a second, one after another: 1/Σ(1/rate) over all stages.
    pub in_sequence: f64,
    /// Requests a second when all waits overlap: 1/Σ(1/rate) over the stages that need a processor, for each processor.
    pub overlapped: f64,
}

impl Stages {
    /// Mean time of a request in all stages, in microseconds.
    pub fn total_us(&self) -> f64 {
        self.stages.iter().map(|stage| stage.us).sum()
    }

    /// Mean time of a request that needs a processor, in microseconds.
    pub fn busy_us(&self) -> f64 {
        self.stages.iter().filter(|stage| !stage.waits).map(|stage| stage.us).sum()
    }

    /// The share of its time that a request waits, 0 to 1; 0 without any stage.
    pub fn share_of_waiting(&self) -> f64 {
        let total = self.total_us();
        if total > 0.0 { 1.0 - self.busy_us() / total } else { 0.0 }
    }

    /// The most that these stages allow on a number of processors. `None` without any stage.
    ///
    /// A stage alone would reach a rate of 1/time; all of them, one after another, 1/Σ(1/rate).
    pub fn ceiling(&self, processors: usize) -> Option<Ceiling> {
        let (total, busy) = (self.total_us(), self.busy_us());
        let rate = |us: f64| processors as f64 * 1e6 / us;
        (total > 0.0 && busy > 0.0).then(|| Ceiling { in_sequence: rate(total), overlapped: rate(busy) })
    }
}

/// A server's scoreboard, open for reading.
#[derive(Clone, Debug, Default)]
pub(crate) struct Board {}

/// The counters at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ticks {
    /// Request heads parsed since the server's start; `None` where the board cannot be read.
    pub(crate) requests: Option<u64>,
}

impl Board {
    pub(crate) fn ticks(&self) -> Ticks {
        Ticks::default()
    }
}

impl Ticks {
    /// What has passed from an earlier moment to this one.
    pub(crate) fn stages_since(&self, _earlier: &Ticks) -> Option<Stages> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stages(of: &[(&str, f64, bool)]) -> Stages {
        let stage = |&(name, us, waits): &(&str, f64, bool)| Stage { name: name.into(), us, waits };
        Stages { stages: of.iter().map(stage).collect() }
    }

    #[test]
    fn the_ceiling_is_the_reciprocal_of_the_sum_of_reciprocal_rates() {
        // 10,000, 2,000 and 500 a second alone: 384.6 a second one after another.
        let stages =
            stages(&[("parse", 100.0, false), ("run", 500.0, false), ("wait: database", 2_000.0, true)]);
        let ceiling = stages.ceiling(1).unwrap();
        assert!((ceiling.in_sequence - 1.0 / (1.0 / 10_000.0 + 1.0 / 2_000.0 + 1.0 / 500.0)).abs() < 1e-6);
        assert!((ceiling.overlapped - 1e6 / 600.0).abs() < 1e-6);
        assert!((stages.ceiling(2).unwrap().overlapped - 2e6 / 600.0).abs() < 1e-6);
        assert!((stages.share_of_waiting() - 2_000.0 / 2_600.0).abs() < 1e-9);
    }

    #[test]
    fn without_stages_there_is_no_ceiling() {
        assert_eq!((Stages::default().ceiling(1), Stages::default().share_of_waiting()), (None, 0.0));
    }
}
