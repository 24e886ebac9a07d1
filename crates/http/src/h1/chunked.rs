//! The chunked transfer coding, received (RFC 9112 section 7.1).
//!
//! ```text
//! Size -> Extension? -> SizeLf --(size > 0)--> Data -> DataCr -> DataLf -> Size
//!                          \--(size = 0)--> TrailerStart -> EndLf ----> End
//!                                                \-> Trailer ---------/
//! ```
//!
//! Framing is read byte by byte into a few integers: a size line cut in the middle needs no buffer. What may stand between
//! the size and its line end is where implementations have differed and requests were smuggled, so nothing but digits and
//! extensions passes: no sign, no `0x`, no space, no bare CR or LF.

use http::HeaderMap;

use crate::error::BodyError;
use crate::h1::body::Decoded;
use crate::h1::trailers::Trailers;
use crate::limits::BodyLimits;

/// Where in a chunked body we are.
#[derive(Clone, Debug)]
pub(crate) struct Chunked {
    phase: Phase,
    /// In `Size`: the number so far. In `Data`: bytes of this chunk to come.
    left: u64,
    /// Bytes of the current chunk-size line.
    line_bytes: usize,
    /// Bytes of all extensions so far.
    extension_bytes: usize,
    /// Content announced by the size lines so far.
    announced: u64,
    /// Boxed: hardly any body has trailers.
    trailers: Option<Box<Trailers>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    EndLf,
    End,
}

impl Chunked {
    pub(crate) fn new() -> Self {
        Chunked {
            phase: Phase::Size,
            left: 0,
            line_bytes: 0,
            extension_bytes: 0,
            announced: 0,
            trailers: None,
        }
    }

    pub(crate) fn decode(&mut self, input: &[u8], limits: &BodyLimits) -> Result<Decoded, BodyError> {
        let mut at = 0;
        let mut data = 0..0;
        while let Some(&byte) = input.get(at) {
            match self.phase {
                Phase::Data => {
                    if !data.is_empty() {
                        break;
                    }
                    let rest = input.len() - at;
                    let take = usize::try_from(self.left).map_or(rest, |left| left.min(rest));
                    data = at..at + take;
                    at += take;
                    self.left -= take as u64;
                    if self.left == 0 {
                        self.phase = Phase::DataCr;
                    }
                    continue;
                }
                Phase::Trailer => {
                    let trailers = self.trailers.get_or_insert_default();
                    let (consumed, end) = trailers.collect(&input[at..], limits)?;
                    at += consumed;
                    if end {
                        self.phase = Phase::End;
                    }
                    continue;
                }
                Phase::TrailerStart if byte != b'\r' => {
                    self.phase = Phase::Trailer;
                    continue;
                }
                Phase::End => break,
                Phase::Size => self.size_byte(byte, limits)?,
                Phase::Extension => self.extension_byte(byte, limits)?,
                Phase::SizeLf => self.size_line_end(byte, limits)?,
                Phase::DataCr => self.expect(byte, b'\r', Phase::DataLf)?,
                Phase::DataLf => self.expect(byte, b'\n', Phase::Size)?,
                Phase::TrailerStart => self.phase = Phase::EndLf,
                Phase::EndLf if byte == b'\n' => self.phase = Phase::End,
                Phase::EndLf => return Err(BodyError::InvalidTrailer),
            }
            at += 1;
        }
        Ok(Decoded { consumed: at, data, end: self.is_end() })
    }

    pub(crate) fn is_end(&self) -> bool {
        self.phase == Phase::End
    }

    pub(crate) fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref().map(|trailers| trailers.fields())
    }

    pub(crate) fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take().map(|trailers| trailers.into_fields())
    }

    /// `1*HEXDIG`, then an extension or the line's end.
    fn size_byte(&mut self, byte: u8, limits: &BodyLimits) -> Result<(), BodyError> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if self.line_bytes > 0 => {
                self.phase = Phase::SizeLf;
                return Ok(());
            }
            b';' if self.line_bytes > 0 => {
                self.phase = Phase::Extension;
                return self.count_line_byte(limits);
            }
            _ => return Err(BodyError::InvalidChunkSize),
        };
        if self.left >> 60 != 0 {
            return Err(BodyError::InvalidChunkSize);
        }
        self.left = self.left << 4 | u64::from(digit);
        self.count_line_byte(limits)
    }

    /// Extensions mean nothing to us (section 7.1.1: ignore what is not understood), but are no place to hide a line end.
    fn extension_byte(&mut self, byte: u8, limits: &BodyLimits) -> Result<(), BodyError> {
        match byte {
            b'\r' => {
                self.phase = Phase::SizeLf;
                return Ok(());
            }
            b'\t' => {}
            0..=0x1f | 0x7f => return Err(BodyError::InvalidChunkExtension),
            _ => {}
        }
        self.extension_bytes += 1;
        if self.extension_bytes > limits.chunk_extension_bytes_max {
            return Err(BodyError::ChunkLineTooLong);
        }
        self.count_line_byte(limits)
    }

    fn size_line_end(&mut self, byte: u8, limits: &BodyLimits) -> Result<(), BodyError> {
        if byte != b'\n' {
            return Err(BodyError::InvalidChunkExtension);
        }
        self.announced = self.announced.saturating_add(self.left);
        if self.announced > limits.body_bytes_max {
            return Err(BodyError::TooLarge);
        }
        self.line_bytes = 0;
        self.phase = if self.left == 0 { Phase::TrailerStart } else { Phase::Data };
        Ok(())
    }

    fn expect(&mut self, byte: u8, expected: u8, next: Phase) -> Result<(), BodyError> {
        if byte != expected {
            return Err(BodyError::InvalidChunkEnd);
        }
        self.phase = next;
        Ok(())
    }

    fn count_line_byte(&mut self, limits: &BodyLimits) -> Result<(), BodyError> {
        self.line_bytes += 1;
        if self.line_bytes > limits.chunk_line_bytes_max {
            return Err(BodyError::ChunkLineTooLong);
        }
        Ok(())
    }
}
