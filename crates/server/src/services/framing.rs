//! `Framing`: where a frame begins and ends in a stream of bytes. No I/O, no clock, no state: a framing looks at what has
//! come and says what the first frame of it is. One file for each kind.

use crate::services::framed::{FrameHandler, Framed};

mod delimiter;
mod fixed_header;
mod length_prefix;

pub use delimiter::Delimiter;
pub use fixed_header::FixedHeader;
pub use length_prefix::LengthPrefix;

/// What there is at the beginning of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// A whole frame.
    Frame {
        /// Where its content begins.
        start: usize,
        /// Where its content ends.
        end: usize,
        /// Bytes that belong to it, with what is around the content; the next frame begins there. At least one.
        used: usize,
    },
    /// The beginning of one, or nothing.
    Partial,
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// It is longer than is allowed.
    #[error("a frame is longer than {bytes_max} bytes")]
    TooLong {
        /// What is allowed.
        bytes_max: usize,
    },
    /// It cannot be one.
    #[error("{0}")]
    Malformed(&'static str),
}

/// Cuts a stream into frames, and makes frames.
///
/// ```
/// use tenfold_server::{Delimiter, Cut, Framing};
/// let lines = Delimiter::crlf();
/// assert_eq!(lines.find(b"PING\r\nPO", 0, 100), Ok(Cut::Frame { start: 0, end: 4, used: 6 }));
/// assert_eq!(lines.find(b"PO", 0, 100), Ok(Cut::Partial));
/// ```
pub trait Framing: Send + Sync + 'static {
    /// Finds the first frame in `input`. The first `seen` bytes were there at the last call, which has answered
    /// [`Cut::Partial`]: they need not be searched again.
    ///
    /// # Errors
    /// [`FrameError`]; there is no way to go on with the stream then.
    fn find(&self, input: &[u8], seen: usize, bytes_max: usize) -> Result<Cut, FrameError>;

    /// Appends a frame with this content to `out`.
    ///
    /// # Errors
    /// [`FrameError`] when the content cannot be in a frame; `out` is as it was.
    fn encode(&self, content: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError>;
}

/// Makes a service of a [`Framing`].
pub trait FramingExt: Framing + Sized {
    /// Answers each frame by a call of `handler`: `Fn(&[u8], &mut Reply<'_>, State<T>, …)` that returns nothing or a result.
    /// Between two frames a connection rests, as one of HTTP does between two requests.
    ///
    /// ```
    /// use tenfold_server::{App, Delimiter, FramingExt, Reply};
    ///
    /// App::new().tcp("echo", "127.0.0.1:7000", Delimiter::crlf().each(|line: &[u8], reply: &mut Reply<'_>| {
    ///     reply.frame(line)
    /// }));
    /// ```
    fn each<M: 'static, H: FrameHandler<M>>(self, handler: H) -> Framed<Self, H, M> {
        Framed::new(self, handler)
    }
}

impl<F: Framing> FramingExt for F {}

/// A frame of `bytes` bytes altogether, unless that is more than is allowed.
fn within(bytes: usize, bytes_max: usize) -> Result<usize, FrameError> {
    if bytes > bytes_max { Err(FrameError::TooLong { bytes_max }) } else { Ok(bytes) }
}

/// What a fuzzer and the tests ask of every framing with any bytes: it ends, stays inside of them and of the bound, says the
/// same however the bytes come, and finds again what it has made.
#[doc(hidden)]
pub fn fuzz_framing(bytes: &[u8]) {
    const BYTES_MAX: usize = 300;
    let Some((kind, input)) = bytes.split_first() else { return };
    let framing: Box<dyn Framing> = match kind % 10 {
        0 => Box::new(Delimiter::crlf()),
        1 => Box::new(Delimiter::line()),
        2 => Box::new(Delimiter::new(b"abab")),
        3 => Box::new(LengthPrefix::u8()),
        4 => Box::new(LengthPrefix::u16()),
        5 => Box::new(LengthPrefix::u32().little_endian()),
        6 => Box::new(LengthPrefix::u64()),
        7 => Box::new(LengthPrefix::varint()),
        8 => Box::new(FixedHeader::new(3, |header| Some(usize::from(header[0]) * 2))),
        _ => Box::new(FixedHeader::new(1, |header| (header[0] != 7).then_some(0))),
    };
    let whole = frames_of(&*framing, input, input.len(), BYTES_MAX);
    assert_eq!(whole, frames_of(&*framing, input, 1, BYTES_MAX), "bytes that come one by one");
    for content in &whole.0 {
        let mut made = Vec::new();
        if framing.encode(content, &mut made).is_ok() {
            let again = frames_of(&*framing, &made, made.len(), usize::MAX);
            assert_eq!((again.0.concat(), again.1), (content.clone(), None));
        }
    }
}

/// The contents of all frames, when the bytes come `step` at a time, and the error at the end.
fn frames_of(
    framing: &dyn Framing,
    input: &[u8],
    step: usize,
    bytes_max: usize,
) -> (Vec<Vec<u8>>, Option<FrameError>) {
    let (mut at, mut come, mut seen) = (0, 0, 0);
    let mut frames = Vec::new();
    loop {
        let here = &input[at..come];
        match framing.find(here, seen, bytes_max) {
            Ok(Cut::Frame { start, end, used }) => {
                assert!(start <= end && end <= used && used > 0 && used <= here.len() && used <= bytes_max);
                frames.push(here[start..end].to_vec());
                (at, seen) = (at + used, 0);
            }
            Ok(Cut::Partial) => {
                assert!(here.len() < bytes_max, "what can still become a frame is within the bound");
                seen = here.len();
                if come == input.len() {
                    return (frames, None);
                }
                come = (come + step.max(1)).min(input.len());
            }
            Err(error) => return (frames, Some(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fuzz target's function on bytes of every kind, without the fuzzer.
    #[test]
    fn any_bytes_are_frames_or_errors_however_they_come() {
        let mut seed = 1_u64;
        let mut next = || {
            // xorshift64: no more is needed than bytes that differ.
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        for round in 0..4000_usize {
            let len = (next() % 400) as usize;
            let alphabet: &[u8] = [&b"ab"[..], b"\r\n x", b"\x00\x01\x02\x80", b"\xff\x07ab\r\n"][round % 4];
            let mut bytes: Vec<u8> = (0..len).map(|_| alphabet[next() as usize % alphabet.len()]).collect();
            bytes.insert(0, (round / 4 % 10) as u8);
            fuzz_framing(&bytes);
        }
    }
}
