//! What a request head says: the offsets in a `Head`, read together with the bytes that they point into.
//!
//! Nothing is decoded here: the path stays percent-encoded, values stay bytes. That is the router's and the extractors' part.

use http::{HeaderMap, Method, Version};

use crate::h1::fields::Headers;
use crate::h1::framing::Framing;
use crate::h1::head::Head;
use crate::h1::target::Path;

/// A parsed head and the bytes that it points into.
#[derive(Clone, Copy, Debug)]
pub struct HeadView<'a> {
    head: &'a Head,
    bytes: &'a [u8],
}

impl<'a> HeadView<'a> {
    /// `bytes` is exactly the head.
    #[inline]
    pub(super) fn new(head: &'a Head, bytes: &'a [u8]) -> Self {
        HeadView { head, bytes }
    }

    /// The method. Allocates only for an unregistered one of more than 15 bytes.
    pub fn method(&self) -> Method {
        // httparse admits exactly the tokens that `Method` admits.
        Method::from_bytes(self.head.method.bytes(self.bytes)).unwrap_or_default()
    }

    /// The method as it was sent; methods are case-sensitive (RFC 9110 section 9.1).
    #[inline]
    pub fn method_str(&self) -> &'a str {
        // The common ones need no look at their encoding.
        match self.head.method.bytes(self.bytes) {
            b"GET" => "GET",
            b"POST" => "POST",
            b"HEAD" => "HEAD",
            b"PUT" => "PUT",
            _ => self.head.method.text(self.bytes),
        }
    }

    /// Whether the method is HEAD.
    #[inline]
    pub fn is_head(&self) -> bool {
        self.head.method.bytes(self.bytes) == b"HEAD"
    }

    /// The target as it was sent.
    pub fn target(&self) -> &'a str {
        self.head.target.whole.text(self.bytes)
    }

    /// The path, still percent-encoded: `/...`, `*`, or empty for CONNECT.
    #[inline]
    pub fn path(&self) -> &'a str {
        match self.head.target.path {
            Path::At(span) => span.text(self.bytes),
            Path::Root => "/",
            Path::Asterisk => "*",
            Path::Nothing => "",
        }
    }

    /// What follows the "?", still percent-encoded; `Some("")` for `/path?`.
    #[inline]
    pub fn query(&self) -> Option<&'a str> {
        self.head.target.query.map(|span| span.text(self.bytes))
    }

    /// HTTP/1.0 or HTTP/1.1.
    #[inline]
    pub fn version(&self) -> Version {
        if self.head.minor_version == 0 { Version::HTTP_10 } else { Version::HTTP_11 }
    }

    /// The first value under `name`, compared without case. Linear in the number of field lines.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.head.fields.get(name, self.bytes)
    }

    /// All field lines in their order.
    pub fn headers(&self) -> Headers<'a> {
        self.head.fields.iter(self.bytes)
    }

    /// A copy of all field lines; one allocation per value.
    pub fn to_header_map(&self) -> HeaderMap {
        self.head.fields.to_header_map(self.bytes)
    }

    /// How the end of the body is found; never `UntilClose`.
    #[inline]
    pub fn framing(&self) -> Framing {
        self.head.framing
    }

    /// Whether the client wants the connection to persist (RFC 9112 section 9.3).
    #[inline]
    pub fn keep_alive(&self) -> bool {
        self.head.semantics.keep_alive(self.head.minor_version)
    }

    /// Whether the client waits for `100 Continue` before it sends the body. Not so in HTTP/1.0, nor when there is no
    /// body to wait for (RFC 9110 section 10.1.1).
    #[inline]
    pub fn expects_continue(&self) -> bool {
        self.head.semantics.expects_continue()
            && self.head.minor_version == 1
            && !matches!(self.head.framing, Framing::None | Framing::Length(0))
    }

    /// The protocols that the client would rather speak, if Connection names Upgrade too. Not in HTTP/1.0 (RFC 9110
    /// section 7.8).
    pub fn upgrade(&self) -> Option<&'a str> {
        let index = self.head.semantics.upgrade().filter(|_| self.head.minor_version == 1)?;
        std::str::from_utf8(self.head.fields.value(index, self.bytes)?).ok()
    }

    /// The host that the request is for: of the target if that has one, else of Host (RFC 9112 section 3.2.2). Empty if
    /// there is none, as in HTTP/1.0.
    #[inline]
    pub fn host(&self) -> &'a str {
        if let Some(authority) = self.head.target.authority {
            return authority.text(self.bytes);
        }
        let value = self.head.semantics.host().and_then(|index| self.head.fields.value(index, self.bytes));
        std::str::from_utf8(value.unwrap_or_default()).unwrap_or_default()
    }

    /// Length of the head in bytes; the body begins there.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }
}
