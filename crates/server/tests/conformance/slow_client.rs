//! Clients that send or take their bytes slowly: those that are merely slow are served, others wait for nobody, and those
//! that are too slow are turned away.

use std::time::Duration;

use tenfold_testkit::{Client, ServerProcess, wait_until};

use crate::held::Held;
use crate::variant::{Variant, status, wait_until_alone};

behaviours![
    a_request_may_come_byte_by_byte,
    others_are_served_while_a_head_trickles_in only |variant| variant.serves_many(),
    others_are_served_while_a_body_trickles_in only |variant| variant.handlers_at_once() > 1,
    slow_bodies_leave_all_places_to_others only |variant| variant.connections_at_once() > slow_bodies(variant),
    slow_bodies_end_with_408_and_take_no_place only |variant| variant.connections_at_once() > slow_bodies(variant),
    long_and_awaited_bodies_leave_half_of_the_places_to_others only |variant| variant.serves_many(),
    a_slow_body_is_refused_before_it_is_read only |variant| variant.serves_many(),
    what_is_read_ahead_ends_where_the_next_request_begins,
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

/// More than there are handlers at once, where those are few.
fn slow_bodies(variant: &Variant) -> usize {
    variant.handlers_at_once().min(64) + 4
}

/// A body in three pieces, of which the first comes with its head.
const PIECES: [&str; 3] = ["01", "2345678", "9"];

/// A request whose body begins; half of them are chunked.
fn begin_body(server: &ServerProcess, target: &str, index: usize) -> Client {
    let mut client = server.client();
    let framing = match index.is_multiple_of(2) {
        true => format!("Content-Length: 10\r\n\r\n{}", PIECES[0]),
        false => format!("Transfer-Encoding: chunked\r\n\r\na\r\n{}", PIECES[0]),
    };
    client.send(format!("POST {target} HTTP/1.1\r\nHost: test\r\n{framing}"));
    client
}

fn slow_bodies_leave_all_places_to_others(variant: &'static Variant) {
    let server = variant.server();
    let mut slow: Vec<Client> =
        (0..slow_bodies(variant)).map(|index| begin_body(server, "/collect", index)).collect();
    for piece in &PIECES[1..] {
        for _ in 0..5 {
            server.client().get("/hello").expect_text(200, "Hello, world!");
            server.client().post("/collect", "abc").expect_text(200, "3");
        }
        assert!(slow.iter_mut().all(|client| client.is_quiet()), "an answer before the body");
        slow.iter_mut().for_each(|client| {
            client.send(piece);
        });
    }
    for (index, mut client) in slow.into_iter().enumerate() {
        if !index.is_multiple_of(2) {
            client.send("\r\n0\r\n\r\n");
        }
        client.read_response().expect_text(200, "10");
        client.get("/users/1").expect_text(200, "user 1");
    }
}

fn slow_bodies_end_with_408_and_take_no_place(variant: &'static Variant) {
    let server = variant.strict();
    let slow: Vec<Client> =
        (0..slow_bodies(variant)).map(|index| begin_body(server, "/collect", index)).collect();
    for _ in 0..5 {
        server.client().get("/hello").expect_text(200, "Hello, world!");
    }
    for mut client in slow {
        assert!(client.read_response().expect(408).closes());
        client.expect_end();
    }
}

/// Bodies that are too long to be read ahead, and those whose clients wait to be asked for them.
fn long_and_awaited_bodies_leave_half_of_the_places_to_others(variant: &'static Variant) {
    let server = variant.server();
    let long = "POST /shared/count HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\n";
    let mut slow: Vec<Client> = (0..6).map(|_| server.client()).collect();
    slow.iter_mut().for_each(|client| {
        client.send(long).send("x");
    });
    let mut awaited: Vec<Held> = (0..6).map(|_| Held::send(server, "/shared/hold")).collect();
    // There are four places, and twelve of these.
    for _ in 0..20 {
        server.client().get("/shared/hello").expect_text(200, "shared");
        server.client().post("/shared/count", "ab").expect_text(200, "2 195");
    }
    assert!(slow.iter_mut().all(|client| client.is_quiet()));
    slow.iter_mut().for_each(|client| {
        client.send(vec![b'x'; 99_999]);
    });
    awaited.iter_mut().for_each(|held| {
        held.client().send("go");
    });
    // Whoever comes first has the places, so nobody may be left without his bytes while another is waited for.
    for mut client in slow {
        client.read_response().expect_text(200, &format!("100000 {}", 100_000 * 120));
    }
    for mut held in awaited {
        held.wait_until_it_runs();
        held.into_client().read_response().expect_text(200, "held go");
    }
}

/// Reading ahead must not turn a refusal on arrival into one after an upload.
fn a_slow_body_is_refused_before_it_is_read(variant: &'static Variant) {
    let server = variant.server();
    let running = Held::begin(server, "/narrow/hold");
    let mut others = [server.client(), server.client()];
    others.iter_mut().for_each(|client| {
        client.send_get("/narrow/hello");
    });
    wait_until("one waits and one is refused", || {
        others.iter_mut().any(|client| !client.is_quiet()).then_some(())
    });
    let mut slow = begin_body(server, "/narrow/collect", 0);
    assert!(slow.read_response().expect(503).header("retry-after").is_some());
    running.release();
    let mut statuses = others.map(|mut client| client.read_response().status);
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503]);
}

fn what_is_read_ahead_ends_where_the_next_request_begins(variant: &'static Variant) {
    for (target, answer) in [("/collect", "10"), ("/shared/ahead", "10 525"), ("/ignore", "ignored")] {
        let mut client = begin_body(variant.server(), target, 0);
        client.send(PIECES[1]).send(format!("{}GET /users/2 HTTP/1.1\r\nHost: test\r\n\r\n", PIECES[2]));
        client.read_response().expect_text(200, answer);
        client.read_response().expect_text(200, "user 2");
    }
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
