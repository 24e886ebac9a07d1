//! The classic reactor: callbacks for descriptors and timers, run from a loop.
//!
//! For people who write event programs and want nothing else from Tenfold: `add`, `set`, `del`. Readiness is reported
//! level by level, as poll(2) does it: what a callback leaves unread is reported again. Each report is one one-shot
//! poll, which asks the kernel for the present state when it is armed again. The server does not use this file.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::backend::{Interest, Ready, Token};
use crate::error::ReactorError;
use crate::reactor::{Event, Reactor, ReactorConfig};
use crate::waker::Waker;

/// A token's value is a serial number above the descriptor's number: 24 bits, more than fs.nr_open's usual 2^20.
const FD_BITS: u32 = 24;
const FD_MASK: u64 = (1 << FD_BITS) - 1;

/// A descriptor that stays ready is reported again and again: a turn has to end for `stop` and timers to be seen.
const EVENTS_PER_TURN: usize = 256;

type Callback = Rc<RefCell<dyn FnMut(&EventLoop, RawFd, Ready)>>;
type TimerCallback = Box<dyn FnOnce(&EventLoop)>;

/// Runs callbacks when descriptors become ready and when timers expire.
pub struct EventLoop {
    reactor: Reactor,
    watches: RefCell<HashMap<RawFd, Watch>>,
    timers: RefCell<HashMap<u64, TimerCallback>>,
    serial: Cell<u64>,
    stopped: Cell<bool>,
}

struct Watch {
    callback: Callback,
    interest: Interest,
    /// The token of the armed poll; a report with another one is of an earlier watch on the same number.
    serial: u64,
}

impl EventLoop {
    /// Makes a loop for the calling thread.
    ///
    /// # Errors
    /// As [`Reactor::new`].
    pub fn new(config: &ReactorConfig) -> Result<EventLoop, ReactorError> {
        Ok(EventLoop {
            reactor: Reactor::new(config)?,
            watches: RefCell::default(),
            timers: RefCell::default(),
            serial: Cell::new(0),
            stopped: Cell::new(false),
        })
    }

    /// `"io_uring"` or `"epoll"`.
    pub fn backend_name(&self) -> &'static str {
        self.reactor.backend_name()
    }

    /// Makes [`EventLoop::run`] turn once more, from any thread.
    pub fn waker(&self) -> Waker {
        self.reactor.waker()
    }

    /// Watches a descriptor; a watch that it had is replaced. The caller keeps it open until [`EventLoop::del`].
    pub fn add(
        &self,
        fd: BorrowedFd<'_>,
        interest: Interest,
        callback: impl FnMut(&EventLoop, RawFd, Ready) + 'static,
    ) {
        self.reactor.adopt(fd);
        let callback: Callback = Rc::new(RefCell::new(callback));
        let serial = self.arm(fd.as_raw_fd(), interest);
        self.watches.borrow_mut().insert(fd.as_raw_fd(), Watch { callback, interest, serial });
    }

    /// Changes what a watched descriptor is watched for; does nothing for one that is not watched.
    pub fn set(&self, fd: BorrowedFd<'_>, interest: Interest) {
        let mut watches = self.watches.borrow_mut();
        if let Some(watch) = watches.get_mut(&fd.as_raw_fd()) {
            self.reactor.close_stream(fd, Token::poll(watch.serial));
            watch.interest = interest;
            watch.serial = self.arm(fd.as_raw_fd(), interest);
        }
    }

    /// Ends a watch. Call it before the descriptor is closed; afterwards its callback is not called any more.
    pub fn del(&self, fd: BorrowedFd<'_>) {
        if let Some(watch) = self.watches.borrow_mut().remove(&fd.as_raw_fd()) {
            self.reactor.close_stream(fd, Token::poll(watch.serial));
        }
        self.reactor.forget(fd);
    }

    /// Calls back once, after `delay` or up to 1 ms later.
    pub fn after(&self, delay: Duration, callback: impl FnOnce(&EventLoop) + 'static) {
        let serial = self.next_serial();
        self.timers.borrow_mut().insert(serial, Box::new(callback));
        self.reactor.add_timer(Instant::now() + delay, serial);
    }

    /// Makes [`EventLoop::run`] return after the present callbacks.
    pub fn stop(&self) {
        self.stopped.set(true);
    }

    /// Runs callbacks until [`EventLoop::stop`].
    ///
    /// # Errors
    /// When the kernel wait fails for good.
    pub fn run(&self) -> io::Result<()> {
        self.stopped.set(false);
        while !self.stopped.get() {
            self.reactor.poll(None)?;
            self.reactor.dispatch(EVENTS_PER_TURN, |event| match event {
                Event::Ready(token, ready, _) => self.ready(token.value(), ready),
                Event::Timer(serial) => {
                    let callback = self.timers.borrow_mut().remove(&serial);
                    if let Some(callback) = callback {
                        callback(self);
                    }
                }
                _ => {}
            });
        }
        Ok(())
    }

    fn ready(&self, serial: u64, ready: Ready) {
        let fd = (serial & FD_MASK) as RawFd;
        let callback = match self.watches.borrow().get(&fd) {
            Some(watch) if watch.serial == serial => watch.callback.clone(),
            _ => return,
        };
        (callback.borrow_mut())(self, fd, ready);
        self.rearm(fd, serial);
    }

    /// Arms the next report unless the callback has ended or changed the watch.
    fn rearm(&self, fd: RawFd, serial: u64) {
        let mut watches = self.watches.borrow_mut();
        let Some(watch) = watches.get_mut(&fd).filter(|watch| watch.serial == serial) else { return };
        watch.serial = self.arm(fd, watch.interest);
    }

    fn arm(&self, fd: RawFd, interest: Interest) -> u64 {
        let serial = self.next_serial() << FD_BITS | fd as u64;
        self.reactor.poll_once_raw(fd, interest, Token::poll(serial));
        serial
    }

    fn next_serial(&self) -> u64 {
        self.serial.set(self.serial.get() + 1);
        self.serial.get()
    }
}

impl std::fmt::Debug for EventLoop {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("EventLoop").field("watches", &self.watches.borrow().len()).finish_non_exhaustive()
    }
}
