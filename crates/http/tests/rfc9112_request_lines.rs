//! Request lines, in the order of RFC 9112 sections 2 and 3, and what `Head` itself promises.

mod common;

use http::{Method, Version};
use tenfold_http::h1::{Framing, Head, Parse};
use tenfold_http::{HeadError, HeadLimits};

use common::{parse, parse_under, refuses, refuses_fields};

// Section 2.2: message parsing.

#[test]
fn s2_2_the_parts_of_a_head_are_found() {
    let input = b"POST /a/b?c=d&e HTTP/1.1\r\nHost: example.org:8080\r\nX-Empty:\r\nX-Blank: \t v w\t \r\nContent-Length: 3\r\n\r\nabc";
    let (head, bytes) = parse(input).unwrap();
    assert_eq!(&input[bytes..], b"abc");
    let view = head.view(input);
    assert_eq!((view.method(), view.method_str(), view.is_head()), (Method::POST, "POST", false));
    assert_eq!((view.target(), view.path(), view.query()), ("/a/b?c=d&e", "/a/b", Some("c=d&e")));
    assert_eq!(
        (view.version(), view.host(), view.framing()),
        (Version::HTTP_11, "example.org:8080", Framing::Length(3))
    );
    assert_eq!(view.header("x-blank"), Some(&b"v w"[..]));
    assert_eq!(view.header("X-EMPTY"), Some(&b""[..]));
    assert_eq!(view.header("x-absent"), None);
    let names: Vec<_> = view.headers().map(|(name, _)| name).collect();
    assert_eq!(names, ["Host", "X-Empty", "X-Blank", "Content-Length"]);
    assert_eq!(view.to_header_map()["x-blank"], "v w");
    assert_eq!(view.bytes(), bytes);
}

#[test]
fn s2_2_empty_lines_before_the_request_line_are_skipped_but_not_any_number() {
    for (prefix, accepted) in
        [("\r\n", true), ("\r\n\r\n", true), ("\r\n\r\n\r\n", false), ("\n", false), ("\r\n\n", false)]
    {
        let input = format!("{prefix}GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(
            parse(input.as_bytes()).map(|(_, bytes)| bytes == input.len()),
            if accepted { Ok(true) } else { Err(HeadError::InvalidLineEnd) }
        );
    }
}

#[test]
fn s2_2_a_bare_lf_ends_no_line() {
    for input in [
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nB: c\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nB:\nC: d\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nHost: a\n\n",
        "GET / HTTP/1.0\n\n",
        "GET / HTTP/1.0\r\n\n",
    ] {
        refuses(input, HeadError::InvalidLineEnd);
    }
}

#[test]
fn s2_2_a_bare_cr_stands_nowhere() {
    refuses("GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", HeadError::InvalidHeaderValue);
    refuses("GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", HeadError::InvalidHeaderValue);
    refuses("GET / HTTP/1.1\rHost: a\r\n\r\n", HeadError::InvalidLineEnd);
    refuses("GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::InvalidTarget);
    refuses("GET / HTTP/1.1\r\nHost: a\r\n\rX\r\n\r\n", HeadError::InvalidLineEnd);
}

#[test]
fn s2_2_white_space_before_the_first_field_is_refused() {
    refuses("GET / HTTP/1.1\r\n Host: a\r\n\r\n", HeadError::InvalidHeaderName);
    refuses("GET / HTTP/1.1\r\n\tHost: a\r\n\r\n", HeadError::InvalidHeaderName);
}

// Section 2.3: the version.

#[test]
fn s2_3_versions_other_than_1_0_and_1_1_get_505() {
    for version in ["HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "HTTP/3.0", "HTTP/2"] {
        refuses(&format!("GET / {version}\r\nHost: a\r\n\r\n"), HeadError::UnsupportedVersion);
    }
    refuses("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HeadError::UnsupportedVersion);
    assert_eq!(HeadError::UnsupportedVersion.status(), 505);
}

#[test]
fn s2_3_what_is_no_version_gets_400() {
    for version in ["http/1.1", "HTTP/x.1", "HTTP/1,1", "HTTP/11", "FTP/1.1", "HTTP 1.1", " HTTP/1.1"] {
        refuses(&format!("GET / {version}\r\nHost: a\r\n\r\n"), HeadError::InvalidStartLine);
    }
    refuses("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", HeadError::InvalidLineEnd);
    refuses("GET / HTTP/1.10\r\nHost: a\r\n\r\n", HeadError::InvalidLineEnd);
    assert_eq!(HeadError::InvalidStartLine.status(), 400);
}

#[test]
fn s2_3_a_request_of_http_0_9_gets_400() {
    refuses("GET /\r\n\r\n", HeadError::InvalidTarget);
}

// Section 3.1: the method.

#[test]
fn s3_1_methods_are_case_sensitive_tokens() {
    let input = b"get-it! /x HTTP/1.1\r\nHost: a\r\n\r\n";
    let (head, _) = parse(input).unwrap();
    assert_eq!(head.view(input).method(), Method::from_bytes(b"get-it!").unwrap());
    for input in [
        "G(T / HTTP/1.1\r\n\r\n",
        " GET / HTTP/1.1\r\n\r\n",
        "\0",
        "\u{16}\u{3}\u{1}",
        "GET\t/ HTTP/1.1\r\n\r\n",
    ] {
        refuses(input, HeadError::InvalidMethod);
    }
}

#[test]
fn s3_1_a_method_that_never_ends_gets_501_before_the_line_does() {
    let longest = "M".repeat(HeadLimits::METHOD_BYTES_MAX);
    assert!(parse(format!("{longest} / HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).is_ok());
    refuses(&format!("{longest}M"), HeadError::MethodTooLong);
    refuses(&format!("{longest}M / HTTP/1.1\r\nHost:"), HeadError::MethodTooLong);
    refuses(&format!("{longest}M / HTTP/1.1\r\nHost: a\r\n\r\n"), HeadError::MethodTooLong);
    assert_eq!(HeadError::MethodTooLong.status(), 501);
}

// Section 3.2: the target.

#[test]
fn s3_2_doubled_spaces_in_the_request_line_are_refused() {
    refuses("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::InvalidTarget);
    refuses("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::InvalidStartLine);
    refuses("GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", HeadError::InvalidTarget);
}

#[test]
fn s3_2_a_target_over_the_limit_gets_414_before_the_line_ends() {
    let limits = HeadLimits { target_bytes_max: 20, ..HeadLimits::default() };
    let line = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(len - 1));
    assert!(parse_under(line(20).as_bytes(), &limits).is_ok());
    assert_eq!(parse_under(line(21).as_bytes(), &limits).map(|_| ()), Err(HeadError::TargetTooLong));
    let endless = format!("GET /{}", "x".repeat(20));
    for unfinished in [endless.clone(), endless + " HTTP/1.1\r\nHost: a\r\n"] {
        assert_eq!(parse_under(unfinished.as_bytes(), &limits).map(|_| ()), Err(HeadError::TargetTooLong));
    }
    assert_eq!(HeadError::TargetTooLong.status(), 414);
}

#[test]
fn s3_2_a_request_of_http_1_1_has_exactly_one_valid_host() {
    refuses("GET / HTTP/1.1\r\n\r\n", HeadError::MissingHost);
    refuses("GET / HTTP/1.1\r\nX-Host: a\r\n\r\n", HeadError::MissingHost);
    refuses_fields("Host: a\r\n", HeadError::DuplicatedHeader);
    refuses_fields("hOST: b\r\n", HeadError::DuplicatedHeader);
    for host in ["a b", "a, b", "a/b", "u@a", "a:b", "a:1:2", "[::1", "a\u{e9}", "http://a"] {
        refuses(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), HeadError::InvalidHost);
    }
    for host in ["", "a", "a:", "a:80", "127.0.0.1", "[::1]:80", "x_y.example"] {
        let input = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let (head, _) = parse(input.as_bytes()).unwrap();
        assert_eq!(head.view(input.as_bytes()).host(), host);
    }
    let input = b"GET / HTTP/1.0\r\n\r\n";
    assert_eq!(parse(input).unwrap().0.view(input).host(), "");
}

#[test]
fn s3_2_1_the_origin_form_is_split_at_the_first_question_mark() {
    for (target, path, query) in [
        ("/", "/", None),
        ("/?", "/", Some("")),
        ("/a?b?c", "/a", Some("b?c")),
        ("//a/b", "//a/b", None),
        ("/a%20b?%00", "/a%20b", Some("%00")),
        ("/{id}|\"x\"?q={}", "/{id}|\"x\"", Some("q={}")),
    ] {
        let input = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let (head, _) = parse(input.as_bytes()).unwrap();
        let view = head.view(input.as_bytes());
        assert_eq!((view.target(), view.path(), view.query()), (target, path, query));
    }
}

#[test]
fn s3_2_fragments_and_bytes_outside_ascii_are_refused() {
    for target in ["/#", "/a?b#c", "/\u{e9}", "/?\u{e9}", "a", "a/b", "?", "http:/a"] {
        refuses(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"), HeadError::InvalidTarget);
    }
}

#[test]
fn s3_2_2_the_absolute_form_replaces_host() {
    for (target, path, query) in [
        ("http://b.example", "/", None),
        ("http://b.example/c?d", "/c", Some("d")),
        ("HTTPS://b.example?d", "/", Some("d")),
    ] {
        let input = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let (head, _) = parse(input.as_bytes()).unwrap();
        let view = head.view(input.as_bytes());
        assert_eq!((view.path(), view.query(), view.host()), (path, query, "b.example"));
    }
    for target in ["http://", "http:///a", "http://u@b/", "://b/", "1http://b/", "http://b,c/", "http://b#c"]
    {
        refuses(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"), HeadError::InvalidTarget);
    }
}

#[test]
fn s3_2_3_the_authority_form_is_for_connect_and_needs_a_port() {
    let input = b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n";
    let (head, _) = parse(input).unwrap();
    assert_eq!((head.view(input).host(), head.view(input).path()), ("a.example:443", ""));
    for request in ["CONNECT /", "CONNECT a", "CONNECT a:", "CONNECT http://a:1/", "GET a:443", "CONNECT *"] {
        refuses(&format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n"), HeadError::InvalidTarget);
    }
}

#[test]
fn s3_2_4_the_asterisk_form_is_for_options() {
    for target in ["*", "http://a"] {
        let input = format!("OPTIONS {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let (head, _) = parse(input.as_bytes()).unwrap();
        assert_eq!(head.view(input.as_bytes()).path(), "*");
    }
    refuses("GET * HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::InvalidTarget);
    refuses("OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::InvalidTarget);
}

// Our own promises.

#[test]
fn pipelined_heads_are_parsed_one_after_the_other_with_the_same_storage() {
    let input = b"GET /1 HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\nHEAD /2 HTTP/1.0\r\n\r\n";
    let limits = HeadLimits::default();
    let mut head = Head::new();
    let Ok(Parse::Complete { bytes }) = head.parse(input, &limits) else { panic!() };
    assert_eq!(head.view(input).path(), "/1");
    let rest = &input[bytes..];
    assert_eq!(head.parse(rest, &limits), Ok(Parse::Complete { bytes: rest.len() }));
    let view = head.view(rest);
    assert_eq!((view.path(), view.is_head(), view.headers().len(), view.host()), ("/2", true, 0, ""));
    assert_eq!(head.parse(b"", &limits), Ok(Parse::Partial));
}

#[test]
fn a_cleared_head_forgets_the_half_that_it_had() {
    let limits = HeadLimits::default();
    let mut head = Head::new();
    assert_eq!(head.parse(b"GET /long/and/unfinished HTTP/1.1\r\nHo", &limits), Ok(Parse::Partial));
    head.clear();
    assert_eq!(head.parse(b"GET / HTTP/1.0\r\n\r\n", &limits), Ok(Parse::Complete { bytes: 18 }));
}

#[test]
fn an_error_does_not_stick_to_the_storage() {
    let limits = HeadLimits::default();
    let mut head = Head::new();
    assert!(head.parse(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", &limits).is_err());
    assert_eq!(head.parse(b"GET / HTTP/1.0\r\n\r\n", &limits), Ok(Parse::Complete { bytes: 18 }));
}

#[test]
fn a_head_that_repeats_the_last_one_says_the_same_wherever_it_lies() {
    let limits = HeadLimits::default();
    let mut head = Head::new();
    let one = b"GET /a?b HTTP/1.1\r\nHost: h\r\nX: y\r\nConnection: close\r\n\r\n";
    let twice = [&one[..], b"rest"].concat();
    for input in [&one[..], &twice, one] {
        assert_eq!(head.parse(input, &limits), Ok(Parse::Complete { bytes: one.len() }));
        let view = head.view(input);
        assert_eq!(
            (view.path(), view.query(), view.host(), view.keep_alive()),
            ("/a", Some("b"), "h", false)
        );
        assert_eq!(view.header("x"), Some(&b"y"[..]));
        head.clear();
    }
}

#[test]
fn a_head_that_nearly_repeats_the_last_one_is_read_anew() {
    let limits = HeadLimits::default();
    let mut head = Head::new();
    let one = b"GET /a HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\n";
    let other = b"GET /a HTTP/1.1\r\nHost: h\r\nX: z\r\n\r\n";
    let bad = b"GET /a HTTP/1.1\r\nHost: h h\r\n\r\n";
    let complete = Ok(Parse::Complete { bytes: one.len() });
    assert_eq!(head.parse(one, &limits), complete);
    assert_eq!(head.parse(other, &limits), complete);
    assert_eq!(head.view(other).header("x"), Some(&b"z"[..]));
    // A part of it is no repetition, and what comes in between is not mixed up with it.
    assert_eq!(head.parse(&one[..20], &limits), Ok(Parse::Partial));
    assert_eq!(head.parse(one, &limits), complete);
    assert!(head.parse(bad, &limits).is_err());
    assert_eq!(head.parse(one, &limits), complete);
    assert_eq!(head.view(one).header("x"), Some(&b"y"[..]));
    // Other limits may refuse what these have let pass.
    let fewer = HeadLimits { headers_max: 1, ..limits };
    assert_eq!(head.parse(one, &fewer), Err(HeadError::TooManyHeaders));
    assert_eq!(head.parse(one, &limits), complete);
    let longer = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(600));
    for _ in 0..2 {
        assert_eq!(head.parse(longer.as_bytes(), &limits), Ok(Parse::Complete { bytes: longer.len() }));
    }
}
