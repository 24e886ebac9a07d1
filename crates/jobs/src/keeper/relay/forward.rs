//! From the spool to the engine, in passes from its oldest row to its latest.
//!
//! A queue that has no room for one of them gets no later one in the same pass, so the order of a queue is that of the spool; other
//! queues go on.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::super::spool::Load;
use super::{For, Relay};
use crate::store::engine::{Call, Row};

/// Enqueues that are forwarded in one round, and about how many jobs: the engine does nothing else meanwhile.
const ROWS_MAX: u32 = 256;
const JOBS_MAX: usize = 1_000;
/// Rest after a pass in which a queue had no room.
const REST: Duration = Duration::from_millis(100);

/// How far the spool was gone through.
#[derive(Debug, Default)]
pub(super) struct Pass {
    after: i64,
    /// Queues that had no room in this pass, or in the last one.
    stuck: HashSet<String>,
    next_at: Option<Instant>,
    /// Rows that are on their way.
    rows: Vec<Row>,
}

impl Pass {
    pub(super) fn begin_again(&mut self) {
        *self = Pass::default();
    }

    pub(super) fn is_stuck(&self, queue: &str) -> bool {
        self.stuck.contains(queue)
    }

    /// When there is something to do for it; at once without a time.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.next_at
    }

    fn is_behind(&self, row: &Row) -> bool {
        row.enqueue.jobs.iter().chain(&row.enqueue.last).any(|job| self.stuck.contains(&job.queue))
    }

    fn stick(&mut self, row: &Row) {
        self.stuck.extend(row.enqueue.jobs.iter().chain(&row.enqueue.last).map(|job| job.queue.clone()));
    }
}

impl Relay<'_> {
    /// The next rows, for the round that is about to be sent.
    pub(super) fn load_spool(&mut self) -> Option<(Call, For)> {
        let now = Instant::now();
        if self.spool.is_empty() || self.forward.next_at.is_some_and(|at| at > now) {
            return None;
        }
        self.forward.next_at = None;
        if self.forward.after == 0 {
            self.forward.stuck.clear();
        }
        let loaded = match self.spool.load_after(self.forward.after, ROWS_MAX) {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::error!(target: "jobs", %error, "the spool cannot be read");
                self.forward.next_at = Some(now + Duration::from_secs(1));
                return None;
            }
        };
        let Some(last) = loaded.last else {
            self.end_pass();
            return None;
        };
        self.forward.after = last;
        let (mut numbers, mut rows, mut jobs) = (Vec::new(), Vec::new(), 0);
        let Load { numbers: all_numbers, rows: all_rows, .. } = loaded;
        for (number, row) in all_numbers.into_iter().zip(all_rows) {
            // One that has to stay takes those with it that share another queue of its.
            if self.forward.is_behind(&row) {
                self.forward.stick(&row);
                continue;
            }
            jobs += row.enqueue.jobs.len();
            numbers.push(number);
            rows.push(row);
            if jobs >= JOBS_MAX {
                self.forward.after = number;
                break;
            }
        }
        if rows.is_empty() {
            return None;
        }
        self.forward.rows.clone_from(&rows);
        Some((Call::Forward(rows), For::Spool(numbers)))
    }

    /// The last row was looked at.
    fn end_pass(&mut self) {
        self.forward.after = 0;
        if !self.forward.stuck.is_empty() {
            self.forward.next_at = Some(Instant::now() + REST);
        }
    }

    /// The engine has these rows, or had no room for them.
    pub(super) fn forwarded(&mut self, numbers: &[i64], taken: &[bool]) {
        let rows = std::mem::take(&mut self.forward.rows);
        for ((number, row), taken) in numbers.iter().zip(&rows).zip(taken) {
            if !taken {
                self.forward.stick(row);
            } else if let Err(error) = self.spool.forget(*number, &row.enqueue) {
                // It is sent again, and known again by its ids.
                return self.fail_spool(&error);
            }
        }
    }
}
