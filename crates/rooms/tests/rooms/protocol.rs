//! WebSocket as clients see it: the handshake, messages, control frames, what is wrong and what it gets.

use tenfold_http::websocket::{CloseCode, CloseFrame, Event, Message, Opcode};
use tenfold_testkit::{Case, WsClient, frame, inflate_within};

use crate::site::{Site, asking_for_window, echo_of_itself, in_all_models};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(in_all_models("a_handler_that_stays_echoes", |model| echoes(model, "/stays")));
    cases.extend(in_all_models("a_handler_that_leaves_echoes", |model| echoes(model, "/rests")));
    cases.extend(in_all_models("mistakes_get_their_close_codes", mistakes));
    cases.extend(in_all_models("a_waiting_message_holds_nobody_else", waiting));
    cases.extend(in_all_models("messages_fit_the_window_that_was_asked_for", windows));
    for backend in ["epoll", "io_uring"] {
        cases.push(Case::new(format!("fiber::{backend}::frames_in_pieces_are_whole"), move || {
            pieces(backend)
        }));
    }
    cases.push(Case::new("handshakes_that_are_none_are_refused", handshakes));
    cases.push(Case::new("pages_of_other_origins_are_refused", origins));
    cases.push(Case::new("compressed_messages_come_back", compressed));
    cases.push(Case::new("a_handlers_failure_ends_its_connection_alone", failures));
    cases
}

fn echoes(model: &str, path: &str) {
    let site = Site::start(model, "");
    let mut ws = site.open(path);
    for text in ["", "hello", "κόσμε", &"x".repeat(60_000)] {
        ws.send(text);
        assert_eq!(ws.text(), text);
    }
    ws.send_raw(&frame(Opcode::Binary, &[0, 255, 1]));
    assert_eq!(ws.event(), Event::Message(Message::Binary(vec![0, 255, 1])));
    // Several in one packet, a ping among them.
    let many =
        [frame(Opcode::Text, b"1"), frame(Opcode::Ping, b"there?"), frame(Opcode::Text, b"2")].concat();
    ws.send_raw(&many);
    assert_eq!(ws.text(), "1");
    assert_eq!(ws.event(), Event::Pong(b"there?".to_vec()));
    assert_eq!(ws.text(), "2");
    ws.close(Some(&CloseFrame { code: CloseCode::AWAY, reason: "bye".into() }));
    assert_eq!(ws.event(), Event::Close(Some(CloseFrame { code: CloseCode::AWAY, reason: String::new() })));
    assert_eq!(ws.try_event(), None);
    let mut other = site.open(path);
    other.send("close");
    assert_eq!(other.expect_close(), (4001, "as you wish".into()));
    site.client().get("/pid").expect(200);
}

fn mistakes(model: &str) {
    let site = Site::start(model, "");
    let mistakes: [(&[u8], u16); 6] = [
        (b"\x81\x05Hello", 1002),                                     // not masked
        (&[0xc1, 0x80, 1, 2, 3, 4], 1002),                            // a reserved bit
        (&[0x80, 0x80, 1, 2, 3, 4], 1002),                            // a continuation of nothing
        (&[0x81, 0x82, 0, 0, 0, 0, 0xc3, 0x28], 1007),                // not UTF-8
        (&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xed], 1002),                // code 1005
        (&[0x82, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 0, 1, 2, 3, 4], 1009), // a megabyte
    ];
    for path in ["/stays", "/rests"] {
        for (bytes, code) in mistakes {
            let mut ws = site.open(path);
            ws.send_raw(bytes);
            assert_eq!(ws.expect_close().0, code, "{path} {bytes:x?}");
        }
        // What came before the mistake still counts, also in one packet with it.
        let mut ws = site.open(path);
        ws.send_raw(&[frame(Opcode::Text, b"before"), mistakes[1].0.to_vec()].concat());
        assert_eq!((ws.text(), ws.expect_close().0), ("before".into(), 1002), "{path}");
    }
    site.client().get("/pid").expect(200);
}

/// In a model that runs several handlers at a time, one that waits does not hold the others.
fn waiting(model: &str) {
    let site = Site::start(model, "");
    let (mut slow, mut fast) = (site.open("/waits/300"), site.open("/rests"));
    slow.send("a");
    slow.send("b");
    fast.send("c");
    assert_eq!(fast.text(), "c");
    assert_eq!((slow.text(), slow.text()), ("a".into(), "b".into()), "the messages of one are in order");
}

fn pieces(backend: &str) {
    let site = Site::start("fiber", &format!("backend = '{backend}'"));
    let mut ws = site.open("/rests");
    for byte in [frame(Opcode::Text, b"by the byte"), frame(Opcode::Text, &[b'y'; 200])].concat() {
        ws.send_raw(&[byte]);
    }
    assert_eq!(ws.text(), "by the byte");
    assert_eq!(ws.text(), "y".repeat(200));
    // Fragments, with a ping between them.
    let text = frame(Opcode::Text, "κό".as_bytes());
    let mut first = text.clone();
    first[0] &= 0x7f;
    let mut last = text;
    last[0] = 0x80;
    ws.send_raw(&[first, frame(Opcode::Ping, b""), last].concat());
    assert_eq!(ws.event(), Event::Pong(Vec::new()));
    assert_eq!(ws.text(), "κόκό");
}

fn handshakes() {
    let site = Site::start("fiber", "");
    let ask = |request: &str| site.client().send(format!("{request}Host: x\r\n\r\n")).read_response();
    let upgrade =
        "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let plain = ask("GET /rests HTTP/1.1\r\n").expect(426);
    assert_eq!(plain.header("sec-websocket-version"), Some("13"));
    ask(&format!("GET /rests HTTP/1.1\r\n{upgrade}Sec-WebSocket-Version: 8\r\n")).expect(426);
    ask("GET /rests HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n")
        .expect(400);
    ask(&format!("POST /rests HTTP/1.1\r\n{upgrade}Sec-WebSocket-Version: 13\r\n")).expect(405);
    ask(&format!("GET /rests HTTP/1.1\r\n{upgrade}{upgrade}Sec-WebSocket-Version: 13\r\n")).expect(400);
    let mut asks_head = site.client();
    asks_head.send("HEAD /rests HTTP/1.1\r\nHost: x\r\n\r\n");
    let head = asks_head.read_head();
    assert_eq!((head.status, head.header("allow")), (405, Some("GET")));
    let (head, none) = WsClient::try_open(site.server.address(), "/guarded", "");
    assert!(none.is_none() && head.starts_with("HTTP/1.1 401 "), "{head}");
    let mut with_key = WsClient::open_with(site.server.address(), "/guarded", "X-Key: k\r\n");
    assert_eq!(with_key.text(), "k");
    assert_eq!(with_key.expect_close().0, 1000);
    let two =
        WsClient::open_with(site.server.address(), "/small", "Sec-WebSocket-Protocol: three, one, two\r\n");
    assert!(two.head.to_ascii_lowercase().contains("sec-websocket-protocol: one\r\n"), "{}", two.head);
}

fn origins() {
    let site = Site::start("fiber", "");
    let address = site.server.address();
    let open = |path: &str, origin: &str| WsClient::try_open(address, path, &format!("Origin: {origin}\r\n"));
    assert!(open("/rests", &format!("http://{address}")).1.is_some());
    assert!(open("/rests", "https://evil.example").0.starts_with("HTTP/1.1 403 "));
    assert!(open("/rests", "null").0.starts_with("HTTP/1.1 403 "));
    assert!(open("/small", "https://friend.example").1.is_some());
    site.server.wait_for_log("another origin");
}

fn compressed() {
    let site = Site::start("fiber", "");
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
    let mut ws = WsClient::open_with(site.server.address(), "/rests", offer);
    assert!(ws.head.contains("no_context_takeover"), "{}", ws.head);
    let long = "abc ".repeat(5_000);
    ws.send(&long);
    assert_eq!(ws.text(), long);
    // RFC 7692 section 7.2.3.1, masked with zeros.
    ws.send_raw(&[0xc1, 0x87, 0, 0, 0, 0, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
    assert_eq!(ws.text(), "Hello");
    let impossible = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=7\r\n";
    let without = WsClient::open_with(site.server.address(), "/rests", impossible);
    assert!(!without.head.contains("permessage-deflate"));
    let malformed = "Sec-WebSocket-Extensions: permessage-deflate; =7\r\n";
    let (head, none) = WsClient::try_open(site.server.address(), "/rests", malformed);
    assert!(none.is_none() && head.starts_with("HTTP/1.1 400 "), "{head}");
    let small = WsClient::open_with(site.server.address(), "/small", offer);
    assert!(!small.head.contains("permessage-deflate"));
}

fn windows(model: &str) {
    let site = Site::start(model, "");
    let text = echo_of_itself();
    for (path, asked, answered) in
        [("/stays", 8, 8), ("/stays", 13, 12), ("/rests", 10, 9), ("/rests", 12, 12)]
    {
        let mut ws = WsClient::open_with(site.server.address(), path, &asking_for_window(asked));
        assert!(ws.head.contains(&format!("; server_max_window_bits={answered}\r\n")), "{}", ws.head);
        ws.send(&text);
        let payload = ws.compressed_payload();
        let received = inflate_within(&payload, answered);
        assert_eq!(received.as_deref(), Some(text.as_bytes()), "{path}, {asked} bits");
    }
}

fn failures() {
    let site = Site::start("fiber", "");
    assert_eq!(site.open("/fails").expect_close().0, 1011);
    site.server.wait_for_log("on purpose");
    let mut panics = site.open("/panics");
    panics.send("now");
    assert_eq!(panics.expect_close().0, 1011);
    let mut big = site.open("/small");
    big.send(&"x".repeat(1_001));
    assert_eq!(big.expect_close().0, 1009);
    let mut fine = site.open("/rests");
    fine.send("still here");
    assert_eq!(fine.text(), "still here");
}
