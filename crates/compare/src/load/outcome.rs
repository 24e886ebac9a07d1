//! What came of a run: each target's answers and errors, and what the generator itself has cost.

use serde::{Deserialize, Serialize};

use super::latency::Latency;

/// The result of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadOutcome {
    /// In the order of the specification.
    pub targets: Vec<TargetOutcome>,
    /// The generator itself: whether it was the bottleneck.
    pub generator: GeneratorOutcome,
    /// Whether it was told to end early; what was measured until then is here.
    #[serde(default)]
    pub interrupted: bool,
}

/// What one target has answered to the requests that were due in the measured time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TargetOutcome {
    /// As in the specification.
    pub name: String,
    /// The measured time in seconds: the warm-up is not in it.
    pub seconds: f64,
    /// Answers that were as expected.
    pub successes: u64,
    /// Successes a second.
    pub requests_per_second: f64,
    /// What was not a success, by kind.
    pub errors: Errors,
    /// One error of each kind in words, for people.
    #[serde(default)]
    pub error_examples: Vec<String>,
    /// Requests that were under way when the run was interrupted; neither successes nor errors.
    #[serde(default)]
    pub unfinished: u64,
    /// Connections opened, the warm-up's included.
    pub connections_opened: u64,
    /// Most requests under way at the same time.
    pub in_flight_max: u64,
    /// Bytes received and sent, in the measured time.
    pub bytes_in: u64,
    /// See `bytes_in`.
    pub bytes_out: u64,
    /// Of the successes. Open loops count from the intended time.
    pub latency: Latency,
    /// The latency over time, by when requests were due; at most [`super::LoadSpec::intervals`].
    #[serde(default)]
    pub intervals: Vec<LatencyInterval>,
    /// `at_once`: each request's own times, in the order of their ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<RequestSpan>,
    /// `stream`: the events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<EventCounts>,
}

/// Requests that were no success, by kind. Each request is counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Errors {
    /// No connection: refused, unreachable, or descriptors have run out.
    pub connect: u64,
    /// The server closed or reset the connection before the answer was whole.
    pub closed: u64,
    /// The answer was not whole in time.
    pub timeout: u64,
    /// What came is no HTTP.
    pub protocol: u64,
    /// Another status than expected.
    pub status: u64,
    /// Another body than expected.
    pub body: u64,
    /// Open loop: due when all connections were in use, and not sent.
    pub overflow: u64,
}

/// A part of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencyInterval {
    /// Its beginning, in seconds from that of the measured time.
    pub at_seconds: f64,
    /// Successes of requests that were due in it.
    pub count: u64,
    /// Errors of requests that were due in it.
    pub errors: u64,
    /// Their median latency in microseconds.
    pub p50_us: f64,
    /// Their 99th percentile in microseconds.
    pub p99_us: f64,
    /// Their longest in microseconds.
    pub max_us: f64,
}

/// The times of one request of `at_once`, in microseconds from the common instant of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RequestSpan {
    /// The last byte of the request was handed to the kernel.
    pub sent_us: f64,
    /// The first byte of the answer was there; equal to the end where none came.
    pub first_byte_us: f64,
    /// The answer was whole, or had failed.
    pub end_us: f64,
    /// Whether it was a success.
    pub success: bool,
}

/// Server-sent events of all connections of a target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EventCounts {
    /// Events in the measured time.
    pub events: u64,
    /// Fewest on a connection that was open to the end.
    pub per_connection_min: u64,
    /// Most on a connection.
    pub per_connection_max: u64,
    /// Time from an event to the next one on the same connection.
    pub gaps: Latency,
}

/// What the generator itself has cost, and whether it was the bottleneck.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GeneratorOutcome {
    /// User and system time of its process, in the measured time.
    pub cpu_seconds: f64,
    /// The measured time, with the wait for the last answers.
    pub wall_seconds: f64,
    /// The busiest thread's share of a processor, 0 to 1.
    pub busiest_thread_share: f64,
    /// Whether the figures may be the generator's and not the server's: the busiest thread used more than
    /// [`GeneratorOutcome::SHARE_MAX`] of a processor, or one in a hundred requests of a schedule left later than
    /// [`GeneratorOutcome::LATE_MAX_MS`].
    pub saturated: bool,
    /// By how much requests of a schedule (`open`, `idle`, `at_once`) left later than intended.
    pub lateness: Latency,
    /// `io_uring` or `epoll`.
    pub backend: String,
    /// Its threads.
    pub threads: usize,
    /// The processors that they were bound to.
    #[serde(default)]
    pub cpus: Vec<usize>,
}

impl GeneratorOutcome {
    /// A thread that is busier than this has no reserve left.
    pub const SHARE_MAX: f64 = 0.9;
    /// Bound of the lateness's 99th percentile.
    pub const LATE_MAX_MS: u64 = 5;
}

impl Errors {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.by_kind().iter().map(|(_, count)| count).sum()
    }

    /// Each kind's name and count.
    pub fn by_kind(&self) -> [(&'static str, u64); 7] {
        [
            ("connect", self.connect),
            ("closed", self.closed),
            ("timeout", self.timeout),
            ("protocol", self.protocol),
            ("status", self.status),
            ("body", self.body),
            ("overflow", self.overflow),
        ]
    }
}

impl Errors {
    pub(crate) fn add(&mut self, other: &Errors) {
        self.connect += other.connect;
        self.closed += other.closed;
        self.timeout += other.timeout;
        self.protocol += other.protocol;
        self.status += other.status;
        self.body += other.body;
        self.overflow += other.overflow;
    }
}

impl EventCounts {
    pub(crate) fn add(&mut self, other: &EventCounts) {
        self.events += other.events;
        self.per_connection_min = self.per_connection_min.min(other.per_connection_min);
        self.per_connection_max = self.per_connection_max.max(other.per_connection_max);
        self.gaps.add(&other.gaps);
    }
}

impl LoadOutcome {
    /// Successes of all targets.
    pub fn successes(&self) -> u64 {
        self.targets.iter().map(|target| target.successes).sum()
    }
}
