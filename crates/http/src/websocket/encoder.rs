//! Frames to bytes.

use super::close::CloseFrame;
use super::frame::{self, FrameHead};

/// Longest reason of a Close frame: 125 bytes less the code.
const REASON_BYTES_MAX: usize = 123;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// UTF-8.
    Text,
    /// Bytes.
    Binary,
    /// "Are you there?"; at most 125 bytes.
    Ping,
    /// The answer to a Ping, with its payload.
    Pong,
}

impl Opcode {
    fn number(self) -> u8 {
        match self {
            Opcode::Text => frame::TEXT,
            Opcode::Binary => frame::BINARY,
            Opcode::Ping => frame::PING,
            Opcode::Pong => frame::PONG,
        }
    }
}

/// Appends a whole message, or a Ping or Pong, as one frame of a server.
///
/// ```
/// use tenfold_http::websocket::{Opcode, encode};
/// let mut out = Vec::new();
/// encode(&mut out, Opcode::Text, b"Hello");
/// assert_eq!(out, b"\x81\x05Hello"); // RFC 6455 section 5.7
/// ```
pub fn encode(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    push(out, opcode.number(), false, None, payload);
}

/// Appends a message whose payload was compressed by [`super::Deflater::deflate`].
pub fn encode_compressed(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    push(out, opcode.number(), true, None, payload);
}

/// Appends a frame of a client, which has to be masked with a key that nobody can guess (RFC 6455 section 5.3).
pub fn encode_masked(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], key: [u8; 4]) {
    push(out, opcode.number(), false, Some(key), payload);
}

/// Appends a Close frame; the reason is cut to the 123 bytes that it may have. With a key it is a client's.
///
/// A code that [`CloseCode::may_be_sent`](super::CloseCode::may_be_sent) forbids is left out with its reason: a frame without a
/// code is what 1005 means, and the peer would fail the connection over any other (RFC 6455 section 7.4).
pub fn encode_close(out: &mut Vec<u8>, close: Option<&CloseFrame>, key: Option<[u8; 4]>) {
    let mut payload = Vec::new();
    if let Some(CloseFrame { code, reason }) = close.filter(|close| close.code.may_be_sent()) {
        payload.extend_from_slice(&code.0.to_be_bytes());
        payload.extend_from_slice(&reason.as_bytes()[..reason.floor_char_boundary(REASON_BYTES_MAX)]);
    }
    push(out, frame::CLOSE, false, key, &payload);
}

fn push(out: &mut Vec<u8>, opcode: u8, compressed: bool, key: Option<[u8; 4]>, payload: &[u8]) {
    out.reserve(payload.len() + 14);
    FrameHead { fin: true, compressed, opcode, mask: key, length: payload.len() as u64 }.push(out);
    let begin = out.len();
    out.extend_from_slice(payload);
    if let Some(key) = key {
        frame::mask(&mut out[begin..], key, 0);
    }
}
