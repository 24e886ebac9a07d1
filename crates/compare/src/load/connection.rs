//! One connection of the generator: sends bytes that were encoded once, and takes answers apart.

use std::io;
use std::time::Instant;

use http::Method;
use tenfold_http::h1::{BodyDecoder, Framing, Parse, ResponseHeadParser};
use tenfold_http::limits::{BodyLimits, HeadLimits};
use tenfold_runtime::feed::{self, FeedId};
use tenfold_runtime::net::TcpStream;

use super::failure::{Failure, FailureKind};
use super::spec::Expect;
use super::target::Target;

/// Room for an answer, until one is larger.
const BUFFER_BYTES: usize = 4 << 10;
/// Most room. A head has to fit in (16 KiB by default); a body is looked at in pieces.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// An open connection.
///
/// What is received comes through the loop's feed: its receive stays armed over many answers, so an answer costs no system
/// call of its own.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    feed: FeedId,
    buffer: Vec<u8>,
    /// What of the buffer was received and not consumed.
    start: usize,
    end: usize,
    parser: ResponseHeadParser,
    /// Bytes received and sent since they were last asked for.
    bytes_in: u64,
    bytes_out: u64,
    /// The server has said, or shown, that nothing more will come.
    over: bool,
}

/// A whole answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// When its first byte was there.
    pub(crate) first_byte: Instant,
}

/// A response head and how its body ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) first_byte: Instant,
    pub(crate) status: u16,
    pub(crate) framing: Framing,
}

impl Connection {
    /// Connects, by `until`.
    pub(crate) fn open(target: &Target, until: Instant) -> Result<Connection, Failure> {
        let stream = target.connect(until).map_err(|error| Failure::connect(&error))?;
        let feed = feed::open(stream.socket());
        Ok(Connection {
            stream,
            feed,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            parser: ResponseHeadParser::new(),
            bytes_in: 0,
            bytes_out: 0,
            over: false,
        })
    }

    /// Sends everything, by `until`.
    pub(crate) fn send(&mut self, mut bytes: &[u8], until: Instant) -> Result<(), Failure> {
        while !bytes.is_empty() {
            match self.stream.write_until(bytes, Some(until)) {
                Ok(count) => {
                    self.bytes_out += count as u64;
                    bytes = &bytes[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits for a whole answer and verifies it.
    pub(crate) fn answer(
        &mut self,
        method: &Method,
        expect: &Expect,
        until: Instant,
    ) -> Result<Answer, Failure> {
        let head = self.head(method, until)?;
        let mut verdict = check_status(head.status, expect);
        let received = self.body(head.framing, expect, until)?;
        if verdict.is_ok() {
            verdict = received;
        }
        verdict.map(|()| Answer { first_byte: head.first_byte })
    }

    /// Waits for a final response head.
    pub(crate) fn head(&mut self, method: &Method, until: Instant) -> Result<Head, Failure> {
        let mut first_byte = None;
        loop {
            if self.start == self.end {
                self.fill(until)?;
            }
            let first_byte = *first_byte.get_or_insert_with(Instant::now);
            let input = &self.buffer[self.start..self.end];
            match self.parser.parse(input, &HeadLimits::default()) {
                Ok(Parse::Complete { bytes }) => {
                    let view = self.parser.view(input);
                    let status = view.status();
                    let framing = view.framing(method).map_err(|error| Failure::protocol(&error))?;
                    self.over |= !view.keep_alive() || framing == Framing::UntilClose;
                    self.start += bytes;
                    if !status.is_informational() || status.as_u16() == 101 {
                        return Ok(Head { first_byte, status: status.as_u16(), framing });
                    }
                }
                Ok(Parse::Partial) => self.fill(until)?,
                Err(error) => return Err(Failure::protocol(&error)),
            }
        }
    }

    /// Reads a body to its end. The outer result is the connection's, the inner one the expectation's.
    fn body(
        &mut self,
        framing: Framing,
        expect: &Expect,
        until: Instant,
    ) -> Result<Result<(), Failure>, Failure> {
        let mut decoder = BodyDecoder::new(framing, BodyLimits::unbounded())?;
        let (mut length, mut same) = (0usize, true);
        let wanted = expect.body.as_deref().map(str::as_bytes);
        while !decoder.is_end() {
            if self.start == self.end {
                match self.receive(until)? {
                    0 => decoder.finish()?,
                    _ => continue,
                }
                break;
            }
            let decoded = decoder.decode(&self.buffer[self.start..self.end])?;
            let piece = &self.buffer[self.start..self.end][decoded.data];
            if let Some(wanted) = wanted {
                same &= wanted.get(length..length + piece.len()) == Some(piece);
            }
            length += piece.len();
            self.start += decoded.consumed;
        }
        let right_length = wanted.is_none_or(|wanted| wanted.len() == length)
            && expect.body_bytes.is_none_or(|wanted| wanted == length as u64);
        Ok(match same && right_length {
            true => Ok(()),
            false => Err(Failure::new(
                FailureKind::Body,
                format!("a body of {length} bytes is not the expected one"),
            )),
        })
    }

    /// Reads a body piece by piece until `until`, giving each to `look`; whether it has ended.
    pub(crate) fn pieces(
        &mut self,
        framing: Framing,
        until: Instant,
        mut look: impl FnMut(&[u8]),
    ) -> Result<(), Failure> {
        let mut decoder = BodyDecoder::new(framing, BodyLimits::unbounded())?;
        while !decoder.is_end() {
            if self.start == self.end {
                match self.receive(until)? {
                    0 => return Ok(decoder.finish()?),
                    _ => continue,
                }
            }
            let decoded = decoder.decode(&self.buffer[self.start..self.end])?;
            look(&self.buffer[self.start..self.end][decoded.data]);
            self.start += decoded.consumed;
        }
        Ok(())
    }

    /// Whether bytes of a next answer are here already.
    pub(crate) fn has_bytes(&self) -> bool {
        self.start < self.end
    }

    /// Whether another request may be sent: the server has not announced the end, nor closed, nor spoken unasked.
    pub(crate) fn is_reusable(&self) -> bool {
        !self.over && !self.has_bytes()
    }

    /// As [`Connection::is_reusable`], after a rest in which the server may have closed.
    pub(crate) fn is_alive(&self) -> bool {
        // Past the feed, and it finds an end of the stream as often as it looks. Reading from the feed until now would wait
        // for the loop's next tick, a millisecond at most: longer than most answers take.
        let quiet = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
        self.is_reusable() && self.stream.try_read(&mut [0; 1]).is_err_and(|error| quiet(&error))
    }

    /// Bytes received and sent since the last call.
    pub(crate) fn take_bytes(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.bytes_in), std::mem::take(&mut self.bytes_out))
    }

    /// Receives more of an answer.
    fn fill(&mut self, until: Instant) -> Result<(), Failure> {
        match self.receive(until)? {
            0 => Err(Failure::closed("the connection was closed before an answer")),
            _ => Ok(()),
        }
    }

    fn receive(&mut self, until: Instant) -> Result<usize, Failure> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.end == self.buffer.len() {
            self.make_room();
        }
        let count = feed::read(self.feed, &mut self.buffer[self.end..], Some(until))?;
        self.end += count;
        self.bytes_in += count as u64;
        self.over |= count == 0;
        Ok(count)
    }

    fn make_room(&mut self) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        } else {
            // The parser refuses heads long before, and bodies leave nothing in the buffer.
            let len = (self.buffer.len() * 2).clamp(BUFFER_BYTES, BUFFER_BYTES_MAX);
            self.buffer.resize(len, 0);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        feed::close(self.feed);
    }
}

/// Whether a status is the expected one.
pub(crate) fn check_status(status: u16, expect: &Expect) -> Result<(), Failure> {
    let right = match expect.status {
        Some(wanted) => status == wanted,
        None => (200..300).contains(&status),
    };
    match right {
        true => Ok(()),
        false => Err(Failure::new(FailureKind::Status, format!("status {status}"))),
    }
}
