//! `CloseCode` and `CloseFrame`: why a connection ends (RFC 6455 section 7.4).

use super::error::WebSocketError;
use super::utf8;

/// Why a connection ends. Codes from 4000 on are an application's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The purpose is fulfilled.
    pub const NORMAL: CloseCode = CloseCode(1000);
    /// The server goes down, or the page was left.
    pub const AWAY: CloseCode = CloseCode(1001);
    /// The peer has broken the protocol.
    pub const PROTOCOL: CloseCode = CloseCode(1002);
    /// A kind of message that is not accepted here.
    pub const UNSUPPORTED: CloseCode = CloseCode(1003);
    /// Text that is not UTF-8.
    pub const INVALID_DATA: CloseCode = CloseCode(1007);
    /// The peer may not do this.
    pub const POLICY: CloseCode = CloseCode(1008);
    /// A message is too large.
    pub const TOO_BIG: CloseCode = CloseCode(1009);
    /// The handler has failed.
    pub const INTERNAL: CloseCode = CloseCode(1011);
    /// The service restarts: connect again, after a random while (IANA registry of WebSocket close codes).
    pub const RESTART: CloseCode = CloseCode(1012);
    /// Try again later: the server has too much to do, or the client reads too slowly (IANA registry).
    pub const TRY_LATER: CloseCode = CloseCode(1013);

    /// Whether it may stand in a frame (RFC 6455 section 7.4.2; 1012 to 1014 by the IANA registry).
    pub fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

/// What a Close frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseFrame {
    /// Why.
    pub code: CloseCode,
    /// For a person; at most 123 bytes.
    pub reason: String,
}

impl CloseFrame {
    /// Reads the payload of a Close frame; an empty one says nothing (RFC 6455 section 5.5.1).
    pub(super) fn parse(payload: &[u8]) -> Result<Option<CloseFrame>, WebSocketError> {
        if payload.is_empty() {
            return Ok(None);
        }
        let Some((code, reason)) = payload.split_first_chunk::<2>() else {
            return Err(WebSocketError::CloseOfOneByte);
        };
        let code = CloseCode(u16::from_be_bytes(*code));
        if !code.may_be_sent() {
            return Err(WebSocketError::CloseCode(code.0));
        }
        let reason = utf8::whole(reason).ok_or(WebSocketError::NotUtf8)?;
        Ok(Some(CloseFrame { code, reason: reason.to_owned() }))
    }
}
