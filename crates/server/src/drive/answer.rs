//! Writing a response: its head goes to the output buffer, its body the way that its kind asks for.
//!
//! Small bodies join the output, which is written when the connection has no further request to offer: sixteen pipelined
//! requests make one system call. Everything else is written as it comes, and a client that reads slowly slows it down.

use std::fs::File;
use std::io::{self, Read, Write};

use bytes::Bytes;
use http::{HeaderMap, Version};
use tenfold_http::h1::{self, BodyLength, Sent};
use tenfold_runtime::park;
use tenfold_scoreboard::Stage;

use crate::body::{Body, BodyKind, BodySource};
use crate::drive::connection::Connection;
use crate::drive::head_cache;
use crate::drive::sight::within;
use crate::panic::{self, Panicked};
use crate::respond::Response;

/// Bodies up to this size are copied behind their head; a copy of that size costs less than a second buffer in writev.
const JOIN_MAX: usize = 8 * 1024;
/// Output that is written although more is to come.
const OUTPUT_MAX: usize = 32 * 1024;
/// Bytes read from a reader, or gathered from a producer, for one chunk.
const CHUNK_BYTES: usize = 16 * 1024;
/// Most bytes of a file in one system call, so that one large download does not hold a loop.
const SEND_FILE_MAX: u64 = 512 * 1024;

/// What the request says about its response.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) version: Version,
    pub(crate) to_head: bool,
    /// Whether the connection may stay.
    pub(crate) keep_alive: bool,
}

/// Puts a response into `output` or on the wire.
///
/// `inline`: the waits of the application's own readers, sources and producers hold the loop.
///
/// # Errors
/// The connection's, or the body's: then what was sent is not whole, and the connection must be closed.
pub(crate) fn answer(
    conn: &Connection,
    output: &mut Vec<u8>,
    asked: Asked,
    response: &mut Response,
    inline: bool,
) -> io::Result<Sent> {
    let body = response.body();
    let length = match (body.kind(), body.length()) {
        (BodyKind::Empty, _) => BodyLength::None,
        (BodyKind::TakenOver, _) => BodyLength::UntilClose,
        (_, Some(length)) => BodyLength::Known(length),
        (_, None) => BodyLength::Chunked,
    };
    let server = conn.service.server_header.as_deref();
    let content_type = body.content_type();
    let sent =
        head_cache::write(output, asked, response.status(), response.headers(), content_type, length, server);
    if sent.body != BodyLength::None {
        Writer { conn, output, framing: sent.body }.body(response.body_mut(), inline)?;
    }
    Ok(sent)
}

/// Writes a body in the framing that its head has announced.
struct Writer<'a> {
    conn: &'a Connection,
    output: &'a mut Vec<u8>,
    framing: BodyLength,
}

impl Writer<'_> {
    /// Bytes are written where they lie: a body that is moved first is copied twice more.
    fn body(&mut self, body: &mut Body, inline: bool) -> io::Result<()> {
        match body.kind() {
            // What follows is the new owner's to write.
            BodyKind::Empty | BodyKind::TakenOver => Ok(()),
            BodyKind::Static(bytes) => self.whole(bytes),
            BodyKind::Bytes(bytes) => self.whole(bytes),
            _ => self.used_up(std::mem::take(body).into_kind(), inline),
        }
    }

    /// Writes a body that exists once.
    fn used_up(&mut self, kind: BodyKind, inline: bool) -> io::Result<()> {
        match kind {
            BodyKind::File { file, offset, len } => self.file(&file, offset, len),
            streamed if inline => park::inline(|| self.stream_guarded(streamed)),
            streamed => self.stream_guarded(streamed),
        }
    }

    fn whole(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > JOIN_MAX {
            self.conn.write_both(self.output, bytes)?;
            self.output.clear();
            return Ok(());
        }
        self.output.extend_from_slice(bytes);
        if self.output.len() > OUTPUT_MAX { self.flush() } else { Ok(()) }
    }

    /// The head may be out already, so a panic of the application's code becomes an error, which cuts the answer off.
    fn stream_guarded(&mut self, kind: BodyKind) -> io::Result<()> {
        panic::guard("(the body of an answer)", || self.stream(kind))
            .unwrap_or_else(|Panicked| Err(io::Error::other("the source of the body has panicked")))
    }

    fn stream(&mut self, kind: BodyKind) -> io::Result<()> {
        match kind {
            BodyKind::Incoming(mut incoming) => self.read_all(|buf| incoming.read(buf)),
            BodyKind::Reader(mut reader, _) => self.read_all(|buf| reader.read(buf)),
            BodyKind::Source(source) => self.source(source),
            BodyKind::Producer(produce) => {
                let mut producing = Producing { writer: self, gathered: Vec::new() };
                produce(&mut producing)?;
                producing.flush()?;
                self.end()
            }
            _ => unreachable!("the other kinds are not streams"),
        }
    }

    fn read_all(&mut self, mut read: impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<()> {
        let mut buf = vec![0; CHUNK_BYTES];
        let mut left = self.known_length();
        while left > 0 {
            let most = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match read(&mut buf[..most]) {
                Ok(0) if self.framing == BodyLength::Chunked || self.framing == BodyLength::UntilClose => {
                    break;
                }
                Ok(0) => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the body was shorter than announced",
                    ));
                }
                Ok(count) => {
                    left -= count as u64;
                    self.piece(&buf[..count])?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.end()
    }

    fn source(&mut self, mut source: Box<dyn BodySource + Send>) -> io::Result<()> {
        let mut left = self.known_length();
        while let Some(chunk) = source.next_chunk()? {
            let chunk: Bytes = chunk;
            left = left.checked_sub(chunk.len() as u64).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, "the body was longer than announced")
            })?;
            self.piece(&chunk)?;
        }
        if left > 0 && matches!(self.framing, BodyLength::Known(_)) {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the body was shorter than announced"));
        }
        self.end()
    }

    fn known_length(&self) -> u64 {
        match self.framing {
            BodyLength::Known(length) => length,
            _ => u64::MAX,
        }
    }

    /// Writes a piece now: nobody knows how long the next one takes.
    fn piece(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(()); // An empty chunk would be the last one.
        }
        if self.framing == BodyLength::Chunked {
            h1::chunk(self.output, bytes);
        } else {
            self.output.extend_from_slice(bytes);
        }
        self.flush()
    }

    fn end(&mut self) -> io::Result<()> {
        if self.framing == BodyLength::Chunked {
            h1::last_chunk(self.output, None::<&HeaderMap>);
        }
        self.flush()
    }

    fn file(&mut self, file: &File, mut offset: u64, len: u64) -> io::Result<()> {
        self.flush()?;
        let end = offset + len;
        while offset < end {
            let part = (end - offset).min(SEND_FILE_MAX) as usize;
            let conn = self.conn;
            let send = |until| park::parking(|| conn.stream.send_file(file, &mut offset, part, Some(until)));
            let sent = within(Stage::Write, || conn.wait_for_room(send))?;
            if sent == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file has become shorter"));
            }
            park::parking(tenfold_runtime::yield_now);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let outcome = self.conn.write_all(self.output);
        self.output.clear();
        outcome
    }
}

/// The `Write` that a producer gets: gathers small writes into chunks.
struct Producing<'a, 'b> {
    writer: &'a mut Writer<'b>,
    gathered: Vec<u8>,
}

impl Write for Producing<'_, '_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.gathered.extend_from_slice(buf);
        if self.gathered.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let gathered = std::mem::take(&mut self.gathered);
        let outcome = self.writer.piece(&gathered);
        self.gathered = gathered;
        self.gathered.clear();
        outcome
    }
}
