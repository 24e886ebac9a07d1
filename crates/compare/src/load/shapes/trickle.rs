//! Slow clients: they send their request in small pieces.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tenfold_runtime::try_sleep;

use crate::load::connection::Connection;
use crate::load::failure::Failure;
use crate::load::job::{Job, RETRY_PAUSE};

pub(super) fn start(job: &Rc<Job>, connections: usize, bytes_per_step: usize, every_ms: u64) {
    let every = Duration::from_millis(every_ms);
    for index in 0..connections {
        // Not all in the same millisecond.
        let delay = every.mul_f64(index as f64 / connections as f64);
        job.spawn("trickle", move |job| {
            if job.wait_for_start() && try_sleep(delay).is_ok() {
                run(job, bytes_per_step, every);
            }
        });
    }
}

fn run(job: &Job, bytes_per_step: usize, every: Duration) {
    let end = job.window().end;
    let mut connection = None;
    loop {
        let now = Instant::now();
        if now >= end {
            return;
        }
        let open = match connection.take() {
            Some(open) => Ok(open),
            None => job.open(now + job.timeout),
        };
        let failure = match open {
            Ok(mut open) => match request(job, &mut open, bytes_per_step, every, end) {
                Ok(()) => {
                    connection = open.is_reusable().then_some(open);
                    continue;
                }
                Err(failure) => failure,
            },
            Err(failure) => {
                job.failed(now, &failure);
                failure
            }
        };
        if failure.is_cancelled() || try_sleep(RETRY_PAUSE).is_err() {
            return;
        }
    }
}

/// Makes one request. It counts as due when its last piece is sent: before that the server owes nothing.
fn request(
    job: &Job,
    connection: &mut Connection,
    bytes_per_step: usize,
    every: Duration,
    end: Instant,
) -> Result<(), Failure> {
    job.tally().begun();
    let mut pieces = job.target.request.chunks(bytes_per_step).peekable();
    while let Some(piece) = pieces.next() {
        let now = Instant::now();
        if now >= end {
            // The run is over, and the request has not been made.
            job.tally().gave_up();
            return Ok(());
        }
        let sent = connection.send(piece, now + job.timeout);
        let rested = sent.and_then(|()| match pieces.peek() {
            Some(_) => try_sleep(every).map_err(Failure::from),
            None => Ok(()),
        });
        if let Err(failure) = rested {
            job.ended(now, Err(&failure), connection);
            return Err(failure);
        }
    }
    let due = Instant::now();
    let outcome = connection.answer(&job.target.method, &job.target.expect, due + job.timeout);
    job.ended(due, outcome.as_ref().map(|_| ()), connection);
    match outcome {
        Err(failure) if !failure.is_of_a_whole_answer() => Err(failure),
        _ => Ok(()),
    }
}
