//! Many connections of which few are active: the C10K case.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use super::open::{keep, overflow, request};
use crate::load::connection::Connection;
use crate::load::job::Job;
use crate::load::pacer::Schedule;
use crate::load::spec::Arrivals;

/// A connection's place in the round.
#[derive(Debug)]
enum Seat {
    Resting(Connection),
    /// A request is under way.
    Busy,
    /// To be opened when its turn comes.
    Closed,
}

pub(super) fn start(job: &Rc<Job>, connections: usize, active_per_second: f64) {
    let preparing = job.signals.preparing.join();
    job.spawn("idle", move |job| {
        let opened = job.open_all(connections);
        drop(preparing);
        if !job.wait_for_start() {
            return;
        }
        let begin = job.window().begin;
        let mut seats = Vec::with_capacity(connections);
        for one in opened {
            seats.push(match one {
                Ok(connection) => Seat::Resting(connection),
                Err(failure) => {
                    job.failed(begin, &failure);
                    Seat::Closed
                }
            });
        }
        make_rounds(job, seats, active_per_second);
    });
}

fn make_rounds(job: &Rc<Job>, seats: Vec<Seat>, active_per_second: f64) {
    let count = seats.len();
    if count == 0 {
        return;
    }
    let seats = Rc::new(RefCell::new(seats));
    let start = job.window().start;
    let schedule = Schedule::new(Arrivals::Uniform, active_per_second, start, job.phase, job.seed);
    let mut turn = 0;
    keep(job, schedule, |job, due: Instant| {
        let seat = turn;
        turn = (turn + 1) % count;
        let connection = match std::mem::replace(&mut seats.borrow_mut()[seat], Seat::Busy) {
            Seat::Busy => return overflow(job, due, 1),
            Seat::Closed => None,
            Seat::Resting(connection) => Some(connection),
        };
        let seats = seats.clone();
        job.spawn("request", move |job| {
            let after = request(job, due, connection);
            seats.borrow_mut()[seat] = after.map_or(Seat::Closed, Seat::Resting);
        });
    });
    hold(job, &seats);
}

/// The connections stay open to the end, also when no request is due any more.
fn hold(job: &Job, _seats: &Rc<RefCell<Vec<Seat>>>) {
    tenfold_runtime::sleep_until(job.window().end);
}
