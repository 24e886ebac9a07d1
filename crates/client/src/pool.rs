//! One bounded pool of connections for every protocol: what differs is in a [`Manager`].
//!
//! ```text
//!           get ──► a connection that idles, newest first
//!            │ └──► a place for a new one, below `connections_max` (and this process's part of `budget`)
//!            └────► the line, first come first served, at most `waiters_max`, at most `wait_max`
//!   Pooled dropped ──► clean: the first in line, else to the idle ones, else closed
//!                  └─► panic, cancel, too old, unclean: closed; its place goes to the first in line, who connects anew
//! ```
//!
//! It works in every model: a wait parks a fiber or blocks a thread, and both may stand in the same line. There is no
//! thread behind it. What has to be done now and then (closing what has idled for too long, warning about connections
//! that somebody keeps) is done by whoever uses the pool next, at most once a second.
//!
//! The lock is held for a few instructions and never over a wait or a system call but the one that wakes somebody.

mod error;
mod manager;
mod options;
mod pooled;
mod state;
mod stats;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tenfold_runtime::cause::Cause;
use tenfold_runtime::park::{self, Unparked};
use tenfold_runtime::{ProcessShare, deadline_at, spawn_detached};

use self::state::{Answer, Kept, State};

pub use error::{Holder, Holders, PoolError};
pub use manager::Manager;
pub(crate) use options::IdleBound;
pub use options::PoolOptions;
pub use pooled::Pooled;
pub use stats::{PoolStats, all_stats};

/// Connections to one service. Cloning is cheap and shares the pool; it may be used from all threads and loops of a
/// process at once.
///
/// Nothing is opened before the first use, so a pool may be made before a fork as well; two processes must not share one
/// that has connections, and the budget is divided when the pool is made, so make it in the worker (`App::state_with`).
pub struct Pool<M: Manager> {
    shared: Arc<Shared<M>>,
}

struct Shared<M: Manager> {
    manager: M,
    options: PoolOptions,
    connections_max: usize,
    jitter: RandomState,
    state: Mutex<State<M::Connection>>,
}

impl<M: Manager> Pool<M> {
    /// A pool with the defaults of [`PoolOptions`].
    pub fn new(manager: M) -> Pool<M> {
        Pool::with_options(manager, PoolOptions::new())
    }

    /// A pool with other bounds.
    pub fn with_options(manager: M, options: PoolOptions) -> Pool<M> {
        let connections_max = options.connections_max_here();
        let state = Mutex::new(State::new());
        let shared =
            Arc::new(Shared { manager, options, connections_max, jitter: RandomState::new(), state });
        stats::register(&shared);
        Pool { shared }
    }

    /// Borrows a connection, waiting in line for one while all are in use.
    ///
    /// # Errors
    /// [`PoolError`], which names who holds the connections; those of [`Manager::connect`].
    ///
    /// # Cancel safety
    /// A wait that is cancelled leaves the line; nobody's turn is lost.
    #[track_caller]
    pub fn get(&self) -> Result<Pooled<M>, M::Error> {
        self.borrow(Location::caller(), None)
    }

    /// As [`Pool::get`]; the wait in line and the connecting end at `until`.
    ///
    /// # Errors
    /// As [`Pool::get`].
    #[track_caller]
    pub fn get_until(&self, until: Instant) -> Result<Pooled<M>, M::Error> {
        self.borrow(Location::caller(), Some(until))
    }

    /// Opens connections until `idle_min` idle, now.
    ///
    /// # Errors
    /// [`Manager::connect`]'s.
    #[track_caller]
    pub fn warm(&self) -> Result<(), M::Error> {
        // Bounded, since what is opened may go to somebody in line.
        for _ in 0..self.options().idle_min {
            let Some(mut place) = self.place_to_warm(Location::caller()) else { break };
            place.prepare(Instant::now(), self.options().check_after)?;
        }
        Ok(())
    }

    /// Closes all idle connections.
    pub fn close_idle(&self) {
        let closed: Vec<_> = {
            let mut state = self.lock();
            state.open -= state.idle.len();
            state.idle.drain(..).collect()
        };
        self.options().idle_bound.iter().for_each(|bound| closed.iter().for_each(|_| bound.give()));
    }

    /// State and counters.
    pub fn stats(&self) -> PoolStats {
        self.shared.snapshot()
    }

    /// The service's name.
    pub fn name(&self) -> &str {
        self.shared.manager.name()
    }

    /// The manager.
    pub fn manager(&self) -> &M {
        &self.shared.manager
    }

    pub(crate) fn borrow(
        &self,
        place: &'static Location<'static>,
        until: Option<Instant>,
    ) -> Result<Pooled<M>, M::Error> {
        self.borrow_checked(place, until, self.options().check_after)
    }

    /// As `borrow`, for a use that has its own mind about when to check.
    pub(crate) fn borrow_checked(
        &self,
        place: &'static Location<'static>,
        until: Option<Instant>,
        check_after: Duration,
    ) -> Result<Pooled<M>, M::Error> {
        let asked_at = Instant::now();
        self.sweep(asked_at);
        let (mut pooled, now) = self.place(place, asked_at, until)?;
        match until {
            Some(until) => deadline_at(until, || pooled.prepare(now, check_after))?,
            None => pooled.prepare(now, check_after)?,
        }
        Ok(pooled)
    }

    /// A place, and the connection that comes with it; and when it came.
    fn place(
        &self,
        place: &'static Location<'static>,
        asked_at: Instant,
        until: Option<Instant>,
    ) -> Result<(Pooled<M>, Instant), PoolError> {
        let Shared { options, connections_max, .. } = &*self.shared;
        if *connections_max == 0 {
            return Err(self.no_share());
        }
        let ticket = {
            let mut state = self.lock();
            match state.ask(options, *connections_max) {
                Answer::Place(kept) => {
                    let held = state.hold(place, asked_at);
                    return Ok((Pooled::new(self.clone(), held, kept), asked_at));
                }
                Answer::Wait(ticket) => ticket,
                Answer::Full => {
                    return Err(PoolError::Full {
                        pool: self.name().into(),
                        connections_max: *connections_max,
                        waiting: state.line.len(),
                        holders: state.holders(asked_at),
                    });
                }
            }
        };
        let longest = asked_at.checked_add(options.wait_max);
        let until = until.into_iter().chain(longest).min();
        self.wait(place, ticket, asked_at, until)
    }

    fn wait(
        &self,
        place: &'static Location<'static>,
        ticket: u64,
        asked_at: Instant,
        until: Option<Instant>,
    ) -> Result<(Pooled<M>, Instant), PoolError> {
        loop {
            let ended = park::park_for(Cause::PoolSlot, until);
            let mut state = self.lock();
            let now = Instant::now();
            let waited = now.saturating_duration_since(asked_at);
            // A turn that has come wins over the clock: nobody else can have it.
            if let Some(kept) = state.turn(ticket) {
                state.counts.waited += 1;
                state.counts.wait_total += waited;
                state.counts.wait_longest = state.counts.wait_longest.max(waited);
                let held = state.hold(place, now);
                return Ok((Pooled::new(self.clone(), held, kept), now));
            }
            let pool = || self.name().to_owned();
            let error = match ended {
                Unparked::Woken => continue,
                Unparked::TimedOut => {
                    state.counts.timed_out += 1;
                    PoolError::TimedOut { pool: pool(), waited, holders: state.holders(now) }
                }
                Unparked::Cancelled => PoolError::Cancelled { pool: pool() },
            };
            state.leave_line(ticket);
            return Err(error);
        }
    }

    fn no_share(&self) -> PoolError {
        PoolError::NoShare {
            pool: self.name().into(),
            budget: self.options().budget.unwrap_or(0),
            processes: ProcessShare::current().processes(),
        }
    }

    /// Called when a place ends. The connection goes to the next one, or is closed after the lock is gone.
    fn release(&self, held: usize, kept: Option<Kept<M::Connection>>) {
        let (waiter, closed) = {
            let mut state = self.lock();
            state.let_go(held);
            state.release(&self.shared.options, kept)
        };
        if let Some(waiter) = waiter {
            waiter.wake();
        }
        drop(closed);
    }

    /// Does what has to be done now and then.
    pub(crate) fn sweep(&self, now: Instant) {
        let swept = self.lock().sweep(&self.shared.options, now);
        let Some(swept) = swept else { return };
        for (place, since) in &swept.leaks {
            tracing::warn!(
                pool = self.name(),
                "a connection is held for {} s by {}:{}; is it leaked?",
                since.as_secs(),
                place.file(),
                place.line(),
            );
        }
        drop(swept.stale);
        self.warm_in_background();
    }

    /// Opens what `idle_min` asks for without holding up the caller.
    fn warm_in_background(&self) {
        if self.options().idle_min == 0 {
            return;
        }
        {
            let mut state = self.lock();
            if state.warming || !self.wants_idle(&state) {
                return;
            }
            state.warming = true;
        }
        let warming = Warming(self.clone());
        // An error shows in the counters, and whoever needs a connection next gets it.
        let warm = move || drop(warming.0.warm());
        // Not as a child of the caller's task, whose deadline is none of this one's.
        match park::parks() {
            true => drop(spawn_detached("pool", warm)),
            false => drop(std::thread::Builder::new().name("pool".into()).spawn(warm)),
        }
    }

    /// A place for a connection that is to idle, if one is missing.
    fn place_to_warm(&self, place: &'static Location<'static>) -> Option<Pooled<M>> {
        let mut state = self.lock();
        if !self.wants_idle(&state) {
            return None;
        }
        state.open += 1;
        let held = state.hold(place, Instant::now());
        Some(Pooled::new(self.clone(), held, None))
    }

    fn wants_idle(&self, state: &State<M::Connection>) -> bool {
        state.idle.len() < self.options().idle_min && state.open < self.shared.connections_max
    }

    /// When a connection that is opened now has lived long enough.
    fn expiry(&self) -> Option<Instant> {
        let longest = self.options().lifetime_max?;
        let now = Instant::now();
        let random = self.shared.jitter.hash_one(now) as u32;
        let less = longest.mul_f64(f64::from(random) / f64::from(u32::MAX) / 10.0);
        now.checked_add(longest.saturating_sub(less))
    }

    fn options(&self) -> &PoolOptions {
        &self.shared.options
    }

    fn count(&self, count: impl FnOnce(&mut PoolStats)) {
        count(&mut self.lock().counts);
    }

    fn count_discarded(&self) {
        self.count(|counts| counts.discarded += 1);
    }

    fn lock(&self) -> MutexGuard<'_, State<M::Connection>> {
        self.shared.lock()
    }

    /// Whether nothing would be lost with it: it has no connection and nobody else can use it.
    pub(crate) fn is_unused(&self) -> bool {
        Arc::strong_count(&self.shared) == 1 && self.lock().open == 0
    }
}

/// Says that nobody opens connections in the background any more, however that ended.
struct Warming<M: Manager>(Pool<M>);

impl<M: Manager> Drop for Warming<M> {
    fn drop(&mut self) {
        self.0.lock().warming = false;
    }
}

impl<M: Manager> Shared<M> {
    fn lock(&self) -> MutexGuard<'_, State<M::Connection>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn snapshot(&self) -> PoolStats {
        let state = self.lock();
        PoolStats {
            name: self.manager.name().into(),
            connections_max: self.connections_max,
            open: state.open,
            idle: state.idle.len(),
            waiting: state.line.len(),
            ..state.counts.clone()
        }
    }
}

impl<M: Manager> stats::Observed for Shared<M> {
    fn stats(&self) -> PoolStats {
        self.snapshot()
    }
}

/// What is idle counts against a bound that others share.
impl<M: Manager> Drop for Shared<M> {
    fn drop(&mut self) {
        let idle = self.lock().idle.len();
        self.options.idle_bound.iter().for_each(|bound| (0..idle).for_each(|_| bound.give()));
    }
}

impl<M: Manager> Clone for Pool<M> {
    fn clone(&self) -> Self {
        Pool { shared: self.shared.clone() }
    }
}

impl<M: Manager> fmt::Debug for Pool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("name", &self.name())
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}
