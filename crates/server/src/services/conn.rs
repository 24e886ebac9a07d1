//! `Conn`: the connection of a service that is a function: read, write, in blocking style, for as long as it takes.

use std::fmt;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use tenfold_runtime::feed;
use tenfold_runtime::park;
use tenfold_scoreboard as scoreboard;

use crate::drive::blocking::wait_for_request;
use crate::drive::linger::linger;
use crate::drive::workspace::ReadBuffer;
use crate::lane::Placement;
use crate::panic::guard;
use crate::peer::Peer;
use crate::services::framing::{Cut, Framing};
use crate::services::handler::Kind;
use crate::services::idle;
use crate::services::link::Link;

/// Bytes of the buffer at first; it grows with the frames.
const INPUT_BYTES: usize = 2 * 1024;

/// A connection of a TCP service. It is the client's stream, buffered for reading.
///
/// A read waits as long as a connection may be idle; a write is sent at once, and a client that takes nothing for too long is
/// an error. When the function returns, the connection ends.
///
/// A worker that stops does not interrupt reads and writes: what has begun shall end. Between two messages a function
/// should wait by [`Conn::wait`] or [`Conn::read_frame`], which tell it to end then, or look at [`Conn::is_stopping`].
///
/// ```
/// use tenfold_server::{App, Conn, Delimiter};
///
/// fn shout(conn: &mut Conn) -> std::io::Result<()> {
///     let (lines, mut line) = (Delimiter::line(), Vec::new());
///     while conn.read_frame(&lines, &mut line)? {
///         conn.write_frame(&lines, &line.to_ascii_uppercase())?;
///     }
///     Ok(())
/// }
/// App::new().tcp("shout", "127.0.0.1:7000", shout);
/// ```
pub struct Conn {
    link: Link,
    input: ReadBuffer,
    /// Readable when the worker stops, where this runs on a thread; else its bytes arrive on a loop.
    stop: Option<Arc<OwnedFd>>,
    /// The client has ended its half.
    ended: bool,
    /// The connection has failed, or its time was over: no wonder if the function does.
    broken: bool,
}

impl Conn {
    pub(super) fn on_loop(link: Link) -> Conn {
        match link.conn.service.services.pool.is_some() {
            true => {
                let stop = link.conn.service.stop.eventfd.clone();
                Conn::on_thread(link, stop)
            }
            false => Conn::new(link, None),
        }
    }

    pub(super) fn on_thread(link: Link, stop: Arc<OwnedFd>) -> Conn {
        Conn::new(link, Some(stop))
    }

    fn new(link: Link, stop: Option<Arc<OwnedFd>>) -> Conn {
        Conn { link, input: ReadBuffer::new(INPUT_BYTES), stop, ended: false, broken: false }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> Peer {
        self.link.conn.peer
    }

    /// Whether the worker stops: say good-bye soon. At the end of the graceful time-out its process ends.
    pub fn is_stopping(&self) -> bool {
        self.link.conn.service.is_stopping()
    }

    /// Waits for the client's next bytes: true when there are some to read without a wait. False when it has ended its
    /// half, was idle for too long, or the worker stops.
    ///
    /// # Errors
    /// The connection's.
    pub fn wait(&mut self) -> io::Result<bool> {
        if !self.input.is_empty() {
            return Ok(true);
        }
        if self.ended {
            return Ok(false);
        }
        let idle_max = self.link.idle_max();
        let outcome = match &self.stop {
            Some(stop) => wait_for_request(&self.link.conn, self.input.spare(), stop, idle_max),
            None => {
                let feed = self.link.feed();
                match park::parking(|| idle::wait(feed, Instant::now() + idle_max)) {
                    Ok(true) => park::parking(|| feed::read(feed, self.input.spare(), None)),
                    Ok(false) => return Ok(false),
                    Err(error) => Err(error),
                }
            }
        };
        match self.took(outcome) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(false),
            outcome => outcome.map(|count| count > 0),
        }
    }

    /// Reads the next frame's content into `into`, which is emptied first. False when there is none: as [`Conn::wait`].
    ///
    /// Counts as a request. The frame's first byte may take as long as a connection may be idle, its end as long as a frame
    /// may take.
    ///
    /// # Errors
    /// `InvalidData` for what is no frame, or too long; `UnexpectedEof` in a frame; `TimedOut`; the connection's.
    pub fn read_frame(&mut self, framing: &impl Framing, into: &mut Vec<u8>) -> io::Result<bool> {
        into.clear();
        let mut seen = 0;
        if !self.wait()? {
            return Ok(false);
        }
        let until = Instant::now() + self.link.tcp.limits.frame(&self.link.conn.service.bounds);
        loop {
            let filled = self.input.filled();
            let found = framing.find(filled, seen, self.link.tcp.limits.frame_bytes_max);
            match found.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
                Cut::Frame { start, end, used } => {
                    into.extend_from_slice(&filled[start..end]);
                    self.input.consume(used);
                    scoreboard::current().requests.add(1);
                    return Ok(true);
                }
                Cut::Partial => seen = filled.len(),
            }
            if self.fill(until)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Writes a frame with this content.
    ///
    /// # Errors
    /// `InvalidInput` when the content cannot be in a frame; the connection's.
    pub fn write_frame(&mut self, framing: &impl Framing, content: &[u8]) -> io::Result<()> {
        let mut frame = Vec::with_capacity(content.len() + 16);
        framing
            .encode(content, &mut frame)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.write_all(&frame)
    }

    /// Reads more behind what is there; 0 is the end.
    fn fill(&mut self, until: Instant) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        if self.stop.is_none() {
            self.link.feed();
        }
        let outcome = self.link.conn.read(self.input.spare(), Some(until));
        self.took(outcome)
    }

    fn took(&mut self, outcome: io::Result<usize>) -> io::Result<usize> {
        match outcome {
            Ok(0) => self.ended = true,
            Ok(count) => self.input.commit(count),
            Err(_) => self.broken = true,
        }
        outcome
    }
}

impl Read for Conn {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let there = self.fill_buf()?;
        let count = there.len().min(into.len());
        into[..count].copy_from_slice(&there[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Conn {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.input.is_empty() {
            self.fill(Instant::now() + self.link.idle_max())?;
        }
        Ok(self.input.filled())
    }

    fn consume(&mut self, count: usize) {
        self.input.consume(count);
    }
}

impl Write for Conn {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let outcome = self.link.write_all(bytes);
        self.broken |= outcome.is_err();
        outcome.map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Conn({} of {})", self.peer(), self.link.tcp.name)
    }
}

/// Calls the service's function and ends the connection. Runs on a fiber of its own or on a thread.
pub(super) fn run(mut conn: Conn) {
    let (tcp, service) = (conn.link.tcp.clone(), conn.link.conn.service.clone());
    let Kind::Free(function) = &tcp.kind else { return };
    let mut call = || guard(tcp.name, || function(&mut conn, &service.state));
    let outcome = match (&service.services.pool, service.services.placement) {
        (Some(pool), _) => pool.run(call),
        (None, Placement::Inline) => park::inline(call),
        (None, _) => call(),
    };
    if let Ok(Err(reason)) = &outcome {
        match conn.broken {
            true => {
                tracing::debug!(target: "tenfold::services", service = tcp.name, peer = %conn.peer(), reason)
            }
            false => tcp.complaints.bad_input(tcp.name, conn.peer(), reason),
        }
    }
    // What was written last arrives, although the client may be sending.
    if outcome.is_ok() && !conn.ended && !conn.broken {
        linger(conn.link.into_connection());
    }
}
