//! Deadlines: what a request's waits get at the soft one, and what its process gets at the hard one.
//!
//! The hard ones cost a worker, so those cases have servers of their own.

use std::time::Duration;

use tenfold_testkit::{ServerProcess, wait_until};

use crate::held::Held;
use crate::variant::Variant;

behaviours![
    a_wait_fails_at_the_soft_deadline_and_the_slow_log_tells_what_it_was_for,
    a_lane_has_a_deadline_of_its_own,
    the_time_that_a_head_takes_counts,
    the_time_in_the_line_counts only |variant| variant.serves_many(),
    a_handler_that_cannot_be_cancelled_is_named_and_answers,
    a_handler_past_the_hard_deadline_costs_its_process,
    what_else_runs_in_a_condemned_worker_finishes only |variant| {
        variant.waits_apart() && variant.handlers_have_threads()
    },
];

fn a_wait_fails_at_the_soft_deadline_and_the_slow_log_tells_what_it_was_for(variant: &'static Variant) {
    let server = variant.start("", "");
    let mut client = server.client();
    client.get("/peer-that-is-silent").expect(504);
    server.wait_for_log("a request has passed its deadline");
    server.wait_for_log("waited_for=\"receiving from 127.0.0.1:");
    // Its line of the stack.
    server.wait_for_log("wait_for_a_peer at ");
    // The connection is as good as before, and so is the worker.
    client.get("/hello").expect(200);
}

fn a_lane_has_a_deadline_of_its_own(variant: &'static Variant) {
    let mut client = variant.server().client();
    client.get("/hasty/sleep/60000").expect(504);
    client.get("/hasty/sleep/1").expect_text(200, "slept");
}

fn the_time_that_a_head_takes_counts(variant: &'static Variant) {
    let mut client = variant.server().client();
    client.trickle(b"GET /hasty/sleep/300", Duration::from_millis(60));
    client.send(" HTTP/1.1\r\nHost: test\r\n\r\n").read_response().expect(504);
    client.get("/hasty/sleep/300").expect_text(200, "slept");
}

fn the_time_in_the_line_counts(variant: &'static Variant) {
    let running = Held::begin(variant.server(), "/narrow/hold");
    // The lane would let it wait for a minute.
    let response = variant.server().client().get("/narrow/hasty").expect(503);
    assert!(response.header("retry-after").is_some(), "{response}");
    running.release();
    variant.server().client().get("/narrow/hasty").expect_text(200, "narrow");
}

fn a_handler_that_cannot_be_cancelled_is_named_and_answers(variant: &'static Variant) {
    let server = variant.start("", "request_timeout_secs = 0.1\nrequest_overrun_secs = 0");
    server.client().get("/block/600").expect_text(200, "blocked 600");
    server.wait_for_log("cannot be cancelled; it is in clock_nanosleep(2)");
    server.wait_for_log("block at ");
    server.wait_for_log("a request has ended after its deadline");
    server.client().get("/hello").expect(200);
}

fn a_handler_past_the_hard_deadline_costs_its_process(variant: &'static Variant) {
    // With one handler process it is the one that is asked for its number.
    let server = hasty(variant, if variant.has_handler_processes() { "handlers = 1" } else { "" });
    let before = pid(&server);
    let mut stuck = server.client();
    stuck.send_get("/block/60000");
    server.wait_for_log("a request is past its hard deadline");
    server.wait_for_log("a worker is condemned: GET /block/60000 is past its hard deadline");
    wait_until("another process serves", || (pid(&server) != before).then_some(()));
    if variant.has_handler_processes() {
        // The front has the connection, so it can say so.
        stuck.read_response().expect(504);
    } else {
        // Killed, at once or when the drain is over: there is nothing that could answer.
        stuck.read_to_end_or_reset();
    }
    server.client().get("/hello").expect_text(200, "Hello, world!");
}

fn what_else_runs_in_a_condemned_worker_finishes(variant: &'static Variant) {
    let server = hasty(variant, "");
    let before = pid(&server);
    let held = Held::begin(&server, "/patient-hold");
    server.client().send_get("/block/60000");
    wait_until("another process serves", || (pid(&server) != before).then_some(()));
    // The old one was told to end, and waits for this.
    held.release();
    server.wait_for_log("a request is lost: its worker ends");
}

/// A server whose requests have to be quick. Its drain is short: that is what is waited for behind a held loop.
fn hasty(variant: &'static Variant, top: &str) -> ServerProcess {
    let top = format!("graceful_timeout_secs = 2.0\n{top}");
    variant.start(&top, "request_timeout_secs = 0.1\nrequest_overrun_secs = 0.2")
}

/// The process that runs handlers. While it is stuck a new connection may wait in the kernel's queue for the next one.
fn pid(server: &ServerProcess) -> String {
    server.client().get("/pid").expect(200).text()
}
