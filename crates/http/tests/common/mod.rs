//! Request heads for the tests: each is tried whole and cut at every byte, and the verdict must be the same.

#![allow(dead_code, reason = "each test file uses its part")]

pub mod websocket;

use tenfold_http::h1::{Framing, Head, Parse};
use tenfold_http::{HeadError, HeadLimits};

/// Parses `input` whole and in pieces of one byte; returns the head and its length.
pub fn parse_under(input: &[u8], limits: &HeadLimits) -> Result<(Head, usize), HeadError> {
    let mut head = Head::new();
    let whole = head.parse(input, limits);
    let mut bytewise = Head::new();
    let first =
        (0..=input.len()).map(|end| bytewise.parse(&input[..end], limits)).find(|p| *p != Ok(Parse::Partial));
    assert_eq!(first.unwrap_or(Ok(Parse::Partial)), whole, "byte by byte: {}", input.escape_ascii());
    for cut in 0..input.len() {
        let mut halves = Head::new();
        let found = match halves.parse(&input[..cut], limits) {
            Ok(Parse::Partial) => halves.parse(input, limits),
            verdict => verdict,
        };
        assert_eq!(found, whole, "cut at {cut}: {}", input.escape_ascii());
    }
    match whole? {
        Parse::Complete { bytes } => Ok((head, bytes)),
        Parse::Partial => panic!("unfinished: {}", input.escape_ascii()),
    }
}

pub fn parse(input: &[u8]) -> Result<(Head, usize), HeadError> {
    parse_under(input, &HeadLimits::default())
}

pub fn refuses(input: &str, error: HeadError) {
    assert_eq!(parse(input.as_bytes()).map(|_| ()), Err(error), "{}", input.escape_debug());
}

/// A GET with these field lines besides Host.
pub fn with_fields(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

pub fn refuses_fields(fields: &str, error: HeadError) {
    refuses(&with_fields(fields), error);
}

pub fn framing_of(fields: &str) -> Framing {
    let input = with_fields(fields);
    let (head, _) = parse(input.as_bytes()).unwrap_or_else(|error| panic!("{fields:?}: {error}"));
    head.view(input.as_bytes()).framing()
}
