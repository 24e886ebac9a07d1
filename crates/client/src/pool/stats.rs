//! `PoolStats`: what a pool has and what it has done; and all pools of the process.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// A pool's state and counters since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// The service.
    pub name: String,
    /// The bound in this process.
    pub connections_max: usize,
    /// Connections in use, idle, or being made.
    pub open: usize,
    /// Of these, idle.
    pub idle: usize,
    /// Callers in line.
    pub waiting: usize,
    /// Connections handed out.
    pub borrowed: u64,
    /// Of these, how many had to wait in line.
    pub waited: u64,
    /// How long all of those have waited.
    pub wait_total: Duration,
    /// The longest of these waits.
    pub wait_longest: Duration,
    /// Waits that ended without a connection at their time.
    pub timed_out: u64,
    /// Callers refused because the line was full.
    pub refused: u64,
    /// Connections opened.
    pub connected: u64,
    /// Attempts to open one that failed.
    pub connect_failed: u64,
    /// Idle connections that did not pass the check.
    pub check_failed: u64,
    /// Connections closed because their time, or their idle time, was over.
    pub expired: u64,
    /// Connections that came back from a panic, a cancelled task, or unclean, and were closed.
    pub discarded: u64,
    /// Warnings about connections that are held for too long.
    pub leak_warnings: u64,
}

/// What can be asked for its statistics.
pub(super) trait Observed: Send + Sync {
    fn stats(&self) -> PoolStats;
}

static POOLS: Mutex<Vec<Weak<dyn Observed>>> = Mutex::new(Vec::new());

pub(super) fn register(pool: &Arc<impl Observed + 'static>) {
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    pools.retain(|pool| pool.strong_count() > 0);
    let pool: Weak<dyn Observed> = Arc::<_>::downgrade(pool) as Weak<dyn Observed>;
    pools.push(pool);
}

/// The statistics of all pools that live in this process, for a status page or an exporter.
pub fn all_stats() -> Vec<PoolStats> {
    let pools: Vec<_> = {
        let pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
        pools.iter().filter_map(Weak::upgrade).collect()
    };
    pools.iter().map(|pool| pool.stats()).collect()
}
