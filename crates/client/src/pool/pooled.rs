//! `Pooled`: a borrowed connection.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use tenfold_runtime::park;

use super::Pool;
use super::manager::Manager;
use super::state::Kept;

/// A connection of a pool; it goes back when this is dropped.
///
/// It is closed instead if the thread or fiber is panicking, if the task was cancelled, if its time is over, or if
/// [`Manager::reset`] says so: what may be in the middle of an exchange is never handed to the next one.
pub struct Pooled<M: Manager> {
    pool: Pool<M>,
    /// Absent only while there is the place but no connection yet.
    kept: Option<Kept<M::Connection>>,
    held: usize,
    reused: bool,
}

impl<M: Manager> Pooled<M> {
    /// A place that `held` is the note of, with a connection or without.
    pub(super) fn new(pool: Pool<M>, held: usize, kept: Option<Kept<M::Connection>>) -> Pooled<M> {
        let reused = kept.is_some();
        Pooled { pool, kept, held, reused }
    }

    /// Whether the connection has served somebody before: then its peer may have closed it meanwhile.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Closes the connection instead of giving it back; its place is free for another.
    pub fn discard(mut self) {
        if self.kept.take().is_some() {
            self.pool.count_discarded();
        }
    }

    /// Closes the connection and opens another one in its place.
    ///
    /// # Errors
    /// [`Manager::connect`]'s; the place is then free for others.
    pub fn reconnect(mut self) -> Result<Pooled<M>, M::Error> {
        self.kept = None;
        self.connect()?;
        Ok(self)
    }

    /// The pool.
    pub fn pool(&self) -> &Pool<M> {
        &self.pool
    }

    /// Makes sure that there is a connection and that it works.
    pub(super) fn prepare(&mut self, now: Instant, check_after: Duration) -> Result<(), M::Error> {
        if let Some(kept) = &mut self.kept {
            if kept.is_expired(now) {
                self.pool.count(|counts| counts.expired += 1);
                self.kept = None;
            } else if kept.idled(now) >= check_after
                && self.pool.manager().check(&mut kept.connection).is_err()
            {
                self.pool.count(|counts| counts.check_failed += 1);
                self.kept = None;
            }
        }
        if self.kept.is_none() { self.connect() } else { Ok(()) }
    }

    fn connect(&mut self) -> Result<(), M::Error> {
        match self.pool.manager().connect() {
            Ok(connection) => {
                self.pool.count(|counts| counts.connected += 1);
                self.kept = Some(Kept::new(connection, self.pool.expiry()));
                self.reused = false;
                Ok(())
            }
            Err(error) => {
                self.pool.count(|counts| counts.connect_failed += 1);
                Err(error)
            }
        }
    }

    /// What may be handed to the next one.
    fn reusable(&mut self) -> Option<Kept<M::Connection>> {
        let mut kept = self.kept.take()?;
        // In this order: nothing of the connection is touched by a task that is on its way out.
        if std::thread::panicking() || park::task_is_cancelled() {
            self.pool.count_discarded();
            return None;
        }
        if kept.expires() && kept.is_expired(Instant::now()) {
            self.pool.count(|counts| counts.expired += 1);
            return None;
        }
        if self.pool.manager().reset(&mut kept.connection).is_err() {
            self.pool.count_discarded();
            return None;
        }
        Some(kept)
    }
}

impl<M: Manager> Deref for Pooled<M> {
    type Target = M::Connection;

    fn deref(&self) -> &M::Connection {
        &self.kept.as_ref().expect("whoever sees it has a connection").connection
    }
}

impl<M: Manager> DerefMut for Pooled<M> {
    fn deref_mut(&mut self) -> &mut M::Connection {
        &mut self.kept.as_mut().expect("whoever sees it has a connection").connection
    }
}

impl<M: Manager> Drop for Pooled<M> {
    fn drop(&mut self) {
        let kept = self.reusable();
        self.pool.release(self.held, kept);
    }
}

impl<M: Manager> fmt::Debug for Pooled<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pooled")
            .field("pool", &self.pool.name())
            .field("reused", &self.reused)
            .finish_non_exhaustive()
    }
}
