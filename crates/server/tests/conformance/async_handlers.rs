//! `async fn` handlers, which every model takes.

use std::time::{Duration, Instant};

use crate::held::Held;
use crate::variant::Variant;

behaviours![
    a_future_that_another_thread_wakes_is_driven,
    a_future_that_is_ready_at_once_is_answered,
    futures_wait_side_by_side only |variant| variant.handlers_at_once() >= 4,
    a_waiting_future_does_not_hold_its_loop only |variant| variant.handlers_at_once() > 1,
    an_async_handler_can_read_its_body,
];

fn a_future_that_another_thread_wakes_is_driven(variant: &'static Variant) {
    let mut client = variant.server().client();
    for ms in [1, 5, 20] {
        client.get(&format!("/async/{ms}")).expect_text(200, &format!("slept {ms}"));
    }
}

fn a_future_that_is_ready_at_once_is_answered(variant: &'static Variant) {
    let mut client = variant.server().client();
    for _ in 0..50 {
        client.get("/async/0").expect_text(200, "slept 0");
    }
}

fn futures_wait_side_by_side(variant: &'static Variant) {
    let started = Instant::now();
    let mut clients: Vec<_> = (0..4).map(|_| variant.server().client()).collect();
    clients.iter_mut().for_each(|client| drop_ref(client.send_get("/async/400")));
    clients.iter_mut().for_each(|client| drop(client.read_response().expect_text(200, "slept 400")));
    assert!(started.elapsed() < Duration::from_millis(4 * 400), "one after another: {:?}", started.elapsed());
}

fn drop_ref<T>(_: &mut T) {}

fn a_waiting_future_does_not_hold_its_loop(variant: &'static Variant) {
    let mut waiting = variant.server().client();
    waiting.send_get("/async/1000");
    variant.server().client().get("/hello").expect(200);
    assert!(waiting.is_quiet(), "the short request has waited for the long one");
    waiting.read_response().expect_text(200, "slept 1000");
}

fn an_async_handler_can_read_its_body(variant: &'static Variant) {
    Held::begin(variant.server(), "/async-hold").release();
    variant.server().client().post("/async-hold", "abc").expect_text(200, "held abc");
}
