//! Who is at the other end of a connection.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The client of a connection. Made once per connection by its driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Where the client connected from; none over a Unix socket.
    pub address: Option<SocketAddr>,
}

impl Peer {
    /// A client that came over TCP.
    pub const fn tcp(address: SocketAddr) -> Peer {
        Peer { address: Some(address) }
    }

    /// A client that came over a Unix socket, which has no address.
    pub const fn unix() -> Peer {
        Peer { address: None }
    }

    /// The client's IP address.
    pub fn ip(&self) -> Option<IpAddr> {
        self.address.map(|address| address.ip())
    }
}

impl Peer {
    /// As [`fmt::Display`] writes it.
    pub(crate) fn from_text(text: &str) -> Peer {
        Peer { address: text.parse().ok() }
    }
}

impl From<Option<SocketAddr>> for Peer {
    fn from(address: Option<SocketAddr>) -> Peer {
        Peer { address }
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Peer {
        Peer::tcp(address)
    }
}

/// `192.0.2.1:4711`, or `unix`.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => address.fmt(f),
            None => f.write_str("unix"),
        }
    }
}
