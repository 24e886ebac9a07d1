//! The descriptor under every stream, and its home: the loop that knows it.
//!
//! An epoll loop keeps a table by descriptor number, so it has to be told when a number is new to it and when it is about
//! to be closed. A socket may move between threads (a pool takes a connection, an idle thread takes a request); the next
//! loop that waits for it becomes its home.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tenfold_reactor::Op;

use crate::park;
use crate::remote;
use crate::scheduler::{self, Scheduler};

/// An open socket, shared by whoever reads, writes or waits for it; closed when the last of them lets go.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    /// The number of the loop that knows the descriptor; 0 for none.
    home: AtomicU32,
    /// Longest waits of a `Read` and of a `Write`.
    pub(crate) timeouts: Timeouts,
}

impl Socket {
    /// Takes a descriptor. It should be non-blocking if a loop will use it.
    pub fn new(fd: OwnedFd) -> Socket {
        Socket { fd, home: AtomicU32::new(0), timeouts: Timeouts::default() }
    }

    /// Makes the running loop the socket's home.
    #[inline]
    pub(crate) fn arrive(&self, scheduler: &Scheduler) {
        if self.home.load(Ordering::Relaxed) != scheduler.id {
            self.home.store(scheduler.id, Ordering::Relaxed);
            scheduler.reactor().adopt(&self.fd);
        }
    }

    /// Says that another thread or process will use the socket from now on. Nobody may be waiting for it.
    pub fn leave(&self) {
        scheduler::with_current(|scheduler| {
            if self.home.load(Ordering::Relaxed) == scheduler.id {
                self.home.store(0, Ordering::Relaxed);
                scheduler.reactor().forget(&self.fd);
            }
        });
    }

    /// Says that nobody uses the socket for now, and that another thread of this process may be the next. Nobody may be
    /// waiting for it.
    ///
    /// Where there is no other loop it stays known to this one, which saves an epoll loop two system calls for each use of a
    /// pooled connection. A loop that is made later takes it over as it would from a thread, and this one hears events that
    /// mean nothing to it.
    #[inline]
    pub fn rest(&self) {
        if !remote::is_only_loop() {
            self.leave();
        }
    }

    /// Runs an operation on this socket; see [`park::run`].
    pub(crate) fn run(&self, op: &mut Op<'_>, until: Option<Instant>) -> io::Result<usize> {
        scheduler::with_current(|scheduler| self.arrive(scheduler));
        park::run(op, until)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.leave();
    }
}

/// In nanoseconds; 0 for none.
#[derive(Debug, Default)]
pub(crate) struct Timeouts {
    read: AtomicU64,
    write: AtomicU64,
}

impl Timeouts {
    /// When a read that begins now is out of time.
    pub(crate) fn read(&self) -> Option<Instant> {
        load(&self.read)
    }

    /// When a write that begins now is out of time.
    pub(crate) fn write(&self) -> Option<Instant> {
        load(&self.write)
    }

    pub(crate) fn set_read(&self, timeout: Option<Duration>) {
        store(&self.read, timeout);
    }

    pub(crate) fn set_write(&self, timeout: Option<Duration>) {
        store(&self.write, timeout);
    }
}

fn store(cell: &AtomicU64, timeout: Option<Duration>) {
    let nanos = timeout.map_or(0, |timeout| timeout.as_nanos().clamp(1, u64::MAX.into()) as u64);
    cell.store(nanos, Ordering::Relaxed);
}

fn load(cell: &AtomicU64) -> Option<Instant> {
    match cell.load(Ordering::Relaxed) {
        0 => None,
        nanos => Some(park::after(Duration::from_nanos(nanos))),
    }
}
