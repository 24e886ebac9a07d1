//! An answer: its head, and its body while it comes in.

use std::fmt;
use std::io::{self, Read};
use std::sync::OnceLock;
use std::time::Instant;

use ::http::{HeaderMap, Method, StatusCode};
use bytes::Bytes;
use tenfold_http::BodyError;
use tenfold_http::h1::{BodyDecoder, Framing, Parse, ResponseHeadParser};
use tenfold_http::limits::BodyLimits;

use crate::error::{Error, Phase};
use crate::pool::Pooled;

use super::connection::Connection;
use super::hosts::OriginManager;
use super::{Client, Shared};

/// How much of an answer is received at first; more makes the buffer grow up to the head's limit. Every call that waits has
/// this much on its stack: with thousands of them anything larger is memory that no cache holds, and a piece of the heap for
/// each is more than an allocator keeps at hand.
const FIRST_BYTES: usize = 1 << 10;

/// How much of a body is received at once where nobody says how much there is.
const BODY_BUFFER_BYTES: usize = 8 << 10;

/// Most that an announced length makes us allocate before the bytes are there.
const BODY_AT_ONCE_BYTES: u64 = 256 << 10;

/// Most interim responses (1xx) before the final one; a server has use for two.
const INTERIM_MAX: usize = 8;

/// An answer. Its body is read from the connection as the caller asks for it; once it is read to its end the connection
/// goes back to the pool, and dropping the answer before that closes it.
pub struct Response {
    status: StatusCode,
    /// Made when somebody asks for it: most answers are read for their status and body.
    headers: OnceLock<HeaderMap>,
    /// The head, in the buffer from `head_at` on, until the first piece of a chunked body takes its place.
    parser: ResponseHeadParser,
    head_at: usize,
    buffer: Buffer,
    body: Option<Live>,
    trailers: Option<HeaderMap>,
    bytes_max: usize,
}

/// The connection and the rest of a body.
struct Live {
    client: Client,
    connection: Pooled<OriginManager>,
    decoder: BodyDecoder,
    chunked: bool,
    /// Whether the connection can be used again after the body.
    reusable: bool,
    until: Option<Instant>,
}

/// Received and not yet looked at: `bytes[at..end]`.
struct Buffer {
    bytes: Vec<u8>,
    at: usize,
    end: usize,
}

/// A head and what came behind it.
pub(crate) struct Head {
    parser: ResponseHeadParser,
    buffer: Buffer,
}

impl Response {
    pub(crate) fn new(
        client: Client,
        connection: Pooled<OriginManager>,
        head: Head,
        method: &Method,
        until: Option<Instant>,
        broken: bool,
    ) -> Result<Response, Error> {
        let Head { parser, mut buffer } = head;
        let head_at = buffer.at;
        let view = parser.view(buffer.filled());
        let framing = view.framing(method)?;
        let reusable = view.keep_alive() && framing != Framing::UntilClose && !broken;
        let status = view.status();
        buffer.at += view.bytes();
        let decoder = BodyDecoder::new(framing, BodyLimits::unbounded())?;
        let bytes_max = client.shared.body_bytes_max;
        let chunked = framing == Framing::Chunked;
        let body = Some(Live { client, connection, decoder, chunked, reusable, until });
        let headers = OnceLock::new();
        let mut response =
            Response { status, headers, parser, head_at, buffer, body, trailers: None, bytes_max };
        response.rest_at_end();
        Ok(response)
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers. The first call makes the map, at one allocation per value.
    pub fn headers(&self) -> &HeaderMap {
        self.headers.get_or_init(|| self.parser.view(&self.buffer.bytes[self.head_at..]).to_header_map())
    }

    /// The first value under `name`, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    /// The trailer fields, once a chunked body that had some was read to its end.
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }

    /// How many bytes of the body are to come; `None` if only the end will tell.
    pub fn remaining_hint(&self) -> Option<u64> {
        self.body.as_ref().map_or(Some(0), |live| live.decoder.remaining_hint())
    }

    /// The rest of the body, at most `bytes_max` bytes.
    ///
    /// # Errors
    /// [`Error::BodyTooLarge`], at once where the length was announced; those of receiving.
    pub fn bytes(self, bytes_max: usize) -> Result<Bytes, Error> {
        self.collect(bytes_max).map(Bytes::from)
    }

    fn collect(mut self, bytes_max: usize) -> Result<Vec<u8>, Error> {
        let announced = self.remaining_hint();
        if announced.is_some_and(|length| length > bytes_max as u64) {
            return Err(Error::BodyTooLarge { bytes_max });
        }
        let mut all = Vec::new();
        let mut count = 0;
        while self.body.is_some() {
            if count == all.len() {
                let left = self.remaining_hint().map(|left| left.clamp(1, BODY_AT_ONCE_BYTES) as usize);
                all.resize(count + left.unwrap_or(BODY_BUFFER_BYTES), 0);
            }
            match self.read_some(&mut all[count..])? {
                0 => break,
                more => count += more,
            }
            if count > bytes_max {
                return Err(Error::BodyTooLarge { bytes_max });
            }
        }
        all.truncate(count);
        Ok(all)
    }

    /// The body as text, at most `ClientBuilder::body_bytes_max` bytes.
    ///
    /// # Errors
    /// [`Error::Text`] if it is not UTF-8; as [`Response::bytes`].
    pub fn text(self) -> Result<String, Error> {
        let bytes_max = self.bytes_max;
        String::from_utf8(self.collect(bytes_max)?).map_err(Error::Text)
    }

    /// The body as a value, at most `ClientBuilder::body_bytes_max` bytes.
    ///
    /// # Errors
    /// [`Error::Json`] if it is none of that shape; as [`Response::bytes`].
    pub fn json<T: serde::de::DeserializeOwned>(self) -> Result<T, Error> {
        let bytes_max = self.bytes_max;
        serde_json::from_slice(&self.collect(bytes_max)?).map_err(Error::Json)
    }

    /// Some bytes of the body, 0 at its end.
    fn read_some(&mut self, buf: &mut [u8]) -> Result<usize, Error> {
        if self.body.as_ref().is_some_and(|live| live.chunked) {
            self.headers();
        }
        let Some(live) = &mut self.body else { return Ok(0) };
        if buf.is_empty() {
            return Ok(0);
        }
        let outcome = live.read_some(&mut self.buffer, buf);
        match outcome {
            Ok(_) => self.rest_at_end(),
            // What comes after a broken or late piece is not the rest of this body: the connection goes.
            Err(_) => self.body = None,
        }
        outcome
    }

    /// Gives the connection back once the body is whole.
    fn rest_at_end(&mut self) {
        if self.body.as_ref().is_some_and(|live| live.decoder.is_end())
            && let Some(mut live) = self.body.take()
        {
            self.trailers = live.decoder.take_trailers();
            // Bytes behind the answer belong to no request of ours: such a peer is not to be trusted with another.
            if live.reusable && self.buffer.filled().is_empty() {
                live.connection.in_exchange = false;
            }
        }
    }
}

/// Yields the body. A time-out has the kind `TimedOut`, a body that ends early `UnexpectedEof`, a malformed one
/// `InvalidData`, each with an [`Error`] inside. After an error the rest of the body is lost.
impl Read for Response {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.read_some(buf)?)
    }
}

impl Live {
    fn read_some(&mut self, buffer: &mut Buffer, buf: &mut [u8]) -> Result<usize, Error> {
        while !self.decoder.is_end() {
            if buffer.filled().is_empty() && !self.chunked {
                return self.read_directly(buf);
            }
            if buffer.filled().is_empty() && self.receive(buffer)? == 0 {
                self.decoder.finish()?;
                continue;
            }
            // The decoder consumes all that it is shown, so it is shown no more than fits.
            let shown = buffer.filled().len().min(buf.len());
            let input = &buffer.filled()[..shown];
            let decoded = self.decoder.decode(input)?;
            let count = decoded.data.len();
            buf[..count].copy_from_slice(&input[decoded.data]);
            buffer.at += decoded.consumed;
            if count > 0 {
                return Ok(count);
            }
        }
        Ok(0)
    }

    /// Receives into the caller's buffer, where nothing but content can come.
    fn read_directly(&mut self, buf: &mut [u8]) -> Result<usize, Error> {
        let left = self.decoder.remaining_hint().unwrap_or(u64::MAX);
        let most = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
        let count = self.read(&mut buf[..most])?;
        if count == 0 {
            self.decoder.finish()?;
            return Ok(0);
        }
        self.decoder.decode(&buf[..count])?;
        Ok(count)
    }

    /// Receives the next piece of a chunked body.
    fn receive(&mut self, buffer: &mut Buffer) -> Result<usize, Error> {
        if buffer.bytes.len() < BODY_BUFFER_BYTES {
            buffer.bytes.resize(BODY_BUFFER_BYTES, 0);
        }
        buffer.at = 0;
        buffer.end = 0;
        buffer.end = self.read(&mut buffer.bytes)?;
        Ok(buffer.end)
    }

    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Error> {
        self.connection
            .during(|connection| connection.read(buf, self.client.shared.times.read, self.until))
            .map_err(|error| Error::io(Phase::ReceivingBody, error))
    }
}

impl Buffer {
    fn filled(&self) -> &[u8] {
        &self.bytes[self.at..self.end]
    }
}

/// Waits for the final head; an error comes with the number of bytes that had come.
pub(crate) fn await_head(
    shared: &Shared,
    connection: &Connection,
    until: Option<Instant>,
) -> Result<Head, (Error, usize)> {
    let mut buffer = Buffer { bytes: await_first(shared, connection, until)?, at: 0, end: 0 };
    buffer.end = buffer.bytes.len();
    let mut parser = ResponseHeadParser::new();
    let mut received = buffer.end;
    let mut interim = 0;
    loop {
        let parse = if buffer.filled().is_empty() {
            Parse::Partial
        } else {
            parser.parse(buffer.filled(), &shared.head).map_err(|error| (error.into(), received))?
        };
        if let Parse::Complete { bytes } = parse {
            let status = parser.view(buffer.filled()).status();
            if !status.is_informational() {
                return Ok(Head { parser, buffer });
            }
            interim += 1;
            if status == StatusCode::SWITCHING_PROTOCOLS || interim > INTERIM_MAX {
                let what = "101 that nobody asked for, or too many interim responses";
                return Err((Error::Unexpected(what), received));
            }
            buffer.at += bytes;
            parser.clear();
            continue;
        }
        make_room(&mut buffer, shared.head.head_bytes_max);
        let end = buffer.end;
        let count = connection
            .read(&mut buffer.bytes[end..], shared.times.read, until)
            .map_err(|error| (Error::io(Phase::AwaitingHead, error), received))?;
        if count == 0 {
            // Half a head is a cut message; nothing at all is a closed connection.
            return Err((BodyError::Truncated.into(), received));
        }
        buffer.end += count;
        received += count;
    }
}

/// Waits for the begin of an answer to what was sent a moment ago.
fn await_first(
    shared: &Shared,
    connection: &Connection,
    until: Option<Instant>,
) -> Result<Vec<u8>, (Error, usize)> {
    let mut first = [0; FIRST_BYTES];
    match connection.await_some(&mut first, shared.times.read, until) {
        Ok(0) => Err((Error::Closed, 0)),
        Ok(count) => Ok(first[..count].to_vec()),
        Err(error) => Err((Error::io(Phase::AwaitingHead, error), 0)),
    }
}

/// Moves what is there to the front, and grows the buffer while the head may be longer. The parser gives up before a head
/// reaches the limit, so there is always room.
fn make_room(buffer: &mut Buffer, head_bytes_max: usize) {
    if buffer.at > 0 {
        buffer.bytes.copy_within(buffer.at..buffer.end, 0);
        buffer.end -= buffer.at;
        buffer.at = 0;
    }
    if buffer.end == buffer.bytes.len() {
        let longer = (buffer.end * 2).max(FIRST_BYTES).min(head_bytes_max.max(buffer.end + 1));
        buffer.bytes.resize(longer, 0);
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("headers", self.headers())
            .finish_non_exhaustive()
    }
}

// An answer may be read on another thread than the one that has sent the request.
const _: fn() = || {
    fn is_send<T: Send>() {}
    is_send::<Response>();
};
