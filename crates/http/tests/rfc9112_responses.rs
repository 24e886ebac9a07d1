//! Response heads as the client reads them, in the order of RFC 9112. Each is parsed whole and byte by byte.

use http::{Method, StatusCode, Version};
use tenfold_http::h1::{BodyDecoder, Framing, Parse, ResponseHeadParser};
use tenfold_http::{BodyLimits, HeadError, HeadLimits};

fn parse(input: &str) -> Result<(ResponseHeadParser, usize), HeadError> {
    let limits = HeadLimits::default();
    let input = input.as_bytes();
    let mut parser = ResponseHeadParser::new();
    let whole = parser.parse(input, &limits);
    let mut bytewise = ResponseHeadParser::new();
    let first = (0..=input.len())
        .map(|end| bytewise.parse(&input[..end], &limits))
        .find(|p| *p != Ok(Parse::Partial));
    assert_eq!(first.unwrap_or(Ok(Parse::Partial)), whole, "byte by byte: {}", input.escape_ascii());
    match whole? {
        Parse::Complete { bytes } => Ok((parser, bytes)),
        Parse::Partial => panic!("unfinished: {}", input.escape_ascii()),
    }
}

fn refuses(input: &str, error: HeadError) {
    assert_eq!(parse(input).map(|_| ()), Err(error), "{}", input.escape_debug());
}

fn framing(method: Method, status: u16, fields: &str) -> Result<Framing, HeadError> {
    let input = format!("HTTP/1.1 {status} x\r\n{fields}\r\n");
    let (parser, _) = parse(&input)?;
    parser.view(input.as_bytes()).framing(&method)
}

#[test]
fn s4_the_parts_of_a_status_line_are_found() {
    let input = "HTTP/1.1 404 Not Found\r\nServer: x\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\nbody";
    let (parser, bytes) = parse(input).unwrap();
    let view = parser.view(input.as_bytes());
    assert_eq!(&input[bytes..], "body");
    assert_eq!(
        (view.status(), view.reason(), view.version()),
        (StatusCode::NOT_FOUND, "Not Found", Version::HTTP_11)
    );
    assert_eq!(view.header("SERVER"), Some(&b"x"[..]));
    assert_eq!((view.headers().len(), view.bytes()), (3, bytes));
    assert_eq!(view.to_header_map().get_all("set-cookie").iter().count(), 2);
}

#[test]
fn s4_the_reason_may_be_missing() {
    for line in ["HTTP/1.1 200 ", "HTTP/1.1 200"] {
        let input = format!("{line}\r\n\r\n");
        let (parser, _) = parse(&input).unwrap();
        assert_eq!(
            (parser.view(input.as_bytes()).status().as_u16(), parser.view(input.as_bytes()).reason()),
            (200, "")
        );
    }
}

#[test]
fn s4_malformed_status_lines_are_refused() {
    refuses("HTTP/1.1 20 OK\r\n\r\n", HeadError::InvalidStatus);
    refuses("HTTP/1.1 2000 OK\r\n\r\n", HeadError::InvalidStatus);
    refuses("HTTP/1.1 099 OK\r\n\r\n", HeadError::InvalidStatus);
    refuses("HTTP/1.1  200 OK\r\n\r\n", HeadError::InvalidStatus);
    refuses("HTTP/2.0 200 OK\r\n\r\n", HeadError::UnsupportedVersion);
    refuses("ICY 200 OK\r\n\r\n", HeadError::InvalidStartLine);
    refuses("\r\nHTTP/1.1 200 OK\r\n\r\n", HeadError::InvalidStartLine);
}

#[test]
fn s2_2_and_s5_lines_are_read_as_strictly_as_those_of_requests() {
    refuses("HTTP/1.1 200 OK\n\r\n", HeadError::InvalidLineEnd);
    refuses("HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n", HeadError::InvalidLineEnd);
    refuses("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", HeadError::InvalidHeaderName);
    refuses("HTTP/1.1 200 OK\r\nA : b\r\n\r\n", HeadError::InvalidHeaderName);
    refuses("HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n", HeadError::InvalidHeaderValue);
    refuses(&format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(16 * 1024)), HeadError::HeadTooLarge);
    refuses(&format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(101)), HeadError::TooManyHeaders);
}

#[test]
fn s6_3_rule_1_head_1xx_204_and_304_have_no_body_whatever_they_announce() {
    let announced = "Content-Length: 5\r\n";
    assert_eq!(framing(Method::HEAD, 200, announced), Ok(Framing::None));
    for status in [100, 101, 103, 204, 304] {
        assert_eq!(framing(Method::GET, status, announced), Ok(Framing::None));
        assert_eq!(framing(Method::GET, status, "Transfer-Encoding: chunked\r\n"), Ok(Framing::None));
    }
}

#[test]
fn s6_3_rule_2_a_successful_connect_has_no_body() {
    assert_eq!(framing(Method::CONNECT, 200, "Content-Length: 5\r\n"), Ok(Framing::None));
    assert_eq!(framing(Method::CONNECT, 502, "Content-Length: 5\r\n"), Ok(Framing::Length(5)));
}

#[test]
fn s6_3_rules_3_to_5_faulty_framing_is_refused() {
    let get = |fields| framing(Method::GET, 200, fields);
    assert_eq!(get("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), Err(HeadError::BothLengths));
    assert_eq!(get("Transfer-Encoding: gzip, chunked\r\n"), Err(HeadError::UnsupportedTransferEncoding));
    assert_eq!(get("Transfer-Encoding: gzip\r\n"), Err(HeadError::UnsupportedTransferEncoding));
    assert_eq!(get("Transfer-Encoding: chunked, chunked\r\n"), Err(HeadError::InvalidTransferEncoding));
    assert_eq!(get("Content-Length: 5\r\nContent-Length: 5\r\n"), Err(HeadError::DuplicatedHeader));
    assert_eq!(get("Content-Length: 5, 5\r\n"), Err(HeadError::InvalidContentLength));
}

#[test]
fn s6_3_rules_4_6_and_8_chunks_length_or_until_close() {
    assert_eq!(framing(Method::GET, 200, "Transfer-Encoding: chunked\r\n"), Ok(Framing::Chunked));
    assert_eq!(framing(Method::GET, 200, "Content-Length: 0\r\n"), Ok(Framing::Length(0)));
    assert_eq!(framing(Method::GET, 200, ""), Ok(Framing::UntilClose));
    let input = b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut parser = ResponseHeadParser::new();
    parser.parse(input, &HeadLimits::default()).unwrap();
    assert_eq!(parser.view(input).framing(&Method::GET), Err(HeadError::TransferEncodingInHttp10));
}

#[test]
fn s9_3_persistence_follows_version_and_connection() {
    for (head, expected) in [
        ("HTTP/1.1 200 OK\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", true),
    ] {
        assert_eq!(parse(head).unwrap().0.view(head.as_bytes()).keep_alive(), expected);
    }
}

#[test]
fn rfc9110_s15_2_interim_responses_come_before_the_final_one() {
    let input = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    let mut parser = ResponseHeadParser::new();
    let (mut rest, mut statuses) = (&input[..], Vec::new());
    let framing = loop {
        let Ok(Parse::Complete { bytes }) = parser.parse(rest, &HeadLimits::default()) else { panic!() };
        let view = parser.view(rest);
        statuses.push(view.status().as_u16());
        let framing = view.framing(&Method::GET).unwrap();
        let informational = view.status().is_informational();
        rest = &rest[bytes..];
        if !informational {
            break framing;
        }
    };
    let decoded = BodyDecoder::new(framing, BodyLimits::default()).unwrap().decode(rest).unwrap();
    assert_eq!(
        (statuses.as_slice(), &rest[decoded.data], decoded.end),
        (&[100, 103, 200][..], &b"hi"[..], true)
    );
}

#[test]
fn rfc9110_s7_8_a_switch_of_protocols_names_the_new_one() {
    let input = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    assert_eq!(parse(input).unwrap().0.view(input.as_bytes()).upgrade(), Some("websocket"));
}
