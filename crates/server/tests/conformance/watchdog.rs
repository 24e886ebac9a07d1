//! A handler that computes holds its loop, and the watchdog says which one it is.

use tenfold_testkit::wait_until;

use crate::variant::Variant;

behaviours![
    a_handler_that_holds_its_loop_is_named_with_a_trace only |variant| {
        variant.facts().evented && !variant.handlers_leave_the_loop()
    },
];

fn a_handler_that_holds_its_loop_is_named_with_a_trace(variant: &'static Variant) {
    let server = variant.start("watchdog_ms = 40", "");
    server.client().get("/spin/400").expect(200);
    server.wait_for_log("/spin/{ms}");
    // The trace names the function. One that was taken where a call has just begun, before its frame is there, leaves out the
    // caller; the next one need not.
    wait_until("a trace names the function", || {
        server.client().get("/spin/100").expect(200);
        server.log().contains("spin at ").then_some(())
    });
    server.client().get("/hello").expect(200);
}
