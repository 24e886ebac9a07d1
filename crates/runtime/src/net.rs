//! Streams with std's shape: they park a fiber or block a thread.

mod socket;
mod tcp;

pub use socket::Socket;
pub use tcp::{TcpListener, TcpStream};
