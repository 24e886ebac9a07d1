//! `Worker`: what a worker process knows about itself and hears from its master.
//!
//! Orders come in on one pipe, whether the master or the worker's own signal
//! handler has written them: there is one descriptor to wait on and one place
//! to decode (`order.rs`). What it says to the master goes out on another
//! (`report.rs`).

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    pipe::{PipeFlags, pipe_with},
    process::Signal,
};

use tenfold_scoreboard::{self as scoreboard, Scoreboard, Slot, State};

use crate::{
    error::Error,
    order::{self, Order, Orders},
    report::{Report, Reporter},
    sys,
};

/// One worker, seen from inside; it may be shared between the worker's threads.
#[derive(Debug)]
pub struct Worker {
    pub(crate) group: String,
    pub(crate) index: usize,
    pub(crate) slot_index: usize,
    pub(crate) slot: &'static Slot,
    pub(crate) generation: u32,
    orders: OwnedFd,
    sender: Orders,
    reporter: Reporter,
    said_ready: AtomicBool,
    /// There is no master, so this worker judges a repeated order itself.
    alone: bool,
    /// A graceful stop was ordered before.
    stopping: AtomicBool,
    /// Given up when the worker is dropped; only ever used alone.
    caught: Mutex<Option<sys::Caught>>,
}

/// The descriptors of a new worker, made by the master before it forks.
pub(crate) struct Lines {
    /// Worker's end and master's end of the orders pipe.
    pub(crate) orders: (OwnedFd, OwnedFd),
    /// Master's end and worker's end of the reports pipe.
    pub(crate) reports: (OwnedFd, OwnedFd),
}

impl Worker {
    /// A worker in this very process, without a master: for tests, and for
    /// serving in one process. Its slot is on a private board.
    ///
    /// It hears [`Worker::orders`], and signals after [`Worker::obey_signals`].
    ///
    /// # Errors
    /// [`Error::System`] without descriptors.
    pub fn alone() -> Result<Self, Error> {
        let (orders, sender) = pipe()?;
        let slot = Scoreboard::private(1).slot(0);
        slot.occupy(std::process::id(), 1);
        Ok(Self {
            group: "alone".to_owned(),
            index: 0,
            slot_index: 0,
            slot,
            generation: 1,
            orders,
            sender: Orders { pipe: Arc::new(sender) },
            reporter: Reporter::new(None),
            said_ready: AtomicBool::new(false),
            alone: true,
            stopping: AtomicBool::new(false),
            caught: Mutex::new(None),
        })
    }

    /// A worker that was just forked. Makes its slot the process's own.
    pub(crate) fn forked(
        group: &str,
        index: usize,
        (slot_index, slot): (usize, &'static Slot),
        generation: u32,
        (orders, sender, reports): (OwnedFd, OwnedFd, OwnedFd),
    ) -> Self {
        scoreboard::set_current(slot);
        slot.occupy(std::process::id(), generation);
        Self {
            group: group.to_owned(),
            index,
            slot_index,
            slot,
            generation,
            orders,
            sender: Orders { pipe: Arc::new(sender) },
            reporter: Reporter::new(Some(reports)),
            said_ready: AtomicBool::new(false),
            alone: false,
            stopping: AtomicBool::new(false),
            caught: Mutex::new(None),
        }
    }

    /// Name of the group it belongs to; `alone` without a master.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Its number in the group, from zero.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Its number on the scoreboard, over all groups, from zero.
    pub fn slot_index(&self) -> usize {
        self.slot_index
    }

    /// Its slot on the scoreboard; the same as `scoreboard::current()` in a
    /// forked worker.
    pub fn slot(&self) -> &'static Slot {
        self.slot
    }

    /// The generation of configuration and binary that it runs.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Whether it runs without a master.
    pub fn is_alone(&self) -> bool {
        self.alone
    }

    /// Says that this worker serves from now on. Further calls do nothing.
    ///
    /// The master counts a worker that ends before this call as one that could
    /// not start, so call it when everything that may fail is behind.
    pub fn ready(&self) {
        if self.slot.state() == State::Starting {
            self.slot.set_state(State::Ready);
        }
        if !self.said_ready.swap(true, Relaxed) {
            // A master that is gone needs no answer; the order to stop is on its way.
            self.reporter.say(&Report::Ready);
        }
    }

    /// Whether [`Worker::ready`] was called.
    pub(crate) fn said_ready(&self) -> bool {
        self.said_ready.load(Relaxed)
    }

    /// Tells the master something; may be cloned for other threads.
    pub fn reporter(&self) -> &Reporter {
        &self.reporter
    }

    /// Readable when [`Worker::try_order`] has something to say. Poll it for
    /// input; never read from it.
    pub fn orders_fd(&self) -> BorrowedFd<'_> {
        self.orders.as_fd()
    }

    /// The next order, if there is one. Never blocks.
    ///
    /// Orders may repeat: a service manager sends TERM to the worker and to the
    /// master, which passes it on. Only without a master does a second graceful
    /// order turn into [`Order::Fast`], as it does in a master.
    pub fn try_order(&self) -> Option<Order> {
        let order = order::read(&self.orders)?;
        if !order.is_stop() {
            return Some(order);
        }
        self.slot.set_state(State::Draining);
        let repeated = self.stopping.swap(true, Relaxed);
        Some(if self.alone && repeated { Order::Fast } else { order })
    }

    /// A second reader of the same orders, for code that cannot borrow the worker: a fiber of its event loop. Each order
    /// is read by one of them.
    ///
    /// # Errors
    /// [`Error::System`] without descriptors.
    pub fn order_reader(&self) -> Result<OrderReader, Error> {
        let orders = rustix::io::fcntl_dupfd_cloexec(&self.orders, 0).map_err(Error::system("dup"))?;
        Ok(OrderReader { orders, slot: self.slot })
    }

    /// Blocks this thread until there is an order, for at most `timeout`
    /// (`None`: without end).
    pub fn wait_order(&self, timeout: Option<Duration>) -> Option<Order> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            if let Some(order) = self.try_order() {
                return Some(order);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return None;
            }
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            // A signal (EINTR) leads to the same next step as anything else.
            let _ = poll(&mut [PollFd::new(&self.orders, PollFlags::IN)], left.as_ref());
        }
    }

    /// A handle by which this process orders the worker to stop.
    pub fn orders(&self) -> Orders {
        self.sender.clone()
    }

    /// Makes a worker without a master obey signals: TERM and QUIT stop it
    /// gracefully, INT fast. A forked worker obeys from its first moment, and
    /// for it this does nothing.
    ///
    /// Signals belong to the whole process: one worker at a time may have them,
    /// and dropping it gives them back their default action.
    ///
    /// # Errors
    /// [`Error::SignalsTaken`] when another worker or a master has them.
    pub fn obey_signals(&self) -> Result<(), Error> {
        let mut caught = self.caught.lock().unwrap_or_else(PoisonError::into_inner);
        if self.alone && caught.is_none() {
            let pipe =
                rustix::io::fcntl_dupfd_cloexec(&*self.sender.pipe, 0).map_err(Error::system("dup"))?;
            *caught = Some(sys::Caught::new(pipe, &[Signal::TERM, Signal::QUIT, Signal::INT])?);
        }
        Ok(())
    }
}

/// Reads a worker's orders; see [`Worker::order_reader`].
#[derive(Debug)]
pub struct OrderReader {
    orders: OwnedFd,
    slot: &'static Slot,
}

impl OrderReader {
    /// The next order, if there is one. Never blocks.
    pub fn try_order(&self) -> Option<Order> {
        let order = order::read(&self.orders)?;
        if order.is_stop() {
            self.slot.set_state(State::Draining);
        }
        Some(order)
    }
}

impl AsFd for OrderReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.orders.as_fd()
    }
}

impl Lines {
    pub(crate) fn new() -> Result<Self, Error> {
        Ok(Self { orders: pipe()?, reports: pipe()? })
    }
}

/// A pipe that neither blocks nor survives an exec: (read end, write end).
pub(crate) fn pipe() -> Result<(OwnedFd, OwnedFd), Error> {
    pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(Error::system("pipe"))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn an_order_makes_the_descriptor_readable_and_is_read_once() {
        let worker = Worker::alone().expect("a pipe");
        assert_eq!(worker.slot().state(), State::Starting);
        worker.ready();
        assert_eq!((worker.slot().state(), worker.try_order()), (State::Ready, None));

        worker.orders().send(Order::Fast);
        let mut fds = [PollFd::from_borrowed_fd(worker.orders_fd(), PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(&Timespec::default())), Ok(1));
        assert_eq!((worker.try_order(), worker.try_order()), (Some(Order::Fast), None));
        assert_eq!(worker.slot().state(), State::Draining);
    }

    #[test]
    fn an_order_that_is_no_stop_leaves_the_state() {
        let worker = Worker::alone().expect("a pipe");
        worker.ready();
        worker.orders().send(Order::ReopenLogs);
        assert_eq!((worker.try_order(), worker.slot().state()), (Some(Order::ReopenLogs), State::Ready));
    }

    #[test]
    fn without_a_master_a_second_graceful_order_is_a_fast_one() {
        let worker = Worker::alone().expect("a pipe");
        worker.orders().send(Order::Graceful);
        worker.orders().send(Order::Graceful);
        assert_eq!((worker.try_order(), worker.try_order()), (Some(Order::Graceful), Some(Order::Fast)));
    }

    #[test]
    fn waiting_ends_with_an_order_from_another_thread_or_at_the_time_limit() {
        let worker = Worker::alone().expect("a pipe");
        assert_eq!(worker.wait_order(Some(Duration::from_millis(1))), None);
        let orders = worker.orders();
        let sender = thread::spawn(move || orders.send(Order::Graceful));
        assert_eq!(worker.wait_order(None), Some(Order::Graceful));
        sender.join().expect("the sender does not panic");
    }

    #[test]
    fn a_late_ready_does_not_hide_that_the_worker_drains() {
        let worker = Worker::alone().expect("a pipe");
        worker.orders().send(Order::Graceful);
        worker.try_order();
        worker.ready();
        assert_eq!(worker.slot().state(), State::Draining);
    }
}
