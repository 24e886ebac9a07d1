//! Names to addresses.
//!
//! The resolver is the system's (getaddrinfo(3)), because it alone knows the machine's configuration; it blocks, so on a
//! fiber it runs on the thread pool. Literal addresses never go there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs};

use crate::offload::offload;

/// The addresses of a host, in the order in which to try them.
///
/// ```
/// let here = tenfold_runtime::dns::lookup("127.0.0.1", 80)?;
/// assert_eq!(here, ["127.0.0.1:80".parse().unwrap()]);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// The resolver's; `TimedOut`; `ECANCELED`. A resolver that was given up runs on for as long as its own time-outs let it.
pub fn lookup(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let host = host.to_owned();
    offload(move || (host.as_str(), port).to_socket_addrs().map(Iterator::collect))?
}

/// What can be resolved without holding the loop: std's `ToSocketAddrs`, whose implementations resolve names in place,
/// for code that may run on a fiber.
pub trait ToAddresses {
    /// The addresses, in the order in which to try them.
    ///
    /// # Errors
    /// As [`lookup`]; `InvalidInput` for text that is not `host:port`.
    fn to_addresses(&self) -> io::Result<Vec<SocketAddr>>;
}

impl ToAddresses for str {
    fn to_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = self.parse() {
            return Ok(vec![address]);
        }
        let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "an address is host:port");
        let (host, port) = self.rsplit_once(':').ok_or_else(invalid)?;
        lookup(host, port.parse().map_err(|_| invalid())?)
    }
}

impl ToAddresses for String {
    fn to_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.as_str().to_addresses()
    }
}

impl ToAddresses for (&str, u16) {
    fn to_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        lookup(self.0, self.1)
    }
}

impl ToAddresses for (String, u16) {
    fn to_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        lookup(&self.0, self.1)
    }
}

impl ToAddresses for [SocketAddr] {
    fn to_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        Ok(self.to_vec())
    }
}

impl<T: ToAddresses + ?Sized> ToAddresses for &T {
    fn to_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        (**self).to_addresses()
    }
}

macro_rules! literal {
    ($($kind:ty),*) => {$(
        impl ToAddresses for $kind {
            fn to_addresses(&self) -> io::Result<Vec<SocketAddr>> {
                Ok(vec![(*self).into()])
            }
        }
    )*};
}

literal!(SocketAddr, SocketAddrV4, SocketAddrV6, (IpAddr, u16), (Ipv4Addr, u16), (Ipv6Addr, u16));
