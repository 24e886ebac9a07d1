//! Clients that send or take their bytes slowly: those that are merely slow are served, others wait for nobody, and those
//! that are too slow are turned away.

use std::time::Duration;

use tenfold_testkit::wait_until;

use crate::variant::{Variant, status, wait_until_alone};

behaviours![
    a_request_may_come_byte_by_byte,
    others_are_served_while_a_head_trickles_in only |variant| variant.serves_many(),
    others_are_served_while_a_body_trickles_in only |variant| variant.handlers_at_once() > 1,
    others_are_served_while_an_answer_is_not_taken only |variant| variant.handlers_at_once() > 1,
    a_head_that_takes_too_long_gets_408,
    bytes_now_and_then_do_not_renew_the_time_of_a_head,
    a_body_that_does_not_come_gets_408,
    a_body_that_comes_too_slowly_gets_408,
    a_body_that_is_slow_but_fast_enough_is_taken,
    who_takes_no_answer_is_dropped,
    who_takes_an_answer_slowly_gets_it_whole,
    time_outs_are_counted,
];

/// Long enough that every byte arrives by itself.
const PAUSE: Duration = Duration::from_millis(2);

fn a_request_may_come_byte_by_byte(variant: &'static Variant) {
    let mut client = variant.server().client();
    client.trickle(b"POST /collect HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n0123456789", PAUSE);
    client.read_response().expect_text(200, "10");
    client.get("/hello").expect(200);
}

fn others_are_served_while_a_head_trickles_in(variant: &'static Variant) {
    let mut slow = variant.server().client();
    for piece in ["GET /users/1", " HTTP/1.1\r\nHo", "st: test\r\n", "\r", "\n"] {
        variant.server().client().get("/hello").expect(200);
        slow.send(piece);
    }
    slow.read_response().expect_text(200, "user 1");
}

fn others_are_served_while_a_body_trickles_in(variant: &'static Variant) {
    let mut slow = variant.server().client();
    slow.send("POST /collect HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n");
    for digit in "0123456789".chars() {
        variant.server().client().get("/hello").expect(200);
        slow.send(digit.to_string());
    }
    slow.read_response().expect_text(200, "10");
}

fn others_are_served_while_an_answer_is_not_taken(variant: &'static Variant) {
    for kind in ["memory", "produced", "sized"] {
        let mut slow = variant.server().client();
        slow.send_get(&format!("/{kind}/16000000")).wait_for_bytes(1);
        for _ in 0..20 {
            variant.server().client().get("/hello").expect(200);
        }
        assert_eq!(slow.read_response().expect(200).body.len(), 16_000_000, "{kind}");
    }
}

fn a_head_that_takes_too_long_gets_408(variant: &'static Variant) {
    let mut client = variant.strict().client();
    client.send("GET /hello HTTP/1.1\r\nHost: te");
    assert!(client.read_response().expect(408).closes());
    client.expect_end();
}

/// The attack that is known as Slowloris.
fn bytes_now_and_then_do_not_renew_the_time_of_a_head(variant: &'static Variant) {
    let mut client = variant.strict().client();
    client.send("GET /hello HTTP/1.1\r\nHost: test\r\n");
    // Twice the time that a head may take.
    client.trickle(b"X-Slow: aaaaaaaaaaaaaaaaaaaaaa", Duration::from_millis(20));
    assert!(client.read_response().expect(408).closes());
    client.expect_end();
}

fn a_body_that_does_not_come_gets_408(variant: &'static Variant) {
    for framing in [
        "Content-Length: 10\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nab",
    ] {
        let mut client = variant.strict().client();
        client.send(format!("POST /collect HTTP/1.1\r\nHost: test\r\n{framing}"));
        assert!(client.read_response().expect(408).closes());
        client.expect_end();
    }
}

fn a_body_that_comes_too_slowly_gets_408(variant: &'static Variant) {
    let mut client = variant.strict().client();
    client.send("POST /collect HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\n");
    // 50 bytes a second, where 1,000 are asked for.
    client.trickle(&[b'x'; 40], Duration::from_millis(20));
    assert!(client.read_response().expect(408).closes());
    client.expect_end();
}

fn a_body_that_is_slow_but_fast_enough_is_taken(variant: &'static Variant) {
    let mut client = variant.strict().client();
    client.send("POST /count HTTP/1.1\r\nHost: test\r\nContent-Length: 20000\r\n\r\n");
    // Ten times as fast as asked for, and longer than the grace.
    for _ in 0..40 {
        client.send([b'x'; 500]);
        std::thread::sleep(Duration::from_millis(10));
    }
    client.read_response().expect_text(200, &format!("20000 {}", 20_000 * 120));
}

fn who_takes_no_answer_is_dropped(variant: &'static Variant) {
    for kind in ["memory", "produced"] {
        let mut client = variant.strict().client();
        client.send_get(&format!("/{kind}/50000000")).wait_for_bytes(1);
        wait_until_alone(variant.strict());
        // What is in the buffers still arrives; the whole is not among it.
        assert!(client.read_to_end_or_reset() < 50_000_000);
    }
}

fn who_takes_an_answer_slowly_gets_it_whole(variant: &'static Variant) {
    let mut client = variant.strict().client();
    let mut bytes = 0;
    client.send_get("/produced/8000000");
    client.read_response_into(&mut |piece| {
        bytes += piece.len();
        // Longer than the longest stall altogether, but never at a time.
        std::thread::sleep(Duration::from_millis(1));
    });
    assert_eq!(bytes, 8_000_000);
}

fn time_outs_are_counted(variant: &'static Variant) {
    let before = status(variant.strict()).timeouts;
    let mut client = variant.strict().client();
    client.send("GET /hello HTTP/1.1\r\nHost: te").read_response().expect(408);
    client.expect_end();
    wait_until("the time-out is counted", || (status(variant.strict()).timeouts > before).then_some(()));
}
