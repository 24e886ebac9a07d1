//! What the fibers of one target share on one thread.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tenfold_runtime::spawn_detached;
use tenfold_runtime::sync::WaitGroup;

use super::connection::Connection;
use super::failure::{Failure, FailureKind};
use super::spec::Shape;
use super::tally::{Tally, Window};
use super::target::Target;

/// How long a client rests after a connection that could not be opened: a server that is gone is asked often, and not as
/// often as a processor can.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// How many connections are opened at the same time before a run.
const OPENERS: usize = 32;

/// One target's part of a run on one thread.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) target: Target,
    /// This thread's share of the load.
    pub(crate) shape: Shape,
    /// Where among the threads this one is, from 0 to below 1: schedules of threads alternate.
    pub(crate) phase: f64,
    /// Another for each thread and target.
    pub(crate) seed: u64,
    pub(crate) timeout: Duration,
    tally: RefCell<Tally>,
    pub(crate) signals: Signals,
}

/// How a run's stages are told to its fibers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signals {
    /// Its members have something to prepare before the start.
    pub(crate) preparing: WaitGroup,
    /// Has a member until the start.
    pub(crate) gate: WaitGroup,
    /// Its members are at work.
    pub(crate) working: WaitGroup,
}

impl Job {
    pub(crate) fn new(
        target: Target,
        shape: Shape,
        (index, threads): (usize, usize),
        seed: u64,
        timeout: Duration,
        tally: Tally,
        signals: Signals,
    ) -> Job {
        let phase = index as f64 / threads as f64;
        Job { target, shape, phase, seed, timeout, tally: RefCell::new(tally), signals }
    }

    /// Borrowed for a moment: never over a wait.
    #[inline]
    pub(crate) fn tally(&self) -> RefMut<'_, Tally> {
        self.tally.borrow_mut()
    }

    /// Known after [`Job::wait_for_start`].
    pub(crate) fn window(&self) -> Window {
        self.tally.borrow().window
    }

    /// The counts, when all fibers have ended.
    pub(crate) fn into_tally(self) -> Tally {
        self.tally.into_inner()
    }

    /// As [`Job::into_tally`], while a fiber still holds the job.
    pub(crate) fn take_tally(&self) -> Tally {
        let mut tally = self.tally.borrow_mut();
        let empty = Tally::new(tally.window, 1);
        std::mem::replace(&mut tally, empty)
    }

    /// Starts a fiber that the run's end waits for.
    pub(crate) fn spawn(self: &Rc<Job>, name: &'static str, run: impl FnOnce(&Rc<Job>) + 'static) {
        let job = self.clone();
        let member = self.signals.working.join();
        let started = spawn_detached(name, move || {
            run(&job);
            drop(member);
        });
        if let Err((error, _)) = started {
            let now = Instant::now();
            self.failed(now, &Failure::new(FailureKind::Connect, error.to_string()));
        }
    }

    /// Waits until the load begins; false when it never does.
    pub(crate) fn wait_for_start(&self) -> bool {
        self.signals.gate.wait().is_ok()
    }

    /// Opens a connection, by `until`.
    pub(crate) fn open(&self, until: Instant) -> Result<Connection, Failure> {
        let connection = Connection::open(&self.target, until)?;
        self.tally().connections_opened += 1;
        Ok(connection)
    }

    /// Opens this many connections, several at a time, before the start. What cannot be opened within the time-out fails:
    /// the bound is for all together.
    pub(crate) fn open_all(self: &Rc<Job>, count: usize) -> Vec<Result<Connection, Failure>> {
        let until = Instant::now() + self.timeout;
        let opened = Rc::new(RefCell::new(Vec::with_capacity(count)));
        let left = Rc::new(std::cell::Cell::new(count));
        let openers = WaitGroup::new();
        for _ in 0..OPENERS.min(count) {
            let (opened, left, member) = (opened.clone(), left.clone(), openers.join());
            self.spawn("opener", move |job| {
                while left.get() > 0 {
                    left.set(left.get() - 1);
                    let one = job.open(until);
                    opened.borrow_mut().push(one);
                }
                drop(member);
            });
        }
        // Cancelled: what is there is all there will be.
        let _ = openers.wait();
        opened.take()
    }

    /// Sends a request and waits for its answer; when the first byte of it was there.
    pub(crate) fn exchange(&self, connection: &mut Connection, due: Instant) -> Result<Instant, Failure> {
        let until = due + self.timeout;
        connection.send(&self.target.request, until)?;
        let answer = connection.answer(&self.target.method, &self.target.expect, until)?;
        Ok(answer.first_byte)
    }

    /// Counts something that was no request yet: no connection, or no room for one.
    pub(crate) fn failed(&self, due: Instant, failure: &Failure) {
        self.tally().failure(due, failure, Instant::now());
    }

    /// Counts a request that has ended.
    pub(crate) fn ended(&self, due: Instant, outcome: Result<(), &Failure>, connection: &mut Connection) {
        let mut tally = self.tally();
        tally.ended(due, outcome, Instant::now());
        tally.bytes(due, connection.take_bytes());
    }
}

impl Failure {
    /// Whether the answer was whole, so that its connection can be used again.
    pub(crate) fn is_of_a_whole_answer(&self) -> bool {
        matches!(self.kind, FailureKind::Status | FailureKind::Body)
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.kind == FailureKind::Cancelled
    }
}
