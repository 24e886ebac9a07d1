//! One connection to a server, between requests and during one.

use std::io;
use std::time::{Duration, Instant};

use tenfold_runtime::cause::{Cause, waiting_for};
use tenfold_runtime::net::TcpStream;

use crate::address::after;
use crate::error::Error;

use super::origin::Origin;

/// An open connection. Idle ones hold a descriptor and nothing else.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    /// A request was begun and its answer is not whole: nobody else may have the connection.
    pub(crate) in_exchange: bool,
    /// Whom waits are for, where the server keeps account of them.
    host: Box<str>,
}

impl Connection {
    /// Connects to the first address of `origin` that answers.
    pub(crate) fn open(origin: &Origin, longest: Duration) -> Result<Connection, Error> {
        let stream = waiting_for(Cause::Http, &origin.authority, || origin.connect(longest))?;
        Ok(Connection { stream, in_exchange: false, host: origin.authority.as_str().into() })
    }

    /// Whether the peer has neither closed it nor said something that nobody asked for: then the next answer could be
    /// taken for another request's.
    pub(crate) fn is_quiet(&self) -> bool {
        let mut byte = [0; 1];
        matches!(self.stream.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Says that another thread or loop may use it next.
    pub(crate) fn rest(&self) {
        self.stream.socket().leave();
    }

    pub(crate) fn write_all(
        &self,
        bytes: &[u8],
        longest: Duration,
        until: Option<Instant>,
    ) -> io::Result<()> {
        waiting_for(Cause::Http, &self.host, || self.write(bytes, longest, until))
    }

    fn write(&self, mut bytes: &[u8], longest: Duration, until: Option<Instant>) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.stream.write_until(bytes, Some(limit(longest, until))) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(crate) fn read(
        &self,
        buf: &mut [u8],
        longest: Duration,
        until: Option<Instant>,
    ) -> io::Result<usize> {
        waiting_for(Cause::Http, &self.host, || {
            loop {
                match self.stream.read_until(buf, Some(limit(longest, until))) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => return other,
                }
            }
        })
    }
}

/// The nearer end of a single wait's bound and the whole request's.
fn limit(longest: Duration, until: Option<Instant>) -> Instant {
    let single = after(longest);
    until.map_or(single, |until| until.min(single))
}
