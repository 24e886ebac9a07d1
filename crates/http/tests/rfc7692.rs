//! permessage-deflate (RFC 7692): which offers are taken and how they are answered, and that no message refers further back than
//! was agreed, as a receiver finds it that keeps no more.

mod common;

use common::websocket::{asking, offer};
use tenfold_http::websocket::{
    Agreement, Decoder, Deflater, Event, Inflater, Message, MessageLimits, Opcode, Role, WebSocketError,
    Window, encode_compressed,
};
use tenfold_testkit::inflate_within;

const ALWAYS: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

fn agreement(extensions: &str) -> Option<Agreement> {
    let fields = format!("Sec-WebSocket-Extensions: {extensions}\n");
    offer(&asking(&fields)).unwrap_or_else(|refused| panic!("{extensions}: {refused}")).deflate
}

#[test]
fn section_7_1_offers_are_answered() {
    for (offers, window, answer) in [
        ("permessage-deflate", Window::Large, ""),
        ("permessage-deflate; server_no_context_takeover", Window::Large, ""),
        ("permessage-deflate; client_no_context_takeover", Window::Large, ""),
        ("permessage-deflate; client_max_window_bits", Window::Large, ""),
        ("permessage-deflate; client_max_window_bits=8; server_no_context_takeover", Window::Large, ""),
        // Section 7.1.2.1: the answer has the same value or a smaller one.
        ("permessage-deflate; server_max_window_bits=15", Window::Large, "15"),
        ("permessage-deflate; server_max_window_bits=14", Window::Medium, "12"),
        ("permessage-deflate; server_max_window_bits=13", Window::Medium, "12"),
        ("permessage-deflate; server_max_window_bits=12; client_max_window_bits=12", Window::Medium, "12"),
        ("permessage-deflate; server_max_window_bits=11", Window::Small, "9"),
        ("permessage-deflate; server_max_window_bits=10", Window::Small, "9"),
        ("permessage-deflate; server_max_window_bits=9", Window::Small, "9"),
        ("permessage-deflate; server_max_window_bits=8", Window::Small, "8"),
        // A value may be quoted, and there may be space.
        ("permessage-deflate ; server_max_window_bits = \"10\"", Window::Small, "9"),
        ("PerMessage-Deflate; Server_Max_Window_Bits=12", Window::Medium, "12"),
        // Section 5.2: the first offer that can be kept.
        ("other, permessage-deflate; server_max_window_bits=15", Window::Large, "15"),
        ("permessage-deflate; server_max_window_bits=9, permessage-deflate", Window::Small, "9"),
        ("permessage-deflate; server_max_window_bits=7, permessage-deflate", Window::Large, ""),
        ("permessage-deflate; new, permessage-deflate; server_max_window_bits=12", Window::Medium, "12"),
        ("other\nSec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9", Window::Small, "9"),
    ] {
        let agreed = agreement(offers).unwrap_or_else(|| panic!("{offers} is declined"));
        let answer = match answer {
            "" => ALWAYS.to_owned(),
            bits => format!("{ALWAYS}; server_max_window_bits={bits}"),
        };
        assert_eq!((agreed.window, agreed.answer().to_str().unwrap()), (window, answer.as_str()), "{offers}");
    }
}

#[test]
fn section_7_1_offers_that_cannot_be_kept_are_declined() {
    for offers in [
        "other",
        "x-webkit-deflate-frame",
        "permessage-deflate; new",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover=true",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
        "permessage-deflate; server_max_window_bits=10; Server_Max_Window_Bits=10",
        // An offer of this one has a value (section 7.1.2.1).
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=08",
        "permessage-deflate; server_max_window_bits=+9",
        "permessage-deflate; server_max_window_bits=0x9",
        "permessage-deflate; server_max_window_bits=265",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=010",
    ] {
        assert_eq!(agreement(offers), None, "{offers}");
    }
}

/// Bytes without repeats.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// The same bytes twice, the second time `distance` behind the first.
fn twice(distance: usize) -> Vec<u8> {
    let mut message = noise(distance);
    message.extend_from_within(..distance.min(100));
    message
}

#[test]
fn section_7_2_1_no_message_refers_further_back_than_was_agreed() {
    // Each window with the smallest one that it is agreed on for.
    let agreed = [(Window::Small, 8), (Window::Small, 9), (Window::Medium, 12), (Window::Large, 15)];
    for (window, bits) in agreed {
        let mut deflater = Deflater::new(window);
        let edges = [3, 200, 1 << bits, 600, 5_000, 40_000].into_iter();
        let distances = edges.flat_map(|edge: usize| edge.saturating_sub(3)..edge + 4);
        let mut messages: Vec<Vec<u8>> = distances.map(twice).collect();
        // Long ones with repeats from everywhere, and of everything.
        messages.push(twice(3).repeat(20_000));
        messages.push(noise(700).iter().flat_map(|&byte| vec![byte; usize::from(byte)]).collect());
        messages.push((0..30_000u32).flat_map(|n| format!("{{\"n\":{}}}", n % 977).into_bytes()).collect());
        for message in messages {
            let payload = deflater.deflate(&message);
            let length = message.len();
            assert_eq!(inflate_within(&payload, bits).as_ref(), Some(&message), "{window:?}, {length} bytes");
            assert_eq!(Inflater::new().inflate(&payload, length).as_ref(), Ok(&message));
        }
    }
}

#[test]
fn a_receiver_with_less_than_what_was_agreed_would_notice() {
    for (window, bits, distance) in
        [(Window::Medium, 8, 300), (Window::Large, 9, 600), (Window::Large, 12, 5_000)]
    {
        let message = twice(distance);
        let payload = Deflater::new(window).deflate(&message);
        assert_ne!(inflate_within(&payload, bits), Some(message.clone()), "{window:?} in {bits} bits");
        let smaller = Deflater::new(Window::within(bits)).deflate(&message);
        assert!(
            smaller.len() > payload.len(),
            "it has found the repeat, which the smaller window does not have"
        );
    }
}

fn decode(input: &[u8], bytes_max: usize) -> Result<Vec<Event>, WebSocketError> {
    let (mut decoder, mut inflater) = (Decoder::new(Role::Client, true), Inflater::new());
    let limits = MessageLimits { message_bytes_max: bytes_max };
    let (mut events, mut used) = (Vec::new(), 0);
    loop {
        let (count, event) = decoder.decode(&input[used..], &limits, &mut inflater)?;
        used += count;
        match event {
            Some(event) => events.push(event),
            None => return Ok(events),
        }
    }
}

/// "Hello" (section 7.2.3.1).
const HELLO: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

#[test]
fn section_6_the_bit_is_the_first_frames_of_a_message_and_nobody_elses() {
    let hello = || Event::Message(Message::Text("Hello".into()));
    let (first, last) = HELLO.split_at(3);
    // Section 7.2.3.1: in two fragments, of which the second has no bit; a ping between them.
    let fragments = [&[0x41, 3], first, &[0x89, 0], &[0x80, 4], last].concat();
    assert_eq!(decode(&fragments, 5), Ok(vec![Event::Ping(Vec::new()), hello()]));
    // A message may be sent without compression.
    let plain = [&[0x81, 5], b"Hello".as_slice(), &[0xc1, 7], HELLO].concat();
    assert_eq!(decode(&plain, 5), Ok(vec![hello(), hello()]));
    let second = [&[0x41, 3], first, &[0xc0, 4], last].concat();
    assert_eq!(decode(&second, 5), Err(WebSocketError::ReservedBit), "on a continuation");
    for control in [0xc8, 0xc9, 0xca] {
        assert_eq!(decode(&[control, 0], 5), Err(WebSocketError::ReservedBit), "{control:x}");
    }
    assert_eq!(decode(&[0xa1, 0], 5), Err(WebSocketError::ReservedBit), "RSV2, which nobody has agreed on");
}

#[test]
fn the_limit_is_that_of_the_message_and_not_of_what_it_was_compressed_to() {
    const BYTES: usize = 64 << 10;
    let message = noise(BYTES);
    for window in Window::ALL {
        let payload = Deflater::new(window).deflate(&message);
        assert!(payload.len() > BYTES, "it cannot be compressed");
        let mut frame = Vec::new();
        encode_compressed(&mut frame, Opcode::Binary, &payload);
        assert_eq!(decode(&frame, BYTES), Ok(vec![Event::Message(Message::Binary(message.clone()))]));
        assert_eq!(decode(&frame, BYTES - 1), Err(WebSocketError::TooBig(BYTES - 1)));
    }
    // What is longer than any such message could be is refused by its head.
    let head = [0xc2, 127, 0, 0, 0, 0, 0, 2, 0, 0];
    assert_eq!(decode(&head, BYTES), Err(WebSocketError::TooBig(BYTES)));
}

#[test]
fn text_is_checked_when_it_is_whole() {
    let mut frame = Vec::new();
    encode_compressed(&mut frame, Opcode::Text, &Deflater::new(Window::Large).deflate(b"a\xc3\x28"));
    assert_eq!(decode(&frame, 100), Err(WebSocketError::NotUtf8));
    assert_eq!(decode(&[0xc1, 3, 0xff, 0xff, 0xff], 100), Err(WebSocketError::Deflate));
}
