//! The load generator: makes requests on this project's own runtime and measures what comes back.
//!
//! A [`LoadSpec`] says what is asked for, [`LoadOutcome`] what came of it; both are JSON, so that a generator can run in a
//! process of its own, pinned away from the server that it measures.

mod spec;

mod run;

mod shapes;

mod connection;
mod failure;
mod job;
mod pacer;
mod tally;
mod target;

mod latency;
mod outcome;
mod text;

pub use latency::Latency;
pub use outcome::{
    Errors, EventCounts, GeneratorOutcome, LatencyInterval, LoadOutcome, RequestSpan, TargetOutcome,
};
pub use run::run;
pub use spec::{Arrivals, Expect, LoadSpec, Shape, TargetSpec};
