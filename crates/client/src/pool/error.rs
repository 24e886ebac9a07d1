//! `PoolError`: why a pool has no connection for somebody, and who has them.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

/// Most holders that an error names.
const NAMED_MAX: usize = 8;

/// Why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// The line is full.
    #[error(
        "all {connections_max} connections of {pool} are in use and {waiting} callers wait already; {holders}"
    )]
    Full {
        /// The service.
        pool: String,
        /// Bound of the pool.
        connections_max: usize,
        /// Length of the line, which is its bound.
        waiting: usize,
        /// Who has the connections.
        holders: Holders,
    },
    /// None became free in time: within the pool's bound, the caller's, or the task's deadline.
    #[error("no connection of {pool} became free within {} ms; {holders}", waited.as_millis())]
    TimedOut {
        /// The service.
        pool: String,
        /// How long it was.
        waited: Duration,
        /// Who has the connections.
        holders: Holders,
    },
    /// The task was cancelled while it waited.
    #[error("cancelled while waiting for a connection of {pool}")]
    Cancelled {
        /// The service.
        pool: String,
    },
    /// The machine's budget is smaller than the number of processes, and nothing is left for this one.
    #[error("the budget of {budget} connections of {pool} leaves none for this one of {processes} processes")]
    NoShare {
        /// The service.
        pool: String,
        /// The whole machine's bound.
        budget: usize,
        /// How many share it.
        processes: usize,
    },
}

/// Who holds a pool's connections: each place in the code, how many it holds, and for how long at most.
#[derive(Clone, Debug, Default)]
pub struct Holders(Vec<Holder>);

/// A place in the code that holds connections.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Holder {
    /// Where they were asked for.
    pub place: &'static Location<'static>,
    /// How many are held.
    pub connections: usize,
    /// Since when the first of them is.
    pub longest: Duration,
}

impl Holders {
    /// Groups what is held by place, the longest first.
    pub(super) fn of(held: impl Iterator<Item = (&'static Location<'static>, Duration)>) -> Holders {
        let mut all: Vec<Holder> = Vec::new();
        for (place, since) in held {
            match all.iter_mut().find(|holder| holder.place == place) {
                Some(holder) => {
                    holder.connections += 1;
                    holder.longest = holder.longest.max(since);
                }
                None => all.push(Holder { place, connections: 1, longest: since }),
            }
        }
        all.sort_by_key(|holder| std::cmp::Reverse(holder.longest));
        Holders(all)
    }

    /// Each place, the one that holds for longest first.
    pub fn iter(&self) -> impl Iterator<Item = &Holder> {
        self.0.iter()
    }
}

impl fmt::Display for Holders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("held by ")?;
        for (number, Holder { place, connections, longest }) in self.0.iter().take(NAMED_MAX).enumerate() {
            let comma = if number > 0 { ", " } else { "" };
            write!(
                f,
                "{comma}{}:{} ({connections}, for {} ms)",
                place.file(),
                place.line(),
                longest.as_millis()
            )?;
        }
        match self.0.len() {
            0 => f.write_str("nobody"),
            all if all > NAMED_MAX => write!(f, " and {} more places", all - NAMED_MAX),
            _ => Ok(()),
        }
    }
}
