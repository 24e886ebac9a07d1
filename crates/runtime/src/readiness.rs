//! Readiness for futures: whose `std::task::Waker` to wake when a socket is ready or a time has come.
//!
//! There are two homes for that, and a future may be polled in the one today and in the other tomorrow:
//!
//! - on a fiber, the loop: each socket has one edge-triggered poll stream for both directions, opened at its first
//!   `WouldBlock` and kept until its adapter is gone;
//! - on a plain thread, a list of what the futures of the present `block_on` wait for, for poll(2).
//!
//! The rule that makes edges safe: try first, leave the waker only after `WouldBlock`. An edge that comes in between is
//! dispatched later, by the same thread.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::time::Timespec;
use tenfold_reactor::{Interest, Ready, TimerId, Token, WatchedPeer};

use crate::net::Socket;
use crate::park;
use crate::remote;
use crate::scheduler::{self, Scheduler};
use crate::table::FiberId;

/// The wakers of one loop.
#[derive(Default)]
pub(crate) struct Readiness {
    records: RefCell<Vec<Record>>,
    free: RefCell<Vec<u32>>,
}

#[derive(Default)]
struct Record {
    generation: u32,
    socket: Option<Arc<Socket>>,
    timer: Option<TimerId>,
    reader: Option<Waker>,
    /// A timer's waker is here as well.
    writer: Option<Waker>,
}

/// A place in a loop's [`Readiness`], given up when this is dropped, on whichever thread.
#[derive(Debug)]
pub(crate) struct Registration {
    home: u32,
    id: FiberId,
}

impl Drop for Registration {
    fn drop(&mut self) {
        remote::forget(self.home, self.id);
    }
}

/// Leaves `waker` to be woken when the socket may be ready. To be called after an attempt that would have waited.
pub(crate) fn watch_socket(
    place: &mut Option<Registration>,
    socket: &Arc<Socket>,
    interest: Interest,
    waker: &Waker,
) {
    if !park::parks() {
        *place = None;
        PLAIN.with_borrow_mut(|plain| plain.watch(socket, interest, waker));
        return;
    }
    scheduler::with_current(|scheduler| {
        let id = match place {
            Some(place) if place.home == scheduler.id => place.id,
            _ => {
                let id = scheduler.readiness.insert(Some(socket.clone()));
                socket.arrive(scheduler);
                scheduler.reactor().open_poll(socket.as_fd(), Interest::BOTH, Token::poll(id.pack()));
                // The earlier home is left only now, outside of any borrow.
                *place = Some(Registration { home: scheduler.id, id });
                id
            }
        };
        scheduler.readiness.with(id, |record| {
            let side = if interest.wants_read() { &mut record.reader } else { &mut record.writer };
            replace_waker(side, waker);
        });
    });
}

/// Leaves `waker` to be woken at `until`.
pub(crate) fn watch_time(place: &mut Option<Registration>, until: Instant, waker: &Waker) {
    if !park::parks() {
        *place = None;
        PLAIN.with_borrow_mut(|plain| plain.timers.push((until, waker.clone())));
        return;
    }
    scheduler::with_current(|scheduler| {
        let id = match place {
            Some(place) if place.home == scheduler.id => place.id,
            _ => {
                let id = scheduler.readiness.insert(None);
                let timer = scheduler.add_waker_timer(until, id.pack());
                scheduler.readiness.with(id, |record| record.timer = Some(timer));
                *place = Some(Registration { home: scheduler.id, id });
                id
            }
        };
        scheduler.readiness.with(id, |record| replace_waker(&mut record.writer, waker));
    });
}

/// Forgets what a plain thread's `block_on` has noted for a socket whose adapter is gone.
pub(crate) fn unwatch_plain(socket: &Arc<Socket>) {
    // The thread may be about to end, and its list be gone already.
    let _ = PLAIN.try_with(|plain| {
        if let Ok(mut plain) = plain.try_borrow_mut() {
            plain.sockets.retain(|(other, ..)| !Arc::ptr_eq(other, socket));
        }
    });
}

fn replace_waker(place: &mut Option<Waker>, waker: &Waker) {
    if !place.as_ref().is_some_and(|present| present.will_wake(waker)) {
        *place = Some(waker.clone());
    }
}

impl Readiness {
    fn with<R>(&self, id: FiberId, look: impl FnOnce(&mut Record) -> R) -> Option<R> {
        let mut records = self.records.borrow_mut();
        let record = records.get_mut(id.index() as usize)?;
        (record.generation == id.generation()).then(|| look(record))
    }

    fn insert(&self, socket: Option<Arc<Socket>>) -> FiberId {
        let mut records = self.records.borrow_mut();
        let index = self.free.borrow_mut().pop().unwrap_or_else(|| {
            records.push(Record::default());
            (records.len() - 1) as u32
        });
        let record = &mut records[index as usize];
        record.socket = socket;
        FiberId::new(index, record.generation)
    }

    /// Gives a place up and ends what was opened for it.
    pub(crate) fn remove(&self, scheduler: &Scheduler, id: FiberId) {
        let removed = self.with(id, |record| {
            let next =
                Record { generation: FiberId::next_generation(record.generation), ..Record::default() };
            std::mem::replace(record, next)
        });
        let Some(record) = removed else { return };
        if let Some(socket) = &record.socket {
            scheduler.reactor().close_stream(socket.as_fd(), Token::poll(id.pack()));
        }
        if let Some(timer) = record.timer {
            scheduler.reactor().cancel_timer(timer);
        }
        self.free.borrow_mut().push(id.index());
        // `record` is dropped here, outside of the borrow: its socket and wakers call back.
    }

    /// A socket's poll stream has reported; `more` is false when the kernel has ended the stream.
    pub(crate) fn ready(&self, scheduler: &Scheduler, token: Token, ready: Ready, more: bool) {
        let id = FiberId::unpack(token.value());
        let woken = self.with(id, |record| {
            // An ended stream is opened again; being told of the present state then makes up for what was missed.
            let reopen = if more { None } else { record.socket.clone() };
            let reader = if ready.readable() { record.reader.take() } else { None };
            let writer = if ready.writable() { record.writer.take() } else { None };
            (reader, writer, reopen)
        });
        let Some((reader, writer, reopen)) = woken else { return };
        if let Some(socket) = reopen {
            scheduler.reactor().open_poll(socket.as_fd(), Interest::BOTH, token);
        }
        reader.into_iter().chain(writer).for_each(Waker::wake);
    }

    /// A timer has come.
    pub(crate) fn timer(&self, packed: u64) {
        let waker = self.with(FiberId::unpack(packed), |record| {
            record.timer = None;
            record.writer.take()
        });
        if let Some(Some(waker)) = waker {
            waker.wake();
        }
    }
}

thread_local! {
    static PLAIN: RefCell<Plain> = const { RefCell::new(Plain { sockets: Vec::new(), timers: Vec::new() }) };
    /// How many `block_on` are open on this thread, one inside the other.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// What the futures of a plain thread wait for.
struct Plain {
    sockets: Vec<(Arc<Socket>, Interest, Waker)>,
    timers: Vec<(Instant, Waker)>,
}

impl Plain {
    fn watch(&mut self, socket: &Arc<Socket>, interest: Interest, waker: &Waker) {
        let same = |entry: &&mut (Arc<Socket>, Interest, Waker)| {
            Arc::ptr_eq(&entry.0, socket) && entry.1 == interest
        };
        match self.sockets.iter_mut().find(same) {
            Some(entry) => entry.2.clone_from(waker),
            None => self.sockets.push((socket.clone(), interest, waker.clone())),
        }
    }
}

/// Marks a plain thread's `block_on`; when the outermost ends, what its futures left behind is dropped.
pub(crate) struct PlainSection(());

impl PlainSection {
    pub(crate) fn enter() -> PlainSection {
        DEPTH.set(DEPTH.get() + 1);
        PlainSection(())
    }
}

impl Drop for PlainSection {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
        if DEPTH.get() == 0 {
            let left = PLAIN.with_borrow_mut(|plain| {
                (std::mem::take(&mut plain.sockets), std::mem::take(&mut plain.timers))
            });
            drop(left);
        }
    }
}

/// One poll(2) over all that the thread's futures wait for, and over `interrupts`; wakes who is ready. Returns at `limit`
/// at the latest; true when `peer` is gone.
pub(crate) fn poll_plain(
    interrupts: &[BorrowedFd<'_>],
    peer: Option<WatchedPeer>,
    limit: Option<Instant>,
) -> std::io::Result<bool> {
    let (watched, next_timer) = PLAIN.with_borrow(|plain| {
        let watched: Vec<_> = plain.sockets.iter().map(|entry| (entry.0.clone(), entry.1)).collect();
        (watched, plain.timers.iter().map(|(at, _)| *at).min())
    });
    let mut fds: Vec<PollFd<'_>> =
        interrupts.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    fds.extend(watched.iter().map(|(socket, interest)| PollFd::new(socket, poll_flags(*interest))));
    let watched_end = fds.len();
    fds.extend(peer.as_ref().map(WatchedPeer::poll_fd));
    let left = park::earlier(limit, next_timer).map(|at| at.saturating_duration_since(Instant::now()));
    let timeout =
        left.map(|left| Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos() as _ });
    match rustix::event::poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let ready: Vec<bool> =
        fds[interrupts.len()..watched_end].iter().map(|fd| !fd.revents().is_empty()).collect();
    let is_ready = |socket: &Arc<Socket>, interest: Interest| {
        watched
            .iter()
            .zip(&ready)
            .any(|((other, wanted), ready)| *ready && Arc::ptr_eq(socket, other) && *wanted == interest)
    };
    let is_gone = fds[watched_end..].iter().any(|fd| !fd.revents().is_empty());
    let now = Instant::now();
    let woken: Vec<Waker> = PLAIN.with_borrow_mut(|plain| {
        let sockets = plain.sockets.extract_if(.., |(socket, interest, _)| is_ready(socket, *interest));
        let mut woken: Vec<Waker> = sockets.map(|(_, _, waker)| waker).collect();
        woken.extend(plain.timers.extract_if(.., |(at, _)| *at <= now).map(|(_, waker)| waker));
        woken
    });
    woken.into_iter().for_each(Waker::wake);
    Ok(is_gone)
}

fn poll_flags(interest: Interest) -> PollFlags {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::IN | PollFlags::RDHUP, interest.wants_read());
    flags.set(PollFlags::OUT, interest.wants_write());
    flags
}
