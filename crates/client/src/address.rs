//! `Address`: where a service listens, and connecting to it.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use tenfold_runtime::deadline_at;
use tenfold_runtime::net::TcpStream;

use crate::dns::Resolver;
use crate::error::{Error, Phase};

/// Host and port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// A name or an address; an IPv6 address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Address {
    /// From `host`, `host:port` or `[v6]:port`.
    pub(crate) fn parse(text: &str, default_port: u16) -> Result<Address, Error> {
        let invalid = |reason| Error::InvalidUrl { url: text.into(), reason };
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, tail) = rest.split_once(']').ok_or(invalid("a bracket is not closed"))?;
                (host, tail.strip_prefix(':'))
            }
            None => match text.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        if host.is_empty() {
            return Err(invalid("the host is missing"));
        }
        let port = match port {
            None | Some("") => default_port,
            Some(digits) => digits.parse().map_err(|_| invalid("the port is no number up to 65535"))?,
        };
        Ok(Address { host: host.into(), port })
    }

    /// [`connect`] to it.
    pub(crate) fn connect(&self, longest: Duration) -> Result<TcpStream, Error> {
        connect(&self.host, self.port, self, longest)
    }
}

/// Connects to the first address of the host that answers, within `longest` and the task's deadline. Errors call it `shown`.
pub(crate) fn connect(
    host: &str,
    port: u16,
    shown: &impl fmt::Display,
    longest: Duration,
) -> Result<TcpStream, Error> {
    let until = after(longest);
    let found =
        deadline_at(until, || Resolver::shared().lookup(host, port)).map_err(|source| {
            match Error::io(Phase::Connecting, source) {
                Error::Io { source, .. } => Error::Resolve { host: shown.to_string(), source },
                other => other,
            }
        })?;
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    for address in found {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => {
                // Failing costs latency only.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    match Error::io(Phase::Connecting, last) {
        Error::Io { source, .. } => Err(Error::Connect { host: shown.to_string(), source }),
        other => Err(other),
    }
}

/// The end of a wait that begins now. A century is "never", and cannot overflow.
pub(crate) fn after(longest: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(longest).unwrap_or_else(|| now + Duration::from_secs(u32::MAX.into()))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}
