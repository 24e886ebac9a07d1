//! Outbound connections: pools and protocols over the runtime's streams.
//!
//! In scope: one file per protocol, and the pool that they share. Out of scope: serving, and deciding how to wait: every
//! wait ends in the runtime, so the same call parks a fiber on a loop and blocks a plain thread, and it ends with the
//! task's deadline or cancellation wherever it runs.
//!
//! ```
//! use std::io::{Read, Write};
//! use tenfold_client::http::Client;
//!
//! let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! let url = format!("http://{}/greeting", listener.local_addr()?);
//! let server = std::thread::spawn(move || {
//!     let (mut stream, _) = listener.accept().unwrap();
//!     let _ = stream.read(&mut [0; 1024]);
//!     stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap();
//! });
//!
//! let client = Client::builder().connections_max_per_host(8).build();
//! let response = client.get(&url)?.send()?;
//! assert_eq!(response.status(), 200);
//! assert_eq!(response.text()?, "hello");
//! # server.join().unwrap();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

pub mod pool;

pub mod dns;
pub mod http;
pub mod memcached;
pub mod redis;

#[cfg(feature = "mysql")]
pub mod mysql;

#[cfg(feature = "nats")]
pub mod nats;

#[cfg(feature = "tarantool")]
pub mod tarantool;

#[cfg(feature = "sqlite")]
pub mod sqlite;

#[cfg(feature = "postgres")]
pub mod postgres;

#[doc(hidden)]
pub mod fuzzing;

mod address;
mod hub;
mod link;
mod received;

mod error;

pub use error::{Error, Phase};
