//! The epoll backend: the most common one in production, since containers' default policies refuse io_uring.
//!
//! Every descriptor is registered once, edge-triggered, for both directions; waiters hang on a table indexed by
//! descriptor number. An operation has been tried before it comes here, so the next edge is the one that it waits for; one
//! that was not looks at whether an edge has come that nobody has used (`unread`). When an edge comes the backend performs the
//! operation itself: callers see completions, as with io_uring.
//!
//! ```text
//!   entries[fd] ── generation ─┐
//!        │                     ├─ compared with each event, so that an event of a closed descriptor with the same
//!        ├─ waiters: one-shot  ┘  number is not taken for the new one
//!        └─ stream: recv or poll
//! ```
//!
//! A descriptor of somebody else's (`PollForeign`) is armed for one event at each wait instead: it may be closed and its
//! number given to another without our hearing of it, and a thread that waited for it once must not be woken for ever.
//!
//! Invariants:
//! - I1: between `submit` and its completion, a slot and the memory of its operation stay valid (contract of `submit`).
//! - I2: a waiter leaves the table before its slot is marked done.

#![allow(unsafe_code, reason = "completes operations whose memory is borrowed by raw pointer")]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::{
    Backend, Completion, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP, RawOp, Slot, StreamOp, Token,
};
use crate::error::ReactorError;
use crate::patience::Company;
use crate::reactor::ReactorConfig;
use crate::waker::Waker;

const EVENTS_PER_WAIT: usize = 512;
const SCRATCH_BYTES: usize = 64 * 1024;
const WAKER_DATA: u64 = u64::MAX;
const ECANCELED: i32 = 125;
/// What a descriptor is registered for.
const EDGES: EventFlags =
    EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::ET);
/// What a receive does not have to wait for.
const READABLE: u32 = POLLIN | POLLRDHUP | POLLHUP | POLLERR;

pub(crate) struct EpollBackend {
    epoll: OwnedFd,
    waker: Waker,
    entries: Vec<Entry>,
    events: Vec<epoll::Event>,
    /// Events of the last wait that `next` has not looked at yet.
    pending: VecDeque<(RawFd, u32)>,
    /// Completions that are ready without an event: cancels and operations that need no waiting.
    finished: VecDeque<Finished>,
    /// Where streams receive; lent to the loop until the next call of `next`.
    scratch: Vec<u8>,
}

enum Finished {
    Slot(*const Slot, i32),
    Stream { token: Token, result: i32 },
}

#[derive(Default)]
struct Entry {
    generation: u32,
    registered: bool,
    /// Armed for one event, see [`EpollBackend::arm`]; never while `registered`.
    armed: bool,
    /// The kernel knew the number when it was last armed: a guess at which of two calls will succeed.
    known: bool,
    /// What the kernel has reported of bytes and of their end, while nobody is known to have taken all of it: a receive that
    /// was not tried must be, since its edge may have passed. May have a bit too many, never one too few.
    unread: u32,
    stream: Option<(StreamOp, Token)>,
    /// Usually empty or one; both directions may wait at a time.
    waiters: Vec<Waiter>,
}

struct Waiter {
    op: RawOp,
    slot: *const Slot,
}

impl Entry {
    /// What its events are to bring.
    fn data(&self, fd: RawFd) -> EventData {
        EventData::new_u64(u64::from(self.generation) << 32 | fd as u64)
    }
}

impl EpollBackend {
    pub(crate) fn new(_config: &ReactorConfig, waker: Waker) -> Result<EpollBackend, ReactorError> {
        let epoll =
            epoll::create(CreateFlags::CLOEXEC).map_err(ReactorError::system("create an epoll instance"))?;
        let flags = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, waker.fd(), EventData::new_u64(WAKER_DATA), flags)
            .map_err(ReactorError::system("watch the waker"))?;
        Ok(EpollBackend {
            epoll,
            waker,
            entries: Vec::new(),
            events: Vec::with_capacity(EVENTS_PER_WAIT),
            pending: VecDeque::with_capacity(EVENTS_PER_WAIT),
            finished: VecDeque::new(),
            scratch: Vec::with_capacity(SCRATCH_BYTES),
        })
    }

    fn entry(&mut self, fd: RawFd) -> &mut Entry {
        let index = fd as usize;
        if index >= self.entries.len() {
            self.entries.resize_with(index + 1, Entry::default);
        }
        &mut self.entries[index]
    }

    /// Registers a descriptor if it is not; the kernel reports an edge at once when it is ready already.
    fn register(&mut self, fd: RawFd) -> Result<(), Errno> {
        let entry = self.entry(fd);
        if entry.registered {
            return Ok(());
        }
        entry.generation = entry.generation.wrapping_add(1);
        let data = entry.data(fd);
        // SAFETY: the caller has the descriptor open: it has just tried an operation on it.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        let outcome = match epoll::add(&self.epoll, borrowed, data, EDGES) {
            // Still registered from before a hand-over to another thread and back.
            Err(Errno::EXIST) => epoll::modify(&self.epoll, borrowed, data, EDGES),
            other => other,
        };
        let entry = self.entry(fd);
        entry.registered = outcome.is_ok();
        entry.armed = false;
        entry.unread = 0;
        outcome
    }

    /// For a poll, which was not tried before and whose descriptor may be any: asks for the present state of one that is
    /// registered. False when it is not, or not any more: what had the number was closed where nobody told this loop, as a
    /// socket that is dropped by another thread, and its successor would be waited for in vain.
    fn look_again(&mut self, fd: RawFd) -> bool {
        let entry = self.entry(fd);
        if !entry.registered {
            return false;
        }
        let data = entry.data(fd);
        // SAFETY: the caller has the descriptor open, or had: the kernel then says EBADF.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        // Sets what is set, and reports at once what the descriptor is ready for (epoll_ctl(2)).
        let is_same = epoll::modify(&self.epoll, borrowed, data, EDGES).is_ok();
        if !is_same {
            self.adopt(fd);
        }
        is_same
    }

    /// Arms a descriptor of somebody else's for one event, for all who wait for it.
    fn arm(&mut self, fd: RawFd) -> Result<(), Errno> {
        let entry = self.entry(fd);
        entry.generation = entry.generation.wrapping_add(1);
        let wanted = entry.waiters.iter().map(|waiter| match waiter.op {
            RawOp::PollForeign { bits, .. } => bits,
            _ => 0,
        });
        let flags =
            EventFlags::from_bits_retain(wanted.fold(0, |all, bits| all | bits)) | EventFlags::ONESHOT;
        let data = entry.data(fd);
        let known = entry.known;
        // SAFETY: the caller has the descriptor open, or had: the kernel then says EBADF, or arms its successor for one
        // event too many.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        let add = || epoll::add(&self.epoll, borrowed, data, flags);
        let modify = || epoll::modify(&self.epoll, borrowed, data, flags);
        let outcome = match if known { modify() } else { add() } {
            Err(Errno::NOENT) => add(),
            Err(Errno::EXIST) => modify(),
            other => other,
        };
        let entry = self.entry(fd);
        entry.armed = outcome.is_ok();
        entry.known = outcome.is_ok();
        outcome
    }

    /// Arms for a new or a left-over waiter; those that cannot wait are told why.
    fn arm_or_fail(&mut self, fd: RawFd) {
        let Err(errno) = self.arm(fd) else { return };
        let finished = &mut self.finished;
        self.entries[fd as usize].waiters.retain(|waiter| {
            let RawOp::PollForeign { bits, .. } = waiter.op else { return true };
            // EPERM: the descriptor is always ready (a regular file).
            let always = errno == Errno::PERM;
            let result = if always { (bits & (POLLIN | POLLOUT)) as i32 } else { -errno.raw_os_error() };
            finished.push_back(Finished::Slot(waiter.slot, result));
            false
        });
    }

    fn next_finished(&mut self) -> Option<Completion> {
        Some(match self.finished.pop_front()? {
            Finished::Slot(slot, result) => {
                // SAFETY: I1: the slot was not marked done before, and I2.
                let slot = unsafe { &*slot };
                slot.result.set(result);
                slot.done.set(true);
                Completion::Finished(slot.token)
            }
            Finished::Stream { token, result } => {
                Completion::Stream { token, result, bytes: None, more: false }
            }
        })
    }

    /// Runs the waiters that an edge may have made ready.
    fn run_waiters(&mut self, fd: RawFd, bits: u32) {
        let Some(entry) = self.entries.get_mut(fd as usize) else { return };
        let finished = &mut self.finished;
        entry.unread |= bits & READABLE;
        let unread = &mut entry.unread;
        entry.waiters.retain(|waiter| {
            // An event reports all that the descriptor is ready for: the other direction has nothing to try.
            if bits & ready_for(waiter.op) == 0 {
                return true;
            }
            // SAFETY: I1.
            let outcome = unsafe { perform(waiter.op, bits) };
            if let RawOp::Recv { len, .. } = waiter.op {
                // As in `receive`: a short read has emptied the socket, unless the end of the stream is behind it.
                let is_empty =
                    outcome.is_none_or(|taken| taken > 0 && (taken as u32) < len && *unread == POLLIN);
                if is_empty {
                    *unread = 0;
                }
            }
            match outcome {
                Some(result) => {
                    finished.push_back(Finished::Slot(waiter.slot, result));
                    false
                }
                None => true,
            }
        });
    }

    /// The one event has come and somebody waits for the other direction.
    fn rearm(&mut self, fd: RawFd) {
        let Some(entry) = self.entries.get(fd as usize) else { return };
        let foreign = |waiter: &Waiter| matches!(waiter.op, RawOp::PollForeign { .. });
        if !entry.registered && !entry.armed && entry.waiters.iter().any(foreign) {
            self.arm_or_fail(fd);
        }
    }

    /// What an edge means for the stream on a descriptor.
    fn run_stream(&mut self, fd: RawFd, bits: u32) -> Option<Completion> {
        let entry = self.entries.get_mut(fd as usize)?;
        let (op, token) = entry.stream?;
        match op {
            StreamOp::Recv { .. } => self.receive(fd, bits, token),
            StreamOp::Poll { bits: wanted, .. } => {
                let hit = bits & (wanted | POLLERR | POLLHUP);
                (hit != 0).then_some(Completion::Stream {
                    token,
                    result: hit as i32,
                    bytes: None,
                    more: true,
                })
            }
            StreamOp::PollOnce { bits: wanted, .. } => {
                let hit = bits & (wanted | POLLERR | POLLHUP);
                if hit == 0 {
                    return None;
                }
                entry.stream = None;
                Some(Completion::Stream { token, result: hit as i32, bytes: None, more: false })
            }
        }
    }

    fn receive(&mut self, fd: RawFd, bits: u32, token: Token) -> Option<Completion> {
        if bits & READABLE == 0 {
            return None;
        }
        self.scratch.clear();
        // SAFETY: a stream is closed before its descriptor is (`forget`), so the number is still this socket's.
        let socket = unsafe { BorrowedFd::borrow_raw(fd) };
        match rustix::net::recv(socket, spare_capacity(&mut self.scratch), RecvFlags::DONTWAIT) {
            Ok((_, 0)) => {
                self.entries[fd as usize].stream = None;
                Some(Completion::Stream { token, result: 0, bytes: None, more: false })
            }
            Ok((_, taken)) => {
                // A short read of a stream socket means that it is empty (epoll(7), Q9), unless the peer has closed:
                // that end came with this edge and brings no other.
                if taken == SCRATCH_BYTES || bits & (POLLRDHUP | POLLHUP | POLLERR) != 0 {
                    self.pending.push_back((fd, bits));
                }
                let bytes = Some((self.scratch.as_ptr(), taken));
                Some(Completion::Stream { token, result: taken as i32, bytes, more: true })
            }
            Err(Errno::AGAIN | Errno::INTR) => None,
            Err(errno) => {
                self.entries[fd as usize].stream = None;
                Some(Completion::Stream { token, result: -errno.raw_os_error(), bytes: None, more: false })
            }
        }
    }
}

impl Backend for EpollBackend {
    fn name(&self) -> &'static str {
        "epoll"
    }

    fn does_files(&self) -> bool {
        false
    }

    fn connects(&self) -> bool {
        false
    }

    unsafe fn submit(&mut self, op: RawOp, slot: *const Slot) {
        if matches!(op, RawOp::ReadAt { .. } | RawOp::WriteAt { .. } | RawOp::Fsync { .. }) {
            // epoll cannot wait for files (epoll_ctl(2), EPERM): done here and now. Callers who mind ask `does_files`
            // and use a thread.
            // SAFETY: I1.
            let result = unsafe { perform_file(op) };
            self.finished.push_back(Finished::Slot(slot, result));
            return;
        }
        if matches!(op, RawOp::Connect { .. }) {
            self.finished.push_back(Finished::Slot(slot, -Errno::OPNOTSUPP.raw_os_error()));
            return;
        }
        let fd = op.fd();
        let polls = matches!(op, RawOp::Poll { .. } | RawOp::PollForeign { .. });
        let is_known = polls && self.look_again(fd);
        if matches!(op, RawOp::PollForeign { .. }) && !is_known {
            self.entry(fd).waiters.push(Waiter { op, slot });
            self.arm_or_fail(fd);
            return;
        }
        if let Err(errno) = self.register(fd) {
            // EPERM: the descriptor is always ready (a regular file).
            let result = match (errno, op) {
                (Errno::PERM, RawOp::Poll { bits, .. }) => (bits & (POLLIN | POLLOUT)) as i32,
                _ => -errno.raw_os_error(),
            };
            self.finished.push_back(Finished::Slot(slot, result));
            return;
        }
        self.entry(fd).waiters.push(Waiter { op, slot });
        let unread = self.entry(fd).unread;
        if matches!(op, RawOp::Recv { tried: false, .. }) && unread != 0 {
            self.pending.push_back((fd, unread));
        }
    }

    fn cancel(&mut self, slot: *const Slot) {
        // SAFETY: I1: whoever cancels still waits, so the slot is valid.
        let fd = unsafe { &*slot }.fd;
        let Some(entry) = self.entries.get_mut(fd as usize) else { return };
        if let Some(position) = entry.waiters.iter().position(|waiter| waiter.slot == slot) {
            entry.waiters.swap_remove(position);
            self.finished.push_back(Finished::Slot(slot, -ECANCELED));
        }
    }

    fn open_stream(&mut self, op: StreamOp, token: Token) {
        let fd = op.fd();
        let receives = matches!(op, StreamOp::Recv { .. });
        let is_known = if receives { self.entry(fd).registered } else { self.look_again(fd) };
        if let Err(errno) = self.register(fd) {
            self.finished.push_back(Finished::Stream { token, result: -errno.raw_os_error() });
            return;
        }
        self.entry(fd).stream = Some((op, token));
        if receives && is_known {
            self.pending.push_back((fd, POLLIN));
        }
    }

    fn close_stream(&mut self, fd: RawFd, token: Token) {
        let entry = self.entry(fd);
        if entry.stream.is_some_and(|(_, present)| present == token) {
            entry.stream = None;
            self.finished.push_back(Finished::Stream { token, result: -ECANCELED });
        }
    }

    fn adopt(&mut self, fd: RawFd) {
        if let Some(entry) = self.entries.get_mut(fd as usize) {
            entry.registered = false;
            entry.armed = false;
            entry.known = false;
            entry.stream = None;
        }
    }

    fn forget(&mut self, fd: RawFd) {
        let Some(entry) = self.entries.get_mut(fd as usize) else { return };
        // One that waited for an earlier, foreign owner of the number may not have run since that was closed.
        let ours = |waiter: &Waiter| !matches!(waiter.op, RawOp::PollForeign { .. });
        debug_assert!(!entry.waiters.iter().any(ours), "a descriptor is closed while somebody waits for it");
        if std::mem::take(&mut entry.registered) {
            entry.stream = None;
            // Closing alone would do, unless a duplicate of the descriptor lives on in another process (epoll(7), Q6).
            // SAFETY: the caller still has it open.
            let _ = epoll::delete(&self.epoll, unsafe { BorrowedFd::borrow_raw(fd) });
        }
    }

    /// Knows no company: epoll_wait(2) returns with the first event.
    fn wait(&mut self, timeout: Option<Duration>, _: Option<Company>) -> io::Result<()> {
        let timeout = if self.has_news() { Some(Duration::ZERO) } else { timeout };
        let limit = timeout.map(|time| rustix::time::Timespec {
            tv_sec: time.as_secs() as _,
            tv_nsec: time.subsec_nanos() as _,
        });
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        for event in &self.events {
            let flags = event.flags;
            let (data, bits) = (event.data.u64(), flags.bits());
            if data == WAKER_DATA {
                self.waker.acknowledge();
                continue;
            }
            let (fd, generation) = (data as u32 as RawFd, (data >> 32) as u32);
            let Some(entry) = self.entries.get_mut(fd as usize) else { continue };
            let watched = entry.registered || entry.armed;
            if watched && entry.generation == generation {
                entry.armed = false;
                self.pending.push_back((fd, bits));
            }
        }
        Ok(())
    }

    fn has_news(&mut self) -> bool {
        !self.pending.is_empty() || !self.finished.is_empty()
    }

    fn next(&mut self) -> Option<Completion> {
        loop {
            if let Some(completion) = self.next_finished() {
                return Some(completion);
            }
            let (fd, bits) = self.pending.pop_front()?;
            self.run_waiters(fd, bits);
            self.rearm(fd);
            if let Some(completion) = self.run_stream(fd, bits) {
                return Some(completion);
            }
        }
    }
}

/// The events of which any may let a waiter go on.
fn ready_for(op: RawOp) -> u32 {
    match op {
        RawOp::Recv { .. } => READABLE,
        RawOp::Send { .. } => POLLOUT | POLLERR | POLLHUP,
        _ => u32::MAX,
    }
}

/// Tries a waiter's operation after an edge; `None` when it still has to wait.
///
/// # Safety
/// The memory in `op` is valid (I1).
unsafe fn perform(op: RawOp, bits: u32) -> Option<i32> {
    let outcome = match op {
        RawOp::Recv { fd, buf, len, .. } => {
            // SAFETY: the contract above; the waiter has the descriptor open.
            let (fd, buf) =
                unsafe { (BorrowedFd::borrow_raw(fd), std::slice::from_raw_parts_mut(buf, len as usize)) };
            rustix::net::recv(fd, buf, RecvFlags::DONTWAIT).map(|(taken, _)| taken)
        }
        RawOp::Send { fd, buf, len } => {
            // SAFETY: as above.
            let (fd, buf) =
                unsafe { (BorrowedFd::borrow_raw(fd), std::slice::from_raw_parts(buf, len as usize)) };
            rustix::net::send(fd, buf, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
        }
        RawOp::Poll { bits: wanted, .. } | RawOp::PollForeign { bits: wanted, .. } => {
            let hit = bits & (wanted | POLLERR | POLLHUP);
            return (hit != 0).then_some(hit as i32);
        }
        RawOp::Connect { .. } => unreachable!("this backend does not connect"),
        RawOp::ReadAt { .. } | RawOp::WriteAt { .. } | RawOp::Fsync { .. } => {
            unreachable!("file operations never wait in the table")
        }
    };
    match outcome {
        Err(Errno::AGAIN | Errno::INTR) => None,
        Ok(count) => Some(count as i32),
        Err(errno) => Some(-errno.raw_os_error()),
    }
}

/// # Safety
/// The memory in `op` is valid (I1).
unsafe fn perform_file(op: RawOp) -> i32 {
    let outcome = match op {
        RawOp::ReadAt { fd, buf, len, offset } => {
            // SAFETY: the contract above; the caller has the descriptor open.
            let (fd, buf) =
                unsafe { (BorrowedFd::borrow_raw(fd), std::slice::from_raw_parts_mut(buf, len as usize)) };
            rustix::io::pread(fd, buf, offset)
        }
        RawOp::WriteAt { fd, buf, len, offset } => {
            // SAFETY: as above.
            let (fd, buf) =
                unsafe { (BorrowedFd::borrow_raw(fd), std::slice::from_raw_parts(buf, len as usize)) };
            rustix::io::pwrite(fd, buf, offset)
        }
        RawOp::Fsync { fd, data_only } => {
            // SAFETY: as above.
            let fd = unsafe { BorrowedFd::borrow_raw(fd) };
            (if data_only { rustix::fs::fdatasync(fd) } else { rustix::fs::fsync(fd) }).map(|()| 0)
        }
        _ => unreachable!("only file operations come here"),
    };
    outcome.map_or_else(|errno| -errno.raw_os_error(), |count| count as i32)
}
