//! `WebSocketError`: what a peer can do wrong, and the close code that it gets for it.

use super::close::CloseCode;

/// What a peer has done wrong. The connection ends: [`WebSocketError::code`] says how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WebSocketError {
    /// A reserved bit without an extension that means it (RFC 6455 section 5.2).
    #[error("a reserved bit is set")]
    ReservedBit,
    /// An opcode that no RFC defines.
    #[error("unknown opcode {0}")]
    Opcode(u8),
    /// A client has to mask its frames, a server must not (section 5.1).
    #[error("the mask is on the wrong side")]
    Mask,
    /// Control frames are whole (section 5.5).
    #[error("a control frame is fragmented")]
    FragmentedControl,
    /// Control frames have at most 125 bytes (section 5.5).
    #[error("a control frame is too long")]
    LongControl,
    /// A length in more bytes than it needs, or beyond 63 bits (section 5.2).
    #[error("the length is not minimal")]
    Length,
    /// A continuation of nothing (section 5.4).
    #[error("a continuation without a beginning")]
    LoneContinuation,
    /// A new message within another one (section 5.4).
    #[error("a message begins within another one")]
    Interleaved,
    /// The message is longer than the limit.
    #[error("the message is longer than {0} bytes")]
    TooBig(usize),
    /// Text that is not UTF-8 (section 8.1).
    #[error("the text is not UTF-8")]
    NotUtf8,
    /// A Close frame whose payload is half a code (section 5.5.1).
    #[error("a close frame of one byte")]
    CloseOfOneByte,
    /// A close code that may not be sent (section 7.4).
    #[error("the close code {0} may not be sent")]
    CloseCode(u16),
    /// Compressed data that cannot be read (RFC 7692 section 7.2.2).
    #[error("the compressed data cannot be read")]
    Deflate,
}

impl WebSocketError {
    /// What the peer is told.
    pub fn code(self) -> CloseCode {
        match self {
            WebSocketError::TooBig(_) => CloseCode::TOO_BIG,
            WebSocketError::NotUtf8 | WebSocketError::Deflate => CloseCode::INVALID_DATA,
            _ => CloseCode::PROTOCOL,
        }
    }
}
