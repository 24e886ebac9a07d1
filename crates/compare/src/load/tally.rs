//! What a target's requests came to, on one thread: counted while it runs, added up over threads at the end.

use std::time::{Duration, Instant};

use super::failure::{Failure, FailureKind};
use super::latency::Latency;
use super::outcome::{Errors, EventCounts, LatencyInterval, RequestSpan, TargetOutcome};
use super::spec::TargetSpec;

/// Significant digits of an interval's histogram: 30 KiB instead of 250.
const INTERVAL_DIGITS: u8 = 2;

/// The measured time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// When load begins: that of the warm-up.
    pub(crate) start: Instant,
    /// When measuring begins.
    pub(crate) begin: Instant,
    /// When the last request begins.
    pub(crate) end: Instant,
}

impl Window {
    /// Whether something that was due then is measured.
    #[inline]
    pub(crate) fn has(&self, due: Instant) -> bool {
        due >= self.begin && due < self.end
    }
}

/// The counts of one target on one thread.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) window: Window,
    intervals_max: usize,
    successes: u64,
    errors: Errors,
    examples: Vec<(FailureKind, String)>,
    unfinished: u64,
    pub(crate) connections_opened: u64,
    in_flight: u64,
    in_flight_max: u64,
    bytes_in: u64,
    bytes_out: u64,
    latency: Latency,
    intervals: Vec<Interval>,
    pub(crate) lateness: Latency,
    pub(crate) timeline: Vec<RequestSpan>,
    pub(crate) events: Option<EventCounts>,
    /// When the last measured request has ended.
    pub(crate) last_end: Option<Instant>,
}

#[derive(Debug, Default)]
struct Interval {
    errors: u64,
    latency: Option<Latency>,
}

impl Tally {
    pub(crate) fn new(window: Window, intervals_max: usize) -> Tally {
        Tally {
            window,
            intervals_max,
            successes: 0,
            errors: Errors::default(),
            examples: Vec::new(),
            unfinished: 0,
            connections_opened: 0,
            in_flight: 0,
            in_flight_max: 0,
            bytes_in: 0,
            bytes_out: 0,
            latency: Latency::new(),
            intervals: Vec::new(),
            lateness: Latency::new(),
            timeline: Vec::new(),
            events: None,
            last_end: None,
        }
    }

    /// A request is under way.
    #[inline]
    pub(crate) fn begun(&mut self) {
        self.in_flight += 1;
        self.in_flight_max = self.in_flight_max.max(self.in_flight);
    }

    /// A request that was due then is over now.
    #[inline]
    pub(crate) fn ended(&mut self, due: Instant, outcome: Result<(), &Failure>, now: Instant) {
        self.in_flight -= 1;
        match outcome {
            Ok(()) => self.success(due, now),
            Err(failure) => self.failure(due, failure, now),
        }
    }

    #[inline]
    fn success(&mut self, due: Instant, now: Instant) {
        if !self.window.has(due) {
            return;
        }
        let took = now.saturating_duration_since(due);
        self.successes += 1;
        self.last_end = Some(now);
        self.latency.record(took);
        let interval = self.interval(due);
        interval.latency.get_or_insert_with(|| Latency::with_digits(INTERVAL_DIGITS)).record(took);
    }

    /// A request, or what should have become one, has failed.
    pub(crate) fn failure(&mut self, due: Instant, failure: &Failure, now: Instant) {
        if !self.window.has(due) {
            return;
        }
        let count = match failure.kind {
            FailureKind::Connect => &mut self.errors.connect,
            FailureKind::Closed => &mut self.errors.closed,
            FailureKind::Timeout => &mut self.errors.timeout,
            FailureKind::Protocol => &mut self.errors.protocol,
            FailureKind::Status => &mut self.errors.status,
            FailureKind::Body => &mut self.errors.body,
            FailureKind::Overflow => &mut self.errors.overflow,
            FailureKind::Cancelled => {
                self.unfinished += 1;
                return;
            }
        };
        *count += 1;
        self.last_end = Some(now);
        self.interval(due).errors += 1;
        if !self.examples.iter().any(|(kind, _)| *kind == failure.kind) {
            self.examples.push((failure.kind, failure.words.clone()));
        }
    }

    /// A request that was begun and then given up because the run is over.
    pub(crate) fn gave_up(&mut self) {
        self.in_flight -= 1;
        self.unfinished += 1;
    }

    /// Requests that were sent in vain and will be sent again; they count neither way.
    pub(crate) fn withdrawn(&mut self, count: u64) {
        self.in_flight -= count;
    }

    /// A stream that was opened after so long is over; without a failure it has lasted to the end.
    pub(crate) fn stream_ended(&mut self, opened: Duration, failure: Option<&Failure>) {
        self.in_flight -= 1;
        let begin = self.window.begin;
        match failure {
            None => self.success(begin, begin + opened),
            Some(failure) => self.failure(begin, failure, Instant::now()),
        }
    }

    /// Bytes of a request that was due then.
    #[inline]
    pub(crate) fn bytes(&mut self, due: Instant, (received, sent): (u64, u64)) {
        if self.window.has(due) {
            self.bytes_in += received;
            self.bytes_out += sent;
        }
    }

    fn width(&self) -> Duration {
        let whole = self.window.end - self.window.begin;
        (whole / self.intervals_max as u32).max(Duration::from_millis(1))
    }

    fn interval(&mut self, due: Instant) -> &mut Interval {
        let index = (due - self.window.begin).as_nanos() / self.width().as_nanos();
        let index = (index as usize).min(self.intervals_max - 1);
        if self.intervals.len() <= index {
            self.intervals.resize_with(index + 1, Interval::default);
        }
        &mut self.intervals[index]
    }

    /// Adds another thread's counts.
    pub(crate) fn add(&mut self, other: Tally) {
        self.successes += other.successes;
        self.errors.add(&other.errors);
        self.unfinished += other.unfinished;
        self.connections_opened += other.connections_opened;
        // Not at the same instant, so at most this.
        self.in_flight_max += other.in_flight_max;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.latency.add(&other.latency);
        self.lateness.add(&other.lateness);
        for (kind, words) in other.examples {
            if !self.examples.iter().any(|(known, _)| *known == kind) {
                self.examples.push((kind, words));
            }
        }
        if self.intervals.len() < other.intervals.len() {
            self.intervals.resize_with(other.intervals.len(), Interval::default);
        }
        for (mine, theirs) in self.intervals.iter_mut().zip(other.intervals) {
            mine.errors += theirs.errors;
            if let Some(latency) = theirs.latency {
                mine.latency.get_or_insert_with(|| Latency::with_digits(INTERVAL_DIGITS)).add(&latency);
            }
        }
        self.timeline.extend(other.timeline);
        self.last_end = self.last_end.max(other.last_end);
        match (&mut self.events, other.events) {
            (Some(mine), Some(theirs)) => mine.add(&theirs),
            (mine, theirs) => *mine = mine.take().or(theirs),
        }
    }

    /// The target's result. `until` is when measuring has ended.
    pub(crate) fn outcome(mut self, spec: &TargetSpec, until: Instant) -> TargetOutcome {
        let seconds = until.saturating_duration_since(self.window.begin).as_secs_f64();
        let width = self.width().as_secs_f64();
        self.timeline.sort_by(|one, other| one.end_us.total_cmp(&other.end_us));
        let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
        let interval = |(index, interval): (usize, &Interval)| {
            let latency = interval.latency.as_ref();
            let of = |look: fn(&Latency) -> Duration| latency.map_or(0.0, |latency| micros(look(latency)));
            LatencyInterval {
                at_seconds: index as f64 * width,
                count: latency.map_or(0, Latency::count),
                errors: interval.errors,
                p50_us: of(Latency::p50),
                p99_us: of(Latency::p99),
                max_us: of(Latency::max),
            }
        };
        TargetOutcome {
            name: spec.title().to_owned(),
            seconds,
            successes: self.successes,
            requests_per_second: if seconds > 0.0 { self.successes as f64 / seconds } else { 0.0 },
            errors: self.errors,
            error_examples: self.examples.into_iter().map(|(_, words)| words).collect(),
            unfinished: self.unfinished,
            connections_opened: self.connections_opened,
            in_flight_max: self.in_flight_max,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            intervals: self.intervals.iter().enumerate().map(interval).collect(),
            latency: self.latency,
            timeline: self.timeline,
            events: self.events,
        }
    }
}
