//! What goes out: response heads by the rules of RFC 9110 and 9112, and the client's request heads.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use tenfold_http::EncodeError;
use tenfold_http::h1::{BodyLength, CONTINUE, RequestHead, ResponseHead, Sent, request_head, response_head};

const DATE: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";

fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let entry = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    fields.iter().map(entry).fold(HeaderMap::new(), |mut map, (name, value)| {
        map.append(name, value);
        map
    })
}

/// A 200 of two bytes on a connection that stays.
fn plain(headers: &HeaderMap) -> ResponseHead<'_> {
    ResponseHead {
        version: Version::HTTP_11,
        to_head: false,
        status: StatusCode::OK,
        headers,
        content_type: None,
        body: BodyLength::Known(2),
        keep_alive: true,
        date: b"",
        server: None,
    }
}

fn write(head: ResponseHead<'_>) -> (String, Sent) {
    let mut out = b"before".to_vec();
    let sent = response_head(&mut out, head);
    let out = String::from_utf8(out).unwrap();
    (out.strip_prefix("before").expect("appends").to_owned(), sent)
}

/// The field lines between the status line and the empty line.
fn fields(head: ResponseHead<'_>) -> String {
    let (out, _) = write(head);
    let (_, fields) = out.split_once("\r\n").unwrap();
    fields.strip_suffix("\r\n").unwrap().to_owned()
}

#[test]
fn a_whole_response_head_in_order() {
    let headers = map(&[("x-a", "1"), ("set-cookie", "b"), ("set-cookie", "c")]);
    let (out, sent) = write(ResponseHead {
        content_type: Some(b"text/html"),
        date: DATE,
        server: Some("tenfold"),
        ..plain(&headers)
    });
    assert_eq!(
        out,
        "HTTP/1.1 200 OK\r\nx-a: 1\r\nset-cookie: b\r\nset-cookie: c\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         Server: tenfold\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\n"
    );
    assert_eq!(sent, Sent { body: BodyLength::Known(2), keep_alive: true, upgraded: false });
}

#[test]
fn the_handlers_date_server_and_content_type_replace_ours() {
    let headers = map(&[("date", "d"), ("server", "s"), ("content-type", "c/t")]);
    let head = ResponseHead { content_type: Some(b"a/b"), date: DATE, server: Some("t"), ..plain(&headers) };
    assert_eq!(fields(head), "date: d\r\nserver: s\r\ncontent-type: c/t\r\nContent-Length: 2\r\n");
}

#[test]
fn an_unknown_status_has_an_empty_reason() {
    let empty = HeaderMap::new();
    let (out, _) = write(ResponseHead { status: StatusCode::from_u16(799).unwrap(), ..plain(&empty) });
    assert!(out.starts_with("HTTP/1.1 799 \r\n"), "{out}");
}

#[test]
fn strings_that_would_end_the_line_are_left_out() {
    let empty = HeaderMap::new();
    for bad in ["a\r\nX: y", "\n", "text/plain; charset=utf-8\r", "0123456789\x7f", "\x1f2345678"] {
        let head = ResponseHead { content_type: Some(bad.as_bytes()), server: Some(bad), ..plain(&empty) };
        assert_eq!(fields(head), "Content-Length: 2\r\n", "{bad:?}");
    }
    for good in ["a", "12345678", "text/plain; charset=\u{e9}~ "] {
        let head = ResponseHead { server: Some(good), ..plain(&empty) };
        assert_eq!(fields(head), format!("Server: {good}\r\nContent-Length: 2\r\n"));
    }
}

// RFC 9112 section 6: framing.

#[test]
fn s6_the_handlers_framing_fields_are_dropped() {
    let headers = map(&[
        ("content-length", "99"),
        ("transfer-encoding", "chunked"),
        ("connection", "x-a"),
        ("x-a", "b"),
    ]);
    assert_eq!(fields(plain(&headers)), "x-a: b\r\nContent-Length: 2\r\n");
    let chunked = ResponseHead { body: BodyLength::Chunked, ..plain(&headers) };
    assert_eq!(fields(chunked), "x-a: b\r\nTransfer-Encoding: chunked\r\n");
}

#[test]
fn s6_1_http_1_0_gets_no_chunks_but_the_connections_end() {
    let empty = HeaderMap::new();
    let head = ResponseHead { version: Version::HTTP_10, body: BodyLength::Chunked, ..plain(&empty) };
    assert_eq!(fields(head), "Connection: close\r\n");
    assert_eq!(write(head).1, Sent { body: BodyLength::UntilClose, keep_alive: false, upgraded: false });
}

#[test]
fn s6_3_a_response_without_body_says_so() {
    let empty = HeaderMap::new();
    for (status, body, expected) in [
        (200, BodyLength::None, "Content-Length: 0\r\n"),
        (200, BodyLength::Known(0), "Content-Length: 0\r\n"),
        (205, BodyLength::Known(5), "Content-Length: 0\r\n"),
        (204, BodyLength::Known(5), ""),
        (204, BodyLength::Chunked, ""),
        (304, BodyLength::None, ""),
        (304, BodyLength::Known(0), ""),
        (304, BodyLength::Known(5), "Content-Length: 5\r\n"),
        (103, BodyLength::Known(5), ""),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let head = ResponseHead { status, body, ..plain(&empty) };
        assert_eq!(fields(head), expected, "{status} {body:?}");
        let nothing = matches!(write(head).1.body, BodyLength::None | BodyLength::Known(0));
        assert!(nothing, "{status} {body:?}");
    }
}

#[test]
fn rfc9110_s9_3_2_head_gets_the_head_that_get_would_have_got() {
    let empty = HeaderMap::new();
    for body in [BodyLength::Known(5), BodyLength::Known(0), BodyLength::Chunked] {
        let get = ResponseHead { body, content_type: Some(b"a/b"), ..plain(&empty) };
        let head = ResponseHead { to_head: true, ..get };
        assert_eq!(fields(head), fields(get));
        assert_eq!(write(head).1, Sent { body: BodyLength::None, keep_alive: true, upgraded: false });
    }
}

#[test]
fn rfc9110_s8_6_a_handler_may_announce_what_head_and_304_do_not_send() {
    let length = map(&[("content-length", "99")]);
    let two = map(&[("content-length", "99"), ("content-length", "98")]);
    let word = map(&[("content-length", "many")]);
    let not_modified = StatusCode::NOT_MODIFIED;
    for (headers, expected) in [(&length, "Content-Length: 99\r\n"), (&two, ""), (&word, "")] {
        assert_eq!(
            fields(ResponseHead { to_head: true, body: BodyLength::None, ..plain(headers) }),
            expected
        );
        assert_eq!(
            fields(ResponseHead { status: not_modified, body: BodyLength::None, ..plain(headers) }),
            expected
        );
    }
    let empty = ResponseHead { status: StatusCode::OK, body: BodyLength::None, ..plain(&length) };
    assert_eq!(fields(empty), "Content-Length: 0\r\n");
}

// RFC 9112 section 9: connection.

#[test]
fn s9_3_connection_says_what_the_version_does_not() {
    let empty = HeaderMap::new();
    for (version, keep_alive, expected) in [
        (Version::HTTP_11, true, "Content-Length: 2\r\n"),
        (Version::HTTP_11, false, "Content-Length: 2\r\nConnection: close\r\n"),
        (Version::HTTP_10, true, "Content-Length: 2\r\nConnection: keep-alive\r\n"),
        (Version::HTTP_10, false, "Content-Length: 2\r\nConnection: close\r\n"),
    ] {
        assert_eq!(fields(ResponseHead { version, keep_alive, ..plain(&empty) }), expected);
    }
}

#[test]
fn s9_6_a_handlers_close_is_obeyed() {
    let headers = map(&[("connection", "x, Close")]);
    let (out, sent) = write(plain(&headers));
    assert!(out.ends_with("Connection: close\r\n\r\n") && !sent.keep_alive);
}

#[test]
fn s6_3_a_body_until_close_announces_the_close() {
    let empty = HeaderMap::new();
    let head = ResponseHead { body: BodyLength::UntilClose, ..plain(&empty) };
    assert_eq!(fields(head), "Connection: close\r\n");
    assert!(!write(head).1.keep_alive);
}

#[test]
fn rfc9110_s7_8_an_upgrade_gets_its_connection_option() {
    let headers = map(&[("upgrade", "websocket")]);
    let head =
        ResponseHead { status: StatusCode::SWITCHING_PROTOCOLS, body: BodyLength::None, ..plain(&headers) };
    assert_eq!(fields(head), "upgrade: websocket\r\nConnection: upgrade\r\n");
    assert!(write(head).1.upgraded);
    let required =
        ResponseHead { status: StatusCode::UPGRADE_REQUIRED, keep_alive: false, ..plain(&headers) };
    assert_eq!(fields(required), "upgrade: websocket\r\nContent-Length: 2\r\nConnection: close, upgrade\r\n");
}

#[test]
fn rfc9110_s15_2_interim_responses_say_nothing_about_the_connection() {
    let headers = map(&[("link", "</a>")]);
    let status = StatusCode::from_u16(103).unwrap();
    let head =
        ResponseHead { status, keep_alive: false, date: DATE, body: BodyLength::None, ..plain(&headers) };
    assert_eq!(fields(head), "link: </a>\r\n");
    assert_eq!(CONTINUE, b"HTTP/1.1 100 Continue\r\n\r\n");
}

// The client's side.

fn request(head: RequestHead<'_>) -> Result<String, EncodeError> {
    let mut out = Vec::new();
    let result = request_head(&mut out, head);
    assert!(result.is_ok() || out.is_empty(), "nothing is written on an error");
    result.map(|()| String::from_utf8(out).unwrap())
}

fn get(headers: &HeaderMap) -> RequestHead<'_> {
    RequestHead {
        method: &Method::GET,
        target: "/a?b",
        host: "h:80",
        headers,
        body: BodyLength::None,
        keep_alive: true,
    }
}

#[test]
fn a_request_has_its_host_first_and_our_framing() {
    let headers = map(&[("host", "other"), ("content-length", "9"), ("connection", "te"), ("x-a", "b")]);
    assert_eq!(request(get(&headers)).unwrap(), "GET /a?b HTTP/1.1\r\nHost: h:80\r\nx-a: b\r\n\r\n");
    let empty = HeaderMap::new();
    for (method, body, expected) in [
        (Method::POST, BodyLength::None, "Content-Length: 0\r\n"),
        (Method::DELETE, BodyLength::None, ""),
        (Method::GET, BodyLength::Known(3), "Content-Length: 3\r\n"),
        (Method::PUT, BodyLength::Chunked, "Transfer-Encoding: chunked\r\n"),
    ] {
        let out = request(RequestHead { method: &method, body, ..get(&empty) }).unwrap();
        assert_eq!(out, format!("{method} /a?b HTTP/1.1\r\nHost: h:80\r\n{expected}\r\n"));
    }
}

#[test]
fn a_request_says_whether_the_connection_ends_or_changes() {
    let (empty, upgrade) = (HeaderMap::new(), map(&[("upgrade", "websocket")]));
    assert!(
        request(RequestHead { keep_alive: false, ..get(&empty) })
            .unwrap()
            .ends_with("\r\nConnection: close\r\n\r\n")
    );
    assert!(request(get(&upgrade)).unwrap().ends_with("upgrade: websocket\r\nConnection: upgrade\r\n\r\n"));
}

#[test]
fn a_request_that_would_be_another_one_is_refused() {
    let empty = HeaderMap::new();
    for target in ["", "/a b", "/a\r\nX: y", "/\u{e9}", "/\0"] {
        assert_eq!(request(RequestHead { target, ..get(&empty) }), Err(EncodeError::InvalidTarget));
    }
    for host in ["a b", "a\r\nX: y", "u@a", "a/b"] {
        assert_eq!(request(RequestHead { host, ..get(&empty) }), Err(EncodeError::InvalidHost));
    }
    let until_close = RequestHead { body: BodyLength::UntilClose, ..get(&empty) };
    assert_eq!(request(until_close), Err(EncodeError::UnframedBody));
}
