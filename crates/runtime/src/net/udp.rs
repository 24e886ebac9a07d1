//! UDP: datagrams, sent and received whole.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use tenfold_reactor::{Interest, Op};

use super::socket::Socket;
use crate::dns::ToAddresses;

/// A socket for datagrams, with std's shape. Cloning shares it.
///
/// ```
/// use tenfold_runtime::net::UdpSocket;
/// let (one, other) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
/// one.send_to(b"ping", other.local_addr()?)?;
/// let mut buf = [0; 16];
/// assert_eq!(other.recv_from(&mut buf)?, (4, one.local_addr()?));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct UdpSocket {
    socket: Arc<Socket>,
}

impl UdpSocket {
    /// Binds a local address. A name is resolved in place, which may block: give an address.
    ///
    /// # Errors
    /// The kernel's.
    pub fn bind(address: impl ToSocketAddrs) -> io::Result<UdpSocket> {
        std::net::UdpSocket::bind(address).map(UdpSocket::from)
    }

    /// Sets the peer for [`UdpSocket::send`] and [`UdpSocket::recv`]; datagrams of others are dropped from then on.
    ///
    /// # Errors
    /// The kernel's, for the last address that was tried.
    pub fn connect(&self, address: impl ToAddresses) -> io::Result<()> {
        let mut last = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
        for address in address.to_addresses()? {
            match rustix::net::connect(&self.socket, &address) {
                Ok(()) => return Ok(()),
                Err(errno) => last = errno.into(),
            }
        }
        Err(last)
    }

    /// Sends a datagram to a peer. A name is resolved each time, on the thread pool; with several addresses the first one
    /// gets it.
    ///
    /// # Errors
    /// The kernel's; `TimedOut`; `ECANCELED`.
    pub fn send_to(&self, datagram: &[u8], address: impl ToAddresses) -> io::Result<usize> {
        let address = address.to_addresses()?.first().copied();
        let address =
            address.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the name has no address"))?;
        self.retry(Interest::WRITE, self.socket.timeouts.write(), |socket| {
            rustix::net::sendto(socket, datagram, SendFlags::DONTWAIT | SendFlags::NOSIGNAL, &address)
        })
    }

    /// Sends a datagram to the peer of [`UdpSocket::connect`].
    ///
    /// # Errors
    /// The kernel's; `ConnectionRefused` may belong to an earlier datagram (udp(7)); `TimedOut`; `ECANCELED`.
    pub fn send(&self, datagram: &[u8]) -> io::Result<usize> {
        self.retry(Interest::WRITE, self.socket.timeouts.write(), |socket| {
            rustix::net::send(socket, datagram, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
        })
    }

    /// Receives a datagram; what does not fit into `buf` is lost.
    ///
    /// # Errors
    /// The kernel's; `TimedOut`; `ECANCELED`.
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (count, from) = self.retry(Interest::READ, self.socket.timeouts.read(), |socket| {
            let (count, _, from) = rustix::net::recvfrom(socket, &mut *buf, RecvFlags::DONTWAIT)?;
            Ok((count, from))
        })?;
        let from = from.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok((count, SocketAddr::try_from(from)?))
    }

    /// Receives a datagram that is there; `WouldBlock` when none is. What does not fit into `buf` is lost.
    ///
    /// # Errors
    /// The kernel's.
    pub fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (count, _, from) = rustix::net::recvfrom(&self.socket, buf, RecvFlags::DONTWAIT)?;
        let from = from.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok((count, SocketAddr::try_from(from)?))
    }

    /// Receives a datagram of the peer of [`UdpSocket::connect`]; what does not fit into `buf` is lost.
    ///
    /// # Errors
    /// As [`UdpSocket::recv_from`].
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.retry(Interest::READ, self.socket.timeouts.read(), |socket| {
            rustix::net::recv(socket, &mut *buf, RecvFlags::DONTWAIT).map(|(count, _)| count)
        })
    }

    /// The longest that a receive waits; `None`, the default, for as long as it takes.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) {
        self.socket.timeouts.set_read(timeout);
    }

    /// The longest that a send waits; `None`, the default, for as long as it takes.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) {
        self.socket.timeouts.set_write(timeout);
    }

    /// The local address.
    ///
    /// # Errors
    /// The kernel's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::try_from(rustix::net::getsockname(&self.socket)?)?)
    }

    /// Tries, and waits for readiness for as long as the socket says that it is not ready.
    fn retry<T>(
        &self,
        interest: Interest,
        until: Option<Instant>,
        mut attempt: impl FnMut(&Socket) -> rustix::io::Result<T>,
    ) -> io::Result<T> {
        loop {
            match attempt(&self.socket) {
                Ok(done) => return Ok(done),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.socket.run(&mut Op::Poll { fd: self.socket.as_fd(), interest }, until)?;
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl From<std::net::UdpSocket> for UdpSocket {
    /// Takes a std socket.
    fn from(socket: std::net::UdpSocket) -> UdpSocket {
        UdpSocket { socket: Arc::new(Socket::new(socket.into())) }
    }
}
