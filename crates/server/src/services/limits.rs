//! What a service's clients may ask for, where it is not what the server's limits say for all connections.

use std::time::Duration;

use crate::limits::Bounds;

/// Bytes of a frame unless said otherwise, with its delimiter or header.
const FRAME_BYTES_MAX: usize = 1 << 20;
/// Bytes of a datagram: what UDP can carry.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Datagrams that a loop handles at a time.
const DATAGRAMS_MAX: usize = 1024;

/// Bounds of one service in one worker; what is `None` is as in the server's own limits.
///
/// ```
/// use std::time::Duration;
/// use tenfold_server::ServiceLimits;
/// let limits = ServiceLimits {
///     frame_bytes_max: 64 << 10,
///     idle_timeout: Some(Duration::from_secs(600)),
///     ..ServiceLimits::default()
/// };
/// # let _ = limits;
/// ```
#[derive(Clone, Debug)]
pub struct ServiceLimits {
    /// Bytes of a frame with all that belongs to it; default 1 MiB. A longer one ends the connection.
    pub frame_bytes_max: usize,
    /// Connections of this service; default those of the worker (`limits.connections_max`), which count all connections. More
    /// wait in the kernel's queue.
    pub connections_max: Option<usize>,
    /// How long a connection may say nothing between two frames; default `limits.keepalive_timeout_secs`.
    /// [`Duration::MAX`] is without end.
    pub idle_timeout: Option<Duration>,
    /// How long a frame may take from its first byte to its last; default `limits.header_timeout_secs`.
    pub frame_timeout: Option<Duration>,
    /// How long a client may take no byte of what is written; default `limits.write_stall_timeout_secs`.
    pub write_stall: Option<Duration>,
    /// Bytes of a datagram, what is longer is cut; default 65,535.
    pub datagram_bytes_max: usize,
    /// Datagrams that one loop handles at a time; default 1,024. The kernel keeps what comes meanwhile, up to the socket's
    /// buffer, and drops the rest.
    pub datagrams_max: usize,
}

impl Default for ServiceLimits {
    fn default() -> ServiceLimits {
        ServiceLimits {
            frame_bytes_max: FRAME_BYTES_MAX,
            connections_max: None,
            idle_timeout: None,
            frame_timeout: None,
            write_stall: None,
            datagram_bytes_max: DATAGRAM_BYTES_MAX,
            datagrams_max: DATAGRAMS_MAX,
        }
    }
}

/// Longest wait that is counted: a year, since the end of [`Duration::MAX`] cannot be said.
const NEVER: Duration = Duration::from_secs(365 * 86_400);

impl ServiceLimits {
    pub(crate) fn idle(&self, bounds: &Bounds) -> Duration {
        self.idle_timeout.unwrap_or(bounds.keepalive).min(NEVER)
    }

    pub(crate) fn frame(&self, bounds: &Bounds) -> Duration {
        self.frame_timeout.unwrap_or(bounds.header_timeout).min(NEVER)
    }

    pub(crate) fn stall(&self, bounds: &Bounds) -> Duration {
        self.write_stall.unwrap_or(bounds.write_stall).min(NEVER)
    }

    /// One line about what cannot be.
    pub(crate) fn check(&self) -> Result<(), String> {
        let is_none = [self.frame_bytes_max, self.datagram_bytes_max, self.datagrams_max].contains(&0);
        if is_none || self.connections_max == Some(0) {
            return Err("its limits have to be at least 1".into());
        }
        Ok(())
    }
}
