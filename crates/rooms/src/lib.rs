//! Rooms: a message that is published once reaches everybody who listens, on all workers, over WebSocket, server-sent events or
//! long-poll.
//!
//! ```text
//!   handler ─► Rooms::publish ─► keeper: its place in the history ─► every worker with members
//!                                                                      └► pump: one encoding, all members ─► sockets
//! ```
//!
//! In scope: WebSocket handlers, membership, history and going on after a loss of the connection, presence, slow clients, the end
//! of connections when a worker stops. Out of scope: what the messages mean, and who the users are.
//!
//! A member gets every message of its room in the room's order, or it is told that it has missed something: a loss is never
//! silent. Messages live in memory: a keeper that dies takes the histories with it, and every member is told.
//!
//! ```no_run
//! use tenfold_rooms::{AppRooms, Rooms, Rule};
//! use tenfold_server::{App, Path, Result};
//!
//! fn sell(Path(item): Path<u64>, rooms: Rooms) -> Result<&'static str> {
//!     rooms.publish("orders", &item)?;
//!     Ok("sold\n")
//! }
//!
//! let app = App::new().post("/sell/{item}", sell).room(Rule::new("orders")).rooms("/rooms");
//! # let _ = app;
//! ```

#![forbid(unsafe_code)]

mod app;
mod rooms;
mod rule;

mod input;
mod route;
mod websocket;

mod socket;
mod sse;

mod endpoint;

mod batch;
mod envelope;
mod hall;
mod outlet;
mod position;
mod pump;
mod ring;
mod room;
mod spares;
mod watch;

mod keeper;
mod wire;

mod error;

pub use app::AppRooms;
pub use error::{Error, Result};
pub use position::Position;
pub use rooms::{News, Rooms};
pub use route::{Origins, Run, SocketHandler, SocketOptions};
pub use rule::{Rule, Slow, Visitor};
pub use socket::{Join, Socket};
pub use tenfold_http::websocket::{CloseCode, Message, MessageLimits};
pub use websocket::{IntoOutcome, IntoSession, Resting, WebSocket};
