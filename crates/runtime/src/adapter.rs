//! Our streams as futures' and tokio's `AsyncRead` and `AsyncWrite`, for libraries that are written as futures.
//!
//! Only tokio's traits are used, not its runtime; see [`crate::block_on`].

use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll};

use tenfold_reactor::Interest;

use crate::net::{TcpStream, UnixStream};
use crate::readiness::{self, Registration};

/// A stream for futures. It may move between fibers and threads from one poll to the next.
///
/// A socket has one of these at a time: over epoll a second one would take the first one's place. Both halves of a
/// connection share it, as `tokio::io::split` does.
///
/// ```
/// use tenfold_runtime::{adapter::AsyncStream, block_on, net::UnixStream};
/// use std::io::Read;
/// use tokio::io::AsyncWrite;
/// let (one, mut other) = UnixStream::pair()?;
/// let mut one = AsyncStream::from(one);
/// let written = block_on(std::future::poll_fn(|context| {
///     AsyncWrite::poll_write(std::pin::Pin::new(&mut one), context, b"hello")
/// }));
/// assert_eq!(written.unwrap()?, 5);
/// drop(one);
/// let mut text = String::new();
/// other.read_to_string(&mut text)?;
/// assert_eq!(text, "hello");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct AsyncStream {
    /// Dropped before the stream, whose descriptor the registration watches.
    place: Option<Registration>,
    stream: TcpStream,
}

impl AsyncStream {
    /// The stream itself.
    pub fn get_ref(&self) -> &TcpStream {
        &self.stream
    }

    /// The stream back, for blocking-style code.
    pub fn into_inner(self) -> TcpStream {
        self.stream.clone()
    }

    fn poll_with<T>(
        &mut self,
        interest: Interest,
        context: &mut Context<'_>,
        mut attempt: impl FnMut(&TcpStream) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            match attempt(&self.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    readiness::watch_socket(&mut self.place, self.stream.socket(), interest, context.waker());
                    return Poll::Pending;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }

    fn poll_recv(&mut self, context: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_with(Interest::READ, context, |stream| stream.try_read(buf))
    }

    fn poll_send(&mut self, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_with(Interest::WRITE, context, |stream| stream.try_write(buf))
    }

    /// A peer that is gone already has been told.
    fn close(&self) -> Poll<io::Result<()>> {
        match self.stream.shutdown(Shutdown::Write) {
            Err(error) if error.kind() != io::ErrorKind::NotConnected => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for AsyncStream {
    fn drop(&mut self) {
        readiness::unwatch_plain(self.stream.socket());
    }
}

impl From<TcpStream> for AsyncStream {
    fn from(stream: TcpStream) -> AsyncStream {
        AsyncStream { place: None, stream }
    }
}

impl From<UnixStream> for AsyncStream {
    fn from(stream: UnixStream) -> AsyncStream {
        AsyncStream::from(stream.into_stream())
    }
}

impl futures_io::AsyncRead for AsyncStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_recv(context, buf)
    }
}

impl futures_io::AsyncWrite for AsyncStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(context, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close()
    }
}

impl tokio::io::AsyncRead for AsyncStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let taken = std::task::ready!(self.poll_recv(context, buf.initialize_unfilled()))?;
        buf.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl tokio::io::AsyncWrite for AsyncStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(context, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close()
    }
}
