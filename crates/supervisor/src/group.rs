//! `Group`: workers that do the same thing.

use std::{fmt, time::Duration};

use tenfold_scoreboard::Slot;

use crate::{identity::Identity, worker::Worker};

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
    pub(crate) spawning: Spawning,
    pub(crate) recycling: Recycling,
    pub(crate) is_spare: fn(&Slot) -> bool,
    pub(crate) elastic: bool,
    pub(crate) stops_at_once: bool,
    pub(crate) accepts: bool,
    pub(crate) identity: Option<Identity>,
}

/// How many of a group's workers there are at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Spawning {
    /// Always as many as the group counts.
    #[default]
    Static,
    /// As many as are needed, so that between `spare_min` and `spare_max` have
    /// room for more work; at most as many as the group counts. A burst starts
    /// 1, 2, 4 … up to 32 at a time, and a lull ends one a second (as PHP-FPM's
    /// `dynamic` does).
    Dynamic {
        /// Fewer with room start new ones.
        spare_min: usize,
        /// More with room end one.
        spare_max: usize,
    },
    /// None until a connection waits; each ends after it had nothing to do for
    /// `idle_max`.
    OnDemand {
        /// How long a worker may have nothing to do.
        idle_max: Duration,
    },
}

/// When a worker has served enough and is replaced; the replacement is started first, and at most a tenth of the workers
/// (at least one) is replaced at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recycling {
    /// Requests that it may serve.
    pub requests_max: Option<u64>,
    /// Memory that it may hold: its proportional share (PSS), or what is resident where the kernel does not tell.
    pub memory_bytes_max: Option<u64>,
    /// How long it may live.
    pub age_max: Option<Duration>,
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
        Self {
            name: name.into(),
            count,
            run: Box::new(run),
            spawning: Spawning::Static,
            recycling: Recycling::default(),
            is_spare: |slot| slot.connections_open.get() == 0,
            elastic: false,
            stops_at_once: false,
            accepts: false,
            identity: None,
        }
    }

    /// How many workers there are at a time; implies [`Group::elastic`] unless it is `Static`.
    #[must_use]
    pub fn spawning(mut self, spawning: Spawning) -> Self {
        self.elastic |= spawning != Spawning::Static;
        self.spawning = spawning;
        self
    }

    /// When workers are replaced.
    #[must_use]
    pub fn recycling(mut self, recycling: Recycling) -> Self {
        self.recycling = recycling;
        self
    }

    /// What tells from its slot whether a worker has room for more work; without it, one that has no connection.
    #[must_use]
    pub fn spare_when(mut self, is_spare: fn(&Slot) -> bool) -> Self {
        self.is_spare = is_spare;
        self
    }

    /// Workers do not depend on how many there are, so that single ones may be added and taken away. Without it another
    /// number takes a new generation.
    #[must_use]
    pub fn elastic(mut self) -> Self {
        self.elastic = true;
        self
    }

    /// A graceful stop of its generation is theirs from its first moment, whatever the other groups still do: they have the whole
    /// time that it may take.
    #[must_use]
    pub fn stops_at_once(mut self) -> Self {
        self.stops_at_once = true;
        self
    }

    /// How many workers it has at most.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Workers take connections from the master's listeners, and say so when they have closed them
    /// ([`Report::Closed`](crate::Report::Closed)): when all of them have, on a final stop, the master closes its own.
    #[must_use]
    pub fn accepting(mut self) -> Self {
        self.accepts = true;
        self
    }

    /// Whom the workers run as. They change to it before `run` is called.
    #[must_use]
    pub fn identity(mut self, identity: Option<Identity>) -> Self {
        self.identity = identity;
        self
    }

    /// How many are started at first.
    pub(crate) fn start_count(&self) -> usize {
        match self.spawning {
            Spawning::Static => self.count,
            Spawning::Dynamic { spare_min, spare_max } => {
                spare_min.midpoint(spare_max).clamp(1, self.count.max(1))
            }
            Spawning::OnDemand { .. } => 0,
        }
    }
}

impl Recycling {
    /// Whether there is any limit.
    pub(crate) fn is_on(&self) -> bool {
        *self != Self::default()
    }

    /// Limits from settings.
    pub fn new(requests_max: Option<u64>, memory_bytes_max: Option<u64>, age_max: Option<Duration>) -> Self {
        Self { requests_max, memory_bytes_max, age_max }
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("name", &self.name).field("count", &self.count).finish_non_exhaustive()
    }
}
