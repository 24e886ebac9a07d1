//! Requests that do not wait for the answers before them: RFC 9112 section 9.3.2.

use std::time::Duration;

use crate::variant::Variant;

behaviours![
    s9_3_2_answers_come_in_the_order_of_the_requests,
    requests_with_and_without_bodies_follow_each_other,
    a_pipeline_may_come_byte_by_byte,
    s9_6_nothing_behind_a_request_that_closes_is_answered,
    an_answer_does_not_wait_for_the_body_of_the_next_request,
    an_answer_comes_before_the_100_of_the_next_request,
    nothing_behind_a_malformed_request_is_answered,
    a_pipeline_of_large_answers_is_answered_whole,
];

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n")
}

fn s9_3_2_answers_come_in_the_order_of_the_requests(variant: &'static Variant) {
    let mut client = variant.server().client();
    let requests: String = (0..100).map(|number| get(&format!("/users/{number}"))).collect();
    client.send(requests + &get("/pieces") + &get("/empty") + &get("/nowhere"));
    for number in 0..100 {
        client.read_response().expect_text(200, &format!("user {number}"));
    }
    client.read_response().expect_text(200, "one two three");
    client.read_response().expect_text(200, "");
    client.read_response().expect(404);
    client.get("/hello").expect(200);
}

fn requests_with_and_without_bodies_follow_each_other(variant: &'static Variant) {
    let mut client = variant.server().client();
    let with_length = "POST /collect HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nGET /".to_owned();
    let chunked = "POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let unread = "POST /ignore HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nGET /";
    for _ in 0..3 {
        client.send(with_length.clone() + &get("/hello") + chunked + unread + &get("/hello"));
        client.read_response().expect_text(200, "5");
        client.read_response().expect_text(200, "Hello, world!");
        client.read_response().expect_text(200, "abcde");
        client.read_response().expect_text(200, "ignored");
        client.read_response().expect_text(200, "Hello, world!");
    }
}

fn a_pipeline_may_come_byte_by_byte(variant: &'static Variant) {
    let mut client = variant.server().client();
    let body = "POST /collect HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc";
    client.trickle((get("/users/1") + body + &get("/users/2")).as_bytes(), Duration::ZERO);
    client.read_response().expect_text(200, "user 1");
    client.read_response().expect_text(200, "3");
    client.read_response().expect_text(200, "user 2");
}

fn s9_6_nothing_behind_a_request_that_closes_is_answered(variant: &'static Variant) {
    let mut client = variant.server().client();
    let last = "GET /hello HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    client.send(get("/users/1") + last + &get("/users/2"));
    client.read_response().expect_text(200, "user 1");
    client.read_response().expect_text(200, "Hello, world!");
    client.expect_end();
}

/// A client that sends the second body once it has the first answer must not wait for ever. The route is used by no other
/// case: the server may learn which ones wait, and must be right the first time too.
fn an_answer_does_not_wait_for_the_body_of_the_next_request(variant: &'static Variant) {
    let mut client = variant.server().client().patience(Duration::from_secs(5));
    for _ in 0..2 {
        client.send(get("/users/1") + "POST /read-once HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\n");
        client.read_response().expect_text(200, "user 1");
        client.send("go").read_response().expect_text(200, "held go");
    }
}

/// RFC 9110 section 15.2: a 1xx belongs to its own request. See above for the route.
fn an_answer_comes_before_the_100_of_the_next_request(variant: &'static Variant) {
    let mut client = variant.server().client();
    for _ in 0..2 {
        client.send(
            get("/users/1")
                + "POST /hold-once HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n",
        );
        client.read_response().expect_text(200, "user 1");
        client.read_exactly("HTTP/1.1 100 Continue\r\n\r\n");
        client.send("go").read_response().expect_text(200, "held go");
    }
}

fn nothing_behind_a_malformed_request_is_answered(variant: &'static Variant) {
    let mut client = variant.server().client();
    client.send(get("/users/1") + "GET /hello HTTP/1.1\r\nHost : test\r\n\r\n" + &get("/users/2"));
    client.read_response().expect_text(200, "user 1");
    assert!(client.read_response().expect(400).closes());
    client.expect_end();
}

fn a_pipeline_of_large_answers_is_answered_whole(variant: &'static Variant) {
    let mut client = variant.server().client();
    client.send(["/memory/300000", "/hello", "/produced/300000", "/sized/300000"].map(get).concat());
    let letters = "x".repeat(300_000);
    client.read_response().expect_text(200, &letters);
    client.read_response().expect_text(200, "Hello, world!");
    client.read_response().expect_text(200, &letters);
    client.read_response().expect_text(200, &letters);
}
