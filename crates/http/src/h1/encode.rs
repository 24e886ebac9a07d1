//! Responses to bytes: the head, chunks, and the fields that only the server may set.
//!
//! The framing of a response follows from what the driver says it will send, never from what a handler put into its
//! headers: a wrong Content-Length would let one answer run into the next one, on a connection that a proxy may share
//! between users. So of a handler's own headers
//!
//! - Content-Length is dropped, except where no body follows and the driver knows no length: an answer to HEAD, and 304;
//! - Transfer-Encoding is dropped;
//! - Connection is dropped, but a `close` in it is obeyed;
//! - Date, Server and Content-Type replace ours;
//! - everything else goes out as it is.
//!
//! Each line is written with the CRLF of the line before it in front: a name and the CRLF are then one copy of known size,
//! and there are half as many copies.

use http::header::{self, HeaderMap, HeaderValue};
use http::{StatusCode, Version};

use crate::h1::{status_line, syntax};

/// The interim response that a client with `Expect: 100-continue` waits for (RFC 9110 section 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What follows the data of a chunk.
pub const CHUNK_END: &[u8] = b"\r\n";

/// Length of an IMF-fixdate, `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 section 5.6.7).
const DATE_BYTES: usize = 29;

/// How long the body of an outgoing message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none. Where a body could be expected, the head says `Content-Length: 0`.
    None,
    /// This many bytes follow.
    Known(u64),
    /// Chunks follow; `last_chunk` ends them.
    Chunked,
    /// Bytes follow until the connection is closed.
    UntilClose,
}

/// Everything that goes into the head of a response.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// The version of the *request*: 1.0 gets no chunks, and is told when the connection stays.
    pub version: Version,
    /// Whether the request was HEAD: the head is then the one that GET would have got, and no body follows.
    pub to_head: bool,
    /// The status.
    pub status: StatusCode,
    /// The handler's headers.
    pub headers: &'a HeaderMap,
    /// Content-Type unless `headers` has one. Left out if it holds a control character, for that could
    /// end the line and begin another.
    pub content_type: Option<&'a [u8]>,
    /// What the driver has to send. For HEAD and 304: what it would have had to send.
    pub body: BodyLength,
    /// Whether the connection may stay, as `Exchange::may_persist` says.
    pub keep_alive: bool,
    /// The caller's cached Date, an IMF-fixdate of 29 bytes. Empty leaves the field out (a server without a clock,
    /// RFC 9110 section 6.6.1).
    pub date: &'a [u8],
    /// Server unless `headers` has one. As `content_type`.
    pub server: Option<&'a str>,
}

/// What the head that was written promises. The driver has to keep to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the body has to be sent as promised"]
pub struct Sent {
    /// How to send the body. `None`: nothing may follow, whatever the handler has made.
    pub body: BodyLength,
    /// Whether the connection stays. False also when the handler said so, and when the body ends with the connection.
    pub keep_alive: bool,
    /// Whether the connection now speaks another protocol: status 101.
    pub upgraded: bool,
}

/// Appends the head of a response to `out`, up to and including the empty line.
///
/// About 30 ns with an empty `HeaderMap`, and no allocation if `out` has room.
///
/// # Examples
///
/// ```
/// use http::{HeaderMap, StatusCode, Version};
/// use tenfold_http::h1::{BodyLength, ResponseHead, response_head};
///
/// let mut out = Vec::new();
/// let sent = response_head(&mut out, ResponseHead {
///     version: Version::HTTP_11,
///     to_head: false,
///     status: StatusCode::OK,
///     headers: &HeaderMap::new(),
///     content_type: Some(b"text/plain"),
///     body: BodyLength::Known(13),
///     keep_alive: true,
///     date: b"Sun, 06 Nov 1994 08:49:37 GMT",
///     server: None,
/// });
/// assert!(sent.keep_alive);
/// assert_eq!(
///     String::from_utf8(out).unwrap(),
///     "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\n"
/// );
/// ```
#[inline]
pub fn response_head(out: &mut Vec<u8>, head: ResponseHead<'_>) -> Sent {
    out.reserve(256);
    status_line::push(out, head.status);
    let own = if head.headers.is_empty() { OwnFields::default() } else { push_headers(out, head.headers) };

    if !own.date && !head.date.is_empty() && !head.status.is_informational() {
        push_date(out, head.date);
    }
    if let Some(server) = head.server.filter(|server| !own.server && is_value(server.as_bytes())) {
        push_field(out, b"\r\nServer: ", server.as_bytes());
    }
    let body = promised_body(&head);
    if let Some(content_type) = head.content_type
        && !own.content_type
        && body.describes_content
        && is_value(content_type)
    {
        push_field(out, b"\r\nContent-Type: ", content_type);
    }
    push_framing(out, &head, body.announced);

    let upgraded = head.status == StatusCode::SWITCHING_PROTOCOLS;
    let keep_alive = head.keep_alive && !own.close && body.sent != BodyLength::UntilClose;
    // An interim response says nothing about the connection after the final one.
    if !head.status.is_informational() || upgraded {
        push_connection(out, keep_alive || upgraded, own.upgrade, head.version);
    }
    out.extend_from_slice(b"\r\n\r\n");
    Sent { body: body.sent, keep_alive, upgraded }
}

/// Appends `data` as one chunk. Nothing for empty data: a chunk of size zero would end the body.
pub fn chunk(out: &mut Vec<u8>, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    out.reserve(data.len() + 20);
    chunk_start(out, data.len());
    out.extend_from_slice(data);
    out.extend_from_slice(CHUNK_END);
}

/// Appends the size line of a chunk of `len` bytes, for a driver that sends the data from where it is, and `CHUNK_END`
/// after it. `len` must not be zero: that ends the body.
pub fn chunk_start(out: &mut Vec<u8>, len: usize) {
    debug_assert!(len > 0, "a chunk of size zero ends the body");
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        out.push(b"0123456789abcdef"[len >> (digit * 4) & 15]);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the end of a chunked body, with `trailers` if there are any. Framing fields among them are left out (RFC 9110
/// section 6.5.1).
pub fn last_chunk(out: &mut Vec<u8>, trailers: Option<&HeaderMap>) {
    out.push(b'0');
    for (name, value) in trailers.into_iter().flatten() {
        let framing = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION, header::HOST];
        if !framing.contains(name) {
            push_header(out, name.as_str(), value);
        }
    }
    out.extend_from_slice(b"\r\n\r\n");
}

/// What the handler's headers have already settled.
#[derive(Clone, Copy, Default)]
struct OwnFields {
    date: bool,
    server: bool,
    content_type: bool,
    upgrade: bool,
    close: bool,
}

/// Appends the handler's headers but those that are the server's to set.
fn push_headers(out: &mut Vec<u8>, headers: &HeaderMap) -> OwnFields {
    let mut own = OwnFields::default();
    for (name, value) in headers {
        match *name {
            header::CONTENT_LENGTH | header::TRANSFER_ENCODING => continue,
            header::CONNECTION => {
                own.close |=
                    syntax::list(value.as_bytes()).any(|option| option.eq_ignore_ascii_case(b"close"));
                continue;
            }
            header::DATE => own.date = true,
            header::SERVER => own.server = true,
            header::CONTENT_TYPE => own.content_type = true,
            header::UPGRADE => own.upgrade = true,
            _ => {}
        }
        push_header(out, name.as_str(), value);
    }
    own
}

/// What becomes of `head.body` under the rules of the status and the method.
#[derive(Clone, Copy)]
struct PromisedBody {
    /// What the head says.
    announced: BodyLength,
    /// What follows.
    sent: BodyLength,
    /// Whether there is content to describe, here or in the answer to a GET.
    describes_content: bool,
}

/// 1xx and 204 have neither body nor length (RFC 9110 section 8.6, RFC 9112 section 6.1), 205 has a length of zero
/// (RFC 9110 section 15.3.6); HEAD and 304 may announce what they do not send (RFC 9110 sections 8.6 and 15.4.5).
#[inline]
fn promised_body(head: &ResponseHead<'_>) -> PromisedBody {
    let announced = match head.body {
        // RFC 9112 section 6.1 forbids Transfer-Encoding towards 1.0.
        BodyLength::Chunked if head.version < Version::HTTP_11 => BodyLength::UntilClose,
        body => body,
    };
    match head.status.as_u16() {
        100..=199 | 204 => {
            PromisedBody { announced: BodyLength::None, sent: BodyLength::None, describes_content: false }
        }
        205 => {
            PromisedBody { announced: BodyLength::Known(0), sent: BodyLength::None, describes_content: false }
        }
        304 => PromisedBody { announced, sent: BodyLength::None, describes_content: false },
        _ if head.to_head => PromisedBody { announced, sent: BodyLength::None, describes_content: true },
        _ => PromisedBody { announced, sent: announced, describes_content: true },
    }
}

#[inline]
fn push_framing(out: &mut Vec<u8>, head: &ResponseHead<'_>, announced: BodyLength) {
    match announced {
        BodyLength::Known(length) if length > 0 => push_length(out, length),
        BodyLength::Chunked => out.extend_from_slice(b"\r\nTransfer-Encoding: chunked"),
        BodyLength::None | BodyLength::Known(_) => push_no_length(out, head),
        BodyLength::UntilClose => {}
    }
}

/// The driver has no content. Silence would mean "until close" to the client (RFC 9112 section 6.3, rule 8), so a length
/// of zero is said, except where silence is right.
fn push_no_length(out: &mut Vec<u8>, head: &ResponseHead<'_>) {
    let status = head.status.as_u16();
    if matches!(status, 100..=199 | 204) {
        return;
    }
    let silent = status == 304 || head.to_head;
    match own_length(head.headers).filter(|_| silent) {
        // The handler knows what a GET would have had, or a 200.
        Some(length) => push_length(out, length),
        None if status == 304 || (silent && head.body == BodyLength::None) => {}
        None => push_length(out, 0),
    }
}

/// The handler's Content-Length, if it is one number.
fn own_length(headers: &HeaderMap) -> Option<u64> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (Some(length), None) => syntax::decimal(length.as_bytes()),
        _ => None,
    }
}

/// `close` and `keep-alive` only where they are not the default of the client's version (RFC 9112 section 9.3);
/// `upgrade` wherever an Upgrade field went out (RFC 9110 section 7.8).
#[inline]
fn push_connection(out: &mut Vec<u8>, keep_alive: bool, upgrade: bool, version: Version) {
    let line: &[u8] = match (keep_alive, upgrade) {
        (true, false) if version >= Version::HTTP_11 => return,
        (true, false) => b"\r\nConnection: keep-alive",
        (true, true) => b"\r\nConnection: upgrade",
        (false, false) => b"\r\nConnection: close",
        (false, true) => b"\r\nConnection: close, upgrade",
    };
    out.extend_from_slice(line);
}

#[inline]
fn push_date(out: &mut Vec<u8>, date: &[u8]) {
    out.extend_from_slice(b"\r\nDate: ");
    // A copy of known size is a few moves; one of unknown size is a call.
    match <&[u8; DATE_BYTES]>::try_from(date) {
        Ok(date) => out.extend_from_slice(date),
        Err(_) => out.extend_from_slice(date),
    }
}

#[inline]
pub(crate) fn push_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"\r\nContent-Length: ");
    syntax::push_decimal(out, length);
}

#[inline]
fn push_field<const N: usize>(out: &mut Vec<u8>, name: &[u8; N], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(value);
}

/// A `HeaderValue` holds no CR, LF or NUL by construction.
pub(crate) fn push_header(out: &mut Vec<u8>, name: &str, value: &HeaderValue) {
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
}

/// Whether `value` can stand in a field line: a string of the framework's, but perhaps made from a user's.
///
/// Eight bytes at a time, the last eight overlapping: on strings of this size the compiler's own vector loop spends most
/// of its time on the tail.
#[inline]
fn is_value(value: &[u8]) -> bool {
    let Some(last) = value.last_chunk::<8>() else {
        return value.iter().all(|byte| !byte.is_ascii_control());
    };
    let (words, _) = value.as_chunks::<8>();
    words.iter().fold(controls(last), |found, word| found | controls(word)) == 0
}

/// Not zero if one of the bytes is below 0x20 or is 0x7F.
#[inline]
fn controls(word: &[u8; 8]) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    // Subtracting borrows into the top bit of a byte below 0x20, and of one above 0x9F, whose own top bit is set already.
    // A borrow can reach the next byte up and make it look guilty, but only from a byte that is.
    let below = |word: u64, bound: u64| word.wrapping_sub(bound * EACH) & !word & (0x80 * EACH);
    let word = u64::from_ne_bytes(*word);
    below(word, 0x20) | below(word ^ (0x7f * EACH), 1)
}
