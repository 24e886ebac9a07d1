//! What a client may ask for, and the status that answers more. All on the strict server, see `variant.rs`.

use crate::variant::Variant;

behaviours![
    a_body_that_announces_too_much_gets_413_before_it_is_sent,
    a_chunked_body_gets_413_when_it_becomes_too_long,
    a_body_of_the_greatest_length_is_taken,
    a_route_may_take_more_than_others,
    a_target_that_is_too_long_gets_414,
    a_head_that_is_too_large_gets_431,
    too_many_headers_get_431,
    a_head_that_never_ends_gets_431,
    after_a_refusal_the_answer_arrives_although_the_client_still_sends,
];

fn a_body_that_announces_too_much_gets_413_before_it_is_sent(variant: &'static Variant) {
    let mut client = variant.strict().client();
    // Far more than would be read and thrown away to keep the connection.
    client.send("POST /collect HTTP/1.1\r\nHost: test\r\nContent-Length: 10000000\r\n\r\n");
    assert!(client.read_response().expect(413).closes());
    client.expect_end();

    // A little too much: the answer comes as soon, and if the connection stays then what follows is not mixed up.
    let mut client = variant.strict().client();
    client.send("POST /collect HTTP/1.1\r\nHost: test\r\nContent-Length: 1001\r\n\r\n");
    if client.read_response().expect(413).closes() {
        client.expect_end();
    } else {
        client.send("x".repeat(1001)).get("/hello").expect_text(200, "Hello, world!");
    }
}

fn a_chunked_body_gets_413_when_it_becomes_too_long(variant: &'static Variant) {
    let mut client = variant.strict().client();
    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    client.send("POST /collect HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(&chunk).send(&chunk).send(&chunk);
    assert!(client.read_response().expect(413).closes());
    client.expect_end();
}

fn a_body_of_the_greatest_length_is_taken(variant: &'static Variant) {
    let mut client = variant.strict().client();
    client.post("/collect", "x".repeat(1000)).expect_text(200, "1000");
    client.send("POST /collect HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(format!("3e8\r\n{}\r\n0\r\n\r\n", "x".repeat(1000))).read_response().expect_text(200, "1000");
}

fn a_route_may_take_more_than_others(variant: &'static Variant) {
    let mut client = variant.strict().client();
    client.post("/count", "x".repeat(100_000)).expect_text(200, &format!("100000 {}", 100_000 * 120));
}

fn a_target_that_is_too_long_gets_414(variant: &'static Variant) {
    let longest = format!("/{}", "a".repeat(255));
    variant.strict().client().get(&longest).expect(404);
    let mut client = variant.strict().client();
    assert!(client.get(&format!("{longest}a")).expect(414).closes());
    client.expect_end();
}

fn a_head_that_is_too_large_gets_431(variant: &'static Variant) {
    let request = |bytes: usize| {
        let fixed = "GET /hello HTTP/1.1\r\nHost: test\r\nX-Fill: \r\n\r\n".len();
        format!("GET /hello HTTP/1.1\r\nHost: test\r\nX-Fill: {}\r\n\r\n", "x".repeat(bytes - fixed))
    };
    variant.strict().client().send(request(2048)).read_response().expect(200);
    let mut client = variant.strict().client();
    assert!(client.send(request(2049)).read_response().expect(431).closes());
    client.expect_end();
}

fn too_many_headers_get_431(variant: &'static Variant) {
    let request = |count: usize| {
        let fields: String = (1..count).map(|number| format!("X-{number}: 1\r\n")).collect();
        format!("GET /hello HTTP/1.1\r\nHost: test\r\n{fields}\r\n")
    };
    variant.strict().client().send(request(12)).read_response().expect(200);
    let mut client = variant.strict().client();
    assert!(client.send(request(13)).read_response().expect(431).closes());
    client.expect_end();
}

fn a_head_that_never_ends_gets_431(variant: &'static Variant) {
    let mut client = variant.strict().client();
    client.send("GET /hello HTTP/1.1\r\nHost: test\r\nX-Fill: ").send("x".repeat(4096));
    assert!(client.read_response().expect(431).closes());
    client.expect_end();
}

/// RFC 9112 section 9.6: closing with unread bytes would make TCP reset the connection, and the answer could be lost.
fn after_a_refusal_the_answer_arrives_although_the_client_still_sends(variant: &'static Variant) {
    for _ in 0..5 {
        let mut client = variant.strict().client();
        client.send("POST /collect HTTP/1.1\r\nHost: test\r\nContent-Length: 3000000\r\n\r\n");
        for _ in 0..30 {
            // The server may have stopped reading by now; what counts is that the answer is there.
            let _ = client.try_send([b'x'; 100_000]);
        }
        client.read_response().expect(413);
    }
}
