//! Connections that serve more than one request: RFC 9112 sections 9.3 (persistence) and 9.6 (tear-down).

use std::time::{Duration, Instant};

use tenfold_testkit::{PATIENCE, ServerProcess};

use crate::variant::Variant;

behaviours![
    many_requests_share_a_connection,
    connections_come_and_go_by_the_hundred,
    an_idle_connection_keeps_nobody_out only |variant| variant.serves_many(),
    a_busy_connection_makes_room_for_who_waits only |variant| !variant.facts().evented,
    an_idle_connection_makes_room_for_who_waits only |variant| !variant.facts().evented,
    a_connection_stays_while_nobody_waits only |variant| !variant.facts().evented,
    s9_6_a_client_that_wants_to_close_is_told_so,
    s9_3_a_client_of_http_1_0_gets_one_answer_unless_it_asks_for_more,
    s9_3_the_last_request_that_a_connection_may_have_is_announced,
    a_connection_that_is_old_ends_with_its_next_answer,
    an_idle_connection_is_closed_without_a_word,
    a_new_connection_that_says_nothing_is_closed_without_a_word,
    every_answer_has_a_date_and_the_server,
];

fn many_requests_share_a_connection(variant: &'static Variant) {
    let mut client = variant.server().client();
    for number in 0..100 {
        let response = client.get(&format!("/users/{number}")).expect_text(200, &format!("user {number}"));
        assert!(!response.closes(), "{response}");
    }
}

fn connections_come_and_go_by_the_hundred(variant: &'static Variant) {
    for number in 0..200 {
        variant
            .server()
            .client()
            .get(&format!("/users/{number}"))
            .expect_text(200, &format!("user {number}"));
    }
}

fn an_idle_connection_keeps_nobody_out(variant: &'static Variant) {
    let mut idle = variant.server().client();
    idle.get("/hello").expect(200);
    variant.server().client().get("/hello").expect(200);
    idle.get("/hello").expect(200);
}

/// A server that serves one connection at a time; each socket has a queue of its own if `reuseport`.
fn narrow(variant: &Variant, reuseport: bool) -> ServerProcess {
    let threads = if variant.name() == "serial" { "" } else { "threads = 1" };
    variant.start(&format!("reuseport = {reuseport}\n{threads}"), "")
}

/// It may have its thread for a slice of 100 ms, which is five of these requests; a busy machine makes it fewer.
const ANSWERS_MAX: usize = 12;

fn a_busy_connection_makes_room_for_who_waits(variant: &'static Variant) {
    for reuseport in [false, true] {
        let server = narrow(variant, reuseport);
        let mut busy = server.client();
        busy.get("/hello").expect(200);
        let mut second = server.client();
        second.send_get("/users/2");
        let answers = (1..=ANSWERS_MAX).find(|_| busy.get("/sleep/20").expect(200).closes());
        assert!(answers.is_some(), "after {ANSWERS_MAX} answers nobody else has had his turn");
        busy.expect_end();
        second.read_response().expect_text(200, "user 2");
        // It was not cut off in the middle of anything, so it may come again and gets its turn likewise.
        let mut again = server.client();
        again.send_get("/users/3");
        let answers = (1..=ANSWERS_MAX).find(|_| second.get("/sleep/20").expect(200).closes());
        assert!(answers.is_some(), "the second one may do what the first may not");
        drop(second);
        again.read_response().expect_text(200, "user 3");
    }
}

/// Also one that was never used, as browsers open them in advance.
fn an_idle_connection_makes_room_for_who_waits(variant: &'static Variant) {
    let server = narrow(variant, false);
    let mut idle = server.client();
    idle.get("/hello").expect(200);
    server.client().get("/users/2").expect_text(200, "user 2");
    idle.expect_end();
    let mut unused = server.client();
    server.client().get("/users/3").expect_text(200, "user 3");
    unused.expect_end();
}

fn a_connection_stays_while_nobody_waits(variant: &'static Variant) {
    let server = narrow(variant, false);
    let mut only = server.client();
    let until = Instant::now() + Duration::from_millis(400);
    while Instant::now() < until {
        assert!(!only.get("/sleep/5").expect(200).closes());
    }
    std::thread::sleep(Duration::from_millis(400));
    assert!(!only.get("/hello").expect(200).closes());
}

fn s9_6_a_client_that_wants_to_close_is_told_so(variant: &'static Variant) {
    let mut client = variant.server().client();
    client.get("/hello").expect(200);
    client.send("GET /hello HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    assert!(client.read_response().expect_text(200, "Hello, world!").closes());
    client.expect_end();
}

fn s9_3_a_client_of_http_1_0_gets_one_answer_unless_it_asks_for_more(variant: &'static Variant) {
    let mut client = variant.server().client();
    client.send("GET /hello HTTP/1.0\r\n\r\n");
    let response = client.read_response().expect_text(200, "Hello, world!");
    assert!(response.closes(), "{response}");
    client.expect_end();

    let mut client = variant.server().client();
    for _ in 0..3 {
        client.send("GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        // The client cannot know that the connection stays unless it is told (section 9.3).
        let response = client.read_response().expect_text(200, "Hello, world!");
        assert_eq!(response.header("connection"), Some("keep-alive"), "{response}");
    }
}

fn s9_3_the_last_request_that_a_connection_may_have_is_announced(variant: &'static Variant) {
    let mut client = variant.strict().client();
    for number in 1..=20 {
        let response = client.get("/hello").expect(200);
        assert_eq!(response.closes(), number == 20, "answer {number} of 20: {response}");
    }
    client.expect_end();
}

fn a_connection_that_is_old_ends_with_its_next_answer(variant: &'static Variant) {
    let server = variant.start("", "connection_age_max_secs = 0.5");
    for _ in 0..2 {
        let mut client = server.client();
        let began = Instant::now();
        assert!(!client.get("/hello").expect(200).closes(), "it has just begun");
        while !client.get("/sleep/10").expect(200).closes() {
            assert!(began.elapsed() < PATIENCE, "it never ends");
        }
        assert!(began.elapsed() > Duration::from_millis(400), "nine tenths of its time are sure");
        client.expect_end();
    }
}

fn an_idle_connection_is_closed_without_a_word(variant: &'static Variant) {
    let mut client = variant.strict().client();
    client.get("/hello").expect(200);
    client.expect_end();
}

fn a_new_connection_that_says_nothing_is_closed_without_a_word(variant: &'static Variant) {
    variant.strict().client().expect_end();
}

fn every_answer_has_a_date_and_the_server(variant: &'static Variant) {
    let mut client = variant.server().client();
    for target in ["/hello", "/empty", "/nowhere", "/pieces"] {
        let response = client.get(target);
        // RFC 9110 section 6.6.1: an IMF-fixdate, always 29 bytes.
        assert_eq!(response.header("date").map(str::len), Some(29), "{response}");
        assert!(response.header("date").is_some_and(|date| date.ends_with(" GMT")), "{response}");
        assert_eq!(response.header("server"), Some("tenfold"), "{response}");
    }
}
