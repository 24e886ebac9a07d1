//! Reading a body, whatever it consists of.

use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use bytes::{Buf, Bytes};
use http::HeaderMap;

use crate::body::{Body, BodyKind, BodyReadError, BodySource, Producer};

/// Size of the pieces that [`Body::next_chunk`] makes of readers, files and request bodies.
const CHUNK_BYTES: usize = 16 << 10;

/// Most bytes that a producer may write if its body is read in the process instead of being sent.
const PRODUCED_BYTES_MAX: usize = 16 << 20;

impl Body {
    /// The next piece, `None` at the end. Waits as [`Read::read`] does; pieces are at most 16 KiB except those that are
    /// in memory anyway.
    ///
    /// # Errors
    /// Those of [`Read::read`].
    pub fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        self.produce()?;
        match &mut self.kind {
            BodyKind::Empty | BodyKind::TakenOver => Ok(None),
            BodyKind::Static(bytes) => Ok(some_bytes(Bytes::from_static(std::mem::take(bytes)))),
            BodyKind::Bytes(bytes) => Ok(some_bytes(std::mem::take(bytes))),
            BodyKind::Source(source) => loop {
                match source.next_chunk()? {
                    Some(piece) if piece.is_empty() => {}
                    piece => return Ok(piece),
                }
            },
            _ => {
                let mut piece = vec![0; CHUNK_BYTES];
                let len = self.read(&mut piece)?;
                piece.truncate(len);
                Ok(some_bytes(piece.into()))
            }
        }
    }

    /// Reads it to its end.
    ///
    /// # Errors
    /// [`BodyReadError::TooLarge`] as soon as it is known to be longer than `bytes_max`, before anything is read if its
    /// length was announced; else what reading it reports.
    /// # Cancel safety
    /// What was read is lost.
    pub fn collect(self, bytes_max: usize) -> Result<Bytes, BodyReadError> {
        let too_large = || BodyReadError::TooLarge { bytes_max: bytes_max as u64 };
        let length = self.length();
        if length.is_some_and(|length| length > bytes_max as u64) {
            return Err(too_large());
        }
        let mut body = match self.kind {
            BodyKind::Empty | BodyKind::TakenOver => return Ok(Bytes::new()),
            BodyKind::Static(bytes) => return Ok(Bytes::from_static(bytes)),
            BodyKind::Bytes(bytes) => return Ok(bytes),
            BodyKind::Producer(write) => return produce(write, bytes_max).map(Into::into),
            kind => Body::from(kind),
        };
        // The announced length is the client's word: it does not get us to reserve more than one step ahead.
        let mut all = Vec::with_capacity((length.unwrap_or(0) as usize).min(CHUNK_BYTES));
        if let BodyKind::Source(_) = body.kind {
            while let Some(piece) = body.next_chunk()? {
                if piece.len() > bytes_max - all.len() {
                    return Err(too_large());
                }
                all.extend_from_slice(&piece);
            }
            return Ok(all.into());
        }
        // One byte more than allowed tells a body that fits from one that does not.
        body.by_ref().take((bytes_max as u64).saturating_add(1)).read_to_end(&mut all)?;
        if all.len() > bytes_max { Err(too_large()) } else { Ok(all.into()) }
    }

    /// The trailer fields of a request body, once after it was read to its end.
    pub fn trailers(&mut self) -> Option<HeaderMap> {
        match &mut self.kind {
            BodyKind::Incoming(incoming) => incoming.take_trailers(),
            _ => None,
        }
    }

    /// Turns a producer into the bytes that it writes.
    fn produce(&mut self) -> io::Result<()> {
        if matches!(self.kind, BodyKind::Producer(_))
            && let BodyKind::Producer(write) = std::mem::take(&mut self.kind)
        {
            self.kind = BodyKind::Bytes(produce(write, PRODUCED_BYTES_MAX)?.into());
        }
        Ok(())
    }

    /// Turns a source into a reader: a piece may be larger than the caller's buffer, so somebody has to keep the rest.
    fn make_readable(&mut self) {
        if matches!(self.kind, BodyKind::Source(_))
            && let BodyKind::Source(source) = std::mem::take(&mut self.kind)
        {
            let length = source.length();
            self.kind = BodyKind::Reader(Box::new(SourceReader { piece: Bytes::new(), source }), length);
        }
    }
}

/// Parks the fiber or blocks the thread where the content has to be waited for.
impl Read for Body {
    /// # Errors
    /// What the source reports. `UnexpectedEof` if a sized reader or a file ends before its announced length. A
    /// [`BodyReadError`] inside of the `io::Error` if a request's body is malformed, stalled, too long or over. A
    /// producer is run at the first read and may write 16 MiB.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.produce()?;
        self.make_readable();
        match &mut self.kind {
            // The two calls above have left nothing of the latter two.
            BodyKind::Empty | BodyKind::TakenOver | BodyKind::Producer(_) | BodyKind::Source(_) => Ok(0),
            BodyKind::Static(bytes) => bytes.read(buf),
            BodyKind::Bytes(bytes) => {
                let len = bytes.len().min(buf.len());
                bytes.copy_to_slice(&mut buf[..len]);
                Ok(len)
            }
            BodyKind::Incoming(incoming) => incoming.read(buf),
            BodyKind::Reader(reader, None) => reader.read(buf),
            BodyKind::Reader(reader, Some(left)) => read_at_most(left, buf, |buf| reader.read(buf)),
            BodyKind::File { file, offset, len } => {
                let at = *offset;
                let read = read_at_most(len, buf, |buf| file.read_at(buf, at))?;
                *offset += read as u64;
                Ok(read)
            }
        }
    }
}

struct SourceReader {
    /// What is left of the last piece.
    piece: Bytes,
    source: Box<dyn BodySource + Send>,
}

impl Read for SourceReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.source.next_chunk()? {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let len = self.piece.len().min(buf.len());
        self.piece.copy_to_slice(&mut buf[..len]);
        Ok(len)
    }
}

/// Reads at most `left` bytes and counts them; an end before is an error, because a length has been announced.
fn read_at_most(
    left: &mut u64,
    buf: &mut [u8],
    read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
) -> io::Result<usize> {
    let len = usize::try_from(*left).unwrap_or(usize::MAX).min(buf.len());
    if len == 0 {
        return Ok(0);
    }
    let got = read(&mut buf[..len])?;
    if got == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    *left -= got as u64;
    Ok(got)
}

/// A writer into memory, with a bound.
struct Bounded {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl Write for Bounded {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if piece.len() > self.bytes_max - self.bytes.len() {
            return Err(BodyReadError::TooLarge { bytes_max: self.bytes_max as u64 }.into());
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn produce(write: Producer, bytes_max: usize) -> Result<Vec<u8>, BodyReadError> {
    let mut out = Bounded { bytes: Vec::new(), bytes_max };
    write(&mut out)?;
    Ok(out.bytes)
}

fn some_bytes(bytes: Bytes) -> Option<Bytes> {
    if bytes.is_empty() { None } else { Some(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(mut body: Body) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        let mut buf = [0; 3];
        loop {
            match body.read(&mut buf)? {
                0 => return Ok(all),
                len => all.extend_from_slice(&buf[..len]),
            }
        }
    }

    fn pieces(mut body: Body) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(piece) = body.next_chunk()? {
            assert!(!piece.is_empty(), "an empty piece would end a chunked body");
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }

    fn every_kind() -> Vec<(&'static str, Body)> {
        // Its name is the thread's too: another test writes and removes one at the same time.
        let name = format!("tenfold-body-{}-{:?}", std::process::id(), std::thread::current().id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, "0123456789").expect("the temporary directory is writable");
        let file = || std::fs::File::open(&path).expect("it was written above");
        let bodies = vec![
            ("static", Body::from("0123456789")),
            ("bytes", Body::from(String::from("0123456789"))),
            ("reader", Body::from_reader(&b"0123456789"[..])),
            ("sized reader", Body::from_sized_reader(&b"0123456789 and more"[..], 10)),
            ("source", Body::from_iter(["01234", "", "56789"])),
            (
                "producer",
                Body::producer(|out| out.write_all(b"01234").and_then(|()| out.write_all(b"56789"))),
            ),
            ("file", Body::file(file()).expect("it is a file")),
            ("file part", Body::file_part(file(), 0, 10)),
        ];
        std::fs::remove_file(&path).expect("it exists");
        bodies
    }

    #[test]
    fn every_kind_reads_the_same_by_read_by_pieces_and_collected() {
        for (kind, body) in every_kind() {
            assert_eq!(read_all(body).unwrap(), b"0123456789", "{kind}");
        }
        for (kind, body) in every_kind() {
            assert_eq!(pieces(body).unwrap(), b"0123456789", "{kind}");
        }
        for (kind, body) in every_kind() {
            assert_eq!(&body.collect(10).unwrap()[..], b"0123456789", "{kind}");
        }
    }

    #[test]
    fn collecting_more_than_allowed_is_an_error() {
        for (kind, body) in every_kind() {
            // What is in memory already is measured by its length.
            let outcome = body.collect(9);
            assert!(matches!(outcome, Err(BodyReadError::TooLarge { bytes_max: 9 })), "{kind}: {outcome:?}");
        }
    }

    #[test]
    fn a_reader_that_ends_before_its_length_is_an_error() {
        let error = read_all(Body::from_sized_reader(&b"short"[..], 6)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_failing_source_reports_its_error() {
        struct Failing;
        impl BodySource for Failing {
            fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
        assert_eq!(read_all(Body::from_source(Failing)).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(pieces(Body::from_source(Failing)).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}
