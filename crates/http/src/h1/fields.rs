//! Where the field lines of a head lie in the caller's buffer: the storage that request and response heads share.
//!
//! Offsets, not slices: the storage outlives the buffer's moves, needs no lifetime, and is reused from request to
//! request without an allocation.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::error::HeadError;

/// What a parser has to say about the bytes so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parse {
    /// The head is whole: it is the first `bytes` of the input, with empty lines before it.
    Complete {
        /// Length of the head.
        bytes: usize,
    },
    /// Call again with the same bytes and more behind them.
    Partial,
}

/// A range of the caller's buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    /// Offset of the first byte from the start of the buffer.
    pub(crate) at: u32,
    /// Number of bytes.
    pub(crate) len: u32,
}

impl Span {
    /// Where `part`, a slice of `buffer`, lies in it.
    #[inline]
    pub(crate) fn of(part: &[u8], buffer: &[u8]) -> Span {
        // Only the addresses are compared. A part that is no slice of the buffer would give a wild offset, and the
        // checked indexing of `bytes` would panic: wrong, but not unsound.
        let at = part.as_ptr().addr().wrapping_sub(buffer.as_ptr().addr());
        Span { at: at as u32, len: part.len() as u32 }
    }

    /// The bytes of this span.
    #[inline]
    pub(crate) fn bytes(self, buffer: &[u8]) -> &[u8] {
        &buffer[self.at as usize..][..self.len as usize]
    }

    /// The text of this span, which the parser has found to be ASCII.
    #[inline]
    pub(crate) fn text(self, buffer: &[u8]) -> &str {
        std::str::from_utf8(self.bytes(buffer))
            .expect("the parser admits only ASCII here: another buffer was given")
    }
}

/// One field line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) name: Span,
    pub(crate) value: Span,
}

/// The field lines of a head, in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields {
    list: Vec<Field>,
}

impl Fields {
    pub(crate) const fn new() -> Self {
        Fields { list: Vec::new() }
    }

    #[inline]
    pub(crate) fn clear(&mut self) {
        self.list.clear();
    }

    /// The value of the field line number `index`.
    #[inline]
    pub(crate) fn value<'a>(&self, index: u16, buffer: &'a [u8]) -> Option<&'a [u8]> {
        self.list.get(usize::from(index)).map(|field| field.value.bytes(buffer))
    }

    /// The first value under `name`, compared without case. Linear in the number of field lines.
    pub(crate) fn get<'a>(&self, name: &str, buffer: &'a [u8]) -> Option<&'a [u8]> {
        let named = |field: &&Field| {
            field.name.len as usize == name.len()
                && field.name.bytes(buffer).eq_ignore_ascii_case(name.as_bytes())
        };
        self.list.iter().find(named).map(|field| field.value.bytes(buffer))
    }

    /// Takes over what httparse found in the first `bytes` of `window`, and has `note` look at each field line.
    ///
    /// httparse takes a bare LF for a line end and RFC 9112 section 2.2 lets it, but a front server that does not would see
    /// other lines than we do. Within a line httparse admits no CR, so it is enough to look where lines begin.
    ///
    /// # Errors
    /// `InvalidLineEnd`, and those of `note`.
    #[inline]
    pub(crate) fn collect(
        &mut self,
        headers: &[httparse::Header<'_>],
        window: &[u8],
        bytes: usize,
        mut note: impl FnMut(usize, &[u8], &[u8]) -> Result<(), HeadError>,
    ) -> Result<(), HeadError> {
        self.clear();
        self.list.reserve(headers.len());
        for (index, header) in headers.iter().enumerate() {
            let name = Span::of(header.name.as_bytes(), window);
            if !window[..name.at as usize].ends_with(b"\r\n") {
                return Err(HeadError::InvalidLineEnd);
            }
            if name.len > u32::from(u16::MAX) {
                // `http::HeaderName` holds no more.
                return Err(HeadError::HeadTooLarge);
            }
            self.list.push(Field { name, value: Span::of(header.value, window) });
            note(index, header.name.as_bytes(), header.value)?;
        }
        if window[..bytes].ends_with(b"\r\n\r\n") { Ok(()) } else { Err(HeadError::InvalidLineEnd) }
    }

    pub(crate) fn iter<'a>(&'a self, buffer: &'a [u8]) -> Headers<'a> {
        Headers { fields: self.list.iter(), buffer }
    }

    pub(crate) fn to_header_map(&self, buffer: &[u8]) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.list.len());
        for (name, value) in self.iter(buffer) {
            // The parser admits a subset of what these two admit, so nothing is lost here.
            if let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value))
            {
                map.append(name, value);
            }
        }
        map
    }
}

/// The field lines of a head in their order, as `(name, value)`: names as the peer wrote them, values without the white
/// space around them.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    fields: std::slice::Iter<'a, Field>,
    buffer: &'a [u8],
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let field = self.fields.next()?;
        Some((field.name.text(self.buffer), field.value.bytes(self.buffer)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.fields.size_hint()
    }
}

impl ExactSizeIterator for Headers<'_> {}
