//! Clients that vanish at any point: nothing of theirs is left, and nobody else notices.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::held::Held;
use crate::variant::{Variant, status, wait_until_alone};

behaviours![
    before_a_request,
    within_a_head,
    within_a_body,
    within_an_answer,
    while_the_handler_waits,
    between_requests,
    a_thousand_vanish_at_once_and_everything_goes_on,
];

/// Has clients do something and vanish, several times, and expects that nothing of them is left.
#[track_caller]
fn vanish(variant: &Variant, mut act: impl FnMut(usize)) {
    variant.server().client().get("/hello").expect(200);
    wait_until_alone(variant.server());
    let before = status(variant.server());
    (0..10).for_each(&mut act);
    variant.server().client().get("/hello").expect_text(200, "Hello, world!");
    wait_until_alone(variant.server());
    let after = status(variant.server());
    assert_eq!(after.pid, before.pid, "the worker has died");
    assert!(after.fibers_in_use <= before.fibers_in_use, "fibers are left: {before:?} {after:?}");
}

fn before_a_request(variant: &'static Variant) {
    vanish(variant, |_| drop(variant.server().client()));
}

fn within_a_head(variant: &'static Variant) {
    vanish(variant, |turn| {
        variant.server().client().send(&"GET /hello HTTP/1.1\r\nHost: test\r\n"[..turn * 3 + 1]);
    });
}

fn within_a_body(variant: &'static Variant) {
    vanish(variant, |turn| {
        let mut client = variant.server().client();
        match turn % 3 {
            0 => client.send("POST /count HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nsome"),
            1 => {
                client.send("POST /count HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nso")
            }
            _ => client
                .send("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nsome")
                .wait_for_bytes(10),
        };
    });
}

/// Closing with unread bytes makes the kernel send a reset, so the server meets both an end and an error.
fn within_an_answer(variant: &'static Variant) {
    vanish(variant, |turn| {
        let kind = ["memory", "produced", "sized", "read"][turn % 4];
        variant.server().client().send_get(&format!("/{kind}/20000000")).wait_for_bytes(1000);
    });
}

fn while_the_handler_waits(variant: &'static Variant) {
    vanish(variant, |turn| {
        if turn % 2 == 0 {
            drop(Held::begin(variant.server(), "/hold"));
        } else {
            variant.server().client().send_get("/sleep/30");
        }
    });
}

fn between_requests(variant: &'static Variant) {
    vanish(variant, |_| drop(variant.server().client().get("/hello").expect(200)));
}

fn a_thousand_vanish_at_once_and_everything_goes_on(variant: &'static Variant) {
    let number = AtomicUsize::new(0);
    vanish(variant, |_| {
        let mut clients: Vec<_> =
            (0..variant.connections_at_once().min(100)).map(|_| variant.server().client()).collect();
        for client in &mut clients {
            match number.fetch_add(1, Ordering::Relaxed) % 5 {
                0 => client.send("GET /hel"),
                1 => client.send_get("/hello"),
                2 => client.send("POST /count HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nab"),
                3 => client.send_get("/produced/1000000"),
                _ => client,
            };
        }
    });
}
