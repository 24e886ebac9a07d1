//! Requests that are none: each is answered once, with the status that fits, and then the connection is over, because
//! where the next request would begin is not known (RFC 9112 section 6.3). The server goes on.

use crate::variant::{Variant, status};

behaviours![
    bad_requests_are_answered_and_end_the_connection,
    what_is_not_http_is_answered_or_dropped,
    bad_requests_are_counted
];

/// Behind every request: what a smuggled request would be. It must never be answered.
const BEHIND: &str = "GET /hello HTTP/1.1\r\nHost: test\r\n\r\n";

/// What is sent, without [`BEHIND`], and the status that answers it.
const BAD: &[(&str, u16)] = &[
    // RFC 9112 section 6.3 and 6.1: the ways to disagree about a message's length, which is what smuggling lives on.
    (
        "POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
    ("POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
    ("POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc", 400),
    ("POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", 400),
    ("POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\nabc", 400),
    ("POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc", 400),
    ("POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 3 4\r\n\r\nabc", 400),
    ("POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\nabc", 400),
    ("POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nabc", 400),
    ("POST /count HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\nabc", 400),
    ("POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    ("POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
    ("POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    (
        "POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    ("POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\r\n: chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST /count HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    // Section 2.2: line ends.
    ("GET /hello HTTP/1.1\nHost: a\n\n", 400),
    ("GET /hello HTTP/1.1\r\nHost: a\n\r\n", 400),
    ("GET /hello HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400),
    ("GET /hello HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    ("\r\n\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    // Section 3: the request line.
    ("GET  /hello HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET /hello  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET /hello HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    ("GET\t/hello\tHTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (" GET /hello HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("G[T /hello HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET hello HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET /hello#top HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET /h\u{e9}llo HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET /hello http/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET /hello HTTP/1.10\r\nHost: a\r\n\r\n", 400),
    ("GET /hello\r\n\r\n", 400),
    ("GET /hello HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    ("GET /hello HTTP/1.2\r\nHost: a\r\n\r\n", 505),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("METHODMETHODMETHODMETHODMETHODMETHOD /hello HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    // Section 3.2: exactly one valid Host.
    ("GET /hello HTTP/1.1\r\n\r\n", 400),
    ("GET /hello HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    ("GET /hello HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
    ("GET /hello HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    ("GET /hello HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
    // Section 5: fields.
    ("GET /hello HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", 400),
    ("GET /hello HTTP/1.1\r\nHost: a\r\nX(: b\r\n\r\n", 400),
    ("GET /hello HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400),
    ("GET /hello HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400),
    ("GET /hello HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400),
    ("GET /hello HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n", 400),
    ("GET /hello HTTP/1.1\r\nHost: a\r\nX: b\u{7f}\r\n\r\n", 400),
    ("GET /hello HTTP/1.1\r\nHost: a\r\nConnection: a b\r\n\r\n", 400),
];

fn bad_requests_are_answered_and_end_the_connection(variant: &'static Variant) {
    for (request, status) in BAD {
        let mut client = variant.server().client();
        client.send(format!("{request}{BEHIND}"));
        let response = client.read_response();
        assert_eq!(response.status, *status, "{request:?}: {response}");
        assert!(response.closes(), "{request:?}: {response}");
        client.expect_end();
    }
    variant.server().client().get("/hello").expect(200);
}

/// TLS, SSH, random bytes: nothing that needs a good answer, but nothing that may hang or hurt either.
fn what_is_not_http_is_answered_or_dropped(variant: &'static Variant) {
    let mut seed = 7_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    })
    .take(20_000)
    .collect();
    for bytes in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(),
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\0\0\0\0\0\0\0\0",
        b"\r\n\r\n\r\n\r\n",
        b"{\"jsonrpc\": \"2.0\"}\n",
        &noise,
    ] {
        let mut client = variant.server().client();
        let _ = client.try_send(bytes);
        client.half_close();
        let answer = client.read_to_end();
        let text = String::from_utf8_lossy(&answer);
        assert!(
            text.is_empty() || text.starts_with("HTTP/1.1 4") || text.starts_with("HTTP/1.1 5"),
            "{text}"
        );
        assert!(text.matches("HTTP/1.1").count() <= 1, "{text}");
    }
    variant.server().client().get("/hello").expect(200);
}

fn bad_requests_are_counted(variant: &'static Variant) {
    let before = status(variant.server());
    for _ in 0..3 {
        let mut client = variant.server().client();
        client.send("BAD\r\n\r\n").read_response().expect(400);
        client.expect_end();
    }
    let after = status(variant.server());
    assert_eq!(after.bad_requests, before.bad_requests + 3, "{before:?} {after:?}");
    variant.server().wait_for_log("bad request");
}
