//! The shapes of load: one file each. All run as fibers of the generator's loops.

mod at_once;
mod closed;
mod idle;
mod open;
mod stream;
mod trickle;

use std::rc::Rc;

use super::job::Job;
use super::spec::Shape;

/// Starts a job's fibers. They prepare what they need, wait for the start, and end by themselves at the end of the window.
pub(crate) fn start(job: &Rc<Job>) {
    match job.shape {
        Shape::Closed { connections, pipeline, close } => closed::start(job, connections, pipeline, close),
        Shape::Open { rate, connections_max, arrivals } => open::start(job, rate, connections_max, arrivals),
        Shape::AtOnce { requests } => at_once::start(job, requests),
        Shape::Idle { connections, active_per_second } => idle::start(job, connections, active_per_second),
        Shape::Trickle { connections, bytes_per_step, every_ms } => {
            trickle::start(job, connections, bytes_per_step, every_ms);
        }
        Shape::Stream { connections } => stream::start(job, connections),
    }
}
