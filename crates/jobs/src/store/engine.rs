//! `Engine`: a server elsewhere that keeps the jobs of several machines. One file for each that there is.
//!
//! ```text
//!   workers ── Unix socket ──► keeper of the machine (keeper/relay.rs) ── rounds of calls ──► engine
//!                                   └── spool, while the engine is away
//! ```
//!
//! Workers do not talk to it themselves, but to their machine's keeper, with the words of the embedded store (`wire.rs`), for
//! three reasons. While the engine is away, jobs go to the machine's spool, and what comes after them has to stay behind
//! them when it is back: several workers that each decide for themselves would break the order of a key. A worker's death is
//! an end of file at the keeper, within milliseconds, and needs no time-out. And what many producers send at a time shares one
//! round trip, and one fsync of the engine.
//!
//! An engine is used by one thread, which waits; it keeps no decision to itself that another machine's keeper could
//! see differently.

use serde::Serialize;
use serde_json::Value;

use crate::wire::{Ask, End, Enqueue, Lease, QueueSpec, Receipt, Want};

/// How long an ended job is kept, for its history and so that the same id is known again.
pub(crate) const KEEP_MS: u64 = 600_000;
/// Most ended jobs that are kept.
pub(crate) const ENDED_MAX: u64 = 500_000;
/// Longest delay, 35,000 years: engines count time in doubles.
pub(crate) const DELAY_MS_MAX: u64 = 1 << 50;

pub(crate) trait Engine: Send {
    /// Connects, and looks whether the engine can be used at all. `keeper` is the same for as long as there is this machine's
    /// spool. The first call is [`Call::Open`] then.
    fn connect(&mut self, keeper: &str) -> Result<(), EngineError>;

    /// Does all of these in their order; an answer for each. After an error nobody knows which of them were done: all may
    /// come again.
    fn round(&mut self, calls: &[Call]) -> Result<Vec<Answer>, EngineError>;
}

/// Why an engine does not do what it was asked for.
#[derive(Debug)]
pub(crate) enum EngineError {
    /// It is away, or cannot write; later it may be otherwise.
    Gone(String),
    /// It cannot be used as it is: a person has to change something.
    Unfit(String),
}

/// What an engine tells unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// Something may start.
    Bell,
    /// A job that runs here was cancelled elsewhere.
    Cancel(i64),
}

/// One thing that an engine is asked to do; each is done as a whole or not at all, and may be asked for again.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    /// The keeper comes, or comes back, and runs these jobs; all others that it has leased go back.
    Open {
        held: Vec<i64>,
    },
    Define(Vec<QueueSpec>),
    Enqueue(Enqueue),
    Forward(Vec<Row>),
    Take(Vec<Want>),
    Settle(Vec<End>),
    /// The workers of these jobs have died.
    Crashed(Vec<i64>),
    /// The workers of these jobs have ended in good order.
    Returned(Vec<i64>),
    Progress {
        seq: i64,
        percent: u8,
    },
    /// When these schedules have fired last.
    Fired(Vec<String>),
    Fire(Firing),
    Beat {
        held: Vec<i64>,
        workers: u32,
    },
    Ask(Ask),
    /// The keeper ends in good order.
    Close,
}

/// What a spool has kept.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) enqueue: Enqueue,
    /// How long ago.
    pub(crate) age_ms: u64,
}

/// A schedule's times have come.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Firing {
    pub(crate) name: String,
    /// The latest of them.
    pub(crate) last: i64,
    pub(crate) jobs: Vec<Enqueue>,
}

/// What came of a call.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Done,
    Kept(Vec<Receipt>),
    Full(String),
    /// Whether each row was taken.
    Forwarded(Vec<bool>),
    Taken {
        leases: Vec<Lease>,
        /// When it is worth asking again.
        wait_ms: u64,
    },
    /// Jobs that are not this keeper's any more.
    Lost(Vec<i64>),
    Fired(Vec<Option<i64>>),
    Value {
        value: Value,
        /// A job whose run is to be stopped, if it is here.
        cancelled: Option<i64>,
    },
    Refused(String),
}
