//! The texts that clients get, all JSON, the same over WebSocket, server-sent events and long-poll.
//!
//! ```text
//!   {"room":"chat:1","pos":"9f3c:17","data":…}     a message; "join" or "leave" instead of "data" where presence is announced
//!   {"room":"chat:1","pos":"9f3c:17","joined":true,"recovered":true}        the client is a member from here on
//!   {"room":"chat:1","pos":"9f3c:40","reset":true}  it has missed something that nobody has any more: load the state anew
//! ```

use bytes::Bytes;
use tenfold_http::websocket::{self, Opcode, Window};

use crate::position::Position;
use crate::spares;
use crate::wire::{Kind, Stored};

/// Messages shorter than this are not worth compressing.
const DEFLATE_BYTES_MIN: usize = 256;

/// How a connection wants its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// WebSocket.
    Text,
    /// WebSocket with permessage-deflate, of which the client reads so far back.
    Deflated(Window),
    /// Server-sent events.
    Event,
}

/// A message of a room as text.
pub(crate) fn message(quoted_room: &str, epoch: u64, stored: &Stored) -> String {
    let position = Position { epoch, offset: stored.offset };
    let field = match stored.kind {
        Kind::Data => "data",
        Kind::Join => "join",
        Kind::Leave => "leave",
    };
    format!(r#"{{"room":{quoted_room},"pos":"{position}","{field}":{}}}"#, stored.data)
}

/// What a client hears when it is a member.
pub(crate) fn joined(quoted_room: &str, position: Position, recovered: Option<bool>) -> String {
    let recovered = match recovered {
        Some(true) => r#","recovered":true"#,
        Some(false) => r#","reset":true"#,
        None => "",
    };
    format!(r#"{{"room":{quoted_room},"pos":"{position}","joined":true{recovered}}}"#)
}

/// What a client hears when something is lost to it.
pub(crate) fn reset(quoted_room: &str, position: Position) -> String {
    format!(r#"{{"room":{quoted_room},"pos":"{position}","reset":true}}"#)
}

/// Turns a text into what goes over a connection; `position` is what an event stream comes back with.
pub(crate) fn encode(text: &str, position: Option<Position>, encoding: Encoding) -> Bytes {
    let mut out = Vec::with_capacity(text.len() + 16);
    match encoding {
        Encoding::Deflated(window) if text.len() >= DEFLATE_BYTES_MIN => {
            let payload = spares::with_deflater(window, |deflater| deflater.deflate(text.as_bytes()));
            websocket::encode_compressed(&mut out, Opcode::Text, &payload);
        }
        Encoding::Text | Encoding::Deflated(_) => {
            websocket::encode(&mut out, Opcode::Text, text.as_bytes());
        }
        Encoding::Event => {
            if let Some(position) = position {
                out.extend_from_slice(format!("id: {position}\n").as_bytes());
            }
            // JSON has no line ends of its own but in strings, where they are escaped.
            for line in text.lines() {
                out.extend_from_slice(b"data: ");
                out.extend_from_slice(line.as_bytes());
                out.push(b'\n');
            }
            out.push(b'\n');
        }
    }
    out.into()
}
