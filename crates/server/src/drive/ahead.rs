//! `Ahead`: reads a short body before its request takes a place in a lane.
//!
//! A place may be a thread of a pool or a process, of which there are few, and a client that trickles its body would hold one
//! while nothing runs there. So the body comes first, on the connection's own fiber or thread, where waiting is cheap (nginx
//! calls it request buffering). It is not for handlers that take the body as a stream, for bodies that are longer than a bound,
//! nor for clients that ask before they send
//! (`Expect: 100-continue`: their handler decides): such requests share a part of the lane's places (`Lane::uploads`).

use std::io;
use std::time::Instant;

use tenfold_http::h1::{BodyDecoder, Framing};
use tenfold_http::limits::BodyLimits;
use tenfold_scoreboard::Stage;

use crate::drive::connection::Connection;
use crate::drive::read_pace::ReadPace;
use crate::drive::sight::within;
use crate::drive::workspace::ReadBuffer;
use crate::guard::memory;

/// How far a body has come before its request asks for a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Whoever reads it will not wait: it is whole, or it broke off, or it is none.
    Settled,
    /// Some of it is still to come.
    Coming,
    /// It came too slowly.
    Stalled,
    /// The worker's budget for buffers has no room for the rest of it.
    NoRoom,
}

/// A body as it is received, framing and all: whoever reads it later decodes it again.
pub(crate) struct Ahead {
    decoder: BodyDecoder,
    /// What came behind the head.
    received: ReadBuffer,
    /// Bytes of it that the decoder has seen.
    seen: usize,
    bytes_max: usize,
}

impl Ahead {
    /// Looks at what came with the head. There is an `Ahead` where reading on is worth it.
    pub(crate) fn look(
        framing: Framing,
        limits: BodyLimits,
        rest: &[u8],
        bytes_max: usize,
    ) -> Result<Ahead, Standing> {
        // One that is refused for its length is not waited for.
        let mut decoder = BodyDecoder::new(framing, limits).map_err(|_| Standing::Settled)?;
        let mut seen = 0;
        match decode(&mut decoder, rest, &mut seen) {
            Standing::Coming if fits(&decoder, rest.len(), bytes_max) => {}
            standing => return Err(standing),
        }
        let mut received = ReadBuffer::new(rest.len().max(1024));
        received.append(rest);
        Ok(Ahead { decoder, received, seen, bytes_max })
    }

    /// Reads until the body is whole, or too long after all; the least rate and `until` bound it.
    ///
    /// # Errors
    /// The connection's: a reset, or a cancelled wait.
    pub(crate) fn read(&mut self, conn: &Connection, until: Option<Instant>) -> io::Result<Standing> {
        let mut pace = ReadPace::start(&conn.service.bounds);
        loop {
            let limit = until.map_or(pace.limit(), |until| until.min(pace.limit()));
            match within(Stage::Read, || conn.read(self.received.spare(), Some(limit))) {
                // That it is not whole is for its reader to find, who meets the same end.
                Ok(0) => return Ok(Standing::Settled),
                Ok(count) => {
                    self.received.commit(count);
                    pace.note(count);
                    let is_long = self.received.len() as u64 > memory::AHEAD_BYTES;
                    if is_long && !memory::fits(conn.service.bounds.buffers_bytes_max) {
                        return Ok(Standing::NoRoom);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(Standing::Stalled),
                Err(error) => return Err(error),
            }
            match decode(&mut self.decoder, self.received.filled(), &mut self.seen) {
                Standing::Coming if fits(&self.decoder, self.received.len(), self.bytes_max) => {}
                standing => return Ok(standing),
            }
        }
    }

    /// What came behind the head.
    pub(crate) fn received(&self) -> &[u8] {
        self.received.filled()
    }

    /// The same, for whoever goes on with the connection.
    pub(crate) fn into_received(self) -> ReadBuffer {
        self.received
    }
}

/// Shows the decoder what has come since it has seen `seen` bytes.
fn decode(decoder: &mut BodyDecoder, received: &[u8], seen: &mut usize) -> Standing {
    while *seen < received.len() && !decoder.is_end() {
        match decoder.decode(&received[*seen..]) {
            Ok(decoded) if decoded.consumed == 0 => break,
            Ok(decoded) => *seen += decoded.consumed,
            // Its reader will find the same.
            Err(_) => return Standing::Settled,
        }
    }
    if decoder.is_end() { Standing::Settled } else { Standing::Coming }
}

/// Whether all of it may fit into the bound, as far as is known.
fn fits(decoder: &BodyDecoder, received: usize, bytes_max: usize) -> bool {
    let to_come = decoder.remaining_hint().unwrap_or(1);
    (received as u64).saturating_add(to_come) <= bytes_max as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(framing: Framing, rest: &[u8]) -> Result<(), Standing> {
        Ahead::look(framing, BodyLimits { body_bytes_max: 1000, ..BodyLimits::default() }, rest, 100)
            .map(drop)
    }

    #[test]
    fn what_is_whole_broken_or_refused_is_not_waited_for() {
        for (framing, rest) in [
            (Framing::None, &b""[..]),
            (Framing::Length(3), b"abc"),
            (Framing::Length(3), b"abcGET /next"),
            (Framing::Length(1001), b"abc"),
            (Framing::Chunked, b"3\r\nabc\r\n0\r\n\r\n"),
            (Framing::Chunked, b"3\r\nabc\r\n0\r\n\r\nGET /next"),
            (Framing::Chunked, b"no number\r\n"),
        ] {
            assert_eq!(look(framing, rest), Err(Standing::Settled), "{framing:?} {rest:?}");
        }
    }

    #[test]
    fn what_is_short_is_read_and_what_is_long_is_not() {
        for (framing, rest) in [
            (Framing::Length(3), &b"ab"[..]),
            (Framing::Length(100), b""),
            (Framing::Chunked, b""),
            (Framing::Chunked, b"3\r\nabc\r\n0\r\n"),
        ] {
            assert_eq!(look(framing, rest), Ok(()), "{framing:?} {rest:?}");
        }
        let chunks = b"1\r\na\r\n".repeat(17);
        for (framing, rest) in [(Framing::Length(101), &b"abc"[..]), (Framing::Chunked, &chunks)] {
            assert_eq!(look(framing, rest), Err(Standing::Coming), "{framing:?} {rest:?}");
        }
    }
}
