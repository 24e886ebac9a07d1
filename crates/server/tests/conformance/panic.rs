//! A handler that panics: 500, a backtrace in the log, and nothing else is disturbed.

use crate::held::Held;
use crate::variant::{Variant, status};

behaviours![
    a_panic_is_a_500_and_the_connection_goes_on,
    the_log_has_the_message_the_route_and_a_backtrace,
    others_are_not_disturbed only |variant| variant.handlers_at_once() > 1,
    panics_by_the_hundred_do_no_harm,
    a_panic_within_an_answer_cuts_it_off,
    a_body_that_ends_too_early_cuts_the_answer_off,
];

fn a_panic_is_a_500_and_the_connection_goes_on(variant: &'static Variant) {
    let mut client = variant.server().client();
    for _ in 0..3 {
        let response = client.get("/panic").expect(500);
        assert!(!response.closes() && !response.text().contains("on purpose"), "{response}");
        client.get("/hello").expect(200);
    }
}

fn the_log_has_the_message_the_route_and_a_backtrace(variant: &'static Variant) {
    let server = variant.start("", "");
    server.client().get("/panic").expect(500);
    server.wait_for_log("handler panicked: on purpose");
    server.wait_for_log("route=\"/panic\"");
    // Frames of the fixture, by name.
    server.wait_for_log("fixture::");
}

fn others_are_not_disturbed(variant: &'static Variant) {
    let held = Held::begin(variant.server(), "/hold");
    for _ in 0..10 {
        variant.server().client().get("/panic").expect(500);
    }
    held.release();
}

fn panics_by_the_hundred_do_no_harm(variant: &'static Variant) {
    let before = status(variant.server());
    let mut client = variant.server().client();
    for _ in 0..100 {
        client.send_get("/panic");
    }
    for _ in 0..100 {
        client.read_response().expect(500);
    }
    drop(client);
    assert_eq!(status(variant.server()).pid, before.pid, "the worker has died");
}

/// The status is out; only the connection's end without a last chunk can tell that the answer is not whole (RFC 9112
/// section 8).
fn a_panic_within_an_answer_cuts_it_off(variant: &'static Variant) {
    let before = status(variant.server());
    for _ in 0..10 {
        let mut client = variant.server().client();
        let answer = String::from_utf8_lossy(&client.send_get("/panic-late").read_to_end()).into_owned();
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n6\r\nso far\r\n"),
            "{answer}"
        );
    }
    variant.server().wait_for_log("handler panicked: too late");
    // No process, and no thread of one, was lost by it.
    assert_eq!(status(variant.server()).pid, before.pid, "the worker has died");
    variant.server().client().get("/hello").expect(200);
}

fn a_body_that_ends_too_early_cuts_the_answer_off(variant: &'static Variant) {
    let mut client = variant.server().client();
    let answer = String::from_utf8_lossy(&client.send_get("/short").read_to_end()).into_owned();
    assert!(
        answer.to_lowercase().contains("content-length: 20\r\n") && answer.ends_with("\r\n\r\nxxxxxxxxxx"),
        "{answer}"
    );
}
