//! Where a request's time went: the server's own counters, read from its scoreboard, as stages of a request.
//!
//! The counters are ticked by the runtime when it parks and wakes, not by instrumentation in a handler. This file is the
//! only one that knows how the scoreboard keeps them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};
use tenfold_scoreboard::{self as scoreboard, Cause, Scoreboard, TimesReading};

use crate::error::Error;

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
    /// Processor time of a mean request as the system counts it, in microseconds, where that is known. Stages are by the
    /// clock: with many threads they contain the time in which the kernel ran another one.
    #[serde(default)]
    pub cpu_us: Option<f64>,
}

/// The most that a run could have reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    /// Requests a second, one after another: 1/Σ(1/rate) over all stages.
    pub in_sequence: f64,
    /// Requests a second when all waits overlap: 1/Σ(1/rate) over the stages that need a processor, for each processor.
    pub overlapped: f64,
}

impl Stage {
    /// The queue is other requests' time: it grows with the load and says nothing about this one.
    fn is_queue(&self) -> bool {
        self.name == "queue"
    }
}

impl Stages {
    /// Mean time of a request in all stages but the queue, in microseconds: what it would take if it were alone.
    pub fn total_us(&self) -> f64 {
        self.stages.iter().filter(|stage| !stage.is_queue()).map(|stage| stage.us).sum()
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
        let busy = self.cpu_us.map_or(busy, |cpu| busy.min(cpu));
        let rate = |us: f64| processors as f64 * 1e6 / us;
        (total > 0.0 && busy > 0.0).then(|| Ceiling { in_sequence: rate(total), overlapped: rate(busy) })
    }
}

/// A server's scoreboard, open for reading.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Board(Scoreboard);

/// The counters at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ticks(TimesReading);

/// The name of a board's file, in memory where the system has a place for that; removed with this value.
#[derive(Debug)]
pub(crate) struct BoardFile(pub(crate) PathBuf);

impl BoardFile {
    pub(crate) fn new() -> BoardFile {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.into() } else { std::env::temp_dir() };
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        BoardFile(place.join(format!("tenfold-board-{}-{number}", std::process::id())))
    }
}

impl Drop for BoardFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Board {
    pub(crate) fn open(path: &Path) -> Result<Board, Error> {
        let failed = |error: scoreboard::Error| Error::Part {
            part: "the scoreboard".into(),
            reason: error.to_string(),
        };
        Scoreboard::open(path).map(Board).map_err(failed)
    }

    pub(crate) fn ticks(&self) -> Ticks {
        Ticks(self.0.times())
    }
}

impl Ticks {
    /// Requests that were finished since the server's start.
    pub(crate) fn requests(&self) -> u64 {
        self.0.finished()
    }

    /// What has passed from an earlier moment to this one; `None` if no request was finished meanwhile.
    pub(crate) fn stages_since(&self, earlier: &Ticks) -> Option<Stages> {
        let passed = self.0.since(&earlier.0);
        let mean_us = |ns: u64| ns as f64 / passed.finished() as f64 / 1e3;
        let of_stage = |stage: scoreboard::Stage| {
            let causes = Cause::ALL
                .into_iter()
                .map(|cause| (format!("wait: {}", cause.name()), passed.wait_ns(cause)));
            let own = (stage.name().to_owned(), passed.stage_ns(stage));
            let parts: Vec<_> = if stage == scoreboard::Stage::Wait { causes.collect() } else { vec![own] };
            parts.into_iter().map(move |(name, ns)| Stage { name, us: mean_us(ns), waits: !stage.is_busy() })
        };
        let stages = scoreboard::Stage::ALL.into_iter().flat_map(of_stage);
        (passed.finished() > 0)
            .then(|| Stages { stages: stages.filter(|stage| stage.us > 0.0).collect(), cpu_us: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stages(of: &[(&str, f64, bool)]) -> Stages {
        let stage = |&(name, us, waits): &(&str, f64, bool)| Stage { name: name.into(), us, waits };
        Stages { stages: of.iter().map(stage).collect(), cpu_us: None }
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
    fn the_queue_is_no_part_of_what_a_request_takes() {
        let alone = stages(&[("run", 500.0, false), ("wait: http", 1_500.0, true)]);
        let crowded =
            stages(&[("queue", 9_000.0, true), ("run", 500.0, false), ("wait: http", 1_500.0, true)]);
        assert_eq!(alone.ceiling(1), crowded.ceiling(1));
        assert_eq!((alone.share_of_waiting(), crowded.share_of_waiting()), (0.75, 0.75));
    }

    #[test]
    fn ticks_become_the_stages_of_a_mean_request() {
        let board = Scoreboard::private(1);
        board.slot(0).occupy(1, 1);
        let (account, times) = (board.slot(0).account(0).unwrap(), &board.slot(0).times);
        let before = Board(board).ticks();
        for _ in 0..2 {
            account.begin(0, 1_000, scoreboard::Stage::Run);
            account.parked(Cause::Database, &scoreboard::What::NONE, 3_000);
            account.resumed(9_000);
            account.finish(times, 9_000);
        }
        let ticks = Board(board).ticks();
        assert_eq!(ticks.requests(), 2);
        let expected = [("queue", 1.0, true), ("run", 2.0, false), ("wait: database", 6.0, true)];
        assert_eq!(ticks.stages_since(&before), Some(stages(&expected)));
        assert_eq!(ticks.stages_since(&ticks), None);
    }

    #[test]
    fn a_ceiling_is_that_of_the_processor_where_its_time_is_known() {
        let by_clock = stages(&[("run", 600.0, false), ("wait: http", 400.0, true)]);
        let measured = Stages { cpu_us: Some(200.0), ..by_clock.clone() };
        let rate = |stages: &Stages| stages.ceiling(1).unwrap().overlapped;
        assert!((rate(&measured) / rate(&by_clock) - 3.0).abs() < 1e-9);
    }

    #[test]
    fn without_stages_there_is_no_ceiling() {
        assert_eq!((Stages::default().ceiling(1), Stages::default().share_of_waiting()), (None, 0.0));
    }
}
