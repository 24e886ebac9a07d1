//! `Queue`: the rules of a line of jobs, as an application writes them.

use std::sync::Arc;
use std::time::Duration;

use crate::wire::QueueSpec;

/// Most processes of one queue.
const PROCESSES_MAX: u32 = 256;

/// A named, bounded line of jobs. Every bound has a default, so a queue that nobody describes is bounded as well.
///
/// ```
/// use std::time::Duration;
/// use tenfold_jobs::{OnFull, Queue};
///
/// let orders = Queue::new("orders")
///     .capacity(10_000)
///     .on_full(OnFull::Reject { retry_after: Duration::from_secs(2) })
///     .fibers(8)
///     .ordered();
/// assert_eq!(orders.name(), "orders");
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Queue {
    pub(crate) spec: QueueSpec,
    pub(crate) on_full: OnFull,
    pub(crate) workers: Workers,
    pub(crate) payload_bytes_max: usize,
}

/// What a producer gets when a queue is full.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnFull {
    /// An error, which as an answer is 503 with `Retry-After`. The default, with one second.
    Reject {
        /// When to come again.
        retry_after: Duration,
    },
    /// A wait for room, and then the error.
    Wait {
        /// The longest.
        at_most: Duration,
    },
    /// Room: the job that waits longest is dropped, and is a cancelled one from then on. Jobs that run are never dropped.
    DropOldest,
    /// An error, which as an answer is 503 with this page.
    Page {
        /// HTML.
        html: Arc<str>,
        /// When to come again.
        retry_after: Duration,
    },
}

/// What a job runs on, and how many at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Workers {
    /// Fibers of one thread that they share, so many in each worker process: for jobs that wait.
    Fibers(u32),
    /// A thread for each job, so many in each worker process: for jobs that compute, or block in a library that is not ours.
    Threads(u32),
    /// So many processes of their own, with one job at a time each: for jobs that crash, leak, or want a process for themselves.
    Processes(u32),
    /// None: this program only fills the queue.
    None,
}

impl Queue {
    /// A queue with the defaults: at most 100,000 jobs and 256 MiB that are not done, 64 KiB a payload, 16 fibers in each
    /// worker, 10,000 dead jobs kept.
    pub fn new(name: impl Into<String>) -> Queue {
        Queue {
            spec: QueueSpec { name: name.into(), ..QueueSpec::default() },
            on_full: OnFull::Reject { retry_after: Duration::from_secs(1) },
            workers: Workers::Fibers(16),
            payload_bytes_max: 64 << 10,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Most jobs that are not done, those that run or wait for a retry included.
    pub fn capacity(mut self, jobs: u64) -> Queue {
        self.spec.capacity = jobs;
        self
    }

    /// Most bytes of the payloads of those jobs.
    pub fn bytes_max(mut self, bytes: u64) -> Queue {
        self.spec.bytes_max = bytes;
        self
    }

    /// Most bytes of one payload; at most 1 MiB.
    pub fn payload_bytes_max(mut self, bytes: usize) -> Queue {
        self.payload_bytes_max = bytes.min(1 << 20);
        self
    }

    /// What a producer gets when there is no room.
    pub fn on_full(mut self, rule: OnFull) -> Queue {
        self.spec.drop_oldest = rule == OnFull::DropOldest;
        self.on_full = rule;
        self
    }

    /// So many fibers in each worker process, or in each of `job_workers` where the settings have them.
    pub fn fibers(mut self, at_once: u32) -> Queue {
        self.workers = Workers::Fibers(at_once);
        self
    }

    /// So many threads in each worker process, or in each of `job_workers` where the settings have them.
    pub fn threads(mut self, at_once: u32) -> Queue {
        self.workers = Workers::Threads(at_once);
        self
    }

    /// So many processes that run one job of this queue at a time each, and nothing else. They come beside the workers of the
    /// server, whatever `job_workers` says; each opens what the app's state opens. At most 256.
    pub fn processes(mut self, count: u32) -> Queue {
        self.workers = Workers::Processes(count.min(PROCESSES_MAX));
        self
    }

    /// No workers in this program.
    pub fn no_workers(mut self) -> Queue {
        self.workers = Workers::None;
        self
    }

    /// Most starts a second, over all workers; a second's worth may start at once.
    pub fn rate(mut self, per_second: f64) -> Queue {
        self.spec.rate = (per_second > 0.0).then_some(per_second);
        self
    }

    /// Most jobs of one key that run at a time, over all workers.
    pub fn per_key(mut self, at_once: u32) -> Queue {
        self.spec.per_key = Some(at_once);
        self
    }

    /// Jobs of one key run one after another in their order; one that failed is tried again before the next one starts.
    pub fn ordered(mut self) -> Queue {
        self.spec.ordered = true;
        self
    }

    /// Most dead jobs that are kept; the oldest goes first.
    pub fn dead_max(mut self, jobs: u64) -> Queue {
        self.spec.dead_max = jobs;
        self
    }

    /// A job during which a worker process has died so often is dead: it is what kills them. Default 5.
    pub fn crashes_max(mut self, times: u32) -> Queue {
        self.spec.crashes_max = times.max(1);
        self
    }

    pub(crate) fn retry_after(&self) -> Duration {
        match &self.on_full {
            OnFull::Reject { retry_after } | OnFull::Page { retry_after, .. } => *retry_after,
            OnFull::Wait { .. } | OnFull::DropOldest => Duration::from_secs(1),
        }
    }
}
