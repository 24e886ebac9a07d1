//! Streams and datagrams with std's shape: they park a fiber or block a thread.

mod socket;
mod tcp;
mod udp;
mod unix;

pub use socket::Socket;
pub use tcp::{TcpListener, TcpStream};
pub use udp::UdpSocket;
pub use unix::{UnixListener, UnixStream};
