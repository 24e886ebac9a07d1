//! The request target and its four forms (RFC 9112 section 3.2).

use crate::error::HeadError;
use crate::h1::fields::Span;
use crate::h1::syntax;

/// The parts of a target, as ranges of the caller's buffer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Target {
    /// All of it.
    pub(crate) whole: Span,
    /// What a router matches.
    pub(crate) path: Path,
    /// Behind the "?"; present but empty for `/path?`.
    pub(crate) query: Option<Span>,
    /// The authority of an absolute or authority form: it replaces Host (RFC 9112 section 3.2.2).
    pub(crate) authority: Option<Span>,
}

/// Where the path of a target is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Path {
    /// A range of the buffer.
    At(Span),
    /// `http://host`: the path is empty and means `/` (RFC 9110 section 4.2.3).
    Root,
    /// `*`, or `OPTIONS http://host` (RFC 9112 section 3.2.4).
    Asterisk,
    /// CONNECT has none.
    #[default]
    Nothing,
}

impl Target {
    /// Reads the target at `whole` into `self`: in place, since a struct of this size returned by value costs more than
    /// all the reading. The bytes are already known to be 0x21..=0x7E or above 0x7F.
    ///
    /// # Errors
    /// `InvalidTarget` for a form that the method does not have, for a fragment, for bytes outside ASCII, and for user
    /// information (RFC 9110 section 4.2.4).
    #[inline]
    pub(crate) fn read(&mut self, whole: Span, buffer: &[u8], method: &[u8]) -> Result<(), HeadError> {
        let bytes = whole.bytes(buffer);
        if bytes.first() != Some(&b'/') || method == b"CONNECT" {
            *self = Self::parse_rare(whole, bytes, method)?;
            return Ok(());
        }
        let len = self.split(bytes, whole.at)?;
        self.whole = whole;
        self.path = Path::At(Span { at: whole.at, len });
        self.authority = None;
        Ok(())
    }

    /// Splits path and query, at offset `at`, at the "?", and refuses what no URI has. Notes the query and returns the
    /// path's length. Browsers send `{`, `|`, `"` and the like as they are, and no two implementations differ in where such
    /// a target ends: they pass.
    #[inline]
    fn split(&mut self, bytes: &[u8], at: u32) -> Result<u32, HeadError> {
        self.query = None;
        let Some(stop) = bytes.iter().position(|byte| matches!(byte, b'?' | b'#' | 0x80..)) else {
            return Ok(bytes.len() as u32);
        };
        let query = &bytes[stop + 1..];
        if bytes[stop] != b'?' || !query.is_ascii() || memchr::memchr(b'#', query).is_some() {
            return Err(HeadError::InvalidTarget);
        }
        self.query = Some(Span { at: at + stop as u32 + 1, len: query.len() as u32 });
        Ok(stop as u32)
    }

    #[cold]
    fn parse_rare(whole: Span, bytes: &[u8], method: &[u8]) -> Result<Target, HeadError> {
        if method == b"CONNECT" {
            let port = memchr::memrchr(b':', bytes).map(|colon| &bytes[colon + 1..]).unwrap_or_default();
            let valid = syntax::is_host(bytes) && !port.is_empty() && port.iter().all(u8::is_ascii_digit);
            let target = Target { whole, authority: Some(whole), ..Target::default() };
            return if valid { Ok(target) } else { Err(HeadError::InvalidTarget) };
        }
        if bytes == b"*" {
            let target = Target { whole, path: Path::Asterisk, ..Target::default() };
            return if method == b"OPTIONS" { Ok(target) } else { Err(HeadError::InvalidTarget) };
        }
        let scheme = memchr::memmem::find(bytes, b"://").ok_or(HeadError::InvalidTarget)?;
        if !is_scheme(&bytes[..scheme]) {
            return Err(HeadError::InvalidTarget);
        }
        let start = scheme + 3;
        let end = bytes[start..]
            .iter()
            .position(|b| matches!(b, b'/' | b'?' | b'#'))
            .map_or(bytes.len(), |at| start + at);
        let authority = &bytes[start..end];
        if authority.is_empty() || !syntax::is_host(authority) {
            return Err(HeadError::InvalidTarget);
        }
        let authority = Some(Span { at: whole.at + start as u32, len: authority.len() as u32 });
        let mut target = Target { whole, authority, ..Target::default() };
        let at = whole.at + end as u32;
        target.path = match target.split(&bytes[end..], at)? {
            0 if method == b"OPTIONS" && target.query.is_none() => Path::Asterisk,
            0 => Path::Root,
            len => Path::At(Span { at, len }),
        };
        Ok(target)
    }
}

/// `ALPHA *( ALPHA / DIGIT / "+" / "-" / "." )` (RFC 3986 section 3.1).
fn is_scheme(scheme: &[u8]) -> bool {
    scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}
