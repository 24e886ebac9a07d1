//! `FixedHeader`: frames with a header of a fixed size, which tells how long the body is.

use std::fmt;

use super::{Cut, FrameError, Framing, within};

/// Frames of a header and a body; a function finds the body's length in the header. Content is the whole frame, header and
/// body, and so is what frames are made of.
///
/// ```
/// use tenfold_server::{FixedHeader, Cut, Framing};
/// // Memcached's binary protocol: 24 bytes, of which bytes 8 to 11 are the body's length.
/// let frames = FixedHeader::new(24, |header| {
///     let length = u32::from_be_bytes(header[8..12].try_into().ok()?);
///     (header[0] == 0x80).then_some(length as usize)
/// });
/// assert_eq!(frames.find(&[0x80; 4], 0, 1 << 20), Ok(Cut::Partial));
/// ```
pub struct FixedHeader {
    header_bytes: usize,
    body_bytes: Box<BodyBytes>,
}

/// How many bytes follow a header.
type BodyBytes = dyn Fn(&[u8]) -> Option<usize> + Send + Sync;

impl FixedHeader {
    /// Headers of `header_bytes` bytes; `body_bytes` gets one and answers how many bytes follow, or `None` when it is no
    /// header.
    ///
    /// # Panics
    /// When a header has no bytes.
    pub fn new(
        header_bytes: usize,
        body_bytes: impl Fn(&[u8]) -> Option<usize> + Send + Sync + 'static,
    ) -> FixedHeader {
        assert!(header_bytes > 0, "a header has at least one byte");
        FixedHeader { header_bytes, body_bytes: Box::new(body_bytes) }
    }
}

impl Framing for FixedHeader {
    fn find(&self, input: &[u8], _seen: usize, bytes_max: usize) -> Result<Cut, FrameError> {
        within(self.header_bytes, bytes_max)?;
        let Some(header) = input.get(..self.header_bytes) else { return Ok(Cut::Partial) };
        let body = (self.body_bytes)(header).ok_or(FrameError::Malformed("the header is none"))?;
        let used = within(self.header_bytes.saturating_add(body), bytes_max)?;
        Ok(if input.len() < used { Cut::Partial } else { Cut::Frame { start: 0, end: used, used } })
    }

    fn encode(&self, content: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        let header = content.get(..self.header_bytes).ok_or(FrameError::Malformed("there is no header"))?;
        let body = (self.body_bytes)(header).ok_or(FrameError::Malformed("the header is none"))?;
        if body != content.len() - self.header_bytes {
            return Err(FrameError::Malformed("the header tells another length"));
        }
        out.extend_from_slice(content);
        Ok(())
    }
}

impl fmt::Debug for FixedHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FixedHeader({} bytes)", self.header_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_is_none_and_a_body_that_is_too_long_are_refused() {
        let frames = FixedHeader::new(2, |header| (header[0] == 1).then_some(usize::from(header[1])));
        assert_eq!(frames.find(&[1, 3, 0, 0], 0, 10), Ok(Cut::Partial));
        assert_eq!(frames.find(&[1, 1, 9, 1], 0, 10), Ok(Cut::Frame { start: 0, end: 3, used: 3 }));
        assert!(matches!(frames.find(&[2, 0], 0, 10), Err(FrameError::Malformed(_))));
        assert_eq!(frames.find(&[1, 9], 0, 10), Err(FrameError::TooLong { bytes_max: 10 }));
        assert!(frames.encode(&[1, 1], &mut Vec::new()).is_err());
    }
}
