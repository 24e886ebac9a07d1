//! What was measured of one model under one workload.

use serde::{Deserialize, Serialize};

use crate::load::{Errors, LoadOutcome, RequestSpan, TargetOutcome};
use crate::measure::{Figure, Round, Stages};

/// One model under one workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The model.
    pub model: String,
    /// `lanes` where long requests have a lane of their own.
    #[serde(default)]
    pub variant: Option<String>,
    /// How the model meets the workload, where that has to be said.
    #[serde(default)]
    pub note: Option<String>,
    /// Why nothing was measured.
    #[serde(default)]
    pub refused: Option<String>,
    /// The figures.
    #[serde(default)]
    pub measured: Option<Measured>,
    /// The curve of throughput and latency; empty unless it was measured.
    #[serde(default)]
    pub curve: Vec<Point>,
}

/// Figures of one model under one workload, over all rounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Rounds.
    pub rounds: usize,
    /// Successes a second.
    pub requests_per_second: Figure,
    /// Latency of the successes in milliseconds; open loops count from when a request was due. Of server-sent events it is
    /// the time between two of them.
    pub p50_ms: Option<Figure>,
    /// See `p50_ms`.
    pub p99_ms: Option<Figure>,
    /// See `p50_ms`.
    pub max_ms: Option<Figure>,
    /// `at_once`: when the last request had ended, in milliseconds.
    pub last_end_ms: Option<Figure>,
    /// Server-sent events a second.
    pub events_per_second: Option<Figure>,
    /// Processor time in user mode of all server processes for each request, in microseconds.
    pub user_us: Option<Figure>,
    /// The same in the kernel.
    pub system_us: Option<Figure>,
    /// Context switches of all server threads for each request.
    pub switches: Option<Figure>,
    /// Most memory of all server processes, in KiB.
    pub memory_kib: Figure,
    /// Memory before the first request, in KiB.
    pub memory_idle_kib: f64,
    /// What each connection has added, in bytes.
    pub bytes_per_connection: Option<Figure>,
    /// Most threads of all server processes.
    pub threads: Figure,
    /// Most requests in flight.
    pub in_flight: Figure,
    /// Requests that were no success, of all rounds.
    pub errors: u64,
    /// Requests that were tried, of all rounds.
    pub tried: u64,
    /// The errors by their kind, of all rounds.
    pub errors_by_kind: Errors,
    /// One error in words.
    #[serde(default)]
    pub error_example: Option<String>,
    /// The load generator's own processor time: the busiest thread's share.
    pub client_share: Figure,
    /// By how much one in a hundred requests of a schedule left later than intended, in milliseconds, in the worst round.
    #[serde(default)]
    pub client_late_ms: f64,
    /// Whether the load generator was the bottleneck in any round.
    pub client_saturated: bool,
    /// Other targets of the same load.
    #[serde(default)]
    pub others: Vec<Other>,
    /// Where the time of a request went.
    #[serde(default)]
    pub stages: Option<Stages>,
    /// The latency over the last round.
    #[serde(default)]
    pub over_time: Vec<Moment>,
    /// `at_once`: the requests of the last round.
    #[serde(default)]
    pub timeline: Vec<RequestSpan>,
    /// Connections, and memory in KiB when there were that many.
    #[serde(default)]
    pub memory_by_connections: Vec<(u64, u64)>,
}

/// Another target of the same load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Other {
    /// Its name.
    pub name: String,
    /// Successes a second.
    pub requests_per_second: Figure,
    /// 99th percentile of its latency in milliseconds.
    pub p99_ms: Option<Figure>,
    /// What was no success, of all rounds.
    pub errors: u64,
}

/// An interval of a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Its beginning, in seconds.
    pub seconds: f64,
    /// Median latency in milliseconds.
    pub p50_ms: f64,
    /// 99th percentile in milliseconds.
    pub p99_ms: f64,
}

/// A point of a curve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Connections, or the rate that was asked for.
    pub at: f64,
    /// Successes a second.
    pub requests_per_second: f64,
    /// 99th percentile in milliseconds.
    pub p99_ms: f64,
}

impl Measured {
    /// Sums up the rounds of one model; `target` is the one of the load that counts. `None` without a round.
    pub(crate) fn of(rounds: &[Round], target: usize, connections: usize) -> Option<Measured> {
        let last = rounds.last()?;
        let over = |value: &dyn Fn(&Round) -> f64| Figure::of(rounds.iter().map(value)).unwrap_or_default();
        let some = |value: &dyn Fn(&Round) -> f64| Figure::of(rounds.iter().map(value));
        let known = |value: &dyn Fn(&Round) -> Option<f64>| Figure::of(rounds.iter().filter_map(value));
        let of = |round: &'_ Round| round.outcome.targets.get(target).cloned().unwrap_or_default();
        let mut errors_by_kind = Errors::default();
        rounds.iter().for_each(|round| add(&mut errors_by_kind, &of(round).errors));
        let errors = errors_by_kind.total();
        let end = of(last);
        let grown = |round: &Round| {
            round.memory_max_kib.saturating_sub(round.memory_idle_kib) as f64 * 1_024.0 / connections as f64
        };
        let example = rounds.iter().find_map(|round| of(round).error_examples.into_iter().next());
        Some(Measured {
            rounds: rounds.len(),
            requests_per_second: over(&|round| of(round).requests_per_second),
            p50_ms: some(&|round| latency_ms(&of(round), 0.5)),
            p99_ms: some(&|round| latency_ms(&of(round), 0.99)),
            max_ms: some(&|round| latency_ms(&of(round), 1.0)),
            last_end_ms: some(&|round| last_end_ms(&of(round))),
            events_per_second: some(&|round| events_per_second(&of(round))),
            user_us: known(&|round| round.user_us_per_request),
            system_us: known(&|round| round.system_us_per_request),
            switches: known(&|round| round.switches_per_request),
            memory_kib: over(&|round| round.memory_max_kib as f64),
            memory_idle_kib: last.memory_idle_kib as f64,
            bytes_per_connection: some(&grown),
            threads: over(&|round| round.threads_max as f64),
            in_flight: over(&|round| of(round).in_flight_max as f64),
            errors,
            tried: rounds.iter().map(|round| of(round).successes).sum::<u64>() + errors,
            errors_by_kind,
            error_example: example,
            client_share: over(&|round| round.outcome.generator.busiest_thread_share),
            client_late_ms: rounds
                .iter()
                .map(|round| round.outcome.generator.lateness.p99().as_secs_f64() * 1_000.0)
                .fold(0.0, f64::max),
            client_saturated: rounds.iter().any(|round| round.outcome.generator.saturated),
            others: others(rounds, target),
            stages: last.stages.clone(),
            over_time: end.intervals.iter().filter(|interval| interval.count > 0).map(Moment::from).collect(),
            timeline: end.timeline,
            memory_by_connections: last.memory_by_connections.clone(),
        })
    }

    /// Processor time of a request in microseconds, user and system.
    pub fn cpu_us(&self) -> Option<f64> {
        Some(self.user_us?.median + self.system_us?.median)
    }

    /// The share of requests that were no success.
    pub fn error_share(&self) -> f64 {
        if self.tried == 0 { 0.0 } else { self.errors as f64 / self.tried as f64 }
    }
}

impl Row {
    /// The model, and how it was varied.
    pub fn title(&self) -> String {
        match &self.variant {
            Some(variant) => format!("{} + {variant}", self.model),
            None => self.model.clone(),
        }
    }
}

impl Point {
    pub(crate) fn of(at: f64, outcome: &LoadOutcome, target: usize) -> Option<Point> {
        let target = outcome.targets.get(target)?;
        let p99_ms = Some(latency_ms(target, 0.99)).filter(|ms| ms.is_finite())?;
        Some(Point { at, requests_per_second: target.requests_per_second, p99_ms })
    }
}

impl From<&crate::load::LatencyInterval> for Moment {
    fn from(interval: &crate::load::LatencyInterval) -> Moment {
        Moment {
            seconds: interval.at_seconds,
            p50_ms: interval.p50_us / 1_000.0,
            p99_ms: interval.p99_us / 1_000.0,
        }
    }
}

/// Not a number where nothing succeeded: nothing was fast then.
fn latency_ms(target: &TargetOutcome, share: f64) -> f64 {
    let latency = target.events.as_ref().map_or(&target.latency, |events| &events.gaps);
    match latency.count() {
        0 => f64::NAN,
        _ => latency.quantile(share).as_secs_f64() * 1_000.0,
    }
}

fn last_end_ms(target: &TargetOutcome) -> f64 {
    target.timeline.iter().map(|span| span.end_us / 1_000.0).fold(f64::NAN, f64::max)
}

fn events_per_second(target: &TargetOutcome) -> f64 {
    match &target.events {
        Some(events) if target.seconds > 0.0 => events.events as f64 / target.seconds,
        _ => f64::NAN,
    }
}

fn others(rounds: &[Round], measured: usize) -> Vec<Other> {
    let count = rounds.first().map_or(0, |round| round.outcome.targets.len());
    let other = |index: usize| {
        let targets = || rounds.iter().filter_map(|round| round.outcome.targets.get(index));
        Other {
            name: targets().next().map_or_else(String::new, |target| target.name.clone()),
            requests_per_second: Figure::of(targets().map(|target| target.requests_per_second))
                .unwrap_or_default(),
            p99_ms: Figure::of(targets().map(|target| latency_ms(target, 0.99))),
            errors: targets().map(|target| target.errors.total()).sum(),
        }
    };
    (0..count).filter(|index| *index != measured).map(other).collect()
}

fn add(sum: &mut Errors, errors: &Errors) {
    sum.connect += errors.connect;
    sum.closed += errors.closed;
    sum.timeout += errors.timeout;
    sum.protocol += errors.protocol;
    sum.status += errors.status;
    sum.body += errors.body;
    sum.overflow += errors.overflow;
}
