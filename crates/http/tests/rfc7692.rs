//! permessage-deflate (RFC 7692): which offers are taken and how they are answered, and that no message refers further back than
//! was agreed, as a receiver finds it that keeps no more.

mod common;

use common::websocket::{asking, offer};
use tenfold_http::websocket::{Agreement, Deflater, Inflater, Window};
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
