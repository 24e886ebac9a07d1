//! The threads of a lane.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use tenfold_runtime::lend;
use tenfold_runtime::park;

/// A fixed number of threads that run one request after another. Its queue is bounded by the lane's gate, which admits
/// no more requests than there are threads.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    jobs: Mutex<Jobs>,
    has_jobs: Condvar,
}

#[derive(Debug, Default)]
struct Jobs {
    queue: VecDeque<lend::Lent>,
    closed: bool,
}

impl Pool {
    pub(crate) fn start(name: &str, threads: usize) -> io::Result<Pool> {
        let shared: Arc<Shared> = Arc::default();
        for index in 0..threads {
            let shared = shared.clone();
            std::thread::Builder::new().name(format!("{name}-{index}")).spawn(move || shared.work())?;
        }
        Ok(Pool { shared })
    }

    /// Runs `f` on one of the threads and waits for its result, however long it takes: it borrows from the caller.
    pub(crate) fn run<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        let deadline = park::current_deadline();
        let f = move || match deadline {
            Some(deadline) => tenfold_runtime::deadline_at(deadline, f),
            None => f(),
        };
        lend::run_elsewhere(f, |lent| {
            self.shared.jobs.lock().unwrap_or_else(PoisonError::into_inner).queue.push_back(lent);
            self.shared.has_jobs.notify_one();
        })
    }
}

impl Shared {
    fn work(&self) {
        loop {
            let job = {
                let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
                loop {
                    if let Some(job) = jobs.queue.pop_front() {
                        break job;
                    }
                    if jobs.closed {
                        return;
                    }
                    jobs = self.has_jobs.wait(jobs).unwrap_or_else(PoisonError::into_inner);
                }
            };
            job.run();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.jobs.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.shared.has_jobs.notify_all();
    }
}
