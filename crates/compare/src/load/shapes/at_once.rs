//! Requests at the same instant, each with its own times: a Gantt picture of how a server works them off.

use std::rc::Rc;
use std::time::Instant;

use crate::load::connection::Connection;
use crate::load::job::Job;
use crate::load::outcome::RequestSpan;
use crate::load::pacer::Pacer;

pub(super) fn start(job: &Rc<Job>, requests: usize) {
    let preparing = job.signals.preparing.join();
    job.spawn("at once", move |job| {
        let opened = job.open_all(requests);
        drop(preparing);
        if !job.wait_for_start() {
            return;
        }
        let instant = job.window().begin;
        if Pacer::new().wait_until(instant).is_err() {
            return;
        }
        for one in opened {
            match one {
                Ok(connection) => job.spawn("request", move |job| request(job, connection, instant)),
                Err(failure) => job.failed(instant, &failure),
            }
        }
    });
}

fn request(job: &Job, mut connection: Connection, instant: Instant) {
    {
        let mut tally = job.tally();
        tally.lateness.record(instant.elapsed());
        tally.begun();
    }
    let micros = |at: Instant| at.saturating_duration_since(instant).as_secs_f64() * 1e6;
    let until = instant + job.timeout;
    let mut sent = instant;
    let outcome = connection.send(&job.target.request, until).and_then(|()| {
        sent = Instant::now();
        connection.answer(&job.target.method, &job.target.expect, until)
    });
    let end = Instant::now();
    let span = RequestSpan {
        sent_us: micros(sent),
        first_byte_us: micros(outcome.as_ref().map_or(end, |answer| answer.first_byte)),
        end_us: micros(end),
        success: outcome.is_ok(),
    };
    job.tally().timeline.push(span);
    job.ended(instant, outcome.as_ref().map(|_| ()), &mut connection);
}
