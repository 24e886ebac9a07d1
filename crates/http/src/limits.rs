//! The bounds of a message, with their defaults. A limit that is reached is an error with its own status, never a
//! silently cut message.

/// How large the head of a message may be.
///
/// The request line and all field lines count, with their line ends and any empty line before the request line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Most bytes of a head. Default 16 KiB, as generous as nginx's `large_client_header_buffers` usually lets through.
    /// More is 431 (RFC 6585 section 5). Values above [`HeadLimits::HEAD_BYTES_CEILING`] count as that.
    pub head_bytes_max: usize,
    /// Most field lines. Default 100. More is 431. Values above [`HeadLimits::HEADERS_CEILING`] count as that.
    pub headers_max: usize,
    /// Most bytes of a request target. Default 8 KiB: RFC 9112 section 3 recommends at least 8,000. More is 414.
    pub target_bytes_max: usize,
}

impl HeadLimits {
    /// No head may be larger than this, whatever the configuration says: offsets are stored in 32 bits.
    pub const HEAD_BYTES_CEILING: usize = 16 << 20;
    /// No head may have more field lines than this: `http::HeaderMap` refuses more than 32,768 entries.
    pub const HEADERS_CEILING: usize = 16_384;
    /// Longest method. The registered ones have at most 17 bytes; RFC 9112 section 3 asks for 501 on a longer one than
    /// the server implements.
    pub const METHOD_BYTES_MAX: usize = 32;

    /// No head is within these.
    pub(crate) const NOTHING: HeadLimits =
        HeadLimits { head_bytes_max: 0, headers_max: 0, target_bytes_max: 0 };

    /// `head_bytes_max` under its ceiling.
    #[inline]
    pub(crate) fn head_bytes(&self) -> usize {
        self.head_bytes_max.min(Self::HEAD_BYTES_CEILING)
    }

    /// `headers_max` under its ceiling.
    #[inline]
    pub(crate) fn headers(&self) -> usize {
        self.headers_max.min(Self::HEADERS_CEILING)
    }
}

impl Default for HeadLimits {
    fn default() -> Self {
        HeadLimits { head_bytes_max: 16 * 1024, headers_max: 100, target_bytes_max: 8 * 1024 }
    }
}

/// How large the body of a message may be, and the lines around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimits {
    /// Most bytes of content after decoding. Default 1 MiB. More is 413 (RFC 9110 section 15.5.14).
    pub body_bytes_max: u64,
    /// Most bytes of one chunk-size line with its extensions, without its line end. Default 256.
    pub chunk_line_bytes_max: usize,
    /// Most bytes of all chunk extensions of one body. Default 16 KiB. Without it, one-byte chunks with long extensions
    /// would make a small body cost megabytes of traffic that no body limit sees.
    pub chunk_extension_bytes_max: usize,
    /// Most bytes of the trailer section. Default 8 KiB.
    pub trailer_bytes_max: usize,
    /// Most trailer fields. Default 32.
    pub trailers_max: usize,
}

impl BodyLimits {
    /// The defaults with no bound on the content, for a receiver that streams and counts by itself.
    pub fn unbounded() -> Self {
        BodyLimits { body_bytes_max: u64::MAX, ..BodyLimits::default() }
    }
}

impl Default for BodyLimits {
    fn default() -> Self {
        BodyLimits {
            body_bytes_max: 1024 * 1024,
            chunk_line_bytes_max: 256,
            chunk_extension_bytes_max: 16 * 1024,
            trailer_bytes_max: 8 * 1024,
            trailers_max: 32,
        }
    }
}

/// How long a connection may live on, counted in messages and bytes. Time is the driver's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExchangeLimits {
    /// Most requests on one connection; the answer to the last one says `Connection: close`. Default 10,000: often
    /// enough that a client is spread over the workers again after a reload, seldom enough to cost nothing.
    pub requests_max: u64,
    /// Most bytes of an unread request body that are read and thrown away to keep the connection. Default 64 KiB:
    /// beyond that a new connection is cheaper for both sides.
    pub drain_bytes_max: u64,
}

impl Default for ExchangeLimits {
    fn default() -> Self {
        ExchangeLimits { requests_max: 10_000, drain_bytes_max: 64 * 1024 }
    }
}
