//! The fields that steer the protocol, noted while the field lines are walked once: framing, persistence, Host, Expect
//! and Upgrade. What a handler is interested in is not looked at.

use crate::error::HeadError;
use crate::h1::framing::Transfer;
use crate::h1::syntax;

/// No such field line.
const ABSENT: u16 = u16::MAX;

/// What the steering fields of one head say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Semantics {
    /// Content-Length.
    pub(crate) length: Option<u64>,
    /// Transfer-Encoding.
    pub(crate) transfer: Option<Transfer>,
    /// Number of the Host line, or `ABSENT`.
    host: u16,
    /// Number of the first Upgrade line, or `ABSENT`.
    upgrade: u16,
    /// Bits below.
    bits: u8,
}

const CLOSE: u8 = 1;
const KEEP_ALIVE: u8 = 2;
const UPGRADE_OPTION: u8 = 4;
const EXPECTS_CONTINUE: u8 = 8;
const CONTENT_TYPE: u8 = 16;
const AUTHORIZATION: u8 = 32;

impl Semantics {
    pub(crate) const NOTHING: Semantics =
        Semantics { length: None, transfer: None, host: ABSENT, upgrade: ABSENT, bits: 0 };

    /// Notes the field line number `index`.
    ///
    /// A field that may come once is refused when it comes twice, even with the same value (RFC 9110 section 5.3 forbids
    /// senders to do it): which of the two counts differs from one implementation to the next.
    #[inline]
    pub(crate) fn note(&mut self, index: usize, name: &[u8], value: &[u8]) -> Result<(), HeadError> {
        // The length picks the only candidate, so that a field that does not steer costs one jump.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                if self.host != ABSENT {
                    return Err(HeadError::DuplicatedHeader);
                }
                self.host = index as u16;
            }
            6 if name.eq_ignore_ascii_case(b"expect") => return self.note_expect(value),
            7 if name.eq_ignore_ascii_case(b"upgrade") && self.upgrade == ABSENT => {
                self.upgrade = index as u16
            }
            10 if name.eq_ignore_ascii_case(b"connection") => return self.note_connection(value),
            12 if name.eq_ignore_ascii_case(b"content-type") => return self.note_once(CONTENT_TYPE),
            13 if name.eq_ignore_ascii_case(b"authorization") => return self.note_once(AUTHORIZATION),
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                if self.length.is_some() {
                    return Err(HeadError::DuplicatedHeader);
                }
                self.length = Some(syntax::decimal(value).ok_or(HeadError::InvalidContentLength)?);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.transfer.is_some() {
                    return Err(HeadError::DuplicatedHeader);
                }
                self.transfer = Some(Transfer::parse(value)?);
            }
            _ => {}
        }
        Ok(())
    }

    /// Number of the Host line.
    #[inline]
    pub(crate) fn host(&self) -> Option<u16> {
        (self.host != ABSENT).then_some(self.host)
    }

    /// Number of the first Upgrade line, if Connection names it too: RFC 9110 section 7.8 has a sender do so, and without
    /// it the field may have been meant for another hop.
    pub(crate) fn upgrade(&self) -> Option<u16> {
        (self.upgrade != ABSENT && self.bits & UPGRADE_OPTION != 0).then_some(self.upgrade)
    }

    #[inline]
    pub(crate) fn expects_continue(&self) -> bool {
        self.bits & EXPECTS_CONTINUE != 0
    }

    /// Whether the sender wants the connection to persist (RFC 9112 section 9.3).
    #[inline]
    pub(crate) fn keep_alive(&self, minor_version: u8) -> bool {
        let options = self.bits & (CLOSE | KEEP_ALIVE);
        if minor_version == 0 { options == KEEP_ALIVE } else { options & CLOSE == 0 }
    }

    fn note_once(&mut self, bit: u8) -> Result<(), HeadError> {
        if self.bits & bit != 0 {
            return Err(HeadError::DuplicatedHeader);
        }
        self.bits |= bit;
        Ok(())
    }

    fn note_connection(&mut self, value: &[u8]) -> Result<(), HeadError> {
        for option in syntax::list(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.bits |= CLOSE;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.bits |= KEEP_ALIVE;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.bits |= UPGRADE_OPTION;
            } else if !syntax::is_token(option) {
                return Err(HeadError::InvalidConnection);
            }
        }
        Ok(())
    }

    fn note_expect(&mut self, value: &[u8]) -> Result<(), HeadError> {
        for expectation in syntax::list(value) {
            if !expectation.eq_ignore_ascii_case(b"100-continue") {
                return Err(HeadError::UnknownExpectation);
            }
            self.bits |= EXPECTS_CONTINUE;
        }
        Ok(())
    }
}
