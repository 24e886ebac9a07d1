//! Leaving HTTP: RFC 9110 section 7.8.

use crate::variant::{Variant, wait_until_alone};

behaviours![
    s7_8_after_101_the_connection_is_the_handlers,
    what_was_sent_early_is_not_lost,
    an_upgraded_connection_carries_much,
    s7_8_nobody_is_upgraded_unasked,
];

const REQUEST: &str = "GET /upgrade HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";

fn s7_8_after_101_the_connection_is_the_handlers(variant: &'static Variant) {
    let mut client = variant.server().client();
    let response = client.send(REQUEST).read_head().expect(101);
    assert_eq!(response.header("upgrade"), Some("echo"), "{response}");
    assert!(
        response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")),
        "{response}"
    );
    for word in ["one", "two", "GET / HTTP/1.1\r\n\r\n"] {
        client.send(word).read_exactly(word);
    }
    client.half_close().expect_end();
    wait_until_alone(variant.server());
}

fn what_was_sent_early_is_not_lost(variant: &'static Variant) {
    let mut client = variant.server().client();
    client.send(format!("{REQUEST}early ")).send("bird");
    client.read_head().expect(101);
    client.read_exactly("early bird");
    client.half_close().expect_end();
}

fn an_upgraded_connection_carries_much(variant: &'static Variant) {
    let mut client = variant.server().client();
    client.get("/hello").expect(200);
    client.send(REQUEST).read_head().expect(101);
    let piece: Vec<u8> = (0..100_000_u32).map(|index| index as u8).collect();
    for _ in 0..20 {
        client.send(&piece).read_exactly(&piece);
    }
    client.half_close().expect_end();
}

fn s7_8_nobody_is_upgraded_unasked(variant: &'static Variant) {
    let mut client = variant.server().client();
    for fields in ["", "Connection: Upgrade\r\nUpgrade: websocket\r\n", "Upgrade: echo\r\n"] {
        client.send(format!("GET /upgrade HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
        // Section 15.5.22: the answer names what is wanted.
        let response = client.read_response().expect(426);
        assert_eq!(response.header("upgrade"), Some("echo"), "{response}");
    }
    client.get("/hello").expect(200);
}
