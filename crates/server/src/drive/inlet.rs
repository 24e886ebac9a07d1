//! A request's body on its way from the connection to whoever reads it.

use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use http::HeaderMap;
use tenfold_http::BodyError;
use tenfold_http::h1::{BodyDecoder, CONTINUE};
use tenfold_runtime::feed::FeedId;
use tenfold_runtime::net::TcpStream;
use tenfold_scoreboard::Stage;

use crate::body::{BodyReadError, Inlet};
use crate::drive::connection;
use crate::drive::intake::Leftover;
use crate::drive::read_pace::ReadPace;
use crate::drive::sight::within;
use crate::drive::workspace::ReadBuffer;
use crate::guard::memory::Charge;
use crate::limits::Bounds;

/// Reads a body as its reader asks for it: what nobody asks for stays in the kernel, and slows the client down.
pub(crate) struct BodyInlet {
    stream: TcpStream,
    feed: Option<FeedId>,
    decoder: BodyDecoder,
    /// Received and not yet decoded; after the body's end, the next request.
    buffer: ReadBuffer,
    /// Decoded and not yet read: a range of `buffer.filled()`, which is consumed as it is read.
    ready: Range<usize>,
    /// Bytes of `buffer` that go when `ready` is read up.
    decoded: usize,
    /// The client waits for a 100 before it sends.
    pub(crate) owes_continue: bool,
    pace: ReadPace,
    /// Bytes that have come in all, and their part of the worker's budget: who reads them may keep them.
    arrived: u64,
    charge: Charge,
    buffers_bytes_max: u64,
    /// Longest wait for the client to take a `100 Continue`.
    write_stall: Duration,
    /// The body broke: there is no next request on this connection.
    broken: bool,
}

impl BodyInlet {
    pub(crate) fn new(
        stream: TcpStream,
        feed: Option<FeedId>,
        decoder: BodyDecoder,
        received: &[u8],
        owes_continue: bool,
        bounds: &Bounds,
    ) -> BodyInlet {
        let mut buffer = ReadBuffer::new(received.len().max(1024));
        buffer.append(received);
        BodyInlet {
            stream,
            feed,
            decoder,
            // Whoever sends the body unasked does not wait (RFC 9110 section 10.1.1).
            owes_continue: owes_continue && buffer.is_empty(),
            buffer,
            ready: 0..0,
            decoded: 0,
            pace: ReadPace::start(bounds),
            arrived: received.len() as u64,
            charge: Charge::default(),
            buffers_bytes_max: bounds.buffers_bytes_max,
            write_stall: bounds.write_stall,
            broken: false,
        }
    }

    /// What is left when nobody reads any more. Content that was decoded and not read goes with the reader: what follows in
    /// the buffer has to be what the decoder expects next, or content would be taken for framing, or for a request.
    pub(crate) fn into_leftover(mut self: Box<Self>) -> Leftover {
        self.buffer.consume(self.decoded);
        Leftover { decoder: self.decoder, received: Some(self.buffer), broken: self.broken }
    }

    fn fail(&mut self, error: io::Error) -> io::Error {
        self.broken = true;
        error
    }

    fn fail_decoding(&mut self, error: BodyError) -> io::Error {
        self.fail(BodyReadError::Malformed(error).into())
    }

    /// Gives out bytes that are decoded already.
    fn give(&mut self, buf: &mut [u8]) -> usize {
        let count = self.ready.len().min(buf.len());
        let from = self.ready.start;
        buf[..count].copy_from_slice(&self.buffer.filled()[from..from + count]);
        self.ready.start += count;
        if self.ready.is_empty() {
            self.buffer.consume(std::mem::take(&mut self.decoded));
            self.ready = 0..0;
        }
        count
    }

    /// Receives straight into the reader's buffer; only for bodies whose bytes come as they are.
    fn read_through(&mut self, buf: &mut [u8], remaining: u64) -> io::Result<usize> {
        let most = buf.len().min(usize::try_from(remaining).unwrap_or(usize::MAX));
        let count = self.receive(Some(&mut buf[..most]))?;
        match self.decoder.decode(&buf[..count]) {
            Ok(_) => Ok(count),
            Err(error) => Err(self.fail_decoding(error)),
        }
    }

    fn receive(&mut self, into: Option<&mut [u8]>) -> io::Result<usize> {
        if std::mem::take(&mut self.owes_continue) {
            within(Stage::Write, || connection::write_all(&self.stream, CONTINUE, self.write_stall))?;
        }
        let limit = self.pace.limit();
        let into = into.unwrap_or_else(|| self.buffer.spare());
        let read = || connection::read(&self.stream, self.feed, into, Some(limit));
        match within(Stage::Read, read) {
            Ok(0) => {
                let broke_off = self.decoder.finish().err().map(BodyReadError::Malformed);
                Err(self.fail(broke_off.unwrap_or(BodyReadError::ClientGone).into()))
            }
            Ok(count) => {
                self.pace.note(count);
                self.arrived += count as u64;
                if self.charge.arrived(self.arrived, self.buffers_bytes_max) {
                    return Ok(count);
                }
                tenfold_scoreboard::current().rejections.add(tenfold_scoreboard::Shed::Memory);
                Err(self.fail(BodyReadError::NoRoom.into()))
            }
            // Only the client's own slowness is a 408; the request's deadline stays what it is, a 504.
            Err(error) if error.kind() == io::ErrorKind::TimedOut && Instant::now() >= limit => {
                tenfold_scoreboard::current().timeouts.add(tenfold_scoreboard::Phase::Body);
                Err(self.fail(BodyReadError::Stalled.into()))
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(self.fail(error)),
            Err(error) if tenfold_runtime::park::is_cancellation(&error) => Err(self.fail(error)),
            Err(_) => Err(self.fail(BodyReadError::ClientGone.into())),
        }
    }
}

impl Inlet for BodyInlet {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.ready.is_empty() {
                return Ok(self.give(buf));
            }
            if self.decoder.is_end() || buf.is_empty() {
                return Ok(0);
            }
            if self.broken {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the body broke off before"));
            }
            if self.buffer.is_empty() {
                if let Some(remaining) =
                    self.decoder.remaining_hint().filter(|left| *left > 0 && buf.len() >= 1024)
                {
                    return self.read_through(buf, remaining);
                }
                let count = self.receive(None)?;
                self.buffer.commit(count);
            }
            match self.decoder.decode(self.buffer.filled()) {
                Ok(decoded) if decoded.data.is_empty() => {
                    let stuck = decoded.consumed == 0 && !decoded.end;
                    self.buffer.consume(decoded.consumed);
                    if stuck {
                        let count = self.receive(None)?;
                        self.buffer.commit(count);
                    }
                }
                Ok(decoded) => {
                    self.ready = decoded.data;
                    self.decoded = decoded.consumed;
                }
                Err(error) => return Err(self.fail_decoding(error)),
            }
        }
    }

    fn remaining_hint(&self) -> Option<u64> {
        self.decoder.remaining_hint().map(|left| left + self.ready.len() as u64)
    }

    fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.decoder.take_trailers()
    }

    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any> {
        self
    }
}
