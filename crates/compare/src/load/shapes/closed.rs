//! Closed loop: a connection sends again when it has its answer.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use tenfold_runtime::try_sleep;

use crate::load::connection::Connection;
use crate::load::failure::Failure;
use crate::load::job::{Job, RETRY_PAUSE};

pub(super) fn start(job: &Rc<Job>, connections: usize, pipeline: usize, close: bool) {
    for _ in 0..connections {
        job.spawn("closed", move |job| {
            if job.wait_for_start() {
                match close {
                    true => run_closing(job),
                    false => run(job, pipeline),
                }
            }
        });
    }
}

/// One connection after another, until the end.
fn run(job: &Job, pipeline: usize) {
    let requests = job.target.request.repeat(pipeline);
    let end = job.window().end;
    loop {
        let now = Instant::now();
        if now >= end {
            return;
        }
        match job.open(now + job.timeout) {
            Ok(connection) => {
                let mut client = Client { job, requests: &requests, pipeline, pending: VecDeque::new() };
                if !client.use_up(connection, end) {
                    return;
                }
            }
            Err(failure) => {
                job.failed(now, &failure);
                if failure.is_cancelled() || try_sleep(RETRY_PAUSE).is_err() {
                    return;
                }
            }
        }
    }
}

/// One user of a closed loop.
struct Client<'a> {
    job: &'a Job,
    /// As many requests as may be under way.
    requests: &'a [u8],
    pipeline: usize,
    /// When each request that has no answer yet was sent.
    pending: VecDeque<Instant>,
}

impl Client<'_> {
    /// Makes requests until the connection is of no further use; whether another one is wanted.
    fn use_up(&mut self, mut connection: Connection, end: Instant) -> bool {
        while connection.is_reusable() {
            let now = Instant::now();
            if now < end
                && let Err(failure) = self.send(&mut connection, now)
            {
                return self.fail_all(&failure, &mut connection);
            }
            // All that have arrived are taken before more are sent: one write for several.
            while !self.pending.is_empty() {
                if let Err(failure) = self.take_answer(&mut connection) {
                    return self.fail_all(&failure, &mut connection);
                }
                if !connection.has_bytes() {
                    break;
                }
            }
            if self.pending.is_empty() && now >= end {
                return false;
            }
        }
        // The server has announced its end: what was sent after that request is to be sent again (RFC 9112 section 9.3.2),
        // and is no error.
        self.job.tally().withdrawn(self.pending.len() as u64);
        self.pending.clear();
        true
    }

    fn send(&mut self, connection: &mut Connection, now: Instant) -> Result<(), Failure> {
        let room = self.pipeline - self.pending.len();
        for _ in 0..room {
            self.job.tally().begun();
            self.pending.push_back(now);
        }
        let bytes = self.requests.len() / self.pipeline * room;
        connection.send(&self.requests[..bytes], now + self.job.timeout)
    }

    /// An error means that the connection is of no further use.
    fn take_answer(&mut self, connection: &mut Connection) -> Result<(), Failure> {
        let Some(due) = self.pending.front().copied() else { return Ok(()) };
        let target = &self.job.target;
        let outcome = connection.answer(&target.method, &target.expect, due + self.job.timeout);
        if let Err(failure) = &outcome
            && !failure.is_of_a_whole_answer()
        {
            return Err(failure.clone());
        }
        self.pending.pop_front();
        self.job.ended(due, outcome.as_ref().map(|_| ()), connection);
        Ok(())
    }

    fn fail_all(&mut self, failure: &Failure, connection: &mut Connection) -> bool {
        for due in self.pending.drain(..) {
            self.job.ended(due, Err(failure), connection);
        }
        !failure.is_cancelled()
    }
}

/// A connection for each request; latency counts from before it is opened.
fn run_closing(job: &Job) {
    let end = job.window().end;
    loop {
        let due = Instant::now();
        if due >= end {
            return;
        }
        let failure = match job.open(due + job.timeout) {
            Ok(mut connection) => {
                job.tally().begun();
                let outcome = job.exchange(&mut connection, due);
                job.ended(due, outcome.as_ref().map(|_| ()), &mut connection);
                outcome.err()
            }
            Err(failure) => {
                job.failed(due, &failure);
                if try_sleep(RETRY_PAUSE).is_err() {
                    return;
                }
                Some(failure)
            }
        };
        if failure.is_some_and(|failure| failure.is_cancelled()) {
            return;
        }
    }
}
