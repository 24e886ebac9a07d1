//! What protects a worker from requests that do not end.
//!
//! Every request has two deadlines, counted from its arrival (`drive/deadline.rs`). At the soft one its pending wait
//! returns `TimedOut`, and the slow log tells what it was waiting for. That takes the handler's co-operation: code that
//! computes, or blocks in a library of its own, is not reached. So there is a hard one, at which the process pays:
//!
//! ```text
//!   arrival ──── soft (request_timeout) ──── hard (+ request_overrun)
//!                 waits fail: 504, slow log    Kill: the process has this request only, and ends at once
//!                                              Replace: it is condemned, replaced, drained; then it ends
//! ```
//!
//! One thread a worker, the sentry, looks at all requests in flight. It runs no handler.

pub(crate) mod addresses;
pub(crate) mod desk;
pub(crate) mod memory;
pub(crate) mod request_start;
pub(crate) mod sentry;
pub(crate) mod slow_log;

/// What becomes of a process with a request that is past its hard deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overrun {
    /// It has one request at a time: it is killed at once.
    Kill,
    /// It has others: it is condemned and replaced, and ends when the others have finished.
    Replace,
}

impl Overrun {
    /// As a line of a table.
    pub fn text(self) -> &'static str {
        match self {
            Overrun::Kill => "its process is killed",
            Overrun::Replace => "its worker is replaced, and ends when the others have finished",
        }
    }
}
