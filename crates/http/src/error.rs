//! What can be wrong with a message. Each variant knows the status that answers it and a short reason for the log and
//! the answer's body; after any of them the connection is closed, because the end of the message is no longer known
//! (RFC 9112 section 6.3).

use http::StatusCode;

/// Any error of this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The head is refused.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The body is refused.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// We were asked to send something that is not a message.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.reason())]
#[non_exhaustive]
pub enum HeadError {
    /// The method is not a token (RFC 9110 section 9.1).
    InvalidMethod,
    /// The method is longer than any we could know; 501.
    MethodTooLong,
    /// The target is none of the four forms, or holds bytes that no URI has (RFC 9112 section 3.2).
    InvalidTarget,
    /// The target is longer than `target_bytes_max`; 414.
    TargetTooLong,
    /// The start line is malformed elsewhere, for instance by doubled spaces.
    InvalidStartLine,
    /// The version is well-formed, but neither HTTP/1.0 nor HTTP/1.1; 505.
    UnsupportedVersion,
    /// A line ends in a bare LF, or a CR stands alone (RFC 9112 section 2.2).
    InvalidLineEnd,
    /// A field name is not a token, is followed by a space, or the line is folded (RFC 9112 sections 5.1 and 5.2).
    InvalidHeaderName,
    /// A field value holds NUL, CR, LF or another control character (RFC 9110 section 5.5).
    InvalidHeaderValue,
    /// There are more field lines than `headers_max`; 431.
    TooManyHeaders,
    /// The head is larger than `head_bytes_max`; 431.
    HeadTooLarge,
    /// An HTTP/1.1 request without Host (RFC 9112 section 3.2).
    MissingHost,
    /// Host is not `host [":" port]`.
    InvalidHost,
    /// A field that has one meaning per message came twice: Host, Content-Length, Content-Type and their like.
    DuplicatedHeader,
    /// Content-Length is not a number, a list, or larger than 64 bits (RFC 9112 section 6.3).
    InvalidContentLength,
    /// Transfer-Encoding does not end in a single `chunked` (RFC 9112 section 6.3).
    InvalidTransferEncoding,
    /// Transfer-Encoding names a coding that we do not have; 501 (RFC 9112 section 6.1).
    UnsupportedTransferEncoding,
    /// Both Content-Length and Transfer-Encoding (RFC 9112 section 6.1).
    BothLengths,
    /// Transfer-Encoding in an HTTP/1.0 message (RFC 9112 section 6.1).
    TransferEncodingInHttp10,
    /// Connection is not a list of tokens.
    InvalidConnection,
    /// Expect asks for something other than 100-continue; 417 (RFC 9110 section 10.1.1).
    UnknownExpectation,
    /// The status code of a response is not three digits from 100 on.
    InvalidStatus,
}

impl HeadError {
    /// The status that answers this error.
    pub fn status(self) -> StatusCode {
        use HeadError::*;
        match self {
            TargetTooLong => StatusCode::URI_TOO_LONG,
            TooManyHeaders | HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            UnsupportedVersion => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            MethodTooLong | UnsupportedTransferEncoding => StatusCode::NOT_IMPLEMENTED,
            UnknownExpectation => StatusCode::EXPECTATION_FAILED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// A few words for the log line and the answer's body.
    pub fn reason(self) -> &'static str {
        use HeadError::*;
        match self {
            InvalidMethod => "invalid method",
            MethodTooLong => "method too long",
            InvalidTarget => "invalid request target",
            TargetTooLong => "request target too long",
            InvalidStartLine => "malformed start line",
            UnsupportedVersion => "unsupported HTTP version",
            InvalidLineEnd => "a line does not end in CRLF",
            InvalidHeaderName => "invalid header name, space before a colon or folded line",
            InvalidHeaderValue => "invalid header value",
            TooManyHeaders => "too many headers",
            HeadTooLarge => "head too large",
            MissingHost => "missing Host",
            InvalidHost => "invalid Host",
            DuplicatedHeader => "duplicated header",
            InvalidContentLength => "invalid Content-Length",
            InvalidTransferEncoding => "invalid Transfer-Encoding",
            UnsupportedTransferEncoding => "unsupported Transfer-Encoding",
            BothLengths => "both Content-Length and Transfer-Encoding",
            TransferEncodingInHttp10 => "Transfer-Encoding in HTTP/1.0",
            InvalidConnection => "invalid Connection",
            UnknownExpectation => "unknown expectation",
            InvalidStatus => "invalid status",
        }
    }
}

/// Why a body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.reason())]
#[non_exhaustive]
pub enum BodyError {
    /// More content than `body_bytes_max`; 413.
    TooLarge,
    /// A chunk size is not hexadecimal digits only, or does not fit 64 bits (RFC 9112 section 7.1).
    InvalidChunkSize,
    /// A chunk-size line is longer than `chunk_line_bytes_max`, or all extensions than `chunk_extension_bytes_max`.
    ChunkLineTooLong,
    /// A chunk extension holds a control character, or its line does not end in CRLF.
    InvalidChunkExtension,
    /// The data of a chunk is not followed by CRLF.
    InvalidChunkEnd,
    /// A trailer field is malformed, or not allowed there (RFC 9110 section 6.5.1).
    InvalidTrailer,
    /// The trailer section is larger than `trailer_bytes_max` or `trailers_max`; 431.
    TrailersTooLarge,
    /// The connection ended before the body did.
    Truncated,
}

impl BodyError {
    /// The status that answers this error.
    pub fn status(self) -> StatusCode {
        match self {
            BodyError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::TrailersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// A few words for the log line and the answer's body.
    pub fn reason(self) -> &'static str {
        match self {
            BodyError::TooLarge => "body too large",
            BodyError::InvalidChunkSize => "invalid chunk size",
            BodyError::ChunkLineTooLong => "chunk-size line too long",
            BodyError::InvalidChunkExtension => "invalid chunk extension",
            BodyError::InvalidChunkEnd => "chunk data does not end in CRLF",
            BodyError::InvalidTrailer => "invalid trailer",
            BodyError::TrailersTooLarge => "trailers too large",
            BodyError::Truncated => "the connection ended within the body",
        }
    }
}

/// Why a request of ours cannot be written: the caller's mistake, found before a byte is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The target is empty or holds a space, a control character or a byte above 0x7E: it would end the request line.
    #[error("invalid request target")]
    InvalidTarget,
    /// The host is not `host [":" port]`.
    #[error("invalid host")]
    InvalidHost,
    /// A request has no body that ends with the connection (RFC 9112 section 6.3, rule 7).
    #[error("a request body needs a length or chunks")]
    UnframedBody,
}
