//! TCP, and any other stream socket that was accepted: the server does not care which family a connection has.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use tenfold_fiber::prefetch;
use tenfold_reactor::{Interest, Op};

use super::socket::Socket;
use crate::dns::ToAddresses;
use crate::park;

/// A stream socket.
///
/// `Read` and `Write` as `std::net::TcpStream` has them; so is the rest. Cloning shares the socket.
#[derive(Clone, Debug)]
pub struct TcpStream {
    socket: Arc<Socket>,
}

impl TcpStream {
    /// Connects to the first address that answers. Names are resolved as [`crate::dns::lookup`] does it.
    ///
    /// # Errors
    /// The last address's error.
    pub fn connect(address: impl ToAddresses) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
        for address in address.to_addresses()? {
            match TcpStream::connect_until(address, None) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Connects, waiting at most `timeout`.
    ///
    /// # Errors
    /// The kernel's; `TimedOut`.
    pub fn connect_timeout(address: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        TcpStream::connect_until(*address, Some(park::after(timeout)))
    }

    fn connect_until(address: SocketAddr, until: Option<Instant>) -> io::Result<TcpStream> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        let socket = Socket::new(fd);
        socket.run(&mut Op::Connect { fd: socket.as_fd(), address }, until)?;
        Ok(TcpStream::from_socket(socket))
    }

    /// Takes a connected stream socket of any family.
    pub fn from_fd(fd: OwnedFd) -> TcpStream {
        TcpStream::from_socket(Socket::new(fd))
    }

    fn from_socket(socket: Socket) -> TcpStream {
        TcpStream { socket: Arc::new(socket) }
    }

    /// The socket itself, for [`crate::feed`].
    pub fn socket(&self) -> &Arc<Socket> {
        &self.socket
    }

    /// Receives, waiting until `until` at most.
    ///
    /// # Errors
    /// The kernel's; `TimedOut`; `ECANCELED`.
    pub fn read_until(&self, buf: &mut [u8], until: Option<Instant>) -> io::Result<usize> {
        self.socket.run(&mut Op::Recv { fd: self.socket.as_fd(), buf }, until)
    }

    /// As [`TcpStream::read_until`], for bytes that cannot be there yet, such as the answer to what was just sent: it waits
    /// before it tries, which saves a system call. What is there all the same is received.
    ///
    /// # Errors
    /// As [`TcpStream::read_until`].
    pub fn await_until(&self, buf: &mut [u8], until: Option<Instant>) -> io::Result<usize> {
        self.socket.run(&mut Op::WaitRecv { fd: self.socket.as_fd(), buf }, until)
    }

    /// Receives what is there; `WouldBlock` when nothing is.
    ///
    /// # Errors
    /// The kernel's.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::net::recv(&self.socket, buf, RecvFlags::DONTWAIT)?.0)
    }

    /// Sends what there is room for; `WouldBlock` when there is none.
    ///
    /// # Errors
    /// The kernel's.
    pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(&self.socket, buf, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
    }

    /// Asks the processor for the memory that a call on this stream begins with, for code that goes through very many of them
    /// and knows which comes next: a hint, which waits for nothing.
    #[inline]
    pub fn prefetch(&self) {
        prefetch(Arc::as_ptr(&self.socket).addr(), 1);
    }

    /// As [`TcpStream::try_write`], for what the end of the stream follows at once: the kernel holds the last packet back
    /// until then (MSG_MORE, send(2)), at most 200 ms.
    ///
    /// # Errors
    /// The kernel's.
    pub fn try_write_more(&self, buf: &[u8]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL | SendFlags::MORE;
        Ok(rustix::net::send(&self.socket, buf, flags)?)
    }

    /// Sends some of `buf`, waiting until `until` at most.
    ///
    /// # Errors
    /// The kernel's; `TimedOut`; `ECANCELED`.
    pub fn write_until(&self, buf: &[u8], until: Option<Instant>) -> io::Result<usize> {
        self.socket.run(&mut Op::Send { fd: self.socket.as_fd(), buf }, until)
    }

    /// Sends all of `buf`, waiting until `until` at most. After an error some of it may have been sent.
    ///
    /// # Errors
    /// As [`TcpStream::write_until`].
    pub fn write_all_until(&self, mut buf: &[u8], until: Option<Instant>) -> io::Result<()> {
        while !buf.is_empty() {
            match self.write_until(buf, until) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => buf = &buf[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends some of `bufs`, waiting until `until` at most.
    ///
    /// # Errors
    /// As [`TcpStream::write_until`].
    pub fn write_vectored_until(&self, bufs: &[IoSlice<'_>], until: Option<Instant>) -> io::Result<usize> {
        self.socket.run(&mut Op::SendVectored { fd: self.socket.as_fd(), bufs }, until)
    }

    /// Sends up to `len` bytes of a file from `offset`, which moves on; the socket has to be non-blocking.
    ///
    /// # Errors
    /// The kernel's; `TimedOut`; `ECANCELED`.
    pub fn send_file(
        &self,
        file: impl AsFd,
        offset: &mut u64,
        len: usize,
        until: Option<Instant>,
    ) -> io::Result<usize> {
        let mut op = Op::SendFile { fd: self.socket.as_fd(), file: file.as_fd(), offset, len };
        self.socket.run(&mut op, until)
    }

    /// Waits until the socket is ready.
    ///
    /// # Errors
    /// `TimedOut`; `ECANCELED`.
    pub fn wait_ready(&self, interest: Interest, until: Option<Instant>) -> io::Result<()> {
        self.socket.run(&mut Op::Poll { fd: self.socket.as_fd(), interest }, until).map(drop)
    }

    /// As std's.
    ///
    /// # Errors
    /// `NotConnected` when the peer is gone already.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let how = match how {
            Shutdown::Read => rustix::net::Shutdown::Read,
            Shutdown::Write => rustix::net::Shutdown::Write,
            Shutdown::Both => rustix::net::Shutdown::Both,
        };
        Ok(rustix::net::shutdown(&self.socket, how)?)
    }

    /// The peer's address; an error for a socket that has none of IP.
    ///
    /// # Errors
    /// The kernel's.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        let address = rustix::net::getpeername(&self.socket)?
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        Ok(SocketAddr::try_from(address)?)
    }

    /// The local address.
    ///
    /// # Errors
    /// The kernel's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::try_from(rustix::net::getsockname(&self.socket)?)?)
    }

    /// As std's.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        Ok(rustix::net::sockopt::set_tcp_nodelay(&self.socket, nodelay)?)
    }

    /// The longest that a `Read` waits; `None`, the default, for as long as it takes.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) {
        self.socket.timeouts.set_read(timeout);
    }

    /// The longest that a `Write` waits; `None`, the default, for as long as it takes.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) {
        self.socket.timeouts.set_write(timeout);
    }
}

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl From<std::net::TcpStream> for TcpStream {
    /// Takes a std stream. It is made non-blocking, so that a loop can use it.
    fn from(stream: std::net::TcpStream) -> TcpStream {
        // Failing leaves a blocking socket, which works everywhere but in `send_file` on a loop.
        let _ = stream.set_nonblocking(true);
        TcpStream::from_fd(stream.into())
    }
}

impl Read for &TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_until(buf, self.socket.timeouts.read())
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let first = bufs.iter_mut().find(|buf| !buf.is_empty());
        first.map_or(Ok(0), |buf| self.read_until(buf, self.socket.timeouts.read()))
    }
}

impl Write for &TcpStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_until(buf, self.socket.timeouts.write())
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write_vectored_until(bufs, self.socket.timeouts.write())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(bufs)
    }
}

impl Write for TcpStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A listening socket, of TCP or of any other stream family.
#[derive(Clone, Debug)]
pub struct TcpListener {
    socket: Arc<Socket>,
}

impl TcpListener {
    /// Binds and listens, as std does.
    ///
    /// # Errors
    /// The kernel's.
    pub fn bind(address: impl ToSocketAddrs) -> io::Result<TcpListener> {
        std::net::TcpListener::bind(address).map(TcpListener::from)
    }

    /// Takes a listening socket of any family. It has to be non-blocking.
    pub fn from_fd(fd: OwnedFd) -> TcpListener {
        TcpListener { socket: Arc::new(Socket::new(fd)) }
    }

    /// Accepts a connection, as a non-blocking socket. Several threads and processes may share a listener: the wait is for
    /// readiness and not exclusive, so a stopped worker does not swallow connections.
    ///
    /// # Errors
    /// The kernel's; at `EMFILE` and `ENFILE` wait before the next call, or the loop spins.
    ///
    /// # Cancel safety
    /// A cancelled accept leaves the connection in the kernel's queue.
    pub fn accept(&self) -> io::Result<TcpStream> {
        self.accept_until(None)
    }

    /// As [`TcpListener::accept`], waiting until `until` at most.
    ///
    /// # Errors
    /// As [`TcpListener::accept`]; `TimedOut`.
    pub fn accept_until(&self, until: Option<Instant>) -> io::Result<TcpStream> {
        let mut accepted = None;
        self.socket.run(&mut Op::Accept { listener: self.socket.as_fd(), accepted: &mut accepted }, until)?;
        Ok(TcpStream::from_fd(accepted.expect("a finished accept has a connection")))
    }

    /// Accepts a connection with its peer's address, as [`TcpListener::accept_until`]; the kernel gives both in one call.
    /// A peer that is not of IP has none.
    ///
    /// # Errors
    /// As [`TcpListener::accept_until`].
    pub fn accept_from_until(&self, until: Option<Instant>) -> io::Result<(TcpStream, Option<SocketAddr>)> {
        loop {
            match self.try_accept_from() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait_pending(until)?,
                other => return other,
            }
        }
    }

    /// Waits until a connection is there to be accepted. Somebody else who shares the listener may be the one to get it.
    ///
    /// # Errors
    /// `TimedOut` at `until`; `ECANCELED` on a cancelled fiber.
    pub fn wait_pending(&self, until: Option<Instant>) -> io::Result<()> {
        let mut op = Op::Poll { fd: self.socket.as_fd(), interest: Interest::READ };
        self.socket.run(&mut op, until).map(drop)
    }

    /// Accepts a connection that is there, with its peer's address; `WouldBlock` when none is.
    ///
    /// # Errors
    /// The kernel's.
    pub fn try_accept_from(&self) -> io::Result<(TcpStream, Option<SocketAddr>)> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (fd, peer) = rustix::net::acceptfrom_with(&self.socket, flags)?;
        Ok((TcpStream::from_fd(fd), peer.and_then(|peer| SocketAddr::try_from(peer).ok())))
    }

    /// Accepts a connection that is there; `WouldBlock` when none is.
    ///
    /// # Errors
    /// The kernel's.
    pub fn try_accept(&self) -> io::Result<TcpStream> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        Ok(TcpStream::from_fd(rustix::net::accept_with(&self.socket, flags)?))
    }

    /// The local address.
    ///
    /// # Errors
    /// The kernel's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::try_from(rustix::net::getsockname(&self.socket)?)?)
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl From<std::net::TcpListener> for TcpListener {
    /// Takes a std listener and makes it non-blocking.
    fn from(listener: std::net::TcpListener) -> TcpListener {
        let _ = listener.set_nonblocking(true);
        TcpListener::from_fd(listener.into())
    }
}
