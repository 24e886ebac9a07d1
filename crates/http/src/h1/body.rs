//! The body of a message: which bytes of the input are content, and where it ends.
//!
//! The decoder copies nothing and keeps nothing but trailers: it answers with ranges of the caller's buffer, and consumes
//! every framing byte that it has been shown, so that the buffer can be reused after each call.

use std::ops::Range;

use http::HeaderMap;

use crate::error::BodyError;
use crate::h1::chunked::Chunked;
use crate::h1::framing::Framing;
use crate::limits::BodyLimits;

/// What one call of `decode` found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of the input that are done with: framing and content. Less than the input only if content of the next
    /// chunk, or the next message, follows.
    pub consumed: usize,
    /// The content among them, as a range of the input; possibly empty.
    pub data: Range<usize>,
    /// Whether the body is whole, `data` included.
    pub end: bool,
}

/// Finds the content of one body.
///
/// # Examples
///
/// ```
/// use tenfold_http::h1::{BodyDecoder, Framing};
/// use tenfold_http::limits::BodyLimits;
///
/// let mut body = BodyDecoder::new(Framing::Chunked, BodyLimits::default()).unwrap();
/// let input = b"5\r\nhello\r\n0\r\n\r\nGET /next";
/// let decoded = body.decode(input).unwrap();
/// assert_eq!(&input[decoded.data], b"hello");
/// assert!(decoded.end);
/// assert_eq!(&input[decoded.consumed..], b"GET /next");
/// ```
#[derive(Clone, Debug)]
pub struct BodyDecoder {
    state: State,
    limits: BodyLimits,
}

#[derive(Clone, Debug)]
enum State {
    /// This many bytes are to come; never zero.
    Length(u64),
    Chunked(Chunked),
    /// This many bytes have come.
    UntilClose(u64),
    End,
}

impl BodyDecoder {
    /// A decoder for a body that is framed like this.
    ///
    /// # Errors
    /// `TooLarge` if the announced length is over `body_bytes_max`: known before a byte of it is read.
    #[inline]
    pub fn new(framing: Framing, limits: BodyLimits) -> Result<Self, BodyError> {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::End,
            Framing::Length(length) if length > limits.body_bytes_max => return Err(BodyError::TooLarge),
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked(Chunked::new()),
            Framing::UntilClose => State::UntilClose(0),
        };
        Ok(BodyDecoder { state, limits })
    }

    /// Looks at the bytes that follow what was consumed so far.
    ///
    /// One call yields at most one range of content, so call again while `consumed` is less than the input and `end` is
    /// false. After the end it consumes nothing. Linear in what it consumes.
    ///
    /// # Errors
    /// Any `BodyError` but `Truncated`. The decoder is then of no further use.
    #[inline]
    pub fn decode(&mut self, input: &[u8]) -> Result<Decoded, BodyError> {
        let consumed = match &mut self.state {
            State::End => 0,
            State::Length(left) => {
                let consumed = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                *left -= consumed as u64;
                if *left == 0 {
                    self.state = State::End;
                }
                consumed
            }
            State::UntilClose(received) => {
                *received += input.len() as u64;
                if *received > self.limits.body_bytes_max {
                    return Err(BodyError::TooLarge);
                }
                input.len()
            }
            State::Chunked(chunked) => return chunked.decode(input, &self.limits),
        };
        Ok(Decoded { consumed, data: 0..consumed, end: self.is_end() })
    }

    /// Says that the peer has closed its side.
    ///
    /// # Errors
    /// `Truncated` unless the body is whole, or ends just so (RFC 9112 section 8).
    pub fn finish(&mut self) -> Result<(), BodyError> {
        match self.state {
            State::UntilClose(_) => self.state = State::End,
            _ if self.is_end() => {}
            _ => return Err(BodyError::Truncated),
        }
        Ok(())
    }

    /// Whether the body is whole.
    #[inline]
    pub fn is_end(&self) -> bool {
        match &self.state {
            State::End => true,
            State::Chunked(chunked) => chunked.is_end(),
            State::Length(_) | State::UntilClose(_) => false,
        }
    }

    /// How many bytes of content are to come; `None` if only the end will tell.
    #[inline]
    pub fn remaining_hint(&self) -> Option<u64> {
        match &self.state {
            State::Length(left) => Some(*left),
            _ if self.is_end() => Some(0),
            _ => None,
        }
    }

    /// The trailer fields, after the end of a chunked body that had some.
    pub fn trailers(&self) -> Option<&HeaderMap> {
        match &self.state {
            State::Chunked(chunked) if chunked.is_end() => chunked.trailers(),
            _ => None,
        }
    }

    /// Takes the trailer fields out.
    pub fn take_trailers(&mut self) -> Option<HeaderMap> {
        match &mut self.state {
            State::Chunked(chunked) if chunked.is_end() => chunked.take_trailers(),
            _ => None,
        }
    }
}
