//! Bytes to messages and back: HTTP/1.1 and WebSocket as pure functions and small state machines.
//!
//! In scope: request and response heads, bodies with their framing, trailers, and the decision what becomes of a
//! connection after a response. Out of scope: sockets, buffers, time-outs, routing. There is no I/O here, no clock,
//! no thread and no `unsafe`, so every rule can be tested with a byte string.
//!
//! The server's connection drivers call it in this order, and the client mirrors it:
//!
//! ```text
//! bytes -> Head::parse -> HeadView -> BodyDecoder::decode* -> handler
//!                                                               |
//! next request <- Exchange::after <- chunk* <- response_head <--+
//! ```
//!
//! The manner is RFC 9112 read strictly: whatever two implementations could read differently is refused, because such a
//! difference is what request smuggling is made of (RFC 9112 section 11.2).
//!
//! # Examples
//!
//! ```
//! use tenfold_http::h1::{Framing, Head, Parse};
//! use tenfold_http::limits::HeadLimits;
//!
//! let input = b"GET /hello?x=1 HTTP/1.1\r\nHost: example.org\r\n\r\n";
//! let mut head = Head::new();
//! let parse = head.parse(input, &HeadLimits::default()).unwrap();
//! assert_eq!(parse, Parse::Complete { bytes: input.len() });
//!
//! let view = head.view(input);
//! assert_eq!((view.method_str(), view.path(), view.query()), ("GET", "/hello", Some("x=1")));
//! assert_eq!(view.header("host"), Some(&b"example.org"[..]));
//! assert_eq!(view.framing(), Framing::None);
//! assert!(view.keep_alive());
//! ```

#![forbid(unsafe_code)]

pub mod h1;
pub mod websocket;

pub mod error;
pub mod limits;

#[doc(hidden)]
pub mod fuzzing;

pub use error::{BodyError, EncodeError, Error, HeadError};
pub use limits::{BodyLimits, ExchangeLimits, HeadLimits};
