//! `ListenSpec`: where to listen, as a person writes it.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::Error;

/// Where to listen, not yet bound.
///
/// ```
/// use tenfold_supervisor::ListenSpec;
///
/// let spec: ListenSpec = "[::1]:8080".parse()?;
/// assert_eq!(spec.to_string(), "[::1]:8080");
/// assert!("8080".parse::<ListenSpec>().is_err());
/// # Ok::<(), tenfold_supervisor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ListenSpec {
    /// One address; port 0 lets the kernel choose one.
    Tcp(SocketAddr),
    /// Every address of the machine, IPv6 and IPv4 (only IPv4 where the kernel
    /// has no IPv6); written `:PORT`.
    AnyTcp(u16),
    /// A socket file; written `unix:/PATH`.
    Unix(PathBuf),
    /// What a service manager has bound, by its name (`FileDescriptorName=` of
    /// systemd.socket(5)); written `systemd:NAME`.
    Activated(String),
    /// One address for datagrams; written `udp:ADDRESS:PORT`.
    Udp(SocketAddr),
    /// Every address of the machine for datagrams, as [`ListenSpec::AnyTcp`]; written `udp::PORT`.
    AnyUdp(u16),
    /// An address that belongs to something of that name, and is another one than the same address without it: port 0 may be
    /// asked for several times. Written `NAME=ADDRESS`, with a name of letters, digits, `-` and `_`.
    Named(String, Box<ListenSpec>),
}

impl ListenSpec {
    /// The address alone, without a name.
    pub fn address(&self) -> &ListenSpec {
        match self {
            Self::Named(_, address) => address.address(),
            other => other,
        }
    }

    /// The name, if it has one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Named(name, _) => Some(name),
            _ => None,
        }
    }

    /// The same address for datagrams; `None` for what takes connections only.
    pub fn for_datagrams(self) -> Option<ListenSpec> {
        match self {
            Self::Tcp(address) | Self::Udp(address) => Some(Self::Udp(address)),
            Self::AnyTcp(port) | Self::AnyUdp(port) => Some(Self::AnyUdp(port)),
            Self::Activated(name) => Some(Self::Activated(name)),
            Self::Unix(_) | Self::Named(..) => None,
        }
    }

    /// Whether several sockets may have it (SO_REUSEPORT).
    pub(crate) fn can_be_shared(&self) -> bool {
        !matches!(self.address(), Self::Unix(_) | Self::Activated(_))
    }

    /// Whether `text` can name something.
    pub fn is_name(text: &str) -> bool {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    }
}

impl FromStr for ListenSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |reason| Error::ListenSpec { text: text.to_owned(), reason };
        if let Some((name, address)) = text.split_once('=').filter(|(name, _)| Self::is_name(name)) {
            return match address.parse()? {
                Self::Named(..) => Err(wrong("an address has one name at most")),
                address => Ok(Self::Named(name.into(), Box::new(address))),
            };
        }
        if let Some(address) = text.strip_prefix("udp:") {
            return match address.parse()? {
                Self::Tcp(address) => Ok(Self::Udp(address)),
                Self::AnyTcp(port) => Ok(Self::AnyUdp(port)),
                _ => Err(wrong("datagrams come to an IP address")),
            };
        }
        if let Some(path) = text.strip_prefix("unix:") {
            // sun_path holds 108 bytes with the closing zero (unix(7)).
            return match path.len() {
                0 => Err(wrong("the path is empty")),
                1..=107 => Ok(Self::Unix(path.into())),
                _ => Err(wrong("the path is longer than 107 bytes")),
            };
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            return if name.is_empty() {
                Err(wrong("the name is empty"))
            } else {
                Ok(Self::Activated(name.into()))
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong("there is no port"))?;
        // Digits only: `parse` would also take "+80".
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| digits).ok_or_else(|| wrong("the port is not 0 to 65535"))?;
        match host {
            "" | "*" => Ok(Self::AnyTcp(port)),
            "localhost" => Ok(Self::Tcp((Ipv4Addr::LOCALHOST, port).into())),
            _ => match text.parse() {
                Ok(address) => Ok(Self::Tcp(address)),
                Err(_) if host.contains(':') && !host.starts_with('[') => {
                    Err(wrong("an IPv6 address goes in brackets"))
                }
                Err(_) => Err(wrong("the address is not an IP address")),
            },
        }
    }
}

impl fmt::Display for ListenSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::AnyTcp(port) => write!(f, ":{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Activated(name) => write!(f, "systemd:{name}"),
            Self::Udp(address) => write!(f, "udp:{address}"),
            Self::AnyUdp(port) => write!(f, "udp::{port}"),
            Self::Named(name, address) => write!(f, "{name}={address}"),
        }
    }
}
