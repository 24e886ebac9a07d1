//! Status lines, ready made for the statuses that servers send (RFC 9112 section 4).

use http::StatusCode;

use crate::h1::syntax;

/// One match on the code; the text is that of the RFC's registry, as in `StatusCode::canonical_reason`.
macro_rules! ready {
    ($status:expr, $($code:literal $reason:literal),+ $(,)?) => {
        match $status {
            $($code => Some(concat!("HTTP/1.1 ", $code, " ", $reason).as_bytes()),)+
            _ => None,
        }
    };
}

/// Appends the status line of `status`, without its line end. Always HTTP/1.1: a server answers with its own version, also to a client of 1.0
/// (RFC 9110 section 2.5).
#[inline]
pub(crate) fn push(out: &mut Vec<u8>, status: StatusCode) {
    if status == StatusCode::OK {
        // A copy of known size is a few moves; one of unknown size is a call.
        return out.extend_from_slice(b"HTTP/1.1 200 OK");
    }
    match ready_line(status.as_u16()) {
        Some(line) => out.extend_from_slice(line),
        None => push_rare(out, status),
    }
}

#[inline]
fn ready_line(code: u16) -> Option<&'static [u8]> {
    ready!(code,
        200 "OK", 201 "Created", 202 "Accepted", 204 "No Content", 206 "Partial Content",
        301 "Moved Permanently", 302 "Found", 303 "See Other", 304 "Not Modified",
        307 "Temporary Redirect", 308 "Permanent Redirect",
        400 "Bad Request", 401 "Unauthorized", 403 "Forbidden", 404 "Not Found",
        405 "Method Not Allowed", 408 "Request Timeout", 409 "Conflict", 413 "Payload Too Large",
        414 "URI Too Long", 422 "Unprocessable Entity", 429 "Too Many Requests",
        431 "Request Header Fields Too Large",
        500 "Internal Server Error", 501 "Not Implemented", 502 "Bad Gateway",
        503 "Service Unavailable", 504 "Gateway Timeout", 505 "HTTP Version Not Supported",
    )
}

/// A code without a registered reason gets an empty one; the space before it stays (RFC 9112 section 4).
#[cold]
fn push_rare(out: &mut Vec<u8>, status: StatusCode) {
    out.extend_from_slice(b"HTTP/1.1 ");
    syntax::push_decimal(out, status.as_u16().into());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_lines_agree_with_the_registry() {
        for code in 100..1000 {
            let status = StatusCode::from_u16(code).unwrap();
            let mut rare = Vec::new();
            push_rare(&mut rare, status);
            let mut line = Vec::new();
            push(&mut line, status);
            assert_eq!(line, rare);
        }
    }
}
