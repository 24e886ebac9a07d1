//! The io_uring backend.
//!
//! Ring flags: SINGLE_ISSUER and DEFER_TASKRUN (6.1), so that completion work runs only inside our own wait, COOP_TASKRUN
//! and TASKRUN_FLAG so that we see without a system call whether there is any, SUBMIT_ALL and CLAMP. Without
//! DEFER_TASKRUN a keep-alive request costs 9 µs of CPU instead of 5.
//!
//! `user_data` holds the kind of operation in its two low bits:
//!
//! ```text
//!   address of a Slot (16-aligned) | 00   one-shot
//!   token << 2                     | 01   stream
//!   anything                       | 10   ours: cancels
//!   0                              | 11   ours: the waker
//! ```
//!
//! Invariants:
//! - I1: between `submit` and its completion, a slot and the memory of its operation stay valid (contract of `submit`).
//! - I2: a completion with kind 00 arrives once for each submitted slot, so its address is valid when it arrives. A
//!   cancelled operation is over at its own completion, not at the cancel's (io_uring_cancelation(7)).
//! - I3: the ring is used by the thread that made it, and never by a forked child (it is mapped DONTFORK; the kernel
//!   answers EEXIST to another task).

#![allow(unsafe_code, reason = "shares memory with the kernel")]

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use super::{Backend, Completion, POLLERR, POLLIN, RawOp, Slot, StreamOp, Token};
use crate::buffers::{BufferRing, GROUP};
use crate::error::ReactorError;
use crate::patience::Company;
use crate::reactor::ReactorConfig;
use crate::waker::Waker;

const KIND_MASK: u64 = 3;
const KIND_SLOT: u64 = 0;
const KIND_STREAM: u64 = 1;
const KIND_IGNORED: u64 = 2;
const KIND_WAKER: u64 = 3;

const MSG_NOSIGNAL: i32 = 0x4000;
/// Wait for readiness before the first try: we have tried already, or know better (io_uring_prep_recv(3)). What is ready
/// at once is not missed.
const RECVSEND_POLL_FIRST: u16 = 1;
const ENTER_GETEVENTS: u32 = 1;
const ENOBUFS: i32 = 105;
/// Longest sleep where a limit is needed and nobody has one.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

pub(crate) struct IoUringBackend {
    /// Dropped before `buffers`, which the kernel writes to.
    ring: IoUring,
    buffers: BufferRing,
    /// The buffer whose bytes the loop is looking at.
    lent: Option<u16>,
    waker: Waker,
    waker_armed: bool,
    /// The kernel knows a wait for several completions with a bound of its own (6.12).
    gathers: bool,
}

impl IoUringBackend {
    pub(crate) fn new(config: &ReactorConfig, waker: Waker) -> Result<IoUringBackend, ReactorError> {
        let ring = IoUring::builder()
            .dontfork()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_clamp()
            .setup_cqsize(config.entries * 4)
            .build(config.entries)
            .map_err(ReactorError::UringUnavailable)?;
        let buffers = BufferRing::new(config.receive_buffers, config.receive_buffer_bytes)?;
        // SAFETY: `buffers` outlives `ring` (field order), and its memory is what the address and count say.
        unsafe {
            ring.submitter()
                .register_buf_ring_with_flags(buffers.ring_address(), buffers.entries(), GROUP, 0)
                .map_err(ReactorError::UringUnavailable)?;
        }
        let gathers = ring.params().is_feature_min_timeout();
        Ok(IoUringBackend { ring, buffers, lent: None, waker, waker_armed: false, gathers })
    }

    /// Queues an entry; when the queue is full the kernel takes what is in it first.
    fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: I1 for slots; streams and cancels name no memory of callers.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return;
            }
            // EBUSY or EAGAIN mean that the kernel is short of something for a moment: completions that wait to be
            // fetched, or memory. Trying again is all that can be done, and the entry must not get lost.
            let _ = self.enter(0);
        }
    }

    fn enter(&self, want: u32) -> io::Result<usize> {
        let pending = {
            // SAFETY: I3: one thread, and no other view of the submission queue is alive.
            let mut queue = unsafe { self.ring.submission_shared() };
            queue.sync();
            queue.len() as u32
        };
        // `Submitter::submit_and_wait(0)` leaves GETEVENTS out, and on a DEFER_TASKRUN ring that flag is what runs the
        // completion work; a bare submit can strand completions.
        // SAFETY: no argument memory is passed.
        unsafe { self.ring.submitter().enter::<()>(pending, want, ENTER_GETEVENTS, None) }
    }

    fn recv_entry(fd: RawFd, token: Token) -> squeue::Entry {
        opcode::RecvMulti::new(Fd(fd), GROUP).build().user_data(token.0 << 2 | KIND_STREAM)
    }

    fn arm_waker(&mut self) {
        let entry = opcode::PollAdd::new(Fd(self.waker.fd().as_raw_fd()), POLLIN)
            .multi(true)
            .build()
            .user_data(KIND_WAKER);
        self.waker_armed = true;
        self.push(&entry);
    }

    fn translate(&mut self, entry: &cqueue::Entry) -> Option<Completion> {
        let data = entry.user_data();
        let result = entry.result();
        let more = cqueue::more(entry.flags());
        match data & KIND_MASK {
            KIND_SLOT => {
                // SAFETY: I2.
                let slot = unsafe { &*(data as *const Slot) };
                slot.result.set(result);
                slot.done.set(true);
                Some(Completion::Finished(slot.token))
            }
            KIND_STREAM => {
                let bytes = cqueue::buffer_select(entry.flags()).map(|id| {
                    self.lent = Some(id);
                    self.buffers.bytes(id, result.max(0) as usize)
                });
                Some(Completion::Stream { token: Token(data >> 2), result, bytes, more })
            }
            KIND_WAKER => {
                self.waker.acknowledge();
                self.waker_armed = more;
                None
            }
            _ => None,
        }
    }
}

impl Backend for IoUringBackend {
    fn name(&self) -> &'static str {
        "io_uring"
    }

    fn does_files(&self) -> bool {
        true
    }

    fn connects(&self) -> bool {
        true
    }

    unsafe fn submit(&mut self, op: RawOp, slot: *const Slot) {
        let entry = match op {
            RawOp::Recv { fd, buf, len, tried: _ } => {
                opcode::Recv::new(Fd(fd), buf, len).ioprio(RECVSEND_POLL_FIRST).build()
            }
            RawOp::Send { fd, buf, len } => {
                opcode::Send::new(Fd(fd), buf, len).ioprio(RECVSEND_POLL_FIRST).flags(MSG_NOSIGNAL).build()
            }
            RawOp::Poll { fd, bits } | RawOp::PollForeign { fd, bits } => {
                opcode::PollAdd::new(Fd(fd), bits).build()
            }
            RawOp::Connect { fd, address, len } => opcode::Connect::new(Fd(fd), address.cast(), len).build(),
            RawOp::ReadAt { fd, buf, len, offset } => {
                opcode::Read::new(Fd(fd), buf, len).offset(offset).build()
            }
            RawOp::WriteAt { fd, buf, len, offset } => {
                opcode::Write::new(Fd(fd), buf, len).offset(offset).build()
            }
            RawOp::Fsync { fd, data_only } => {
                let flags = if data_only { FsyncFlags::DATASYNC } else { FsyncFlags::empty() };
                opcode::Fsync::new(Fd(fd)).flags(flags).build()
            }
        };
        self.push(&entry.user_data(slot as u64 | KIND_SLOT));
    }

    fn cancel(&mut self, slot: *const Slot) {
        let entry = opcode::AsyncCancel::new(slot as u64 | KIND_SLOT).build().user_data(KIND_IGNORED);
        self.push(&entry);
    }

    fn open_stream(&mut self, op: StreamOp, token: Token) {
        let data = token.0 << 2 | KIND_STREAM;
        let entry = match op {
            StreamOp::Recv { fd } => Self::recv_entry(fd, token),
            StreamOp::Poll { fd, bits } => {
                opcode::PollAdd::new(Fd(fd), bits).multi(true).build().user_data(data)
            }
            StreamOp::PollOnce { fd, bits } => opcode::PollAdd::new(Fd(fd), bits).build().user_data(data),
        };
        self.push(&entry);
    }

    fn close_stream(&mut self, _fd: RawFd, token: Token) {
        let target = CancelBuilder::user_data(token.0 << 2 | KIND_STREAM);
        self.push(&opcode::AsyncCancel2::new(target).build().user_data(KIND_IGNORED));
    }

    fn adopt(&mut self, _fd: RawFd) {
        // As for `forget`.
    }

    fn forget(&mut self, _fd: RawFd) {
        // Operations hold the file itself, not its number: nothing is kept by descriptor here.
    }

    fn wait(&mut self, timeout: Option<Duration>, company: Option<Company>) -> io::Result<()> {
        if !self.waker_armed {
            self.arm_waker();
        }
        let outcome = match (timeout, company.filter(|_| self.gathers)) {
            (Some(Duration::ZERO), _) => self.enter(0),
            (timeout, Some(Company { completions, moment })) => {
                // Without a limit the moment would be one (io_uring_enter2(2)), and the loop would wake for nothing.
                let timeout = timeout.unwrap_or(SLEEP_MAX);
                let limit = Timespec::from(timeout);
                let moment = moment.min(timeout).as_micros() as u32;
                let args = SubmitArgs::new().timespec(&limit).min_wait_usec(moment);
                self.ring.submitter().submit_with_args(completions as usize, &args)
            }
            (Some(timeout), None) => {
                let limit = Timespec::from(timeout);
                self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&limit))
            }
            (None, None) => self.ring.submit_and_wait(1),
        };
        match outcome {
            Ok(_) => Ok(()),
            // ETIME: the time-out. EINTR: a signal. EBUSY, EAGAIN: completions have to be fetched first.
            Err(error) if matches!(error.raw_os_error(), Some(62 | 4 | 16 | 11)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn has_news(&mut self) -> bool {
        if !self.ring.completion().is_empty() {
            return true;
        }
        let queue = self.ring.submission();
        !queue.is_empty() || queue.taskrun() || queue.cq_overflow()
    }

    fn next(&mut self) -> Option<Completion> {
        if let Some(id) = self.lent.take() {
            self.buffers.give_back(id);
        }
        loop {
            let entry = self.ring.completion().next()?;
            if let Some(completion) = self.translate(&entry) {
                return Some(completion);
            }
        }
    }
}

/// A receive stream that ended because every buffer was lent is to be opened again; the bytes wait in the socket.
pub(crate) fn is_out_of_buffers(result: i32) -> bool {
    result == -ENOBUFS
}

/// Turns a poll result into readiness bits; an error counts as "try it and see".
pub(crate) fn ready_bits(result: i32) -> u32 {
    if result < 0 { POLLERR } else { result as u32 }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn with_backend(test: impl FnOnce(&mut IoUringBackend)) {
        match Waker::new().and_then(|waker| IoUringBackend::new(&ReactorConfig::default(), waker)) {
            Ok(mut backend) => test(&mut backend),
            Err(error) => eprintln!("left out: {error}"),
        }
    }

    fn watched(backend: &mut IoUringBackend, token: u64) -> (UnixStream, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        let op = StreamOp::PollOnce { fd: near.as_fd().as_raw_fd(), bits: POLLIN };
        backend.open_stream(op, Token(token));
        (near, far)
    }

    #[test]
    fn a_full_batch_does_not_wait_for_its_moment_and_a_single_one_does_not_wait_for_a_batch() {
        with_backend(|backend| {
            let mut pairs: Vec<_> = (0..3).map(|token| watched(backend, token)).collect();
            pairs.iter_mut().for_each(|(_, far)| far.write_all(b"x").unwrap());
            let start = Instant::now();
            backend.wait(None, Some(Company { completions: 3, moment: LONG })).unwrap();
            assert!(start.elapsed() < LONG);
            assert_eq!(std::iter::from_fn(|| backend.next().map(drop)).count(), 3);

            let (_near, mut far) = watched(backend, 3);
            far.write_all(b"x").unwrap();
            backend.wait(None, Some(Company { completions: 3, moment: Duration::from_millis(1) })).unwrap();
            assert!(start.elapsed() < LONG);
            assert_eq!(std::iter::from_fn(|| backend.next().map(drop)).count(), 1);
        });
    }

    #[test]
    fn what_comes_after_the_moment_is_reported_at_once() {
        with_backend(|backend| {
            let (_near, mut far) = watched(backend, 0);
            let late = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(20));
                far.write_all(b"x").unwrap();
                far
            });
            let start = Instant::now();
            let company = Company { completions: 3, moment: Duration::from_millis(1) };
            while backend.next().is_none() {
                backend.wait(Some(LONG), Some(company)).unwrap();
            }
            assert!(start.elapsed() < LONG);
            drop(late.join().unwrap());
        });
    }

    #[test]
    fn a_limit_that_is_nearer_than_the_moment_ends_the_wait() {
        with_backend(|backend| {
            let start = Instant::now();
            let limit = Some(Duration::from_millis(1));
            backend.wait(limit, Some(Company { completions: 3, moment: LONG })).unwrap();
            assert!(start.elapsed() < LONG);
            assert!(backend.next().is_none());
        });
    }
}
