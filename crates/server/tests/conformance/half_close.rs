//! Clients that end their half of the connection: RFC 9112 section 9.6 lets a server answer what has come.

use crate::held::Held;
use crate::variant::{Variant, wait_until_alone};

behaviours![
    who_has_said_everything_still_gets_its_answers,
    an_end_during_a_long_wait_cancels_nothing,
    an_end_during_the_handler_does_not_lose_the_answer,
    an_end_within_a_head_ends_the_connection,
    an_end_within_a_body_reaches_the_handler,
    an_end_between_requests_ends_the_connection,
];

fn who_has_said_everything_still_gets_its_answers(variant: &'static Variant) {
    let mut client = variant.server().client();
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n");
    client.send(get("/users/1") + &get("/sleep/50") + &get("/produced/300000")).half_close();
    client.read_response().expect_text(200, "user 1");
    client.read_response().expect_text(200, "slept");
    assert_eq!(client.read_response().expect(200).body.len(), 300_000);
    client.expect_end();
}

/// Long enough for a loop to have asked several times whether the client is still there.
fn an_end_during_a_long_wait_cancels_nothing(variant: &'static Variant) {
    let mut client = variant.server().client();
    client.send_get("/sleep/600").half_close();
    client.read_response().expect_text(200, "slept");
    client.expect_end();
}

fn an_end_during_the_handler_does_not_lose_the_answer(variant: &'static Variant) {
    let mut held = Held::begin(variant.server(), "/hold");
    held.client().send("go").half_close();
    held.client().read_response().expect_text(200, "held go");
    held.client().expect_end();
}

fn an_end_within_a_head_ends_the_connection(variant: &'static Variant) {
    let mut client = variant.server().client();
    client.send("GET /hello HTTP/1.1\r\nHost").half_close();
    let answer = String::from_utf8_lossy(&client.read_to_end()).into_owned();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    wait_until_alone(variant.server());
}

fn an_end_within_a_body_reaches_the_handler(variant: &'static Variant) {
    let mut held = Held::begin(variant.server(), "/hold");
    held.client().send("g").half_close();
    let answer = String::from_utf8_lossy(&held.client().read_to_end()).into_owned();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    wait_until_alone(variant.server());
}

fn an_end_between_requests_ends_the_connection(variant: &'static Variant) {
    let mut client = variant.server().client();
    client.get("/hello").expect(200);
    client.half_close().expect_end();
    variant.server().client().half_close().expect_end();
    wait_until_alone(variant.server());
}
