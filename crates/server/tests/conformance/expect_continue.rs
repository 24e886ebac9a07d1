//! `Expect: 100-continue`: RFC 9110 section 10.1.1.

use crate::held::Held;
use crate::variant::Variant;

behaviours![
    a_client_is_asked_for_its_body_when_the_handler_reads_it,
    a_handler_that_does_not_read_the_body_does_not_ask_for_it,
    a_body_that_is_too_long_is_refused_instead_of_asked_for,
    who_sends_its_body_unasked_is_not_asked,
    a_client_of_http_1_0_is_never_asked,
    another_expectation_fails,
    a_request_without_a_body_is_not_asked_for_one,
];

fn expecting(target: &str, length: usize) -> String {
    format!(
        "POST {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
    )
}

fn a_client_is_asked_for_its_body_when_the_handler_reads_it(variant: &'static Variant) {
    let (mut client, response) = Held::begin(variant.server(), "/hold").release();
    assert!(!response.closes(), "{response}");
    client.get("/hello").expect(200);
    for target in ["/collect", "/echo", "/count"] {
        client.send(expecting(target, 2)).read_exactly("HTTP/1.1 100 Continue\r\n\r\n");
        client.send("go").read_response().expect(200);
    }
}

/// Whether the client will still send the body is its own choice, so the connection cannot go on.
fn a_handler_that_does_not_read_the_body_does_not_ask_for_it(variant: &'static Variant) {
    for (target, status) in [("/ignore", 200), ("/nowhere", 404), ("/hello", 405)] {
        let mut client = variant.server().client();
        let response = client.send(expecting(target, 10)).read_response().expect(status);
        assert!(response.closes(), "{response}");
        client.expect_end();
    }
}

fn a_body_that_is_too_long_is_refused_instead_of_asked_for(variant: &'static Variant) {
    let mut client = variant.strict().client();
    let response = client.send(expecting("/collect", 1001)).read_response().expect(413);
    assert!(response.closes(), "{response}");
    client.expect_end();
}

fn who_sends_its_body_unasked_is_not_asked(variant: &'static Variant) {
    let mut client = variant.server().client();
    client.send(expecting("/echo", 2) + "go").read_response().expect_text(200, "go");
    client.get("/hello").expect(200);
}

fn a_client_of_http_1_0_is_never_asked(variant: &'static Variant) {
    let mut client = variant.server().client();
    client.send("POST /echo HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\ngo");
    client.read_response().expect_text(200, "go");
    client.expect_end();
}

fn another_expectation_fails(variant: &'static Variant) {
    let mut client = variant.server().client();
    client.send("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\nExpect: tea\r\n\r\n");
    assert!(client.read_response().expect(417).closes());
    client.expect_end();
}

fn a_request_without_a_body_is_not_asked_for_one(variant: &'static Variant) {
    let mut client = variant.server().client();
    client.send("POST /collect HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n");
    client.read_response().expect_text(200, "0");
    client.get("/hello").expect(200);
}
