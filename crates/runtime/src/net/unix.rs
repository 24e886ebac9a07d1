//! Unix domain stream sockets.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::tcp::{TcpListener, TcpStream};
use crate::time;

/// How long a connect rests while the listener's queue is full.
const FULL_PAUSE: Duration = Duration::from_millis(1);

/// A stream over a path or a pair. As [`TcpStream`] in all but its addresses.
#[derive(Clone, Debug)]
pub struct UnixStream(TcpStream);

impl UnixStream {
    /// Connects to a path.
    ///
    /// # Errors
    /// The kernel's; `TimedOut`; `ECANCELED`.
    pub fn connect(path: impl AsRef<Path>) -> io::Result<UnixStream> {
        let address = SocketAddrUnix::new(path.as_ref())?;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        loop {
            match rustix::net::connect(&fd, &address) {
                Ok(()) => return Ok(UnixStream(TcpStream::from_fd(fd))),
                Err(Errno::INTR) => {}
                // The listener's queue is full, and a non-blocking socket cannot wait for room in it (connect(2), EAGAIN;
                // poll(2) does not tell). So this is the one place where time is the only thing to wait for.
                Err(Errno::AGAIN) => time::try_sleep(FULL_PAUSE)?,
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Two sockets connected to each other.
    ///
    /// # Errors
    /// The kernel's: descriptors have run out.
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (one, other) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        Ok((UnixStream::from_fd(one), UnixStream::from_fd(other)))
    }

    /// Takes a connected socket.
    pub fn from_fd(fd: OwnedFd) -> UnixStream {
        UnixStream(TcpStream::from_fd(fd))
    }

    /// As [`TcpStream::read_until`].
    ///
    /// # Errors
    /// The kernel's; `TimedOut`; `ECANCELED`.
    pub fn read_until(&self, buf: &mut [u8], until: Option<Instant>) -> io::Result<usize> {
        self.0.read_until(buf, until)
    }

    /// As [`TcpStream::write_until`].
    ///
    /// # Errors
    /// The kernel's; `TimedOut`; `ECANCELED`.
    pub fn write_until(&self, buf: &[u8], until: Option<Instant>) -> io::Result<usize> {
        self.0.write_until(buf, until)
    }

    /// As [`TcpStream::write_all_until`].
    ///
    /// # Errors
    /// The kernel's; `TimedOut`; `ECANCELED`.
    pub fn write_all_until(&self, buf: &[u8], until: Option<Instant>) -> io::Result<()> {
        self.0.write_all_until(buf, until)
    }

    /// As [`TcpStream::shutdown`].
    ///
    /// # Errors
    /// `NotConnected` when the peer is gone already.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.shutdown(how)
    }

    /// As [`TcpStream::set_read_timeout`].
    pub fn set_read_timeout(&self, timeout: Option<Duration>) {
        self.0.set_read_timeout(timeout);
    }

    /// As [`TcpStream::set_write_timeout`].
    pub fn set_write_timeout(&self, timeout: Option<Duration>) {
        self.0.set_write_timeout(timeout);
    }

    /// The same socket where code asks for a stream of any family.
    pub fn into_stream(self) -> TcpStream {
        self.0
    }
}

impl AsFd for UnixStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<std::os::unix::net::UnixStream> for UnixStream {
    /// Takes a std stream and makes it non-blocking.
    fn from(stream: std::os::unix::net::UnixStream) -> UnixStream {
        // Failing leaves a blocking socket, which reads and writes as well.
        let _ = stream.set_nonblocking(true);
        UnixStream::from_fd(stream.into())
    }
}

impl Read for &UnixStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&self.0).read_vectored(bufs)
    }
}

impl Write for &UnixStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&self.0).write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        (&self.0).write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for UnixStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&self.0).read_vectored(bufs)
    }
}

impl Write for UnixStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&self.0).write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        (&self.0).write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A listening Unix domain socket.
#[derive(Clone, Debug)]
pub struct UnixListener(TcpListener);

impl UnixListener {
    /// Binds a path, which must not exist, and listens. The path stays when the listener is dropped.
    ///
    /// # Errors
    /// The kernel's.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixListener> {
        std::os::unix::net::UnixListener::bind(path).map(UnixListener::from)
    }

    /// As [`TcpListener::accept`].
    ///
    /// # Errors
    /// As [`TcpListener::accept`].
    pub fn accept(&self) -> io::Result<UnixStream> {
        self.0.accept().map(UnixStream)
    }

    /// As [`TcpListener::accept_until`].
    ///
    /// # Errors
    /// As [`TcpListener::accept_until`].
    pub fn accept_until(&self, until: Option<Instant>) -> io::Result<UnixStream> {
        self.0.accept_until(until).map(UnixStream)
    }
}

impl AsFd for UnixListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<std::os::unix::net::UnixListener> for UnixListener {
    /// Takes a std listener and makes it non-blocking.
    fn from(listener: std::os::unix::net::UnixListener) -> UnixListener {
        let _ = listener.set_nonblocking(true);
        UnixListener(TcpListener::from_fd(listener.into()))
    }
}
