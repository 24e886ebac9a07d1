//! `Group`: workers that do the same thing.

use std::fmt;

use crate::worker::Worker;

/// What a worker runs; called in the child process, once.
pub(crate) type Run = Box<dyn Fn(&Worker) -> ExitReason>;

/// A number of workers that run the same function.
///
/// A master may have several, for example serving workers and helper
/// processes. They are started in the order in which they were added, and a
/// graceful stop goes the other way, one group after the other: add first what
/// the others rely on.
pub struct Group {
    pub(crate) name: String,
    pub(crate) count: usize,
    pub(crate) run: Run,
}

/// Why a worker's function came back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExitReason {
    /// It was ordered to stop, or is done: exit code 0.
    Done,
    /// It cannot go on, for the reason given in one line: exit code 1.
    Failed(String),
}

impl Group {
    /// `count` workers named `name` that each run `run` in their own process.
    ///
    /// `run` gets a fresh process with one thread, and is called once there;
    /// what it captured was built in the master, so it must be cheap to have
    /// and safe to fork: listeners and settings, never a thread, a ring or a
    /// database connection. A panic in it ends the worker with exit code 101.
    pub fn new(name: impl Into<String>, count: usize, run: impl Fn(&Worker) -> ExitReason + 'static) -> Self {
        Self { name: name.into(), count, run: Box::new(run) }
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("name", &self.name).field("count", &self.count).finish_non_exhaustive()
    }
}
