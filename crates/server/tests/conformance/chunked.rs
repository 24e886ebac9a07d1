//! Chunked bodies, both ways: RFC 9112 section 7.1.

use std::time::Duration;

use tenfold_testkit::Client;

use crate::variant::Variant;

behaviours![
    s7_1_chunks_of_any_size_are_one_body,
    s7_1_sizes_are_hexadecimal_in_either_case_and_may_have_leading_zeros,
    s7_1_1_extensions_are_ignored,
    s7_1_2_trailers_reach_the_handler_and_do_not_disturb_others,
    a_body_may_come_byte_by_byte,
    s7_1_content_of_unknown_length_is_chunked,
    s6_1_a_client_of_http_1_0_gets_no_chunks,
    a_body_can_be_answered_while_it_comes,
    what_a_handler_leaves_of_a_body_is_not_the_next_request,
    s7_1_bad_chunks_are_refused_and_end_the_connection,
    s8_a_body_that_is_cut_short_is_an_error,
];

fn head(target: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n")
}

/// `x` as often as the chunks' sizes say.
fn chunked(sizes: &[usize]) -> String {
    let chunks: String = sizes.iter().map(|size| format!("{size:x}\r\n{}\r\n", "x".repeat(*size))).collect();
    chunks + "0\r\n\r\n"
}

fn counted(bytes: usize) -> String {
    format!("{bytes} {}", bytes * usize::from(b'x'))
}

fn s7_1_chunks_of_any_size_are_one_body(variant: &'static Variant) {
    let mut client = variant.server().client();
    for sizes in [&[][..], &[1], &[1; 500], &[1023, 1024, 1025], &[100_000, 3, 65_536, 1], &[16 * 1024; 10]] {
        client.send(head("/count") + &chunked(sizes));
        client.read_response().expect_text(200, &counted(sizes.iter().sum()));
    }
}

fn s7_1_sizes_are_hexadecimal_in_either_case_and_may_have_leading_zeros(variant: &'static Variant) {
    let mut client = variant.server().client();
    let letters = "x".repeat(0xAB);
    client.send(head("/count") + &format!("aB\r\n{letters}\r\n00AB\r\n{letters}\r\n000\r\n\r\n"));
    client.read_response().expect_text(200, &counted(2 * 0xAB));
}

fn s7_1_1_extensions_are_ignored(variant: &'static Variant) {
    let mut client = variant.server().client();
    client.send(head("/echo") + "3;name=value\r\nabc\r\n2;flag\r\nde\r\n0;last=\"1\"\r\n\r\n");
    client.read_response().expect_text(200, "abcde");
}

fn s7_1_2_trailers_reach_the_handler_and_do_not_disturb_others(variant: &'static Variant) {
    let mut client = variant.server().client();
    let body = "3\r\nabc\r\n0\r\nX-Sum: 294\r\nX-Other: 1\r\n\r\n";
    client.send(head("/trailers") + body).read_response().expect_text(200, "294");
    client.send(head("/ignore") + body).read_response().expect_text(200, "ignored");
    client.get("/header/x-sum").expect_text(200, "(none)");
}

fn a_body_may_come_byte_by_byte(variant: &'static Variant) {
    let mut client = variant.server().client();
    client.trickle((head("/count") + &chunked(&[1, 20, 3])).as_bytes(), Duration::ZERO);
    client.read_response().expect_text(200, &counted(24));
    client.get("/hello").expect(200);
}

fn s7_1_content_of_unknown_length_is_chunked(variant: &'static Variant) {
    let mut client = variant.server().client();
    for (target, length) in
        [("/produced/100000", 100_000), ("/read/100000", 100_000), ("/pieces", 13), ("/read/0", 0)]
    {
        let response = client.get(target).expect(200);
        assert_eq!(response.header("transfer-encoding"), Some("chunked"), "{response}");
        assert_eq!(response.body.len(), length, "{response}");
    }
}

fn s6_1_a_client_of_http_1_0_gets_no_chunks(variant: &'static Variant) {
    let mut client = variant.server().client();
    client.send("GET /pieces HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let response = client.read_response().expect_text(200, "one two three");
    assert_eq!(response.header("transfer-encoding"), None, "{response}");
    assert!(response.closes(), "only the end of the connection tells where this body ends: {response}");
    client.expect_end();
}

/// Neither side may wait for the whole body: the answer to the first piece comes before the second is sent.
fn a_body_can_be_answered_while_it_comes(variant: &'static Variant) {
    let mut client = variant.server().client();
    client.send(head("/echo") + "3\r\nabc\r\n");
    let mut response = client.read_head().expect(200);
    assert_eq!(response.header("transfer-encoding"), Some("chunked"), "{response}");
    client.read_exactly("3\r\nabc\r\n");
    client.send("2\r\nde\r\n0\r\n\r\n");
    let mut rest = Vec::new();
    client.read_body_into(&mut response, &mut |bytes| rest.extend_from_slice(bytes));
    assert_eq!(rest, b"de");
    client.get("/hello").expect(200);
}

fn what_a_handler_leaves_of_a_body_is_not_the_next_request(variant: &'static Variant) {
    let mut client = variant.server().client();
    let hidden = "GET /nowhere HTTP/1.1\r\nHost: test\r\n\r\n";
    let body = format!("3\r\nabc\r\n{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
    for (target, answer) in [("/ignore", "ignored"), ("/first/2", "ab"), ("/first/3", "abc")] {
        client.send(head(target) + &body).read_response().expect_text(200, answer);
        client.get("/users/1").expect_text(200, "user 1");
    }
}

fn s7_1_bad_chunks_are_refused_and_end_the_connection(variant: &'static Variant) {
    for bad in [
        "g\r\n",
        "-1\r\n",
        "0x3\r\nabc\r\n",
        "3 \r\nabc\r\n",
        " 3\r\nabc\r\n",
        "3\nabc\r\n",
        "\r\n3\r\nabc\r\n",
        "3\r\nabcd\r\n",
        "3\r\nabc\n",
        "10000000000000000\r\n",
        "3;a=\rb\r\nabc\r\n",
        "0\r\nbad trailer\r\n\r\n",
        "0\r\nContent-Length: 3\r\n\r\n",
        &format!("3;{}\r\n", "x".repeat(300)),
    ] {
        let mut client = variant.server().client();
        client.send(head("/count") + bad);
        let response = client.read_response().expect(400);
        assert!(response.closes(), "{bad:?}: {response}");
        client.expect_end();
    }
    variant.server().client().get("/hello").expect(200);
}

fn s8_a_body_that_is_cut_short_is_an_error(variant: &'static Variant) {
    let cut = |request: &str| {
        let mut client: Client = variant.server().client();
        client.send(request).half_close();
        // Whether such a client gets an answer is its luck; it must not get that of a whole body.
        let answer = String::from_utf8_lossy(&client.read_to_end()).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{request:?}: {answer}");
    };
    cut(&(head("/count") + "3\r\nab"));
    cut(&(head("/count") + "3\r\nabc\r\n"));
    cut("POST /count HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nab");
}
