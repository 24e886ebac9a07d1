//! Clients that vanish at any point: nothing of theirs is left, and nobody else notices.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};

use tenfold_testkit::{Client, PATIENCE};

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
    a_reset_cancels_the_whole_tree_down_to_its_sockets,
    a_reset_cancels_what_an_answers_body_waits_for,
    a_reset_cancels_who_waits_for_a_place only |variant| variant.serves_many(),
    an_end_cancels_the_tree_where_that_was_asked_for,
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

/// Who is called by `/tree`, and says nothing.
struct Silent(TcpListener);

impl Silent {
    fn new() -> Silent {
        Silent(TcpListener::bind("127.0.0.1:0").expect("a port is free"))
    }

    fn request(&self, client: &mut Client, path: &str) {
        client.send_get(&format!("/{path}/{}", self.0.local_addr().expect("it is bound").port()));
    }

    /// The three calls of one request.
    fn calls(&self) -> Vec<TcpStream> {
        (0..3).map(|_| self.0.accept().expect("it calls").0).collect()
    }
}

/// Expects that whoever has called hangs up.
#[track_caller]
fn expect_hung_up(calls: Vec<TcpStream>) {
    for mut call in calls {
        call.set_read_timeout(Some(PATIENCE)).expect("it is a time");
        let got = call.read(&mut [0]);
        assert!(matches!(got, Ok(0)), "a call goes on although nobody waits for it: {got:?}");
    }
}

fn a_reset_cancels_the_whole_tree_down_to_its_sockets(variant: &'static Variant) {
    let silent = Silent::new();
    vanish(variant, |turn| {
        let mut client = variant.server().client();
        if turn % 2 == 1 {
            // A connection that has rested is read by the loop itself.
            client.get("/hello").expect(200);
        }
        silent.request(&mut client, "tree");
        let calls = silent.calls();
        client.reset();
        expect_hung_up(calls);
    });
}

fn a_reset_cancels_what_an_answers_body_waits_for(variant: &'static Variant) {
    let silent = Silent::new();
    vanish(variant, |_| {
        let mut client = variant.server().client();
        silent.request(&mut client, "tree-behind-a-head");
        let calls = silent.calls();
        client.wait_for_bytes(1);
        client.reset();
        expect_hung_up(calls);
    });
}

fn a_reset_cancels_who_waits_for_a_place(variant: &'static Variant) {
    let mut first = Held::begin(variant.server(), "/narrow/hold");
    let second = Held::send(variant.server(), "/narrow/hold");
    let waiting = || status(variant.server()).connections_open;
    tenfold_testkit::wait_until("both are there", || (waiting() == 3).then_some(()));
    second.into_client().reset();
    tenfold_testkit::wait_until("the second has left the line", || (waiting() == 2).then_some(()));
    first.client().send("go").read_response().expect_text(200, "held go");
}

fn an_end_cancels_the_tree_where_that_was_asked_for(variant: &'static Variant) {
    let silent = Silent::new();
    let server = variant.start("", "cancel_on_half_close = true");
    let mut client = server.client();
    silent.request(&mut client, "tree");
    let calls = silent.calls();
    client.half_close();
    expect_hung_up(calls);
    client.read_to_end_or_reset();
}
