//! The head of a response, for the client: the counterpart of `head`, on the same storage.
//!
//! As strict as towards clients: a pooled connection to a backend is as good a place to smuggle as any.

use std::mem::MaybeUninit;

use http::{HeaderMap, StatusCode, Version};

use crate::error::HeadError;
use crate::h1::fields::{Fields, Headers, Parse, Span};
use crate::h1::framing::{self, Framing};
use crate::h1::head::STACK_SLOTS;
use crate::h1::resume::{Resume, Step, field_error};
use crate::h1::semantics::Semantics;
use crate::limits::HeadLimits;

/// Parses heads of responses into reusable storage of offsets.
///
/// An interim response (1xx) comes out like any other: call again with what follows it, until the status is final.
///
/// # Examples
///
/// ```
/// use tenfold_http::h1::{Framing, Parse, ResponseHeadParser};
/// use tenfold_http::limits::HeadLimits;
///
/// let input = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
/// let mut parser = ResponseHeadParser::new();
/// assert_eq!(parser.parse(input, &HeadLimits::default()), Ok(Parse::Complete { bytes: 38 }));
/// let head = parser.view(input);
/// assert_eq!(head.status(), 200);
/// assert_eq!(head.framing(&http::Method::GET), Ok(Framing::Length(2)));
/// assert_eq!(head.framing(&http::Method::HEAD), Ok(Framing::None));
/// ```
#[derive(Clone, Debug)]
pub struct ResponseHeadParser {
    fields: Fields,
    status: StatusCode,
    reason: Span,
    /// 0 or 1.
    minor_version: u8,
    semantics: Semantics,
    /// Length of the whole head; 0 until one has been parsed.
    bytes: u32,
    resume: Resume,
}

impl ResponseHeadParser {
    /// An empty parser. Allocates nothing.
    pub const fn new() -> Self {
        ResponseHeadParser {
            fields: Fields::new(),
            status: StatusCode::OK,
            reason: Span { at: 0, len: 0 },
            minor_version: 1,
            semantics: Semantics::NOTHING,
            bytes: 0,
            resume: Resume::FRESH,
        }
    }

    /// Forgets what was parsed, and half a head that will not be continued. The storage stays.
    pub fn clear(&mut self) {
        self.fields.clear();
        self.bytes = 0;
        self.resume = Resume::FRESH;
    }

    /// Parses the head at the start of `input`; as `Head::parse`.
    ///
    /// # Errors
    /// A `HeadError`; the connection is to be closed. Its status is meant for servers and says nothing here.
    pub fn parse(&mut self, input: &[u8], limits: &HeadLimits) -> Result<Parse, HeadError> {
        let window = &input[..input.len().min(limits.head_bytes())];
        self.bytes = 0;
        let mut resume = std::mem::replace(&mut self.resume, Resume::FRESH);
        if !resume.is_fresh() && resume.advance(window, limits)? == Step::Wait {
            self.resume = resume;
            return self.partial(window, limits);
        }
        if matches!(window.first(), Some(b'\r' | b'\n')) {
            // Only servers are asked to skip empty lines (RFC 9112 section 2.2).
            return Err(HeadError::InvalidStartLine);
        }
        let mut slots = [const { MaybeUninit::uninit() }; STACK_SLOTS];
        let slots_max = limits.headers().min(STACK_SLOTS);
        let parsed = match self.parse_with(&mut slots[..slots_max], window) {
            Err(HeadError::TooManyHeaders) if limits.headers() > STACK_SLOTS => {
                self.parse_long(window, limits)?
            }
            parsed => parsed?,
        };
        if let Some(bytes) = parsed {
            return Ok(Parse::Complete { bytes });
        }
        if !window.is_empty() {
            self.resume.pause(window, 0, limits)?;
        }
        self.partial(window, limits)
    }

    /// As `Head::parse_long`.
    #[cold]
    fn parse_long(&mut self, window: &[u8], limits: &HeadLimits) -> Result<Option<usize>, HeadError> {
        let mut slots = vec![MaybeUninit::uninit(); limits.headers().min(window.len() / 4 + 1)];
        self.parse_with(&mut slots, window)
    }

    /// The head together with the bytes it was parsed from, which may have moved since.
    ///
    /// # Panics
    /// If no head has been parsed, or `input` is shorter than it.
    pub fn view<'a>(&'a self, input: &'a [u8]) -> ResponseView<'a> {
        assert!(self.bytes > 0, "no head has been parsed");
        ResponseView { head: self, bytes: &input[..self.bytes as usize] }
    }

    fn partial(&mut self, window: &[u8], limits: &HeadLimits) -> Result<Parse, HeadError> {
        if window.len() < limits.head_bytes() {
            return Ok(Parse::Partial);
        }
        self.resume = Resume::FRESH;
        Err(HeadError::HeadTooLarge)
    }

    fn parse_with<'b>(
        &mut self,
        slots: &mut [MaybeUninit<httparse::Header<'b>>],
        window: &'b [u8],
    ) -> Result<Option<usize>, HeadError> {
        let mut response = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let bytes = match config.parse_response_with_uninit_headers(&mut response, window, slots) {
            Ok(httparse::Status::Complete(bytes)) => bytes,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(classify(error, window)),
        };
        let code = response.code.unwrap_or_default();
        self.status = StatusCode::from_u16(code).map_err(|_| HeadError::InvalidStatus)?;
        self.reason = match response.reason {
            Some(reason) if !reason.is_empty() => Span::of(reason.as_bytes(), window),
            _ => Span::default(),
        };
        self.minor_version = response.version.unwrap_or(1);
        self.semantics = Semantics::NOTHING;
        let note = |index, name: &[u8], value: &[u8]| note(&mut self.semantics, index, name, value);
        self.fields.collect(response.headers, window, bytes, note)?;
        self.bytes = bytes as u32;
        Ok(Some(bytes))
    }
}

impl Default for ResponseHeadParser {
    fn default() -> Self {
        ResponseHeadParser::new()
    }
}

/// A parsed response head and the bytes that it points into.
#[derive(Clone, Copy, Debug)]
pub struct ResponseView<'a> {
    head: &'a ResponseHeadParser,
    bytes: &'a [u8],
}

impl<'a> ResponseView<'a> {
    /// The status.
    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    /// The reason phrase; empty if there is none, or if it is not ASCII. Nobody should look at it.
    pub fn reason(&self) -> &'a str {
        std::str::from_utf8(self.head.reason.bytes(self.bytes)).unwrap_or_default()
    }

    /// HTTP/1.0 or HTTP/1.1.
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

    /// How the end of the body is found, by the rules of RFC 9112 section 6.3 in their order. The method is that of the
    /// request.
    ///
    /// # Errors
    /// `BothLengths`, `TransferEncodingInHttp10`, `UnsupportedTransferEncoding`: where the body ends is not known.
    pub fn framing(&self, method: &http::Method) -> Result<Framing, HeadError> {
        let status = self.head.status;
        let bodiless = method == http::Method::HEAD
            || status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            || (method == http::Method::CONNECT && status.is_success());
        if bodiless {
            return Ok(Framing::None);
        }
        framing::of_response(
            self.head.semantics.length,
            self.head.semantics.transfer,
            self.head.minor_version,
        )
    }

    /// Whether the server will keep the connection, as far as the head tells: a body that is `UntilClose` ends it too.
    pub fn keep_alive(&self) -> bool {
        self.head.semantics.keep_alive(self.head.minor_version)
    }

    /// The protocol that a 101 switches to, or that a 426 asks for.
    pub fn upgrade(&self) -> Option<&'a str> {
        let index = self.head.semantics.upgrade()?;
        std::str::from_utf8(self.head.fields.value(index, self.bytes)?).ok()
    }

    /// Length of the head in bytes; the body begins there.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// Notes framing, Connection and Upgrade. Host, Expect and Authorization mean nothing in a response, and a Content-Type
/// that comes twice is the application's problem, not the connection's.
fn note(semantics: &mut Semantics, index: usize, name: &[u8], value: &[u8]) -> Result<(), HeadError> {
    match name.len() {
        7 | 10 | 14 | 17 => semantics.note(index, name, value),
        _ => Ok(()),
    }
}

/// What httparse says about a response, in our words.
fn classify(error: httparse::Error, window: &[u8]) -> HeadError {
    match error {
        httparse::Error::Version if window.starts_with(b"HTTP/") => HeadError::UnsupportedVersion,
        httparse::Error::Version => HeadError::InvalidStartLine,
        httparse::Error::Status => HeadError::InvalidStatus,
        error => field_error(error),
    }
}
