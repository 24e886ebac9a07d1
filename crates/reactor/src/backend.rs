//! The contract of a backend. Everything that the kernel tells a Tenfold process about a descriptor comes through here.
//!
//! A backend is used by one thread. It defines:
//!
//! | function | contract |
//! |---|---|
//! | `submit` | starts a one-shot operation; exactly one completion follows, whatever happens, cancelled or not |
//! | `cancel` | asks for an early end; the completion still comes, with a result that may be a success |
//! | `open_stream` | starts a repeating operation (receive or readiness); completions follow until one says that it was the last |
//! | `close_stream` | asks a stream to end; on a backend that still owes completions a last one follows |
//! | `adopt` | says that a descriptor number is new to this thread: freshly made, or taken over from another thread |
//! | `forget` | says that a descriptor is about to be closed or handed to another thread |
//! | `wait` | hands new operations to the kernel and waits at most so long for a completion |
//! | `next` | yields the next completion; the bytes in it are valid until the next call |
//!
//! Completions are never delivered from inside `submit`: they queue up, and the loop runs them (so a callback cannot be
//! re-entered by the call that it makes).

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use crate::error::ReactorError;
use crate::patience::Company;

pub(crate) mod epoll;
pub(crate) mod io_uring;

/// Names an operation or stream for whoever started it. The reactor only carries it; 61 bits are usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub u64);

impl Token {
    /// The largest value: the low bits of io_uring's `user_data` hold the kind of operation.
    pub const MAX: u64 = (1 << 61) - 1;
}

/// Which backend to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendChoice {
    /// io_uring where the kernel is 6.1 or later and allows it, epoll otherwise.
    #[default]
    Auto,
    /// io_uring or an error.
    IoUring,
    /// epoll.
    Epoll,
}

impl std::str::FromStr for BackendChoice {
    type Err = ReactorError;

    fn from_str(name: &str) -> Result<Self, ReactorError> {
        match name {
            "auto" => Ok(BackendChoice::Auto),
            "io_uring" | "uring" => Ok(BackendChoice::IoUring),
            "epoll" => Ok(BackendChoice::Epoll),
            other => Err(ReactorError::UnknownBackend(other.to_owned())),
        }
    }
}

/// What a waiter wants to know of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest(u8);

impl Interest {
    /// Bytes, a connection or the end of the stream can be read.
    pub const READ: Interest = Interest(1);
    /// Bytes can be written, or a connect has finished.
    pub const WRITE: Interest = Interest(2);
    /// Either.
    pub const BOTH: Interest = Interest(3);

    /// Whether reading is part of it.
    pub fn wants_read(self) -> bool {
        self.0 & 1 != 0
    }

    /// Whether writing is part of it.
    pub fn wants_write(self) -> bool {
        self.0 & 2 != 0
    }

    /// As poll(2) bits. io_uring's poll and epoll use the same numbers for these.
    pub(crate) fn poll_bits(self) -> u32 {
        (if self.wants_read() { POLLIN | POLLRDHUP } else { 0 })
            | (if self.wants_write() { POLLOUT } else { 0 })
    }
}

/// What a descriptor is ready for: poll(2) bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready(pub(crate) u32);

pub(crate) const POLLIN: u32 = 0x1;
pub(crate) const POLLOUT: u32 = 0x4;
pub(crate) const POLLERR: u32 = 0x8;
pub(crate) const POLLHUP: u32 = 0x10;
pub(crate) const POLLRDHUP: u32 = 0x2000;

impl Ready {
    /// A read will not wait: there are bytes, an error or the end of the stream.
    pub fn readable(self) -> bool {
        self.0 & (POLLIN | POLLERR | POLLHUP | POLLRDHUP) != 0
    }

    /// A write will not wait: there is room or an error.
    pub fn writable(self) -> bool {
        self.0 & (POLLOUT | POLLERR | POLLHUP) != 0
    }

    /// The peer has closed at least its sending half.
    pub fn hung_up(self) -> bool {
        self.0 & (POLLHUP | POLLRDHUP | POLLERR) != 0
    }
}

/// A one-shot operation with raw memory: what [`crate::Op`] becomes once it has to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RawOp {
    Recv {
        fd: RawFd,
        buf: *mut u8,
        len: u32,
        /// It was tried a moment ago, and there was nothing.
        tried: bool,
    },
    Send {
        fd: RawFd,
        buf: *const u8,
        len: u32,
    },
    Poll {
        fd: RawFd,
        bits: u32,
    },
    /// As `Poll`, for a descriptor of which nothing is known from one wait to the next.
    PollForeign {
        fd: RawFd,
        bits: u32,
    },
    /// Where the backend has it: see [`Backend::connects`].
    Connect {
        fd: RawFd,
        address: *const u8,
        len: u32,
    },
    ReadAt {
        fd: RawFd,
        buf: *mut u8,
        len: u32,
        offset: u64,
    },
    WriteAt {
        fd: RawFd,
        buf: *const u8,
        len: u32,
        offset: u64,
    },
    Fsync {
        fd: RawFd,
        data_only: bool,
    },
}

impl RawOp {
    pub(crate) fn fd(self) -> RawFd {
        match self {
            RawOp::Recv { fd, .. }
            | RawOp::Send { fd, .. }
            | RawOp::Poll { fd, .. }
            | RawOp::PollForeign { fd, .. }
            | RawOp::Connect { fd, .. }
            | RawOp::ReadAt { fd, .. }
            | RawOp::WriteAt { fd, .. }
            | RawOp::Fsync { fd, .. } => fd,
        }
    }
}

/// A repeating operation. It owns no memory of the caller's.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StreamOp {
    /// Receive into the backend's own buffers.
    Recv { fd: RawFd },
    /// Report readiness.
    Poll { fd: RawFd, bits: u32 },
    /// Report readiness once.
    PollOnce { fd: RawFd, bits: u32 },
}

impl StreamOp {
    pub(crate) fn fd(self) -> RawFd {
        match self {
            StreamOp::Recv { fd } | StreamOp::Poll { fd, .. } | StreamOp::PollOnce { fd, .. } => fd,
        }
    }
}

/// Where a one-shot operation's result goes. It lives on the stack of whoever waits; its address is the operation's key.
#[repr(align(16))]
pub(crate) struct Slot {
    pub(crate) token: Token,
    /// The descriptor that it waits for, so that a cancel finds it without a search.
    pub(crate) fd: RawFd,
    pub(crate) done: std::cell::Cell<bool>,
    pub(crate) result: std::cell::Cell<i32>,
}

/// One thing that happened. A one-shot operation's result is in its slot already.
pub(crate) enum Completion {
    /// The one-shot operation of the waiter with this token is over.
    Finished(Token),
    /// A stream has something. `bytes` is valid until the next call of `next`.
    Stream { token: Token, result: i32, bytes: Option<(*const u8, usize)>, more: bool },
}

#[allow(unsafe_code, reason = "declares the one unsafe function of the contract")]
pub(crate) trait Backend {
    fn name(&self) -> &'static str;

    /// Whether `ReadAt`, `WriteAt` and `Fsync` leave the loop free.
    fn does_files(&self) -> bool;

    /// Whether it has `Connect`.
    fn connects(&self) -> bool;

    /// # Safety
    /// `slot` and the memory in `op` stay valid and otherwise unused until `slot.done`.
    unsafe fn submit(&mut self, op: RawOp, slot: *const Slot);

    fn cancel(&mut self, slot: *const Slot);

    fn open_stream(&mut self, op: StreamOp, token: Token);

    fn close_stream(&mut self, fd: RawFd, token: Token);

    fn adopt(&mut self, fd: RawFd);

    fn forget(&mut self, fd: RawFd);

    /// `None` waits until something happens. With `company` it may wait for more than one thing for that long.
    fn wait(&mut self, timeout: Option<Duration>, company: Option<Company>) -> io::Result<()>;

    /// Whether the kernel has something to say that a call of `wait` would fetch without sleeping; cheap.
    fn has_news(&mut self) -> bool;

    fn next(&mut self) -> Option<Completion>;
}
