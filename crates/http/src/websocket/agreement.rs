//! `Agreement`: what both sides of a connection keep to in permessage-deflate (RFC 7692 section 7.1).
//!
//! | parameter of an offer | what becomes of it |
//! |---|---|
//! | `server_no_context_takeover` | kept to, asked or not: no window is kept between messages |
//! | `client_no_context_takeover` | a hint; the answer asks the client for it in any case |
//! | `server_max_window_bits=8…15` | kept to: the answer names the same window or a smaller one |
//! | `client_max_window_bits`, with or without 8…15 | a hint, of which nothing is needed: messages are read with the largest window |
//!
//! An offer with anything else, with a parameter twice, or with a value that is none is declined, and the next one is tried.

use http::HeaderValue;

use super::extension::Extension;
use super::window::Window;

/// How the messages of a connection are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// How far back the messages of this side refer.
    pub window: Window,
    /// What the client hears of it, where it has asked.
    server_max_window_bits: Option<u8>,
}

impl Agreement {
    /// What an offer leads to; `None` when it is declined.
    pub(crate) fn on(offer: &Extension<'_>) -> Option<Agreement> {
        if !offer.name.eq_ignore_ascii_case("permessage-deflate") {
            return None;
        }
        let mut asked = None;
        for (index, (name, value)) in offer.parameters.iter().enumerate() {
            if offer.parameters[..index].iter().any(|(before, _)| before.eq_ignore_ascii_case(name)) {
                return None;
            }
            match (name.to_ascii_lowercase().as_str(), value) {
                (
                    "server_no_context_takeover" | "client_no_context_takeover" | "client_max_window_bits",
                    None,
                ) => {}
                ("client_max_window_bits", Some(value)) => {
                    window_bits(value)?;
                }
                ("server_max_window_bits", Some(value)) => asked = Some(window_bits(value)?),
                _ => return None,
            }
        }
        let Some(asked) = asked else {
            return Some(Agreement { window: Window::Large, server_max_window_bits: None });
        };
        let window = Window::within(asked);
        Some(Agreement { window, server_max_window_bits: Some(asked.min(window.bits())) })
    }

    /// What goes into the answer's `Sec-WebSocket-Extensions`.
    ///
    /// Both sides' `no_context_takeover` are in it whatever was offered, which sections 7.1.1.1 and 7.1.1.2 let a server do.
    /// `client_max_window_bits` never is: a server may name it only to one who has offered it, and has nothing to ask there.
    pub fn answer(&self) -> HeaderValue {
        let mut answer =
            String::from("permessage-deflate; server_no_context_takeover; client_no_context_takeover");
        if let Some(bits) = self.server_max_window_bits {
            answer.push_str("; server_max_window_bits=");
            answer.push_str(&bits.to_string());
        }
        HeaderValue::try_from(answer).expect("it is ASCII that can be seen")
    }
}

/// 8 to 15, without a zero in front (sections 7.1.2.1 and 7.1.2.2).
fn window_bits(value: &str) -> Option<u8> {
    let bits = value.parse().ok().filter(|bits| (8..=15).contains(bits))?;
    (!value.starts_with(['0', '+'])).then_some(bits)
}
