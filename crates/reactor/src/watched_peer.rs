//! `WatchedPeer`: a connection that somebody is served over, asked now and then whether its other end is still there.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::time::Timespec;

/// Most connections that one call of [`WatchedPeer::gone`] asks about.
pub const PEERS_MAX: usize = 256;

/// The number of a connection's descriptor, and which news means that its peer is gone.
///
/// A number and no borrow, because it is kept where nothing can be borrowed: it is only ever asked for its state, so one
/// that has been closed, or names another file meanwhile, makes a wrong answer and no more. Whoever keeps it takes it
/// away before the connection closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchedPeer {
    fd: RawFd,
    end_counts: bool,
}

impl WatchedPeer {
    /// A reset, and a peer that has ended both directions, always mean that it is gone. A peer that has ended its own
    /// direction may still read (RFC 9112 section 9.6); `end_counts` says that it is taken for gone nevertheless.
    #[inline]
    pub fn new(connection: impl AsFd, end_counts: bool) -> WatchedPeer {
        WatchedPeer { fd: connection.as_fd().as_raw_fd(), end_counts }
    }

    /// Which of at most [`PEERS_MAX`] peers are gone, by their index. One system call, which does not wait.
    ///
    /// # Errors
    /// poll(2)'s: the kernel has no memory.
    ///
    /// ```
    /// use std::net::{TcpListener, TcpStream};
    /// use tenfold_reactor::WatchedPeer;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let client = TcpStream::connect(listener.local_addr()?)?;
    /// let server = listener.accept()?.0;
    /// let peers = [WatchedPeer::new(&server, false), WatchedPeer::new(&server, true)];
    /// assert_eq!(WatchedPeer::gone(&peers)?, []);
    /// client.shutdown(std::net::Shutdown::Write)?;
    /// assert_eq!(WatchedPeer::gone(&peers)?, [1]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn gone(peers: &[WatchedPeer]) -> io::Result<Vec<usize>> {
        let peers = &peers[..peers.len().min(PEERS_MAX)];
        let mut fds: Vec<PollFd<'_>> = peers.iter().map(WatchedPeer::poll_fd).collect();
        match rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(0) | Err(Errno::INTR) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        // A closed number (NVAL) says nothing about a peer.
        let is_gone = |fd: &PollFd<'_>| !fd.revents().is_empty() && !fd.revents().contains(PollFlags::NVAL);
        Ok(fds.iter().enumerate().filter(|(_, fd)| is_gone(fd)).map(|(index, _)| index).collect())
    }

    /// An entry for poll(2) that reports when the peer is gone and nothing else: HUP and ERR are always reported.
    #[allow(unsafe_code, reason = "a number without an owner is asked for its state")]
    pub fn poll_fd(&self) -> PollFd<'_> {
        let wanted = if self.end_counts { PollFlags::RDHUP } else { PollFlags::empty() };
        // SAFETY: it is not −1, because it came from a `BorrowedFd`; poll(2) reads a descriptor's state and does nothing
        // to it, and reports NVAL for a number that is closed.
        PollFd::from_borrowed_fd(unsafe { BorrowedFd::borrow_raw(self.fd) }, wanted)
    }
}
