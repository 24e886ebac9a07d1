//! `Delimiter`: frames that end with a string of bytes, such as lines.

use super::{Cut, FrameError, Framing, within};

/// Frames that end with certain bytes, which are no part of the content.
///
/// ```
/// use tenfold_server::{Delimiter, Cut, Framing};
/// let line = Delimiter::line();
/// assert_eq!(line.find(b"one\r\n", 0, 100), Ok(Cut::Frame { start: 0, end: 3, used: 5 }));
/// assert_eq!(line.find(b"two\n", 0, 100), Ok(Cut::Frame { start: 0, end: 3, used: 4 }));
/// ```
#[derive(Clone, Debug)]
pub struct Delimiter {
    bytes: Vec<u8>,
    /// A CR before it belongs to it.
    cr: bool,
}

impl Delimiter {
    /// Frames that end with these bytes.
    ///
    /// # Panics
    /// Without any.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Delimiter {
        let bytes = bytes.into();
        assert!(!bytes.is_empty(), "a delimiter has at least one byte");
        Delimiter { bytes, cr: false }
    }

    /// Lines that end with CR LF, as most protocols of the internet have them. A lone LF is content.
    pub fn crlf() -> Delimiter {
        Delimiter::new("\r\n")
    }

    /// Lines that end with LF; a CR before it is no content. Frames are made with LF.
    pub fn line() -> Delimiter {
        Delimiter { bytes: b"\n".to_vec(), cr: true }
    }

    fn position(&self, input: &[u8], from: usize) -> Option<usize> {
        match &self.bytes[..] {
            [byte] => memchr::memchr(*byte, &input[from..]).map(|at| from + at),
            all => memchr::memmem::find(&input[from..], all).map(|at| from + at),
        }
    }
}

impl Framing for Delimiter {
    fn find(&self, input: &[u8], seen: usize, bytes_max: usize) -> Result<Cut, FrameError> {
        let len = self.bytes.len();
        // Its first bytes may have been the last ones that were seen.
        let from = seen.saturating_sub(len - 1).min(input.len());
        let Some(at) = self.position(input, from) else {
            // With as many bytes and no end it can only be longer.
            within(input.len().saturating_add(1), bytes_max)?;
            return Ok(Cut::Partial);
        };
        let used = within(at + len, bytes_max)?;
        let is_cr = self.cr && at > 0 && input[at - 1] == b'\r';
        Ok(Cut::Frame { start: 0, end: at - usize::from(is_cr), used })
    }

    fn encode(&self, content: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        let before = out.len();
        out.extend_from_slice(content);
        out.extend_from_slice(&self.bytes);
        // The delimiter must not be found earlier, also not across the border of content and delimiter.
        let is_last = self.position(&out[before..], 0) == Some(content.len());
        if !is_last || self.cr && content.last() == Some(&b'\r') {
            out.truncate(before);
            return Err(FrameError::Malformed("the content contains the delimiter"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delimiter_in_two_pieces_is_found() {
        let frames = Delimiter::crlf();
        assert_eq!(frames.find(b"a\r", 0, 10), Ok(Cut::Partial));
        assert_eq!(frames.find(b"a\r\n", 2, 10), Ok(Cut::Frame { start: 0, end: 1, used: 3 }));
    }

    #[test]
    fn a_frame_that_reaches_the_bound_is_taken_and_one_byte_more_is_not() {
        let frames = Delimiter::crlf();
        assert!(frames.find(b"123\r\n", 0, 5).is_ok());
        assert_eq!(frames.find(b"123\r\n", 0, 4), Err(FrameError::TooLong { bytes_max: 4 }));
        assert_eq!(frames.find(b"12345", 0, 5), Err(FrameError::TooLong { bytes_max: 5 }));
    }

    #[test]
    fn content_with_the_delimiter_in_it_makes_no_frame() {
        let mut out = b"before".to_vec();
        assert!(Delimiter::crlf().encode(b"a\r\nb", &mut out).is_err());
        assert!(Delimiter::new(b"abab").encode(b"xab", &mut out).is_err(), "found two bytes early");
        assert_eq!(out, b"before");
    }
}
