//! A bounded pool of connections by peer, for every protocol of this crate.
//!
//! ```text
//!               checkout ──► a connection that idles, newest first
//!                  │    └──► a place for a new one, below `connections_max_per_host`
//!                  └───────► the line, first come first served, at most `waiters_max`, at most `wait_max`
//!   Lease::give_back ──► the first in line, else to the idle ones, else closed
//!   Lease dropped    ──► its place goes to the first in line, who connects anew
//! ```
//!
//! The lock is held for a few instructions and never over a wait or a system call but the one that wakes somebody.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tenfold_runtime::cause::Cause;
use tenfold_runtime::park::{self, Unparked, Waiter};

/// How often connections that have idled for too long are looked for, by whoever uses the pool next.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Connections of type `C` to peers that `K` names. Used from any thread and any loop.
pub(crate) struct Pool<K, C> {
    limits: PoolLimits,
    inside: Mutex<Inside<K, C>>,
}

/// Bounds of a pool.
#[derive(Clone, Debug)]
pub(crate) struct PoolLimits {
    /// Most connections to one peer, in use or idle.
    pub(crate) connections_max_per_host: usize,
    /// Most idle connections to all peers together; what is given back beyond that is closed.
    pub(crate) idle_max: usize,
    /// A connection that has idled for longer is closed.
    pub(crate) idle_timeout: Duration,
    /// Most callers that wait for one peer's connections.
    pub(crate) waiters_max: usize,
    /// Longest wait in line.
    pub(crate) wait_max: Duration,
}

struct Inside<K, C> {
    /// A peer is here as long as it has a connection or a place in use, so the map needs no bound of its own.
    hosts: HashMap<K, Host<C>>,
    idle_total: usize,
    next_ticket: u64,
    swept_at: Instant,
}

struct Host<C> {
    /// Connections in use, idle, or being made: at most `connections_max_per_host`.
    open: usize,
    /// Newest last.
    idle: VecDeque<(C, Instant)>,
    line: VecDeque<(u64, Waiter)>,
    /// Whose turn has come and who has not noticed yet: their place is counted in `open`.
    called: Vec<(u64, Option<C>)>,
}

/// A place in the pool: the right to one connection. Dropping it frees the place.
pub(crate) struct Lease<K: Eq + Hash + Clone, C> {
    pool: Arc<Pool<K, C>>,
    key: K,
    released: bool,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The line is full.
    Full,
    /// The wait was too long, or the task's deadline came.
    TimedOut,
    /// The task was cancelled.
    Cancelled,
}

impl<K: Eq + Hash + Clone, C> Pool<K, C> {
    pub(crate) fn new(limits: PoolLimits) -> Pool<K, C> {
        let inside =
            Inside { hosts: HashMap::new(), idle_total: 0, next_ticket: 0, swept_at: Instant::now() };
        Pool { limits, inside: Mutex::new(inside) }
    }

    pub(crate) fn limits(&self) -> &PoolLimits {
        &self.limits
    }

    /// Takes a place for a connection to `key`, and one that idles if there is one; it may have been closed by the peer.
    ///
    /// Waits in line while all are in use, until `until` at most.
    pub(crate) fn checkout(
        self: &Arc<Self>,
        key: &K,
        until: Option<Instant>,
    ) -> Result<(Lease<K, C>, Option<C>), Refusal> {
        let now = Instant::now();
        let stale = self.sweep(now);
        drop(stale);
        let ticket = {
            let mut inside = self.lock();
            let Inside { hosts, idle_total, next_ticket, .. } = &mut *inside;
            let host = hosts.entry(key.clone()).or_default();
            if let Some((connection, _)) = host.idle.pop_back() {
                *idle_total -= 1;
                return Ok((self.lease(key), Some(connection)));
            }
            if host.open < self.limits.connections_max_per_host {
                host.open += 1;
                return Ok((self.lease(key), None));
            }
            if host.line.len() >= self.limits.waiters_max {
                return Err(Refusal::Full);
            }
            let ticket = *next_ticket;
            *next_ticket += 1;
            host.line.push_back((ticket, Waiter::current()));
            ticket
        };
        let longest = now + self.limits.wait_max;
        self.wait(key, ticket, until.map_or(longest, |until| until.min(longest)))
    }

    fn wait(
        self: &Arc<Self>,
        key: &K,
        ticket: u64,
        until: Instant,
    ) -> Result<(Lease<K, C>, Option<C>), Refusal> {
        loop {
            let ended = park::park_for(Cause::PoolSlot, Some(until));
            let mut inside = self.lock();
            let host = inside.hosts.get_mut(key).expect("a host with a line is kept");
            // A turn that has come wins over the clock: nobody else can have it.
            if let Some(index) = host.called.iter().position(|(called, _)| *called == ticket) {
                let (_, connection) = host.called.swap_remove(index);
                return Ok((self.lease(key), connection));
            }
            let refusal = match ended {
                Unparked::Woken => continue,
                Unparked::TimedOut => Refusal::TimedOut,
                Unparked::Cancelled => Refusal::Cancelled,
            };
            host.line.retain(|(waiting, _)| *waiting != ticket);
            return Err(refusal);
        }
    }

    fn lease(self: &Arc<Self>, key: &K) -> Lease<K, C> {
        Lease { pool: self.clone(), key: key.clone(), released: false }
    }

    /// Passes a place on, with its connection if that is still good. Returns what has to be closed.
    fn release(&self, key: &K, connection: Option<C>) -> Option<C> {
        let mut inside = self.lock();
        let Inside { hosts, idle_total, .. } = &mut *inside;
        let host = hosts.get_mut(key).expect("a host with a place in use is kept");
        if let Some((ticket, waiter)) = host.line.pop_front() {
            host.called.push((ticket, connection));
            drop(inside);
            waiter.wake();
            return None;
        }
        match connection {
            Some(connection) if *idle_total < self.limits.idle_max => {
                host.idle.push_back((connection, Instant::now()));
                *idle_total += 1;
                None
            }
            other => {
                host.open -= 1;
                if host.open == 0 {
                    hosts.remove(key);
                }
                other
            }
        }
    }

    /// Takes out what has idled for too long, at most once a second. The caller closes it, after the lock is gone.
    fn sweep(&self, now: Instant) -> Vec<C> {
        let mut inside = self.lock();
        let mut stale = Vec::new();
        if now.saturating_duration_since(inside.swept_at) < SWEEP_EVERY {
            return stale;
        }
        inside.swept_at = now;
        let Inside { hosts, idle_total, .. } = &mut *inside;
        hosts.retain(|_, host| {
            while let Some((_, since)) = host.idle.front()
                && now.saturating_duration_since(*since) >= self.limits.idle_timeout
            {
                stale.extend(host.idle.pop_front().map(|(connection, _)| connection));
                host.open -= 1;
                *idle_total -= 1;
            }
            host.open > 0
        });
        stale
    }

    fn lock(&self) -> MutexGuard<'_, Inside<K, C>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C> Default for Host<C> {
    fn default() -> Self {
        Host { open: 0, idle: VecDeque::new(), line: VecDeque::new(), called: Vec::new() }
    }
}

impl<K: Eq + Hash + Clone, C> Lease<K, C> {
    /// Gives a connection back that can be used again.
    pub(crate) fn give_back(mut self, connection: C) {
        self.released = true;
        drop(self.pool.release(&self.key, Some(connection)));
    }
}

impl<K: Eq + Hash + Clone, C> Drop for Lease<K, C> {
    fn drop(&mut self) {
        if !self.released {
            drop(self.pool.release(&self.key, None));
        }
    }
}

impl<K, C> fmt::Debug for Pool<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl<K: Eq + Hash + Clone, C> fmt::Debug for Lease<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
