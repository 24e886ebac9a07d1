//! NATS: one connection for one user, and the streams of JetStream.
//!
//! What the keepers of jobs and of rooms have in common, and any program can use: [`Connection`] publishes, subscribes and asks;
//! its JetStream calls make a stream, append where the stream ends as expected, and read what is kept. Plain TCP, a user and
//! password or a token; no TLS, no NKEYS.
//!
//! ```no_run
//! use std::time::Duration;
//! use tenfold_client::nats::{Connection, Login};
//!
//! let mut nats = Connection::open(&Login::parse("nats://127.0.0.1:4222")?, Duration::from_secs(2))?;
//! let sid = nats.subscribe("greetings.*")?;
//! nats.publish("greetings.ann", b"hello")?;
//! let heard = nats.next(std::time::Instant::now() + Duration::from_secs(1))?.expect("it comes back");
//! assert_eq!((heard.sid, &heard.payload[..]), (sid, &b"hello"[..]));
//! # Ok::<(), tenfold_client::Error>(())
//! ```

pub mod codec;
mod connection;
mod jetstream;
mod login;

pub use self::codec::Message;
pub use self::connection::{Connection, Info};
pub use self::jetstream::{Expected, Kept, is_missing};
pub use self::login::Login;
