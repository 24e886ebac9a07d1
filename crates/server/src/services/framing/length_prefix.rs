//! `LengthPrefix`: frames that begin with the number of bytes that follow.

use super::{Cut, FrameError, Framing, within};

/// Frames whose content comes behind its length in 1, 2, 4 or 8 bytes, in network order unless said otherwise, or in a
/// variable number of bytes. The length counts the content and not itself.
///
/// ```
/// use tenfold_server::{Cut, Framing, LengthPrefix};
/// let frames = LengthPrefix::u16();
/// let mut out = Vec::new();
/// frames.encode(b"abc", &mut out)?;
/// assert_eq!(out, b"\x00\x03abc");
/// assert_eq!(frames.find(&out, 0, 100)?, Cut::Frame { start: 2, end: 5, used: 5 });
/// # Ok::<(), tenfold_server::FrameError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct LengthPrefix {
    kind: Kind,
    little_endian: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// So many bytes.
    Fixed(usize),
    /// Seven bits a byte, the lowest first; the highest bit says that another byte follows (LEB128, as in protocol buffers).
    Varint,
}

/// Bytes of the longest varint, which holds 64 bits.
const VARINT_BYTES_MAX: usize = 10;

impl LengthPrefix {
    const fn fixed(bytes: usize) -> LengthPrefix {
        LengthPrefix { kind: Kind::Fixed(bytes), little_endian: false }
    }

    /// The length is one byte.
    pub const fn u8() -> LengthPrefix {
        Self::fixed(1)
    }

    /// The length is two bytes.
    pub const fn u16() -> LengthPrefix {
        Self::fixed(2)
    }

    /// The length is four bytes.
    pub const fn u32() -> LengthPrefix {
        Self::fixed(4)
    }

    /// The length is eight bytes.
    pub const fn u64() -> LengthPrefix {
        Self::fixed(8)
    }

    /// The length has seven bits a byte, the lowest first (LEB128).
    pub const fn varint() -> LengthPrefix {
        LengthPrefix { kind: Kind::Varint, little_endian: false }
    }

    /// The lowest byte of the length is the first one. A varint has it so in any case.
    #[must_use]
    pub const fn little_endian(self) -> LengthPrefix {
        LengthPrefix { little_endian: true, ..self }
    }

    /// The length and the bytes that it takes; `None` when they have not all come.
    fn length(&self, input: &[u8]) -> Result<Option<(u64, usize)>, FrameError> {
        match self.kind {
            Kind::Fixed(bytes) => {
                let Some(prefix) = input.get(..bytes) else { return Ok(None) };
                let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
                let length = match self.little_endian {
                    true => prefix.iter().rev().fold(0, add),
                    false => prefix.iter().fold(0, add),
                };
                Ok(Some((length, bytes)))
            }
            Kind::Varint => varint(input),
        }
    }
}

fn varint(input: &[u8]) -> Result<Option<(u64, usize)>, FrameError> {
    let mut length = 0;
    for (index, byte) in input.iter().take(VARINT_BYTES_MAX).enumerate() {
        let bits = u64::from(byte & 0x7f);
        let shift = 7 * index as u32;
        if shift == 63 && bits > 1 {
            break;
        }
        length |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(Some((length, index + 1)));
        }
    }
    match input.len() < VARINT_BYTES_MAX {
        true => Ok(None),
        false => Err(FrameError::Malformed("a length has more than 64 bits")),
    }
}

impl Framing for LengthPrefix {
    fn find(&self, input: &[u8], _seen: usize, bytes_max: usize) -> Result<Cut, FrameError> {
        let Some((length, start)) = self.length(input)? else {
            within(input.len().saturating_add(1), bytes_max)?;
            return Ok(Cut::Partial);
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let used = within(start.saturating_add(length), bytes_max)?;
        Ok(if input.len() < used { Cut::Partial } else { Cut::Frame { start, end: used, used } })
    }

    fn encode(&self, content: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        let length = content.len() as u64;
        match self.kind {
            Kind::Fixed(bytes) => {
                let most = if bytes == 8 { u64::MAX } else { (1 << (8 * bytes)) - 1 };
                if length > most {
                    return Err(FrameError::TooLong { bytes_max: most as usize });
                }
                match self.little_endian {
                    true => out.extend_from_slice(&length.to_le_bytes()[..bytes]),
                    false => out.extend_from_slice(&length.to_be_bytes()[8 - bytes..]),
                }
            }
            Kind::Varint => {
                let mut rest = length;
                while rest >= 0x80 {
                    out.push(rest as u8 | 0x80);
                    rest >>= 7;
                }
                out.push(rest as u8);
            }
        }
        out.extend_from_slice(content);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_beyond_the_bound_is_refused_before_its_content_comes() {
        assert!(matches!(LengthPrefix::u32().find(&[0xff; 4], 0, 1000), Err(FrameError::TooLong { .. })));
        assert!(matches!(
            LengthPrefix::u64().find(&[0xff; 8], 0, usize::MAX - 1),
            Err(FrameError::TooLong { .. })
        ));
    }

    #[test]
    fn the_order_of_bytes_is_as_said() {
        for (framing, bytes) in [
            (LengthPrefix::u32(), &[0, 0, 0, 2, b'h', b'i'][..]),
            (LengthPrefix::u32().little_endian(), &[2, 0, 0, 0, b'h', b'i']),
            (LengthPrefix::varint(), &[2, b'h', b'i']),
        ] {
            let mut made = Vec::new();
            framing.encode(b"hi", &mut made).unwrap();
            assert_eq!(made, bytes);
            let found = framing.find(bytes, 0, 100).unwrap();
            assert!(matches!(found, Cut::Frame { end, used, .. } if end == used && used == bytes.len()));
        }
    }

    #[test]
    fn a_varint_of_more_than_64_bits_is_none() {
        assert_eq!(varint(&[0xff; 9]), Ok(None));
        assert_eq!(
            varint(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
            Ok(Some((u64::MAX, 10)))
        );
        assert!(varint(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).is_err());
        assert!(varint(&[0x80; 10]).is_err());
    }

    #[test]
    fn content_that_is_too_long_for_its_length_makes_no_frame() {
        let mut out = Vec::new();
        assert_eq!(
            LengthPrefix::u8().encode(&[0; 256], &mut out),
            Err(FrameError::TooLong { bytes_max: 255 })
        );
        assert!(out.is_empty());
    }
}
