//! WebSocket (RFC 6455) with permessage-deflate (RFC 7692): the opening handshake, frames, messages.
//!
//! In scope: everything that can be said about bytes. Out of scope: sockets, time (who sends pings and when), rooms.
//! A receiver keeps a [`Decoder`]; a sender appends frames to its output with [`encode`].
//!
//! ```text
//!   request head ─► handshake::accept ─► 101 ─► Decoder::decode* ─► Event::{Message, Ping, Pong, Close}
//! ```
//!
//! The codec is our own although tungstenite has one: that keeps a read and a write buffer for each connection, and knows no
//! compression; here an idle connection costs about a hundred bytes.

mod agreement;
mod close;
mod decoder;
mod deflate;
mod encoder;
mod error;
pub(crate) mod extension;
mod frame;
pub mod handshake;
mod utf8;
mod window;

pub use agreement::Agreement;
pub use close::{CloseCode, CloseFrame};
pub use decoder::{Decoder, Event, Message, MessageLimits, Role};
pub use deflate::{Deflater, Inflater};
pub use encoder::{Opcode, encode, encode_close, encode_compressed, encode_masked};
pub use error::WebSocketError;
pub use window::Window;
