//! The field lines of requests and what they steer, in the order of RFC 9112 sections 5, 6 and 9.

mod common;

use tenfold_http::h1::Framing;
use tenfold_http::{HeadError, HeadLimits};

use common::{framing_of, parse, parse_under, refuses, refuses_fields, with_fields};

// Section 5: field syntax.

#[test]
fn s5_1_a_field_name_is_a_token_with_the_colon_right_behind_it() {
    for line in ["A : b", "A\t: b", " A: b", ": b", "A", "A b: c", "A(b): c", "\u{e9}: b"] {
        refuses_fields(&format!("{line}\r\n"), HeadError::InvalidHeaderName);
    }
}

#[test]
fn s5_2_folded_lines_are_refused() {
    refuses_fields("A: b\r\n c\r\n", HeadError::InvalidHeaderName);
    refuses_fields("A: b\r\n\tc\r\n", HeadError::InvalidHeaderName);
    refuses_fields("A:\r\n b\r\n", HeadError::InvalidHeaderName);
}

#[test]
fn s5_5_control_characters_in_values_are_refused_and_text_above_ascii_is_not() {
    for byte in (0..=8).chain(11..=12).chain(14..=31).chain([127]) {
        let fields = format!("A: b{}c\r\n", char::from(byte));
        refuses_fields(&fields, HeadError::InvalidHeaderValue);
        refuses_fields(&fields.replace('b', ""), HeadError::InvalidHeaderValue);
    }
    let input = b"GET / HTTP/1.0\r\nA: \xff\x80\tb\r\n\r\n";
    assert_eq!(parse(input).unwrap().0.view(input).header("a"), Some(&b"\xff\x80\tb"[..]));
}

#[test]
fn s5_4_heads_over_the_limits_get_431_as_soon_as_they_are() {
    let limits = HeadLimits { head_bytes_max: 64, headers_max: 3, target_bytes_max: 32 };
    let head = |fields: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let longest = head(&format!("A: {}\r\n", "x".repeat(64 - head("A: \r\n").len())));
    assert_eq!(longest.len(), 64);
    assert!(parse_under(longest.as_bytes(), &limits).is_ok());
    for input in
        [longest.replace("A: ", "A:  "), "GET / HTTP/1.1\r\nHost: a\r\nA: b".to_owned() + &"c".repeat(64)]
    {
        assert_eq!(parse_under(input.as_bytes(), &limits).map(|_| ()), Err(HeadError::HeadTooLarge));
    }
    assert!(parse_under(head("A: 1\r\nB: 2\r\n").as_bytes(), &limits).is_ok());
    for input in [head("A:1\r\nB:2\r\nC:3\r\n"), head("A:1\r\nB:2\r\nC:3\r\n").replace("\r\n\r\n", "\r\nD")] {
        assert_eq!(parse_under(input.as_bytes(), &limits).map(|_| ()), Err(HeadError::TooManyHeaders));
    }
    assert_eq!(
        (HeadError::HeadTooLarge.status(), HeadError::TooManyHeaders.status()),
        (431.try_into().unwrap(), 431.try_into().unwrap())
    );
}

#[test]
fn s5_4_more_field_lines_than_the_stack_holds_are_parsed_too() {
    for count in [31, 32, 33, 99] {
        let fields: String = (0..count).map(|n| format!("X-{n}: {n}\r\n")).collect();
        let input = with_fields(&fields);
        let (head, bytes) = parse(input.as_bytes()).unwrap();
        let view = head.view(input.as_bytes());
        assert_eq!((view.headers().len(), bytes), (count + 1, input.len()));
        assert_eq!(view.header(&format!("x-{}", count - 1)), Some((count - 1).to_string().as_bytes()));
    }
    let fields: String = (0..100).map(|n| format!("X-{n}: {n}\r\n")).collect();
    refuses_fields(&fields, HeadError::TooManyHeaders);
}

#[test]
fn s5_3_fields_that_may_come_once_are_refused_twice() {
    for field in ["Content-Type: a/b", "Authorization: x", "Content-Length: 1", "Transfer-Encoding: chunked"]
    {
        refuses_fields(&format!("{field}\r\n{}\r\n", field.to_lowercase()), HeadError::DuplicatedHeader);
    }
    assert_eq!(framing_of("Accept: a\r\nAccept: b\r\nCookie: c\r\nCookie: d\r\n"), Framing::None);
}

// Section 6: the framing of the body.

#[test]
fn s6_1_transfer_encoding_is_exactly_chunked() {
    assert_eq!(framing_of("Transfer-Encoding: chunked\r\n"), Framing::Chunked);
    assert_eq!(framing_of("transfer-encoding: \t ChunKed \r\n"), Framing::Chunked);
    for value in [
        "",
        ",",
        "identity",
        "gzip",
        "xchunked",
        "chunked, gzip",
        "chunked, chunked",
        "chunked,",
        ", chunked",
        "chunked;q=1",
        "gzip, chunked;q=1",
        "\"chunked\"",
        "chunked chunked",
        "chun\u{b}ked",
    ] {
        let error = if value.contains('\u{b}') {
            HeadError::InvalidHeaderValue
        } else {
            HeadError::InvalidTransferEncoding
        };
        refuses_fields(&format!("Transfer-Encoding: {value}\r\n"), error);
    }
}

#[test]
fn s6_1_a_coding_that_we_do_not_have_gets_501() {
    refuses_fields("Transfer-Encoding: gzip, chunked\r\n", HeadError::UnsupportedTransferEncoding);
    refuses_fields("Transfer-Encoding: gzip;level=9,chunked\r\n", HeadError::UnsupportedTransferEncoding);
    assert_eq!(HeadError::UnsupportedTransferEncoding.status(), 501);
}

#[test]
fn s6_1_both_lengths_are_refused_in_either_order() {
    refuses_fields("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", HeadError::BothLengths);
    refuses_fields("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", HeadError::BothLengths);
}

#[test]
fn s6_1_http_1_0_has_no_transfer_encoding() {
    refuses("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", HeadError::TransferEncodingInHttp10);
}

#[test]
fn s6_2_content_length_is_one_number_of_64_bits() {
    assert_eq!(framing_of("Content-Length: 0\r\n"), Framing::Length(0));
    assert_eq!(framing_of("Content-Length: 0042\r\n"), Framing::Length(42));
    assert_eq!(framing_of("Content-Length: 18446744073709551615\r\n"), Framing::Length(u64::MAX));
    for value in [
        "",
        "+1",
        "-1",
        "1,1",
        "1, 2",
        "1 1",
        "0x1",
        "1.0",
        "1e3",
        "\"1\"",
        "18446744073709551616",
        "\u{661}",
    ] {
        refuses_fields(&format!("Content-Length: {value}\r\n"), HeadError::InvalidContentLength);
    }
    refuses_fields("Content-Length: 1\r\nContent-Length: 2\r\n", HeadError::DuplicatedHeader);
}

#[test]
fn s6_3_without_either_there_is_no_body() {
    assert_eq!(framing_of(""), Framing::None);
}

// Section 9: connection management.

#[test]
fn s9_3_persistence_follows_version_and_connection() {
    for (version, fields, expected) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: foo, CLOSE\r\n", false),
        ("1.1", "Connection: foo\r\nConnection: close\r\n", false),
        ("1.1", "Connection: keep-alive, close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let input = format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
        let (head, _) = parse(input.as_bytes()).unwrap();
        assert_eq!(head.view(input.as_bytes()).keep_alive(), expected, "{version} {fields:?}");
    }
    refuses_fields("Connection: a b\r\n", HeadError::InvalidConnection);
}

#[test]
fn rfc9110_s7_8_upgrade_counts_only_with_its_connection_option_and_in_http_1_1() {
    for (version, connection, expected) in [
        ("1.1", "keep-alive, Upgrade", Some("websocket")),
        ("1.1", "keep-alive", None),
        ("1.0", "upgrade", None),
    ] {
        let input = format!(
            "GET / HTTP/{version}\r\nHost: a\r\nUpgrade: websocket\r\nConnection: {connection}\r\n\r\n"
        );
        let (head, _) = parse(input.as_bytes()).unwrap();
        assert_eq!(head.view(input.as_bytes()).upgrade(), expected);
    }
}

#[test]
fn rfc9110_s10_1_1_expect_counts_only_with_a_body_and_in_http_1_1() {
    for (version, length, expected) in [("1.1", 5, true), ("1.1", 0, false), ("1.0", 5, false)] {
        let input = format!(
            "PUT / HTTP/{version}\r\nHost: a\r\nContent-Length: {length}\r\nExpect: 100-Continue\r\n\r\n"
        );
        let (head, _) = parse(input.as_bytes()).unwrap();
        assert_eq!(head.view(input.as_bytes()).expects_continue(), expected);
    }
    refuses_fields("Expect: the unexpected\r\n", HeadError::UnknownExpectation);
    assert_eq!(HeadError::UnknownExpectation.status(), 417);
}
