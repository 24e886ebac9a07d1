//! A handler that computes holds its loop, and the watchdog says which one it is.

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
    // The trace of a debug build names the function; frames below it depend on the optimiser.
    server.wait_for_log("spin at ");
    server.client().get("/hello").expect(200);
}
