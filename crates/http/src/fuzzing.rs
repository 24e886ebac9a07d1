//! The functions that the fuzzer and the tests run on arbitrary bytes: each panics when a property does not hold.
//!
//! They live here, hidden from the documentation, so that `fuzz/` (nightly, for hours) and `tests/fuzz_smoke.rs` (stable,
//! for a second) check the same things.

mod websocket;

use http::{HeaderMap, Method, StatusCode, Version};

use crate::error::{BodyError, HeadError};
use crate::h1::{
    BodyDecoder, BodyLength, Framing, Head, Parse, ResponseHead, ResponseHeadParser, chunk, last_chunk,
    response_head,
};
use crate::limits::{BodyLimits, HeadLimits};

pub use websocket::{websocket_deflate, websocket_extensions, websocket_messages};

/// Limits small enough for a fuzzer to reach.
const HEAD_LIMITS: HeadLimits = HeadLimits { head_bytes_max: 1024, headers_max: 40, target_bytes_max: 128 };

const BODY_LIMITS: BodyLimits = BodyLimits {
    body_bytes_max: 512,
    chunk_line_bytes_max: 32,
    chunk_extension_bytes_max: 64,
    trailer_bytes_max: 128,
    trailers_max: 4,
};

/// An accepted request head is what RFC 9112 says, its accessors work, and each of its prefixes is unfinished, not wrong.
pub fn h1_request_head(data: &[u8]) {
    let mut head = Head::new();
    let Ok(Parse::Complete { bytes }) = head.parse(data, &HEAD_LIMITS) else { return };
    assert_strict_lines(&data[..bytes]);
    let view = head.view(data);
    assert_eq!(view.method().as_str(), view.method_str());
    assert_eq!(view.is_head(), view.method_str() == "HEAD");
    assert!(view.target().len() <= HEAD_LIMITS.target_bytes_max);
    assert!(view.target().contains(view.path()) || matches!(view.path(), "/" | "*"));
    assert!(view.query().is_none_or(|query| view.target().ends_with(query)));
    assert!(view.headers().len() <= HEAD_LIMITS.headers_max);
    assert_eq!(view.to_header_map().len(), view.headers().len());
    for (name, _) in view.headers() {
        assert!(view.header(&name.to_ascii_uppercase()).is_some());
    }
    let count = |wanted: &str| view.headers().filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).count();
    assert!(count("host") == 1 || (count("host") == 0 && view.version() == Version::HTTP_10));
    let expected = match view.framing() {
        Framing::None => (0, 0),
        Framing::Length(_) => (1, 0),
        Framing::Chunked => (0, 1),
        Framing::UntilClose => panic!("a request cannot end with the connection"),
    };
    assert_eq!((count("content-length"), count("transfer-encoding")), expected);
    let _ = (view.upgrade(), view.host(), view.expects_continue(), view.keep_alive());

    for end in 0..bytes {
        assert_eq!(Head::new().parse(&data[..end], &HEAD_LIMITS), Ok(Parse::Partial), "cut at {end}");
    }
}

/// A request head that comes in pieces gets the verdict that it gets as a whole. The first byte chooses the cuts.
pub fn h1_request_head_split(data: &[u8]) {
    let Some((&seed, data)) = data.split_first() else { return };
    let mut whole = Head::new();
    let expected = whole.parse(data, &HEAD_LIMITS);
    let mut split = Head::new();
    let found = in_pieces(seed, data, |input| split.parse(input, &HEAD_LIMITS));
    assert_same_verdict(expected, found);
    if expected.is_ok_and(|parse| parse != Parse::Partial) {
        let (whole, split) = (whole.view(data), split.view(data));
        assert_eq!((whole.method_str(), whole.target()), (split.method_str(), split.target()));
        assert_eq!((whole.path(), whole.query(), whole.host()), (split.path(), split.query(), split.host()));
        assert_eq!((whole.framing(), whole.keep_alive()), (split.framing(), split.keep_alive()));
        assert!(whole.headers().eq(split.headers()));
    }
}

/// As `h1_request_head`, for responses.
pub fn h1_response_head(data: &[u8]) {
    let mut parser = ResponseHeadParser::new();
    let Ok(Parse::Complete { bytes }) = parser.parse(data, &HEAD_LIMITS) else { return };
    assert_strict_lines(&data[..bytes]);
    let view = parser.view(data);
    assert!(view.status().as_u16() >= 100);
    assert_eq!(view.framing(&Method::HEAD), Ok(Framing::None));
    if let Ok(Framing::Length(length)) = view.framing(&Method::GET) {
        assert_eq!(view.header("content-length").map(crate::h1::decimal), Some(Some(length)));
    }
    assert_eq!(view.to_header_map().len(), view.headers().len());
    let _ = (view.reason(), view.upgrade(), view.keep_alive(), view.version());

    for end in 0..bytes {
        assert_eq!(
            ResponseHeadParser::new().parse(&data[..end], &HEAD_LIMITS),
            Ok(Parse::Partial),
            "cut at {end}"
        );
    }
}

/// As `h1_request_head_split`, for responses.
pub fn h1_response_head_split(data: &[u8]) {
    let Some((&seed, data)) = data.split_first() else { return };
    let mut whole = ResponseHeadParser::new();
    let expected = whole.parse(data, &HEAD_LIMITS);
    let mut split = ResponseHeadParser::new();
    let found = in_pieces(seed, data, |input| split.parse(input, &HEAD_LIMITS));
    assert_same_verdict(expected, found);
    if expected.is_ok_and(|parse| parse != Parse::Partial) {
        let (whole, split) = (whole.view(data), split.view(data));
        assert_eq!((whole.status(), whole.reason()), (split.status(), split.reason()));
        assert_eq!(whole.framing(&Method::GET), split.framing(&Method::GET));
        assert!(whole.headers().eq(split.headers()));
    }
}

/// A body that comes in pieces gives the same content, trailers and error as a whole; within its limits. The first two
/// bytes choose the framing and the cuts.
pub fn h1_body(data: &[u8]) {
    let [kind, seed, data @ ..] = data else { return };
    let framing = match kind % 8 {
        0 => Framing::None,
        1 => Framing::Length(u64::from(*seed)),
        2 => Framing::UntilClose,
        _ => Framing::Chunked,
    };
    let whole = decode_in_pieces(framing, 0, data);
    let split = decode_in_pieces(framing, *seed, data);
    assert_eq!(whole, split);
    assert_eq!(whole, decode_in_pieces(framing, 1, data));
    if let Ok(body) = whole {
        assert!(body.content.len() as u64 <= BODY_LIMITS.body_bytes_max);
        assert!(body.consumed <= data.len());
    }
}

/// Content that is sent in chunks comes back as it was.
pub fn h1_chunk_round_trip(data: &[u8]) {
    let Some((&seed, content)) = data.split_first() else { return };
    let content = &content[..content.len().min(BODY_LIMITS.body_bytes_max as usize)];
    let mut sent = Vec::new();
    let mut cuts = Cuts(seed);
    let mut rest = content;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(cuts.next_len(rest.len()));
        chunk(&mut sent, piece);
        rest = after;
    }
    last_chunk(&mut sent, None);
    let body = decode_in_pieces(Framing::Chunked, seed, &sent).expect("what we encode, we decode");
    assert_eq!((body.content.as_slice(), body.consumed, body.end), (content, sent.len(), true));
}

/// Whatever a handler puts into its headers, the response that is sent is read back with the framing that was promised.
pub fn h1_response_round_trip(data: &[u8]) {
    let [status, flags, length, data @ ..] = data else { return };
    let mut headers = HeaderMap::new();
    let names = [
        "content-length",
        "transfer-encoding",
        "connection",
        "upgrade",
        "date",
        "x-a",
        "content-type",
        "server",
    ];
    for (index, line) in data.split(|&b| b == b'\n').take(8).enumerate() {
        if let Ok(value) = http::HeaderValue::from_bytes(line) {
            headers.append(names[(index + usize::from(*length)) % names.len()], value);
        }
    }
    let to_head = flags & 1 != 0;
    let method = if to_head { Method::HEAD } else { Method::GET };
    let mut out = Vec::new();
    let sent = response_head(
        &mut out,
        ResponseHead {
            version: if flags & 2 != 0 { Version::HTTP_10 } else { Version::HTTP_11 },
            to_head,
            status: StatusCode::from_u16(100 + u16::from(*status) * 2).unwrap_or_default(),
            headers: &headers,
            content_type: (flags & 4 != 0).then_some(data),
            body: match flags >> 4 & 3 {
                0 => BodyLength::None,
                1 => BodyLength::Known(u64::from(*length)),
                2 => BodyLength::Chunked,
                _ => BodyLength::UntilClose,
            },
            keep_alive: flags & 8 != 0,
            date: b"Sun, 06 Nov 1994 08:49:37 GMT",
            server: std::str::from_utf8(data).ok(),
        },
    );
    let limits = HeadLimits { head_bytes_max: out.len() + 1, ..HeadLimits::default() };
    let mut parser = ResponseHeadParser::new();
    assert_eq!(parser.parse(&out, &limits), Ok(Parse::Complete { bytes: out.len() }));
    let view = parser.view(&out);
    let expected = match sent.body {
        BodyLength::Known(length) => Framing::Length(length),
        BodyLength::Chunked => Framing::Chunked,
        BodyLength::UntilClose => Framing::UntilClose,
        BodyLength::None => match view.framing(&method) {
            Ok(Framing::Length(0)) => Framing::Length(0),
            _ => Framing::None,
        },
    };
    assert_eq!(view.framing(&method), Ok(expected));
    if !sent.keep_alive && !view.status().is_informational() {
        assert!(!view.keep_alive());
    }
}

/// What came of one body.
#[derive(Debug, PartialEq, Eq)]
struct Body {
    content: Vec<u8>,
    consumed: usize,
    end: bool,
    trailers: Option<HeaderMap>,
}

fn decode_in_pieces(framing: Framing, seed: u8, data: &[u8]) -> Result<Body, BodyError> {
    let mut decoder = BodyDecoder::new(framing, BODY_LIMITS)?;
    let mut body = Body { content: Vec::new(), consumed: 0, end: decoder.is_end(), trailers: None };
    let mut cuts = Cuts(seed);
    let mut seen = 0;
    while seen < data.len() && !body.end {
        seen += cuts.next_len(data.len() - seen);
        while body.consumed < seen && !body.end {
            let input = &data[body.consumed..seen];
            let decoded = decoder.decode(input)?;
            assert!(decoded.consumed > 0 && decoded.consumed <= input.len(), "no progress");
            assert!(decoded.data.end <= decoded.consumed);
            body.content.extend_from_slice(&input[decoded.data]);
            body.consumed += decoded.consumed;
            body.end = decoded.end;
        }
    }
    assert_eq!(body.end, decoder.is_end());
    body.trailers = decoder.take_trailers();
    Ok(body)
}

/// Shows `parse` more and more of `data` until it has a verdict.
fn in_pieces(
    seed: u8,
    data: &[u8],
    mut parse: impl FnMut(&[u8]) -> Result<Parse, HeadError>,
) -> Result<Parse, HeadError> {
    let mut cuts = Cuts(seed);
    let mut seen = 0;
    loop {
        let verdict = parse(&data[..seen]);
        if seen == data.len() || verdict != Ok(Parse::Partial) {
            return verdict;
        }
        seen += cuts.next_len(data.len() - seen);
    }
}

/// A malformed line that is not finished is noticed only when all bytes come at once; see `h1::resume`.
fn assert_same_verdict(whole: Result<Parse, HeadError>, split: Result<Parse, HeadError>) {
    match (whole, split) {
        (Err(_), Err(_) | Ok(Parse::Partial)) => {}
        (whole, split) => assert_eq!(whole, split),
    }
}

/// Every line ends in CRLF, CR and LF stand nowhere else, and only the last line is empty.
fn assert_strict_lines(head: &[u8]) {
    let text = head.strip_prefix(b"\r\n").unwrap_or(head);
    let text = text.strip_prefix(b"\r\n").unwrap_or(text);
    let lines = text.strip_suffix(b"\r\n\r\n").expect("a head ends with an empty line");
    let mut rest = lines;
    while let Some(end) = memchr::memmem::find(rest, b"\r\n") {
        assert_line(&rest[..end]);
        rest = &rest[end + 2..];
    }
    assert_line(rest);
}

fn assert_line(line: &[u8]) {
    assert!(!line.is_empty() && !line[0].is_ascii_whitespace());
    assert!(!line.iter().any(|&b| matches!(b, 0..=8 | 10..=31 | 127)), "control character in {line:?}");
}

/// Lengths of pieces: 0 gives everything at once, 1 one byte each, other seeds a fixed sequence of short lengths.
struct Cuts(u8);

impl Cuts {
    fn next_len(&mut self, rest: usize) -> usize {
        match self.0 {
            0 => rest,
            1 => 1,
            seed => {
                self.0 = seed.wrapping_mul(37).wrapping_add(11).max(2);
                usize::from(seed % 23 + 1).min(rest)
            }
        }
    }
}
