//! `AccountReading`: what an account says to others.

use crate::stage::{Cause, Stage};
use crate::text::unpack;

/// What was read of an account, all of one moment.
pub(super) struct Raw {
    pub(super) stage: u8,
    pub(super) waiting: u8,
    pub(super) child: u8,
    pub(super) arrived: u64,
    pub(super) since: u64,
    pub(super) woken: u64,
    pub(super) what: [u64; 4],
    pub(super) method: [u64; 1],
    pub(super) path: [u64; 8],
    pub(super) id: [u64; 5],
}

/// What a request waits for that waits for its own fibers or threads is what those wait for.
pub(super) fn child_cause(cause: u8, child: u8) -> u8 {
    if cause == Cause::Task as u8 { child.checked_sub(1).unwrap_or(cause) } else { cause }
}

/// A request in flight, as it was at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccountReading {
    /// At most 8 bytes; empty before the head was parsed.
    pub method: String,
    /// At most 64 bytes.
    pub path: String,
    /// At most 40 bytes; empty where the request has none, or none yet.
    pub id: String,
    /// When it arrived, by [`crate::now_ns`].
    pub arrived_ns: u64,
    /// Where it is.
    pub stage: Stage,
    /// What it waits for, in [`Stage::Wait`].
    pub cause: Option<Cause>,
    /// The name of that, where it has one: a host, say. At most 32 bytes.
    pub what: String,
    /// Since when it is there, by [`crate::now_ns`].
    pub since_ns: u64,
}

impl From<Raw> for AccountReading {
    fn from(raw: Raw) -> Self {
        let waiting = raw.waiting.checked_sub(1).map(|cause| child_cause(cause, raw.child));
        let stage = Stage::from_number(raw.stage);
        let (stage, cause, since_ns) = match waiting {
            None => (stage, None, raw.since),
            Some(_) if raw.woken != 0 => (Stage::Queue, None, raw.woken),
            Some(_) if stage == Stage::Queue => (stage, None, raw.since),
            Some(cause) => (Stage::Wait, Some(Cause::from_number(cause)), raw.since),
        };
        Self {
            method: unpack(&raw.method),
            path: unpack(&raw.path),
            id: unpack(&raw.id),
            arrived_ns: raw.arrived,
            stage,
            cause,
            what: if cause.is_some() { unpack(&raw.what) } else { String::new() },
            since_ns,
        }
    }
}
