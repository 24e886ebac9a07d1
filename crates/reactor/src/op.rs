//! The operations that a caller can wait for, and how each is tried before anybody waits.
//!
//! An operation is tried first: on a socket that is ready this saves the submission, the park and the wake-up (Photon's
//! and nginx's way). Only what answers `EAGAIN` goes to the backend. System calls go through rustix, which does not use
//! libc's symbols: code that interposes those (crate `hook`) must not intercept the reactor itself.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustix::time::Timespec;

use crate::backend::{Interest, POLLIN, POLLOUT, RawOp};
use crate::watched_peer::WatchedPeer;

/// An operation with borrowed buffers. [`crate::Reactor::run`] returns only when nobody uses them any more.
///
/// Sockets may be in blocking mode, except for [`Op::Connect`], [`Op::Accept`], [`Op::SendFile`] and [`Op::Splice`]:
/// those have no flag "do not wait", so the descriptor itself has to be non-blocking.
#[derive(Debug)]
#[non_exhaustive]
pub enum Op<'a> {
    /// Accepts a connection, as a non-blocking close-on-exec descriptor.
    Accept {
        /// A listening socket.
        listener: BorrowedFd<'a>,
        /// Where the connection goes.
        accepted: &'a mut Option<OwnedFd>,
    },
    /// Connects; the socket was made non-blocking.
    Connect {
        /// An unconnected socket.
        fd: BorrowedFd<'a>,
        /// The peer.
        address: SocketAddr,
    },
    /// Receives into `buf`; 0 is the end of the stream.
    Recv {
        /// A connected socket.
        fd: BorrowedFd<'a>,
        /// Where the bytes go.
        buf: &'a mut [u8],
    },
    /// As `Recv`, for bytes that cannot be there yet, such as the answer to what was sent a moment ago: nothing is tried
    /// before the wait, which saves a system call. Bytes that are there all the same are received.
    WaitRecv {
        /// A connected socket.
        fd: BorrowedFd<'a>,
        /// Where the bytes go.
        buf: &'a mut [u8],
    },
    /// Sends from `buf`.
    Send {
        /// A connected socket.
        fd: BorrowedFd<'a>,
        /// What to send.
        buf: &'a [u8],
    },
    /// Receives into several buffers.
    RecvVectored {
        /// A connected socket.
        fd: BorrowedFd<'a>,
        /// Where the bytes go, in order.
        bufs: &'a mut [IoSliceMut<'a>],
    },
    /// Sends from several buffers.
    SendVectored {
        /// A connected socket.
        fd: BorrowedFd<'a>,
        /// What to send, in order.
        bufs: &'a [IoSlice<'a>],
    },
    /// Sends `len` bytes of a file from `offset` on, without passing through user memory.
    SendFile {
        /// A connected non-blocking socket.
        fd: BorrowedFd<'a>,
        /// A regular file.
        file: BorrowedFd<'a>,
        /// Where to start; moved on by what was sent.
        offset: &'a mut u64,
        /// How much at most.
        len: usize,
    },
    /// Moves bytes between a pipe and a socket; waits for the socket's side.
    Splice {
        /// The source.
        from: BorrowedFd<'a>,
        /// The destination.
        to: BorrowedFd<'a>,
        /// How much at most.
        len: usize,
        /// Which of the two may have to be waited for.
        waits_for: SpliceSide,
    },
    /// Waits until a descriptor is ready.
    Poll {
        /// Anything that can be polled.
        fd: BorrowedFd<'a>,
        /// For what.
        interest: Interest,
    },
    /// Waits until a descriptor is ready that is not ours: others may close it, duplicate it, or wait for it on another
    /// thread, and say so to nobody. The reactor therefore keeps nothing about it from one wait to the next, which costs
    /// the epoll backend a system call each time.
    PollForeign {
        /// Anything that can be polled.
        fd: BorrowedFd<'a>,
        /// The events of poll(2) to wait for; errors and hang-ups always count.
        events: u16,
    },
    /// Connects a socket that is not ours, and whose calls block, without making it non-blocking for anybody. Only where
    /// [`crate::Reactor::connects`]: elsewhere it fails with `EOPNOTSUPP`.
    ConnectForeign {
        /// A socket.
        fd: BorrowedFd<'a>,
        /// The peer, as connect(2) takes it.
        address: &'a [u8],
    },
    /// Reads from a file at an offset. Leaves the loop free only where [`crate::Reactor::does_files`].
    ReadAt {
        /// A regular file.
        fd: BorrowedFd<'a>,
        /// Where the bytes go.
        buf: &'a mut [u8],
        /// Where in the file to start.
        offset: u64,
    },
    /// Writes to a file at an offset. Leaves the loop free only where [`crate::Reactor::does_files`].
    WriteAt {
        /// A regular file.
        fd: BorrowedFd<'a>,
        /// What to write.
        buf: &'a [u8],
        /// Where in the file to start.
        offset: u64,
    },
    /// Flushes a file to storage. Leaves the loop free only where [`crate::Reactor::does_files`].
    Fsync {
        /// A regular file.
        fd: BorrowedFd<'a>,
        /// Leave out metadata that reading the data back does not need (fdatasync(2)).
        data_only: bool,
    },
}

/// The descriptor of an [`Op::Splice`] that is a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpliceSide {
    /// The source: wait until it is readable.
    From,
    /// The destination: wait until it is writable.
    To,
}

impl Op<'_> {
    /// Whether it is worth trying before anybody waits.
    pub(crate) fn is_tried_first(&self) -> bool {
        !matches!(self, Op::WaitRecv { .. })
    }

    /// Tries the operation without waiting: `None` when it would have to wait.
    ///
    /// File operations are never tried: whether they wait cannot be known before.
    pub(crate) fn attempt(&mut self) -> Option<io::Result<usize>> {
        let outcome = match self {
            Op::Accept { listener, accepted } => accept(*listener, accepted),
            Op::Connect { fd, address } => return connect(*fd, address),
            Op::Recv { fd, buf } | Op::WaitRecv { fd, buf } => {
                rustix::net::recv(*fd, &mut **buf, RecvFlags::DONTWAIT).map(|(taken, _)| taken)
            }
            Op::Send { fd, buf } => rustix::net::send(*fd, buf, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            Op::RecvVectored { fd, bufs } => recv_vectored(*fd, bufs),
            Op::SendVectored { fd, bufs } => send_vectored(*fd, bufs),
            Op::SendFile { fd, file, offset, len } => {
                rustix::fs::sendfile(*fd, *file, Some(&mut **offset), *len)
            }
            Op::Splice { from, to, len, .. } => {
                rustix::pipe::splice(*from, None, *to, None, *len, rustix::pipe::SpliceFlags::NONBLOCK)
            }
            Op::Poll { .. }
            | Op::PollForeign { .. }
            | Op::ConnectForeign { .. }
            | Op::ReadAt { .. }
            | Op::WriteAt { .. }
            | Op::Fsync { .. } => return None,
        };
        match outcome {
            Err(Errno::AGAIN | Errno::INTR) => None,
            Ok(done) => Some(Ok(done)),
            Err(errno) => Some(Err(errno.into())),
        }
    }

    /// Runs the operation on a plain thread: blocks in poll(2) and tries again, until `until`, until `interrupt` is
    /// readable, or until `peer` is gone.
    ///
    /// # Errors
    /// The operation's; `TimedOut`; `ECANCELED` after an interrupt or without a peer.
    pub fn run_blocking(
        &mut self,
        until: Option<Instant>,
        interrupt: Option<BorrowedFd<'_>>,
        peer: Option<WatchedPeer>,
    ) -> io::Result<usize> {
        let ends = (interrupt, peer);
        let mut tried = self.is_tried_first();
        loop {
            if std::mem::replace(&mut tried, true)
                && let Some(outcome) = self.attempt()
            {
                return outcome;
            }
            let raw = match self.lower() {
                Lowered::Whole(RawOp::Poll { fd, bits } | RawOp::PollForeign { fd, bits }) => {
                    return block_until_ready(fd, bits, until, ends).map(|bits| bits as usize);
                }
                Lowered::Whole(raw) | Lowered::Readiness(raw) => raw,
            };
            match raw {
                RawOp::Recv { fd, .. } => block_until_ready(fd, POLLIN, until, ends)?,
                RawOp::Send { fd, .. } => block_until_ready(fd, POLLOUT, until, ends)?,
                RawOp::Poll { fd, bits } | RawOp::PollForeign { fd, bits } => {
                    block_until_ready(fd, bits, until, ends)?
                }
                RawOp::Connect { .. } => return Err(Errno::OPNOTSUPP.into()),
                RawOp::ReadAt { .. } | RawOp::WriteAt { .. } | RawOp::Fsync { .. } => return self.run_file(),
            };
        }
    }

    fn run_file(&mut self) -> io::Result<usize> {
        Ok(match self {
            Op::ReadAt { fd, buf, offset } => rustix::io::pread(*fd, &mut **buf, *offset)?,
            Op::WriteAt { fd, buf, offset } => rustix::io::pwrite(*fd, buf, *offset)?,
            Op::Fsync { fd, data_only: true } => rustix::fs::fdatasync(*fd).map(|()| 0)?,
            Op::Fsync { fd, data_only: false } => rustix::fs::fsync(*fd).map(|()| 0)?,
            _ => unreachable!("only file operations lower to file operations"),
        })
    }

    /// What to submit once the attempt would have waited.
    pub(crate) fn lower(&mut self) -> Lowered {
        match self {
            Op::Recv { fd, buf } => Lowered::Whole(recv(*fd, buf, true)),
            Op::WaitRecv { fd, buf } => Lowered::Whole(recv(*fd, buf, false)),
            Op::Send { fd, buf } => {
                Lowered::Whole(RawOp::Send { fd: fd.as_raw_fd(), buf: buf.as_ptr(), len: clamp(buf.len()) })
            }
            Op::ReadAt { fd, buf, offset } => Lowered::Whole(RawOp::ReadAt {
                fd: fd.as_raw_fd(),
                buf: buf.as_mut_ptr(),
                len: clamp(buf.len()),
                offset: *offset,
            }),
            Op::WriteAt { fd, buf, offset } => Lowered::Whole(RawOp::WriteAt {
                fd: fd.as_raw_fd(),
                buf: buf.as_ptr(),
                len: clamp(buf.len()),
                offset: *offset,
            }),
            Op::Fsync { fd, data_only } => {
                Lowered::Whole(RawOp::Fsync { fd: fd.as_raw_fd(), data_only: *data_only })
            }
            Op::Poll { fd, interest } => {
                Lowered::Whole(RawOp::Poll { fd: fd.as_raw_fd(), bits: interest.poll_bits() })
            }
            Op::PollForeign { fd, events } => {
                Lowered::Whole(RawOp::PollForeign { fd: fd.as_raw_fd(), bits: u32::from(*events) })
            }
            Op::ConnectForeign { fd, address } => Lowered::Whole(RawOp::Connect {
                fd: fd.as_raw_fd(),
                address: address.as_ptr(),
                len: clamp(address.len()),
            }),
            Op::Accept { listener, .. } => ready(*listener, POLLIN),
            Op::RecvVectored { fd, .. } => ready(*fd, POLLIN),
            Op::Splice { from, waits_for: SpliceSide::From, .. } => ready(*from, POLLIN),
            Op::Connect { fd, .. } | Op::SendVectored { fd, .. } | Op::SendFile { fd, .. } => {
                ready(*fd, POLLOUT)
            }
            Op::Splice { to, waits_for: SpliceSide::To, .. } => ready(*to, POLLOUT),
        }
    }
}

/// How an operation waits.
pub(crate) enum Lowered {
    /// The backend does all of it.
    Whole(RawOp),
    /// The backend waits for readiness, then the operation is tried again.
    Readiness(RawOp),
}

/// poll(2) on a descriptor and, beside it, on what ends the wait early.
#[allow(unsafe_code, reason = "the descriptor was borrowed by the operation that waits")]
fn block_until_ready(
    fd: RawFd,
    bits: u32,
    until: Option<Instant>,
    (interrupt, peer): (Option<BorrowedFd<'_>>, Option<WatchedPeer>),
) -> io::Result<u32> {
    // SAFETY: `fd` is the number of a `BorrowedFd` in the `Op` that the caller holds over this call.
    let waited = unsafe { BorrowedFd::borrow_raw(fd) };
    let wanted = PollFlags::from_bits_truncate(bits as u16);
    let waited = PollFd::from_borrowed_fd(waited, wanted);
    let mut fds = [waited.clone(), waited.clone(), waited];
    let mut count = 1;
    let interrupt = interrupt.map(|interrupt| PollFd::from_borrowed_fd(interrupt, PollFlags::IN));
    for end in [interrupt, peer.as_ref().map(WatchedPeer::poll_fd)].into_iter().flatten() {
        fds[count] = end;
        count += 1;
    }
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let limit =
            left.map(|left| Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos() as _ });
        match rustix::event::poll(&mut fds[..count], limit.as_ref()) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) if fds[1..count].iter().any(|end| !end.revents().is_empty()) => {
                return Err(Errno::CANCELED.into());
            }
            Ok(_) => return Ok(u32::from(fds[0].revents().bits())),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn recv(fd: BorrowedFd<'_>, buf: &mut [u8], tried: bool) -> RawOp {
    RawOp::Recv { fd: fd.as_raw_fd(), buf: buf.as_mut_ptr(), len: clamp(buf.len()), tried }
}

fn ready(fd: BorrowedFd<'_>, bits: u32) -> Lowered {
    Lowered::Readiness(RawOp::Poll { fd: fd.as_raw_fd(), bits })
}

/// One operation moves at most 1 GiB: io_uring's length is 32 bits wide, and read(2) itself stops below 2 GiB.
fn clamp(len: usize) -> u32 {
    len.min(1 << 30) as u32
}

fn accept(listener: BorrowedFd<'_>, accepted: &mut Option<OwnedFd>) -> rustix::io::Result<usize> {
    let flags = rustix::net::SocketFlags::NONBLOCK | rustix::net::SocketFlags::CLOEXEC;
    *accepted = Some(rustix::net::accept_with(listener, flags)?);
    Ok(0)
}

/// connect(2) answers `EINPROGRESS` first and later `EISCONN`; `SO_ERROR` tells how it ended in between.
fn connect(fd: BorrowedFd<'_>, address: &SocketAddr) -> Option<io::Result<usize>> {
    match rustix::net::connect(fd, address) {
        Ok(()) | Err(Errno::ISCONN) => Some(Ok(0)),
        Err(Errno::INPROGRESS | Errno::ALREADY | Errno::AGAIN | Errno::INTR) => {
            match rustix::net::sockopt::socket_error(fd) {
                Ok(Ok(())) => None,
                Ok(Err(errno)) | Err(errno) => Some(Err(errno.into())),
            }
        }
        Err(errno) => Some(Err(errno.into())),
    }
}

fn recv_vectored(fd: BorrowedFd<'_>, bufs: &mut [IoSliceMut<'_>]) -> rustix::io::Result<usize> {
    let mut ancillary = rustix::net::RecvAncillaryBuffer::default();
    rustix::net::recvmsg(fd, bufs, &mut ancillary, RecvFlags::DONTWAIT).map(|message| message.bytes)
}

fn send_vectored(fd: BorrowedFd<'_>, bufs: &[IoSlice<'_>]) -> rustix::io::Result<usize> {
    let mut space: [MaybeUninit<u8>; 0] = [];
    let mut ancillary = rustix::net::SendAncillaryBuffer::new(&mut space);
    rustix::net::sendmsg(fd.as_fd(), bufs, &mut ancillary, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
}
