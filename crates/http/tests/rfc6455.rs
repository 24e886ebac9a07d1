//! WebSocket messages (RFC 6455) and the opening handshake: what is right comes through however it is cut, and what is wrong
//! has the code that the RFC says.

mod common;

use common::websocket::{asking, offer};
use tenfold_http::websocket::{
    CloseCode, CloseFrame, Decoder, Event, Inflater, Message, MessageLimits, Opcode, Role, WebSocketError,
    encode, encode_close, encode_masked,
};

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn decode_all(role: Role, input: &[u8], step: usize) -> Result<Vec<Event>, WebSocketError> {
    let (mut decoder, mut inflater) = (Decoder::new(role, false), Inflater::new());
    let limits = MessageLimits { message_bytes_max: 1 << 20 };
    let (mut events, mut kept) = (Vec::new(), Vec::new());
    for piece in input.chunks(step) {
        kept.extend_from_slice(piece);
        loop {
            let (used, event) = decoder.decode(&kept, &limits, &mut inflater)?;
            kept.drain(..used);
            let is_idle = used == 0 && event.is_none();
            events.extend(event);
            if is_idle {
                break;
            }
        }
    }
    Ok(events)
}

#[test]
fn messages_come_through_however_they_are_cut() {
    let mut input = Vec::new();
    encode_masked(&mut input, Opcode::Text, "κόσμε".as_bytes(), KEY);
    encode_masked(&mut input, Opcode::Ping, b"p", KEY);
    encode_masked(&mut input, Opcode::Binary, &[7; 70_000], KEY);
    encode_masked(&mut input, Opcode::Text, &[b'x'; 126], KEY);
    encode_close(&mut input, Some(&CloseFrame { code: CloseCode::NORMAL, reason: "bye".into() }), Some(KEY));
    let expected = vec![
        Event::Message(Message::Text("κόσμε".into())),
        Event::Ping(b"p".to_vec()),
        Event::Message(Message::Binary(vec![7; 70_000])),
        Event::Message(Message::Text("x".repeat(126))),
        Event::Close(Some(CloseFrame { code: CloseCode::NORMAL, reason: "bye".into() })),
    ];
    for step in [1, 2, 3, 7, 1000, usize::MAX / 2] {
        assert_eq!(decode_all(Role::Server, &input, step), Ok(expected.clone()), "in pieces of {step}");
    }
}

#[test]
fn section_5_7_examples_are_read() {
    assert_eq!(decode_all(Role::Client, b"\x81\x05Hello", 99), Ok(vec![text("Hello")]));
    assert_eq!(
        decode_all(Role::Server, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", 99),
        Ok(vec![text("Hello")])
    );
    assert_eq!(decode_all(Role::Client, b"\x01\x03Hel\x80\x02lo", 99), Ok(vec![text("Hello")]));
    let pong = decode_all(Role::Server, b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", 99);
    assert_eq!(pong, Ok(vec![Event::Pong(b"Hello".to_vec())]));
}

fn text(text: &str) -> Event {
    Event::Message(Message::Text(text.into()))
}

#[test]
fn section_5_4_control_frames_may_come_between_fragments_and_data_may_not() {
    let between = b"\x01\x03Hel\x89\x00\x00\x01l\x80\x01o";
    assert_eq!(decode_all(Role::Client, between, 1), Ok(vec![Event::Ping(Vec::new()), text("Hello")]));
    assert_eq!(decode_all(Role::Client, b"\x01\x01a\x81\x01b", 99), Err(WebSocketError::Interleaved));
    assert_eq!(decode_all(Role::Client, b"\x80\x01a", 99), Err(WebSocketError::LoneContinuation));
}

#[test]
fn section_8_1_wrong_utf8_is_refused_at_its_first_byte() {
    // The frame says 4 bytes, of which 3 have come: the third cannot be.
    assert_eq!(decode_all(Role::Client, b"\x81\x04a\xc3\x28", 99), Err(WebSocketError::NotUtf8));
    assert_eq!(
        decode_all(Role::Client, b"\x81\x01\xc3", 99),
        Err(WebSocketError::NotUtf8),
        "cut off at its end"
    );
    assert_eq!(decode_all(Role::Client, b"\x01\x01\xc3\x80\x01\xa9", 99), Ok(vec![text("é")]));
    assert_eq!(WebSocketError::NotUtf8.code(), CloseCode::INVALID_DATA);
}

#[test]
fn section_7_4_codes_that_may_not_be_sent_are_refused() {
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
        let [high, low] = code.to_be_bytes();
        assert_eq!(decode_all(Role::Client, &[0x88, 2, high, low], 99), Err(WebSocketError::CloseCode(code)));
    }
    for code in [1000u16, 1003, 1007, 1014, 3000, 4999] {
        let [high, low] = code.to_be_bytes();
        let close = Some(CloseFrame { code: CloseCode(code), reason: String::new() });
        assert_eq!(decode_all(Role::Client, &[0x88, 2, high, low], 99), Ok(vec![Event::Close(close)]));
    }
    assert_eq!(decode_all(Role::Client, &[0x88, 1, 3], 99), Err(WebSocketError::CloseOfOneByte));
    assert_eq!(decode_all(Role::Client, &[0x88, 0], 99), Ok(vec![Event::Close(None)]));
}

#[test]
fn lengths_are_bounded_before_anything_is_kept() {
    let limits = MessageLimits { message_bytes_max: 10 };
    let mut decoder = Decoder::new(Role::Client, false);
    let huge = [0x82, 127, 0, 0, 0, 0xff, 0, 0, 0, 0];
    assert_eq!(decoder.decode(&huge, &limits, &mut Inflater::new()), Err(WebSocketError::TooBig(10)));
    let mut decoder = Decoder::new(Role::Client, false);
    let fragments = b"\x02\x06abcdef\x80\x05ghijk";
    let refused = decoder.decode(fragments, &limits, &mut Inflater::new());
    assert_eq!(refused, Err(WebSocketError::TooBig(10)), "eleven bytes in two fragments");
}

#[test]
fn a_close_reason_is_cut_at_a_character() {
    let mut out = Vec::new();
    let reason = "ä".repeat(100);
    encode_close(&mut out, Some(&CloseFrame { code: CloseCode::NORMAL, reason }), None);
    let events = decode_all(Role::Client, &out, 99).unwrap();
    assert_eq!(events, [Event::Close(Some(CloseFrame { code: CloseCode::NORMAL, reason: "ä".repeat(61) }))]);
}

#[test]
fn section_1_3_a_handshake_is_accepted() {
    let offered = offer(
        "GET /chat HTTP/1.1\nHost: server.example.com\nUpgrade: websocket\nConnection: keep-alive, Upgrade\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nOrigin: http://example.com\n\
         Sec-WebSocket-Protocol: chat, superchat\nSec-WebSocket-Version: 13\n\n",
    )
    .unwrap();
    assert_eq!(offered.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(offered.protocols, ["chat", "superchat"]);
    assert_eq!(offered.deflate, None);
}

#[test]
fn section_11_3_a_key_and_a_version_come_once() {
    assert!(offer(&asking("")).is_ok());
    for (twice, status) in
        [("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n", 400), ("Sec-WebSocket-Version: 13\n", 426)]
    {
        assert_eq!(offer(&asking(twice)).unwrap_err().status, status, "{twice}");
    }
}

#[test]
fn section_7_4_codes_that_may_not_be_sent_are_not_sent() {
    for code in [0, 1004, 1005, 1006, 1015, 2999, 5000] {
        let mut out = Vec::new();
        encode_close(&mut out, Some(&CloseFrame { code: CloseCode(code), reason: "why".into() }), None);
        assert_eq!(decode_all(Role::Client, &out, 99), Ok(vec![Event::Close(None)]), "{code}");
    }
}

#[test]
fn section_9_1_extensions_that_are_malformed_fail_the_handshake() {
    for (extensions, status) in [
        ("permessage-deflate; client_max_window_bits=", Some(400)),
        ("unknown; a b", Some(400)),
        ("permessage-deflate\nSec-WebSocket-Extensions: a;", Some(400)),
        ("unknown; parameter=\"quoted\"", None),
        // Nothing is asked for.
        ("", None),
    ] {
        let refused = offer(&asking(&format!("Sec-WebSocket-Extensions: {extensions}\n"))).err();
        assert_eq!(refused.map(|refused| refused.status.as_u16()), status, "{extensions}");
    }
}

#[test]
fn a_frame_of_a_server_is_what_a_client_reads() {
    let mut out = Vec::new();
    encode(&mut out, Opcode::Binary, &[1; 300]);
    assert_eq!(decode_all(Role::Client, &out, 5), Ok(vec![Event::Message(Message::Binary(vec![1; 300]))]));
    assert_eq!(decode_all(Role::Server, &out, 5), Err(WebSocketError::Mask));
}
