//! Requests to bytes, for the client.

use http::{HeaderMap, Method, header};

use crate::error::EncodeError;
use crate::h1::encode::{BodyLength, push_header, push_length};
use crate::h1::syntax;

/// Everything that goes into the head of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target: `/path?query`, or another form that the method has.
    pub target: &'a str,
    /// The host, with the port unless it is the scheme's own. It is written first (RFC 9110 section 7.2).
    pub host: &'a str,
    /// The caller's headers. Host, Content-Length, Transfer-Encoding and Connection among them are replaced by what the
    /// other members say; an Upgrade gets its Connection option.
    pub headers: &'a HeaderMap,
    /// What follows the head.
    pub body: BodyLength,
    /// Whether the connection shall stay for another request.
    pub keep_alive: bool,
}

/// Appends the head of a request to `out`, up to and including the empty line.
///
/// # Errors
/// `InvalidTarget` and `InvalidHost`, since those are text and could end the line early; `UnframedBody` for
/// `BodyLength::UntilClose`. Nothing is written then.
///
/// # Examples
///
/// ```
/// use http::{HeaderMap, Method};
/// use tenfold_http::h1::{BodyLength, RequestHead, request_head};
///
/// let mut out = Vec::new();
/// let head = RequestHead {
///     method: &Method::GET,
///     target: "/",
///     host: "example.org",
///     headers: &HeaderMap::new(),
///     body: BodyLength::None,
///     keep_alive: true,
/// };
/// request_head(&mut out, head).unwrap();
/// assert_eq!(out, b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n");
/// ```
pub fn request_head(out: &mut Vec<u8>, head: RequestHead<'_>) -> Result<(), EncodeError> {
    if head.target.is_empty() || !head.target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(EncodeError::InvalidTarget);
    }
    if !syntax::is_host(head.host.as_bytes()) {
        return Err(EncodeError::InvalidHost);
    }
    if head.body == BodyLength::UntilClose {
        return Err(EncodeError::UnframedBody);
    }
    out.reserve(256);
    for part in [head.method.as_str(), " ", head.target, " HTTP/1.1\r\nHost: ", head.host] {
        out.extend_from_slice(part.as_bytes());
    }
    let upgrade = push_headers(out, head.headers);
    push_framing(out, head.method, head.body);
    let connection: &[u8] = match (head.keep_alive, upgrade) {
        (true, false) => b"",
        (true, true) => b"\r\nConnection: upgrade",
        (false, false) => b"\r\nConnection: close",
        (false, true) => b"\r\nConnection: close, upgrade",
    };
    out.extend_from_slice(connection);
    out.extend_from_slice(b"\r\n\r\n");
    Ok(())
}

/// Appends the caller's headers but those that are ours to set; says whether Upgrade was among them.
fn push_headers(out: &mut Vec<u8>, headers: &HeaderMap) -> bool {
    let mut upgrade = false;
    for (name, value) in headers {
        match *name {
            header::HOST | header::CONTENT_LENGTH | header::TRANSFER_ENCODING | header::CONNECTION => {
                continue;
            }
            header::UPGRADE => upgrade = true,
            _ => {}
        }
        push_header(out, name.as_str(), value);
    }
    upgrade
}

/// A method that usually has content says so when it has none (RFC 9110 section 8.6).
fn push_framing(out: &mut Vec<u8>, method: &Method, body: BodyLength) {
    match body {
        BodyLength::Known(length) => push_length(out, length),
        BodyLength::None if matches!(*method, Method::POST | Method::PUT | Method::PATCH) => {
            push_length(out, 0)
        }
        BodyLength::Chunked => out.extend_from_slice(b"\r\nTransfer-Encoding: chunked"),
        BodyLength::None | BodyLength::UntilClose => {}
    }
}
