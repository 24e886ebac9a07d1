//! `PoolOptions`: a pool's bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tenfold_runtime::ProcessShare;

use super::Pool;
use super::manager::Manager;

/// Bounds of a [`Pool`], each with a default that suits a database.
///
/// ```
/// use std::time::Duration;
/// use tenfold_client::pool::PoolOptions;
///
/// // At most 40 connections from all workers of this machine together, however many those are.
/// let options = PoolOptions::new().connections_max(16).budget(40).wait_max(Duration::from_secs(1));
/// assert_eq!(options.connections_max_here(), 16); // one process has all of the budget
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct PoolOptions {
    pub(super) connections_max: usize,
    pub(super) budget: Option<usize>,
    pub(super) idle_min: usize,
    pub(super) idle_max: usize,
    pub(super) idle_timeout: Duration,
    pub(super) lifetime_max: Option<Duration>,
    pub(super) check_after: Duration,
    pub(super) waiters_max: usize,
    pub(super) wait_max: Duration,
    pub(super) leak_after: Duration,
    pub(super) idle_bound: Option<Arc<IdleBound>>,
}

/// How many connections several pools may keep idle together.
#[derive(Debug)]
pub(crate) struct IdleBound {
    now: AtomicUsize,
    max: usize,
}

impl Default for PoolOptions {
    fn default() -> Self {
        PoolOptions {
            connections_max: 16,
            budget: None,
            idle_min: 0,
            idle_max: usize::MAX,
            idle_timeout: Duration::from_secs(300),
            lifetime_max: Some(Duration::from_secs(1800)),
            check_after: Duration::from_secs(1),
            waiters_max: 1024,
            wait_max: Duration::from_secs(5),
            leak_after: Duration::from_secs(60),
            idle_bound: None,
        }
    }
}

impl PoolOptions {
    /// The defaults.
    pub fn new() -> PoolOptions {
        PoolOptions::default()
    }

    /// Most connections of this pool, in use or idle; default 16, at least 1.
    pub fn connections_max(mut self, connections: usize) -> Self {
        self.connections_max = connections.max(1);
        self
    }

    /// Most connections of this pool in all worker processes of this machine together; default: no bound but
    /// [`connections_max`](Self::connections_max) for each. Each worker gets an equal part, the first ones the remainder.
    ///
    /// A worker for which nothing is left (more workers than connections) answers
    /// [`NoShare`](super::PoolError::NoShare). While a reload is under way, two generations have their parts: what drains
    /// closes its connections as they come back.
    pub fn budget(mut self, connections: usize) -> Self {
        self.budget = Some(connections);
        self
    }

    /// Idle connections that are kept open, whatever their idle time, and opened anew in the background; default 0.
    pub fn idle_min(mut self, connections: usize) -> Self {
        self.idle_min = connections;
        self
    }

    /// Most idle connections; what comes back beyond that is closed. Default: no bound but `connections_max`.
    pub fn idle_max(mut self, connections: usize) -> Self {
        self.idle_max = connections;
        self
    }

    /// A connection that has idled for longer is closed; default 5 min.
    pub fn idle_timeout(mut self, longest: Duration) -> Self {
        self.idle_timeout = longest;
        self
    }

    /// A connection that is older is closed when it is not in use; default 30 min, less up to a tenth at random for each, so
    /// that those that were opened together do not go together. `None` for no bound.
    pub fn lifetime_max(mut self, longest: Option<Duration>) -> Self {
        self.lifetime_max = longest;
        self
    }

    /// A connection that has idled for this long is checked before it is handed out; default 1 s. Zero checks always.
    pub fn check_after(mut self, idle: Duration) -> Self {
        self.check_after = idle;
        self
    }

    /// Most callers that wait for a connection; one more is refused at once. Default 1,024.
    pub fn waiters_max(mut self, callers: usize) -> Self {
        self.waiters_max = callers;
        self
    }

    /// Longest wait for a connection; default 5 s. The task's deadline counts as well.
    pub fn wait_max(mut self, longest: Duration) -> Self {
        self.wait_max = longest;
        self
    }

    /// Who holds a connection for longer is named in a warning, once; default 1 min.
    pub fn leak_after(mut self, longest: Duration) -> Self {
        self.leak_after = longest;
        self
    }

    /// The bound that holds in this process: `connections_max`, or its part of the budget if that is less.
    pub fn connections_max_here(&self) -> usize {
        let part = self.budget.map(|budget| ProcessShare::current().of(budget));
        part.map_or(self.connections_max, |part| part.min(self.connections_max))
    }

    /// The pool. Opens nothing; [`Pool::warm`] does.
    pub fn build<M: Manager>(self, manager: M) -> Pool<M> {
        Pool::with_options(manager, self)
    }

    /// Shares the bound on idle connections with other pools.
    pub(crate) fn idle_bound(mut self, bound: Arc<IdleBound>) -> Self {
        self.idle_bound = Some(bound);
        self
    }
}

impl IdleBound {
    pub(crate) fn new(max: usize) -> IdleBound {
        IdleBound { now: AtomicUsize::new(0), max }
    }

    pub(super) fn take(&self) -> bool {
        let more = |now: usize| (now < self.max).then_some(now + 1);
        self.now.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    pub(super) fn give(&self) {
        self.now.fetch_sub(1, Ordering::Relaxed);
    }
}
