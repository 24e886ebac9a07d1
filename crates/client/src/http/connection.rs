//! One connection to a server, between requests and during one.

use std::io;
use std::time::{Duration, Instant};

use tenfold_runtime::cause::{Cause, waiting_for};
use tenfold_runtime::net::TcpStream;

use crate::address::after;
use crate::error::Error;

use super::origin::Origin;
#[cfg(feature = "https")]
use super::tls::TlsStream;
#[cfg(feature = "https")]
pub(crate) use super::tls::Trust;

/// Nobody: without the feature `https`.
#[cfg(not(feature = "https"))]
pub(crate) type Trust = ();

/// An open connection. Idle ones hold a descriptor and nothing else.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    /// A request was begun and its answer is not whole: nobody else may have the connection.
    pub(crate) in_exchange: bool,
    /// Whom waits are for, where the server keeps account of them.
    host: Box<str>,
}

/// What the bytes go over.
#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    #[cfg(feature = "https")]
    Tls(Box<TlsStream>),
}

impl Stream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Stream::Plain(stream) => stream,
            #[cfg(feature = "https")]
            Stream::Tls(stream) => stream.tcp(),
        }
    }
}

impl Connection {
    /// Connects to the first address of `origin` that answers, and shakes hands there.
    pub(crate) fn open(origin: &Origin, longest: Duration, trust: &Trust) -> Result<Connection, Error> {
        let stream = waiting_for(Cause::Http, &origin.authority, || {
            let until = after(longest);
            let stream = origin.connect(longest)?;
            if !origin.secure {
                return Ok(Stream::Plain(stream));
            }
            secured(stream, origin, trust, until)
        })?;
        Ok(Connection { stream, in_exchange: false, host: origin.authority.as_str().into() })
    }

    /// Whether the peer has neither closed it nor said something that nobody asked for: then the next answer could be
    /// taken for another request's.
    pub(crate) fn is_quiet(&self) -> bool {
        let mut byte = [0; 1];
        match &self.stream {
            Stream::Plain(stream) => {
                matches!(stream.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
            #[cfg(feature = "https")]
            Stream::Tls(stream) => stream.is_quiet(),
        }
    }

    /// Says that another thread or loop may use it next.
    pub(crate) fn rest(&self) {
        self.stream.tcp().socket().rest();
    }

    /// Runs `exchange`, a part of one; what it waits for is the host.
    pub(crate) fn during<R>(&self, exchange: impl FnOnce(&Connection) -> R) -> R {
        waiting_for(Cause::Http, &self.host, || exchange(self))
    }

    pub(crate) fn write_all(
        &self,
        mut bytes: &[u8],
        longest: Duration,
        until: Option<Instant>,
    ) -> io::Result<()> {
        let stream = match &self.stream {
            Stream::Plain(stream) => stream,
            #[cfg(feature = "https")]
            Stream::Tls(stream) => return stream.write_all(bytes, || limit(longest, until)),
        };
        // Nearly every request fits, and asks no clock.
        bytes = &bytes[stream.try_write(bytes).or_else(unless_it_waits)?..];
        while !bytes.is_empty() {
            match stream.write_until(bytes, Some(limit(longest, until))) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Receives what is there, or waits for it.
    pub(crate) fn read(
        &self,
        buf: &mut [u8],
        longest: Duration,
        until: Option<Instant>,
    ) -> io::Result<usize> {
        self.read_with(TcpStream::read_until, buf, limit(longest, until))
    }

    /// As [`Connection::read`], where nothing can be there yet.
    pub(crate) fn await_some(
        &self,
        buf: &mut [u8],
        longest: Duration,
        until: Option<Instant>,
    ) -> io::Result<usize> {
        self.read_with(TcpStream::await_until, buf, limit(longest, until))
    }

    fn read_with(
        &self,
        read: fn(&TcpStream, &mut [u8], Option<Instant>) -> io::Result<usize>,
        buf: &mut [u8],
        until: Instant,
    ) -> io::Result<usize> {
        let stream = match &self.stream {
            Stream::Plain(stream) => stream,
            #[cfg(feature = "https")]
            Stream::Tls(stream) => return stream.read_until(buf, Some(until)),
        };
        loop {
            match read(stream, buf, Some(until)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

/// Nothing was done by a call that would have waited.
fn unless_it_waits(error: io::Error) -> io::Result<usize> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
        _ => Err(error),
    }
}

#[cfg(feature = "https")]
fn secured(stream: TcpStream, origin: &Origin, trust: &Trust, until: Instant) -> Result<Stream, Error> {
    TlsStream::open(stream, trust, (origin.host(), &origin.authority), until)
        .map(|stream| Stream::Tls(Box::new(stream)))
}

#[cfg(not(feature = "https"))]
fn secured(_: TcpStream, _: &Origin, _: &Trust, _: Instant) -> Result<Stream, Error> {
    unreachable!("without the feature no such URL is parsed")
}

/// The nearer end of a single wait's bound and the whole request's.
fn limit(longest: Duration, until: Option<Instant>) -> Instant {
    let single = after(longest);
    until.map_or(single, |until| until.min(single))
}
