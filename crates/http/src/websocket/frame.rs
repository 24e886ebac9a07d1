//! `FrameHead`: the two to fourteen bytes in front of a payload (RFC 6455 section 5.2), and masking.
//!
//! ```text
//!   FIN RSV1 RSV2 RSV3 opcode(4) │ MASK length(7) │ length(16 or 64)? │ mask(32)? │ payload
//! ```

use super::error::WebSocketError;

pub(super) const CONTINUATION: u8 = 0;
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

const FIN: u8 = 0x80;
/// The bit that permessage-deflate uses (RFC 7692 section 6).
pub(super) const RSV1: u8 = 0x40;
const RSV2_3: u8 = 0x30;
const MASKED: u8 = 0x80;
/// Longest payload of a control frame.
const CONTROL_BYTES_MAX: u64 = 125;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) fin: bool,
    pub(super) compressed: bool,
    pub(super) opcode: u8,
    pub(super) mask: Option<[u8; 4]>,
    pub(super) length: u64,
}

impl FrameHead {
    pub(super) fn is_control(&self) -> bool {
        self.opcode >= CLOSE
    }

    /// Reads a head; `None` when `input` does not hold all of it yet.
    pub(super) fn parse(input: &[u8]) -> Result<Option<(FrameHead, usize)>, WebSocketError> {
        let [first, second, rest @ ..] = input else { return Ok(None) };
        let opcode = first & 0x0f;
        let fin = first & FIN != 0;
        // What is wrong in the first two bytes is said before the rest has come.
        if first & RSV2_3 != 0 {
            return Err(WebSocketError::ReservedBit);
        }
        if !matches!(opcode, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG) {
            return Err(WebSocketError::Opcode(opcode));
        }
        let short = u64::from(second & 0x7f);
        if opcode >= CLOSE && !fin {
            return Err(WebSocketError::FragmentedControl);
        }
        if opcode >= CLOSE && short > CONTROL_BYTES_MAX {
            return Err(WebSocketError::LongControl);
        }
        let (length, rest) = match short {
            126 => match rest.split_first_chunk::<2>() {
                Some((bytes, rest)) => (u64::from(u16::from_be_bytes(*bytes)), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk::<8>() {
                Some((bytes, rest)) => (u64::from_be_bytes(*bytes), rest),
                None => return Ok(None),
            },
            _ => (short, rest),
        };
        let least = match short {
            126 => 126,
            127 => 1 << 16,
            _ => 0,
        };
        if length < least || length >> 63 != 0 {
            return Err(WebSocketError::Length);
        }
        let (mask, rest) = if second & MASKED == 0 {
            (None, rest)
        } else {
            match rest.split_first_chunk::<4>() {
                Some((mask, rest)) => (Some(*mask), rest),
                None => return Ok(None),
            }
        };
        let head = FrameHead { fin, compressed: first & RSV1 != 0, opcode, mask, length };
        Ok(Some((head, input.len() - rest.len())))
    }

    /// Appends the head.
    pub(super) fn push(&self, out: &mut Vec<u8>) {
        let fin = if self.fin { FIN } else { 0 };
        let rsv1 = if self.compressed { RSV1 } else { 0 };
        let masked = if self.mask.is_some() { MASKED } else { 0 };
        out.push(fin | rsv1 | self.opcode);
        match self.length {
            length @ 0..=125 => out.push(masked | length as u8),
            length @ 126..=0xffff => {
                out.push(masked | 126);
                out.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                out.push(masked | 127);
                out.extend_from_slice(&length.to_be_bytes());
            }
        }
        out.extend_from_slice(&self.mask.unwrap_or_default()[..if self.mask.is_some() { 4 } else { 0 }]);
    }
}

/// Masks or unmasks; `done` bytes of the payload were before these (RFC 6455 section 5.3). Eight bytes at a time.
pub(super) fn mask(bytes: &mut [u8], mut key: [u8; 4], done: u64) {
    key.rotate_left((done % 4) as usize);
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(key.into_iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_all_lengths_come_back_and_their_prefixes_are_unfinished() {
        for length in [0, 1, 125, 126, 0xffff, 0x1_0000, 1 << 40] {
            for mask in [None, Some([1, 2, 3, 4])] {
                let head = FrameHead { fin: false, compressed: true, opcode: BINARY, mask, length };
                let mut out = Vec::new();
                head.push(&mut out);
                assert_eq!(FrameHead::parse(&out), Ok(Some((head, out.len()))));
                for end in 0..out.len() {
                    assert_eq!(FrameHead::parse(&out[..end]), Ok(None), "{length} cut at {end}");
                }
            }
        }
    }

    #[test]
    fn what_the_rfc_forbids_in_a_head_is_refused() {
        let refused = [
            (&[0xa1, 0x00][..], WebSocketError::ReservedBit),
            (&[0x83, 0x00], WebSocketError::Opcode(3)),
            (&[0x8b, 0x00], WebSocketError::Opcode(11)),
            (&[0x09, 0x00], WebSocketError::FragmentedControl),
            (&[0x89, 126, 0, 126], WebSocketError::LongControl),
            (&[0x82, 126, 0, 125], WebSocketError::Length),
            (&[0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff], WebSocketError::Length),
            (&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], WebSocketError::Length),
        ];
        for (bytes, error) in refused {
            assert_eq!(FrameHead::parse(bytes), Err(error), "{bytes:x?}");
        }
    }

    #[test]
    fn masking_goes_on_where_it_was() {
        let plain: Vec<u8> = (0..100).collect();
        let mut whole = plain.clone();
        mask(&mut whole, [9, 8, 7, 6], 0);
        let mut parts = plain.clone();
        let (first, second) = parts.split_at_mut(37);
        mask(first, [9, 8, 7, 6], 0);
        mask(second, [9, 8, 7, 6], 37);
        assert_eq!(parts, whole);
        mask(&mut parts, [9, 8, 7, 6], 0);
        assert_eq!(parts, plain);
    }
}
