//! The reactor of one thread: a backend, a timer wheel and a waker behind one safe interface.
//!
//! Invariants:
//! - I1: [`Reactor::run`] does not return, and aborts rather than unwind, before its slot is done: the kernel may write
//!   to the caller's buffer until then. A caller that never returns (a fiber that is leaked) leaks its stack as well.
//! - I2: bytes lent by `Backend::next` stay valid until its next call. `dispatch` makes that call only after the callback
//!   has returned, and refuses to be entered again from inside the callback.

#![allow(unsafe_code, reason = "lends caller memory to the backend until a completion says that it is over")]

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::backend::epoll::EpollBackend;
use crate::backend::io_uring::{IoUringBackend, is_out_of_buffers, ready_bits};
use crate::backend::{Backend, BackendChoice, Completion, Interest, RawOp, Ready, Slot, StreamOp, Token};
use crate::error::ReactorError;
use crate::op::{Lowered, Op};
use crate::patience::Patience;
use crate::timer::{TimerId, Wheel};
use crate::waker::Waker;

/// How a reactor is made.
#[derive(Clone, Debug)]
pub struct ReactorConfig {
    /// Which backend.
    pub backend: BackendChoice,
    /// Submission entries of the io_uring ring; the completion queue has four times as many. A power of two; default
    /// 1,024. More operations than this can be in flight: it bounds a batch, not the total.
    pub entries: u32,
    /// Receive buffers shared by all idle connections of the thread (io_uring). A power of two; default 1,024.
    pub receive_buffers: u16,
    /// Size of each in bytes; default 2,048. Larger arrivals take several.
    pub receive_buffer_bytes: u32,
    /// How long a loop that sleeps may wait for several answers, so that it is woken once for all of them (io_uring, Linux
    /// 6.12). It does where nearly all that it hears are answers that took 200 times as long ([`Op::WaitRecv`]). Default
    /// 100 µs, zero never.
    pub gather: Duration,
}

impl Default for ReactorConfig {
    fn default() -> Self {
        ReactorConfig {
            backend: BackendChoice::Auto,
            entries: 1024,
            receive_buffers: 1024,
            receive_buffer_bytes: 2048,
            gather: Duration::from_micros(100),
        }
    }
}

/// Something that [`Reactor::dispatch`] reports.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The operation that was submitted with this token is over: wake whoever runs it.
    Finished(Token),
    /// Bytes of a receive stream; valid during the callback.
    Received(Token, &'a [u8]),
    /// A receive stream is over: the peer's end of stream (`Ok`) or an error. Nothing follows for this token.
    ReceiveEnded(Token, io::Result<()>),
    /// A receive stream stopped for want of buffers or after a cancel; open it again to go on.
    ReceivePaused(Token),
    /// A poll stream's descriptor is ready. `more` is false when this was the last report.
    Ready(Token, Ready, bool),
    /// A timer's value.
    Timer(u64),
}

/// Submits operations, delivers completions and keeps timers for one thread.
///
/// Not `Send`: the kernel ties an io_uring of this kind to its thread.
pub struct Reactor {
    backend: RefCell<Box<dyn Backend>>,
    waker: Waker,
    wheel: RefCell<Wheel>,
    started: Instant,
    now: Cell<Instant>,
    now_ms: Cell<u64>,
    dispatching: Cell<bool>,
    fired: RefCell<Vec<u64>>,
    patience: Patience,
    name: &'static str,
    does_files: bool,
    connects: bool,
}

/// An operation that [`Reactor::run`] waits for.
pub struct Pending<'a> {
    reactor: &'a Reactor,
    slot: &'a Slot,
}

impl Pending<'_> {
    /// Asks for an early end. The completion still comes, and it may carry a result that won the race.
    pub fn cancel(&self) {
        self.reactor.backend.borrow_mut().cancel(self.slot);
    }
}

impl Reactor {
    /// Makes a reactor for the calling thread.
    ///
    /// With [`BackendChoice::Auto`] a kernel or policy that refuses io_uring (`EPERM`, `ENOSYS`, `ENOMEM`, `EINVAL` on
    /// kernels before 6.1) gives epoll and one log line.
    ///
    /// # Errors
    /// [`ReactorError::UringUnavailable`] when io_uring was asked for by name; [`ReactorError::System`] when the process
    /// is out of descriptors or memory.
    pub fn new(config: &ReactorConfig) -> Result<Reactor, ReactorError> {
        let waker = Waker::new()?;
        let backend = choose(config, &waker)?;
        let started = Instant::now();
        Ok(Reactor {
            name: backend.name(),
            does_files: backend.does_files(),
            connects: backend.connects(),
            backend: RefCell::new(backend),
            waker,
            wheel: RefCell::new(Wheel::new()),
            started,
            now: Cell::new(started),
            now_ms: Cell::new(0),
            dispatching: Cell::new(false),
            fired: RefCell::new(Vec::new()),
            patience: Patience::new(config.gather),
        })
    }

    /// `"io_uring"` or `"epoll"`.
    pub fn backend_name(&self) -> &'static str {
        self.name
    }

    /// Whether reading, writing and flushing files leaves the loop free. Where not, use a thread.
    pub fn does_files(&self) -> bool {
        self.does_files
    }

    /// Whether it has [`Op::ConnectForeign`].
    pub fn connects(&self) -> bool {
        self.connects
    }

    /// Wakes this reactor's wait from other threads.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// The time at the end of the last wait: good to a millisecond or the length of one turn of the loop.
    pub fn now(&self) -> Instant {
        self.now.get()
    }

    /// Runs one operation to its end: tries it (but for [`Op::WaitRecv`]), and if it has to wait, submits it and calls `wait`
    /// until it is over.
    ///
    /// `wait` lets the thread go on with something else, and is called again for as long as the completion has not come,
    /// so it may return early for any reason (a deadline: call [`Pending::cancel`] and return). It must not unwind:
    /// the process aborts, since the kernel may own `op`'s buffer.
    ///
    /// # Errors
    /// What the kernel says. After a cancel usually `ECANCELED`, but a result that won the race is returned as such.
    pub fn run(
        &self,
        op: &mut Op<'_>,
        token: Token,
        mut wait: impl FnMut(&Pending<'_>),
    ) -> io::Result<usize> {
        let mut tried = op.is_tried_first();
        loop {
            if std::mem::replace(&mut tried, true)
                && let Some(outcome) = op.attempt()
            {
                return outcome;
            }
            match op.lower() {
                Lowered::Whole(raw) => return self.complete(raw, token, &mut wait),
                Lowered::Readiness(raw) => self.complete(raw, token, &mut wait)?,
            };
        }
    }

    fn complete(&self, raw: RawOp, token: Token, wait: &mut impl FnMut(&Pending<'_>)) -> io::Result<usize> {
        let slot = Slot { token, fd: raw.fd(), done: Cell::new(false), result: Cell::new(0) };
        let bomb = AbortOnUnwind;
        // SAFETY: I1: the loop below ends only when the slot is done, and `bomb` aborts if `wait` unwinds.
        unsafe { self.backend.borrow_mut().submit(raw, &slot) };
        let since_ms = self.now_ms.get();
        while !slot.done.get() {
            wait(&Pending { reactor: self, slot: &slot });
        }
        match raw {
            RawOp::Recv { tried: false, .. } => self.patience.hear_answer(self.now_ms.get() - since_ms),
            _ => self.patience.hear_other(),
        }
        std::mem::forget(bomb);
        match slot.result.get() {
            result if result < 0 => Err(io::Error::from_raw_os_error(-result)),
            result => Ok(result as usize),
        }
    }

    /// Starts to receive from a socket into the reactor's own buffers; [`Event::Received`] follows as bytes arrive.
    ///
    /// Close the stream before the descriptor.
    pub fn open_receive(&self, fd: BorrowedFd<'_>, token: Token) {
        debug_assert!(token.0 <= Token::MAX);
        self.backend.borrow_mut().open_stream(StreamOp::Recv { fd: fd.as_raw_fd() }, token);
    }

    /// Starts to report readiness, edge by edge: drain the descriptor after each report.
    pub fn open_poll(&self, fd: BorrowedFd<'_>, interest: Interest, token: Token) {
        let op = StreamOp::Poll { fd: fd.as_raw_fd(), bits: interest.poll_bits() };
        self.backend.borrow_mut().open_stream(op, token);
    }

    /// Reports readiness once; a descriptor that is ready already is reported after the next poll.
    pub fn poll_once(&self, fd: BorrowedFd<'_>, interest: Interest, token: Token) {
        self.poll_once_raw(fd.as_raw_fd(), interest, token);
    }

    pub(crate) fn poll_once_raw(&self, fd: RawFd, interest: Interest, token: Token) {
        let op = StreamOp::PollOnce { fd, bits: interest.poll_bits() };
        self.backend.borrow_mut().open_stream(op, token);
    }

    /// Ends a stream. [`Event::ReceivePaused`] or a last [`Event::Ready`] follows.
    pub fn close_stream(&self, fd: BorrowedFd<'_>, token: Token) {
        self.backend.borrow_mut().close_stream(fd.as_raw_fd(), token);
    }

    /// Says that this descriptor's number is new to this thread. Call it for each socket that was made, accepted, or
    /// taken over from another thread; without it a number's earlier owner would be mistaken for the new one.
    pub fn adopt(&self, fd: impl AsFd) {
        self.backend.borrow_mut().adopt(fd.as_fd().as_raw_fd());
    }

    /// Says that this descriptor is about to be closed or handed to another thread.
    pub fn forget(&self, fd: impl AsFd) {
        self.backend.borrow_mut().forget(fd.as_fd().as_raw_fd());
    }

    /// Adds a timer; [`Event::Timer`] with `value` follows at or after `deadline`, by less than 1 ms plus one turn.
    pub fn add_timer(&self, deadline: Instant, value: u64) -> TimerId {
        self.wheel.borrow_mut().add(self.ticks(deadline), value)
    }

    /// Removes a timer; false when it has fired.
    pub fn cancel_timer(&self, timer: TimerId) -> bool {
        self.wheel.borrow_mut().cancel(timer)
    }

    /// Whether a call of [`Reactor::poll`] with a time-out of zero would find something; costs no system call.
    pub fn has_news(&self) -> bool {
        self.backend.borrow_mut().has_news()
    }

    /// Hands queued operations to the kernel and waits for something to happen, at most for `limit` and at most until
    /// the nearest timer.
    ///
    /// # Errors
    /// Only what means that the reactor is broken (`EBADF`, `ENOMEM`); a signal or time-out is not an error.
    pub fn poll(&self, limit: Option<Duration>) -> io::Result<()> {
        let timeout = self.until_next_timer(limit);
        if timeout == Some(Duration::ZERO) {
            self.backend.borrow_mut().wait(timeout, None)?;
        } else if self.waker.about_to_sleep() {
            let company = self.patience.company(self.now_ms.get());
            self.backend.borrow_mut().wait(timeout, company)?;
            if self.waker.awake() {
                self.patience.hear_other();
            }
        } else {
            self.waker.awake();
            self.patience.hear_other();
            self.backend.borrow_mut().wait(Some(Duration::ZERO), None)?;
        }
        self.refresh_clock();
        Ok(())
    }

    /// Reads the clock, for callers that have kept the thread busy for longer than they like timers to be late.
    pub fn refresh_clock(&self) {
        let now = Instant::now();
        self.now.set(now);
        self.now_ms.set(now.duration_since(self.started).as_millis() as u64);
    }

    /// Runs `handle` for each thing that has happened, at most `events_max` of them and all due timers; returns how many.
    ///
    /// `handle` may call anything here but `dispatch` and `poll`.
    pub fn dispatch(&self, events_max: usize, mut handle: impl FnMut(Event<'_>)) -> usize {
        assert!(!self.dispatching.replace(true), "dispatch is not re-entrant: its callback runs on the loop");
        let mut count = self.fire_timers(&mut handle);
        while count < events_max {
            let Some(completion) = self.backend.borrow_mut().next() else { break };
            count += 1;
            match completion {
                Completion::Finished(token) => handle(Event::Finished(token)),
                Completion::Stream { token, result, bytes, more } => {
                    self.patience.hear_other();
                    Self::stream_event(token, result, bytes, more, &mut handle);
                }
            }
        }
        self.dispatching.set(false);
        count
    }

    fn stream_event(
        token: Token,
        result: i32,
        bytes: Option<(*const u8, usize)>,
        more: bool,
        handle: &mut impl FnMut(Event<'_>),
    ) {
        match (token.0 & STREAM_KIND, bytes) {
            (STREAM_POLL, _) => handle(Event::Ready(token, Ready(ready_bits(result)), more)),
            (_, Some((address, len))) if result > 0 => {
                // SAFETY: I2.
                handle(Event::Received(token, unsafe { std::slice::from_raw_parts(address, len) }));
                if !more {
                    handle(Event::ReceivePaused(token));
                }
            }
            (_, _) if result == 0 => handle(Event::ReceiveEnded(token, Ok(()))),
            (_, _) if is_out_of_buffers(result) || result == -Errno::CANCELED.raw_os_error() => {
                handle(Event::ReceivePaused(token));
            }
            (_, _) => handle(Event::ReceiveEnded(token, Err(io::Error::from_raw_os_error(-result)))),
        }
    }

    fn fire_timers(&self, handle: &mut impl FnMut(Event<'_>)) -> usize {
        if self.wheel.borrow().is_empty() {
            return 0;
        }
        let mut fired = self.fired.take();
        self.wheel.borrow_mut().advance(self.now_ms.get(), &mut fired);
        let count = fired.len();
        for value in fired.drain(..) {
            handle(Event::Timer(value));
        }
        *self.fired.borrow_mut() = fired;
        count
    }

    fn until_next_timer(&self, limit: Option<Duration>) -> Option<Duration> {
        if limit == Some(Duration::ZERO) {
            return limit;
        }
        let Some(next_ms) = self.wheel.borrow().next_ms() else { return limit };
        let until = (self.started + Duration::from_millis(next_ms)).saturating_duration_since(Instant::now());
        Some(limit.map_or(until, |limit| limit.min(until)))
    }

    /// Rounds up: a timer may be late, never early.
    fn ticks(&self, deadline: Instant) -> u64 {
        let since = deadline.saturating_duration_since(self.started);
        since.as_nanos().div_ceil(1_000_000) as u64
    }
}

/// The lowest bit of a stream's token says which kind it is, so that its completions can be told apart without a table.
pub(crate) const STREAM_KIND: u64 = 1;
pub(crate) const STREAM_POLL: u64 = 1;

impl Token {
    /// A token for [`Reactor::open_receive`], from a 60-bit value.
    pub fn receive(value: u64) -> Token {
        Token(value << 1)
    }

    /// A token for [`Reactor::open_poll`] and [`Reactor::poll_once`], from a 60-bit value.
    pub fn poll(value: u64) -> Token {
        Token(value << 1 | STREAM_POLL)
    }

    /// The value that [`Token::receive`] or [`Token::poll`] got.
    pub fn value(self) -> u64 {
        self.0 >> 1
    }
}

impl std::fmt::Debug for Reactor {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Reactor").field("backend", &self.name).finish_non_exhaustive()
    }
}

fn choose(config: &ReactorConfig, waker: &Waker) -> Result<Box<dyn Backend>, ReactorError> {
    let forced = config.backend == BackendChoice::IoUring;
    if config.backend != BackendChoice::Epoll {
        match IoUringBackend::new(config, waker.clone()) {
            Ok(backend) => return Ok(Box::new(backend)),
            Err(error) if forced => return Err(error),
            Err(error) => log_fallback(&error),
        }
    }
    Ok(Box::new(EpollBackend::new(config, waker.clone())?))
}

/// One line a process, not one a thread.
fn log_fallback(error: &ReactorError) {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| tracing::warn!(%error, "io_uring is refused here; using epoll"));
}

/// Aborts the process when dropped by an unwind: see I1.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        eprintln!("tenfold: a panic would have left a buffer that the kernel may still write to; aborting");
        std::process::abort();
    }
}
