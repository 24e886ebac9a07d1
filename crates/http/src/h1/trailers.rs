//! The trailer section of a chunked body (RFC 9112 section 7.1.2): the only part of a body that is collected, because its
//! fields make sense only when it is whole.

use http::{HeaderMap, HeaderName, HeaderValue};
use httparse::EMPTY_HEADER;

use crate::error::BodyError;
use crate::limits::BodyLimits;

/// Fields that a recipient must not take from a trailer: framing, routing, authentication, and how to read the content
/// (RFC 9110 section 6.5.1). A sender that puts them there either is broken or tries what we do with them.
const FORBIDDEN: [&str; 18] = [
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
];

/// The trailer section so far, and its fields once it is whole.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trailers {
    /// At most `trailer_bytes_max` bytes; emptied when the section is whole.
    bytes: Vec<u8>,
    /// Where the unfinished line begins.
    line: usize,
    fields: HeaderMap,
}

impl Trailers {
    /// Takes what belongs to the section from the start of `input`; says how much that was and whether it is whole.
    ///
    /// # Errors
    /// `TrailersTooLarge`, `InvalidTrailer`.
    pub(crate) fn collect(&mut self, input: &[u8], limits: &BodyLimits) -> Result<(usize, bool), BodyError> {
        let mut consumed = 0;
        while consumed < input.len() {
            let rest = &input[consumed..];
            let line_end = memchr::memchr(b'\n', rest);
            let piece = &rest[..line_end.map_or(rest.len(), |at| at + 1)];
            if self.bytes.len() + piece.len() > limits.trailer_bytes_max {
                return Err(BodyError::TrailersTooLarge);
            }
            self.bytes.extend_from_slice(piece);
            consumed += piece.len();
            if line_end.is_none() {
                break;
            }
            match &self.bytes[self.line..] {
                b"\r\n" => {
                    self.parse(limits)?;
                    return Ok((consumed, true));
                }
                [.., b'\r', b'\n'] => self.line = self.bytes.len(),
                _ => return Err(BodyError::InvalidTrailer),
            }
        }
        Ok((consumed, false))
    }

    pub(crate) fn fields(&self) -> &HeaderMap {
        &self.fields
    }

    pub(crate) fn into_fields(self) -> HeaderMap {
        self.fields
    }

    fn parse(&mut self, limits: &BodyLimits) -> Result<(), BodyError> {
        let bytes = std::mem::take(&mut self.bytes);
        // Every field line has at least four bytes, so a large limit does not allocate much for a small section.
        let mut slots = vec![EMPTY_HEADER; limits.trailers_max.min(bytes.len() / 4 + 1)];
        let headers = match httparse::parse_headers(&bytes, &mut slots) {
            Ok(httparse::Status::Complete((end, headers))) if end == bytes.len() => headers,
            Err(httparse::Error::TooManyHeaders) => return Err(BodyError::TrailersTooLarge),
            _ => return Err(BodyError::InvalidTrailer),
        };
        for header in headers {
            let name =
                HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| BodyError::InvalidTrailer)?;
            let value = HeaderValue::from_bytes(header.value).map_err(|_| BodyError::InvalidTrailer)?;
            if FORBIDDEN.binary_search(&name.as_str()).is_ok() {
                return Err(BodyError::InvalidTrailer);
            }
            self.fields.try_append(name, value).map_err(|_| BodyError::TrailersTooLarge)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forbidden_names_are_sorted_for_the_binary_search() {
        assert!(FORBIDDEN.is_sorted());
    }
}
