//! Open loop: requests come at their times, whatever the server does.
//!
//! One fiber keeps the schedule and waits for nothing else. Each request is a fiber of its own, with a connection that is free or
//! a new one, up to the bound. Latency counts from the intended time: it contains the wait for a connection and whatever the
//! generator itself was late (Tene's "coordinated omission"; wrk2 does the same).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use tenfold_runtime::yield_now;

use crate::load::connection::Connection;
use crate::load::failure::{Failure, FailureKind};
use crate::load::job::Job;
use crate::load::pacer::{Pacer, Schedule};
use crate::load::spec::Arrivals;

/// Requests that are started at once when the schedule is behind, before others run.
const BURST: u32 = 64;

pub(super) fn start(job: &Rc<Job>, rate: f64, connections_max: usize, arrivals: Arrivals) {
    job.spawn("schedule", move |job| {
        if !job.wait_for_start() {
            return;
        }
        let pool = Rc::new(Pool::new(connections_max));
        let schedule = Schedule::new(arrivals, rate, job.window().start, job.phase, job.seed);
        keep(job, schedule, |job, due| match pool.take() {
            Some(place) => {
                let pool = pool.clone();
                job.spawn("request", move |job| pool.give_back(request(job, due, place)));
            }
            None => overflow(job, due, pool.connections_max),
        });
    });
}

/// Calls `each` at the intended time of each request, until the window's end.
pub(super) fn keep(job: &Rc<Job>, schedule: Schedule, mut each: impl FnMut(&Rc<Job>, Instant)) {
    let end = job.window().end;
    let pacer = Pacer::new();
    let mut burst = 0;
    for due in schedule.take_while(|due| *due < end) {
        if due > Instant::now() {
            burst = 0;
            if pacer.wait_until(due).is_err() {
                return;
            }
        } else {
            burst += 1;
            if burst % BURST == 0 {
                yield_now();
            }
        }
        each(job, due);
    }
}

/// Counts a request that could not be sent.
pub(super) fn overflow(job: &Job, due: Instant, connections: usize) {
    let words = format!("all {connections} connections were in use");
    job.failed(due, &Failure::new(FailureKind::Overflow, words));
}

/// Makes one request that was due then, on this connection or a new one; the connection, if it can be used again.
pub(super) fn request(job: &Job, due: Instant, connection: Option<Connection>) -> Option<Connection> {
    {
        let mut tally = job.tally();
        if tally.window.has(due) {
            tally.lateness.record(due.elapsed());
        }
    }
    // The server may have closed it while it rested: that is its right, and the next one is opened within the request's time.
    let resting = connection.filter(Connection::is_alive);
    let mut connection = match resting.map_or_else(|| job.open(due + job.timeout), Ok) {
        Ok(connection) => connection,
        Err(failure) => {
            job.failed(due, &failure);
            return None;
        }
    };
    job.tally().begun();
    let outcome = job.exchange(&mut connection, due);
    job.ended(due, outcome.as_ref().map(|_| ()), &mut connection);
    let whole = outcome.as_ref().err().is_none_or(Failure::is_of_a_whole_answer);
    (whole && connection.is_reusable()).then_some(connection)
}

/// The connections of an open loop; the one that was used last is used next, so that few stay warm.
#[derive(Debug)]
struct Pool {
    free: RefCell<Vec<Connection>>,
    in_use: Cell<usize>,
    connections_max: usize,
}

impl Pool {
    fn new(connections_max: usize) -> Pool {
        Pool { free: RefCell::default(), in_use: Cell::new(0), connections_max }
    }

    /// A place for a request, with a connection if one is free; `None` when the bound is reached.
    fn take(&self) -> Option<Option<Connection>> {
        if self.in_use.get() >= self.connections_max {
            return None;
        }
        self.in_use.set(self.in_use.get() + 1);
        Some(self.free.borrow_mut().pop())
    }

    fn give_back(&self, connection: Option<Connection>) {
        self.in_use.set(self.in_use.get() - 1);
        self.free.borrow_mut().extend(connection);
    }
}
