//! TCP and UDP services: what an app serves beside HTTP, in the same workers and by the same models.
//!
//! ```text
//!   App::tcp(name, address, handler)      what a handler is: handler.rs
//!     a framing and a function            framing.rs, framed.rs: one call for each frame
//!     a protocol of one's own             protocol.rs: the same, without a framing
//!     a function of a connection          conn.rs: reads and writes as it likes
//!   App::udp(name, address, handler)      datagram.rs
//!
//!   catalogue.rs   what there is, checked in the master; addresses; what a worker opens
//!   accept.rs      who accepts, by placement        link.rs      a connection: resting and roused, or on a thread
//!   exchange.rs    the frames of a connection       receive.rs   datagrams
//! ```
//!
//! The master binds and the workers share, as with HTTP: a service's address is one more of the supervisor's listeners,
//! with the service's name. Nothing here knows HTTP, and nothing of the HTTP side knows this.

pub(crate) mod catalogue;

mod handler;
mod limits;
mod protocol;
mod reply;

mod framed;
pub(crate) mod framing;

mod conn;
mod datagram;

mod accept;
mod complaint;
mod exchange;
mod idle;
mod link;
mod receive;

pub use conn::Conn;
pub use datagram::{Datagram, UdpHandler};
pub use framed::{FrameHandler, Framed};
pub use framing::{Cut, Delimiter, FixedHeader, FrameError, Framing, FramingExt, LengthPrefix, fuzz_framing};
pub use handler::{FreeForm, FromState, Outcome, SansIo, TcpHandler, WithLimits};
pub use limits::ServiceLimits;
pub use protocol::{BadInput, Input, Progress, Protocol};
pub use reply::Reply;

pub(crate) use accept::{Work, serve_blocking, serve_one, spawn_evented};
pub(crate) use catalogue::{Catalogue, Listening, Services};
pub(crate) use idle::rouse_idle;
pub(crate) use receive::{receive_on_thread, take_datagram};
