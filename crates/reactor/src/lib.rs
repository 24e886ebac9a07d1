//! Submits operations, delivers completions, keeps timers.
//!
//! In scope: one contract ([`backend`]), the backends io_uring and epoll behind it, a timer wheel, a waker for other
//! threads, and the classic callback interface ([`EventLoop`]). Out of scope: protocols, fibers, scheduling.
//!
//! A [`Reactor`] belongs to the thread that made it. Its caller is a scheduler (crate `runtime`) that submits an
//! [`Op`] for a fiber, parks that fiber, and runs others until [`Reactor::dispatch`] says that the operation is over.
//! Whoever wants plain callbacks instead uses [`EventLoop`].
//!
//! ```
//! use std::io::Write;
//! use std::os::fd::AsFd;
//! use tenfold_reactor::{EventLoop, Interest, ReactorConfig};
//!
//! let (mut near, far) = std::os::unix::net::UnixStream::pair()?;
//! let events = EventLoop::new(&ReactorConfig::default())?;
//! events.add(far.as_fd(), Interest::READ, |events, _fd, ready| {
//!     assert!(ready.readable());
//!     events.stop();
//! });
//! near.write_all(b"x")?;
//! events.run()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod reactor;

pub mod backend;

mod buffers;
mod error;
mod event_loop;
mod op;
mod patience;
mod timer;
mod waker;
mod watched_peer;

pub use backend::{BackendChoice, Interest, Ready, Token};
pub use error::ReactorError;
pub use event_loop::EventLoop;
pub use op::Op;
pub use reactor::{Event, Pending, Reactor, ReactorConfig};
pub use timer::{TimerId, Wheel};
pub use waker::Waker;
pub use watched_peer::{PEERS_MAX, WatchedPeer};
