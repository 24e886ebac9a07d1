//! A lane's door: counts who is inside and lines up who has to wait.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tenfold_runtime::park::{self, Unparked, Waiter};

/// Admits a bounded number of requests at a time, first come first served. Used from all threads of a worker.
#[derive(Debug)]
pub(crate) struct Gate {
    at_once: usize,
    queue_max: usize,
    wait_max: Duration,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    running: usize,
    /// Who waits, by ticket.
    line: VecDeque<(u64, Waiter)>,
    next_ticket: u64,
    /// Tickets whose turn it is and who have not noticed yet; they count as running.
    called: Vec<u64>,
}

/// Why a request was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The line is full.
    QueueFull,
    /// It waited as long as the lane allows, or as its own deadline does.
    WaitedTooLong,
    /// It was cancelled: the client is gone or the worker stops.
    Cancelled,
}

/// A place inside; leaving it lets the next one in.
#[derive(Debug)]
pub(crate) struct Place<'a>(&'a Gate);

impl Gate {
    pub(crate) fn new(at_once: usize, queue_max: usize, wait_max: Duration) -> Gate {
        Gate { at_once, queue_max, wait_max, inside: Mutex::default() }
    }

    /// Longest wait, for `Retry-After`.
    pub(crate) fn wait_max(&self) -> Duration {
        self.wait_max
    }

    /// Enters, waiting for a turn if need be; `before_waiting` runs once if so.
    pub(crate) fn enter(&self, before_waiting: impl FnOnce()) -> Result<Place<'_>, Refusal> {
        let ticket = {
            let mut inside = self.lock();
            if inside.running < self.at_once && inside.line.is_empty() {
                inside.running += 1;
                return Ok(Place(self));
            }
            if inside.line.len() >= self.queue_max {
                return Err(Refusal::QueueFull);
            }
            let ticket = inside.next_ticket;
            inside.next_ticket += 1;
            inside.line.push_back((ticket, Waiter::current()));
            ticket
        };
        before_waiting();
        self.wait(ticket, Instant::now() + self.wait_max)
    }

    fn wait(&self, ticket: u64, until: Instant) -> Result<Place<'_>, Refusal> {
        loop {
            let ended = park::park(Some(until));
            let mut inside = self.lock();
            if let Some(position) = inside.called.iter().position(|called| *called == ticket) {
                inside.called.swap_remove(position);
                return Ok(Place(self));
            }
            let refusal = match ended {
                Unparked::Woken => continue,
                Unparked::TimedOut => Refusal::WaitedTooLong,
                Unparked::Cancelled => Refusal::Cancelled,
            };
            inside.line.retain(|(waiting, _)| *waiting != ticket);
            return Err(refusal);
        }
    }

    fn leave(&self) {
        let mut inside = self.lock();
        match inside.line.pop_front() {
            // The place passes on: `running` stays.
            Some((ticket, waiter)) => {
                inside.called.push(ticket);
                drop(inside);
                waiter.wake();
            }
            None => inside.running -= 1,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_bounded_and_first_come_first_served() {
        let gate = Gate::new(1, 1, Duration::from_secs(5));
        let first = gate.enter(|| {}).unwrap();
        std::thread::scope(|scope| {
            let (lined_up, is_lined_up) = std::sync::mpsc::channel();
            let gate = &gate;
            let second = scope.spawn(move || gate.enter(|| lined_up.send(()).unwrap()).map(drop));
            is_lined_up.recv().unwrap();
            assert_eq!(gate.enter(|| {}).map(drop), Err(Refusal::QueueFull));
            drop(first);
            assert_eq!(second.join().unwrap(), Ok(()));
        });
        assert!(gate.enter(|| panic!("nobody is inside")).is_ok());
    }

    #[test]
    fn a_wait_that_takes_too_long_leaves_the_line() {
        let gate = Gate::new(1, 8, Duration::from_millis(5));
        let inside = gate.enter(|| {}).unwrap();
        assert_eq!(gate.enter(|| {}).map(drop), Err(Refusal::WaitedTooLong));
        drop(inside);
        assert!(gate.enter(|| panic!("the one who gave up still holds its turn")).is_ok());
    }
}
