//! How much a client may ask for and how long it may take. Every bound of a worker that a client can push against.

use std::time::Duration;

use serde::Deserialize;
use tenfold_http::limits::{BodyLimits, ExchangeLimits, HeadLimits};

use crate::guard::addresses::AddressLimits;
use crate::guard::request_start::RequestStart;
use crate::route::COLLECT_BYTES_MAX;

/// Bounds of one worker, with the defaults of a server that faces the internet.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a request's head; default 16 KiB, else 431.
    pub head_bytes_max: usize,
    /// Header fields of a request; default 100, else 431.
    pub headers_max: usize,
    /// Bytes of a request's target; default 8 KiB, else 414.
    pub target_bytes_max: usize,
    /// Bytes of a request's body; default 1 MiB, else 413. A route may set its own.
    pub body_bytes_max: u64,
    /// Bytes of a body that are read before its request takes a place in a lane that bounds how many run, so that a slow
    /// client does not hold one; default 64 KiB, 0 for never, at most 2 MiB. For handlers that take the whole body; a route
    /// may set its own. For all others see [`Lane::uploads`](crate::Lane::uploads).
    pub body_ahead_bytes_max: usize,
    /// Requests of one connection before it is closed; default 10,000.
    pub requests_max: u64,
    /// Connections of one worker at a time; default 16,384. More wait in the kernel's queue.
    pub connections_max: usize,
    /// Seconds from a request's first byte to the end of its head; default 20, then 408 and close.
    pub header_timeout_secs: f64,
    /// Slowest rate of a body in bytes a second, measured after `body_grace_secs`; default 500, then 408 and close.
    pub body_rate_min: u64,
    /// Seconds that a body may take before its rate counts; default 20. No single wait for bytes is longer.
    pub body_grace_secs: f64,
    /// Seconds that a client may take no byte of an answer; default 30, then the connection is dropped.
    pub write_stall_timeout_secs: f64,
    /// Slowest rate in bytes a second at which a client may take an answer; default 500, 0 for none. It counts once the
    /// kernel's buffers are full and the client was waited for during `write_stall_timeout_secs`.
    pub answer_rate_min: u64,
    /// Seconds that a connection may be idle between requests; default 75.
    pub keepalive_timeout_secs: f64,
    /// Seconds after which a connection ends with its next answer, less up to a tenth, so that those that began together
    /// do not end together; default 3,600, 0 for never. A load balancer in front can so spread them anew.
    pub connection_age_max_secs: f64,
    /// Seconds that a connection is read from and thrown away, so that a last answer arrives; default 5.
    pub linger_timeout_secs: f64,
    /// Seconds from a request's arrival until its waits fail with `TimedOut`, which is 504 unless the handler says
    /// otherwise; default 30, 0 for no bound. A lane or a route may set its own.
    pub request_timeout_secs: f64,
    /// Seconds that a request may run on after that before its process is replaced; default 5, 0 for no bound. A lane or
    /// a route may set its own.
    pub request_overrun_secs: f64,
    /// A client that ends its half of the connection while its request runs is taken for gone, and its request is cancelled;
    /// default false: it may still read (RFC 9112 section 9.6), and only a reset cancels.
    pub cancel_on_half_close: bool,
    /// Bytes of all buffers that clients can make a worker hold; default 512 MiB. Beyond nine tenths new connections wait in
    /// the kernel's queue, beyond all of it a request gets 503.
    pub buffers_bytes_max: u64,
    /// Connections of one client address in each worker; 0, the default, for no bound. One more gets 429 and is closed.
    pub address_connections_max: usize,
    /// Requests a second of one client address in each worker; 0, the default, for no bound. One more gets 429.
    pub address_requests_per_sec: u32,
    /// Requests that an address may have in stock; default the requests of a second.
    pub address_requests_burst: u32,
    /// Peers whose `X-Request-Start` counts to a request's age and its queueing: addresses, networks as `10.0.0.0/8`, or
    /// `unix` for all that come over a Unix socket. Default none. What is more than 60 s ago, or to come, does not count.
    pub request_start_from: Vec<String>,
    /// Only logs what the three limits above would refuse; default false.
    pub address_dry_run: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            head_bytes_max: 16 << 10,
            headers_max: 100,
            target_bytes_max: 8 << 10,
            body_bytes_max: 1 << 20,
            body_ahead_bytes_max: 64 << 10,
            requests_max: 10_000,
            connections_max: 16_384,
            header_timeout_secs: 20.0,
            body_rate_min: 500,
            body_grace_secs: 20.0,
            write_stall_timeout_secs: 30.0,
            answer_rate_min: 500,
            keepalive_timeout_secs: 75.0,
            connection_age_max_secs: 3600.0,
            linger_timeout_secs: 5.0,
            request_timeout_secs: 30.0,
            request_overrun_secs: 5.0,
            buffers_bytes_max: 512 << 20,
            address_connections_max: 0,
            address_requests_per_sec: 0,
            address_requests_burst: 0,
            cancel_on_half_close: false,
            address_dry_run: false,
            request_start_from: Vec::new(),
        }
    }
}

/// The bounds in the form that the drivers use.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) head: HeadLimits,
    pub(crate) body: BodyLimits,
    pub(crate) body_ahead_bytes_max: usize,
    pub(crate) exchange: ExchangeLimits,
    pub(crate) connections_max: usize,
    pub(crate) header_timeout: Duration,
    pub(crate) body_rate_min: u64,
    pub(crate) body_grace: Duration,
    pub(crate) write_stall: Duration,
    pub(crate) answer_rate_min: u64,
    pub(crate) buffers_bytes_max: u64,
    pub(crate) keepalive: Duration,
    /// `None` for never.
    pub(crate) connection_age_max: Option<Duration>,
    pub(crate) linger: Duration,
    pub(crate) request_timeout: Option<Duration>,
    pub(crate) request_overrun: Option<Duration>,
    pub(crate) cancel_on_half_close: bool,
}

impl Bounds {
    /// Of a body whose route has perhaps a limit of its own.
    pub(crate) fn body_of(&self, own_bytes_max: Option<u64>) -> BodyLimits {
        BodyLimits { body_bytes_max: own_bytes_max.unwrap_or(self.body.body_bytes_max), ..self.body }
    }
}

impl Limits {
    pub(crate) fn bounds(&self) -> Bounds {
        let head = HeadLimits {
            head_bytes_max: self.head_bytes_max,
            headers_max: self.headers_max,
            target_bytes_max: self.target_bytes_max,
        };
        let body = BodyLimits { body_bytes_max: self.body_bytes_max, ..BodyLimits::default() };
        let exchange = ExchangeLimits { requests_max: self.requests_max, ..ExchangeLimits::default() };
        Bounds {
            head,
            body,
            body_ahead_bytes_max: self.body_ahead_bytes_max,
            exchange,
            connections_max: self.connections_max,
            header_timeout: secs(self.header_timeout_secs),
            body_rate_min: self.body_rate_min,
            body_grace: secs(self.body_grace_secs),
            write_stall: secs(self.write_stall_timeout_secs),
            answer_rate_min: self.answer_rate_min,
            buffers_bytes_max: self.buffers_bytes_max,
            keepalive: secs(self.keepalive_timeout_secs),
            connection_age_max: (self.connection_age_max_secs > 0.0)
                .then(|| secs(self.connection_age_max_secs)),
            linger: secs(self.linger_timeout_secs),
            request_timeout: (self.request_timeout_secs > 0.0).then(|| secs(self.request_timeout_secs)),
            request_overrun: (self.request_overrun_secs > 0.0).then(|| secs(self.request_overrun_secs)),
            cancel_on_half_close: self.cancel_on_half_close,
        }
    }

    pub(crate) fn addresses(&self) -> AddressLimits {
        AddressLimits {
            connections_max: self.address_connections_max,
            requests_per_sec: self.address_requests_per_sec,
            burst: self.address_requests_burst,
            dry_run: self.address_dry_run,
        }
    }

    /// Says what is wrong, as one line.
    pub(crate) fn check(&self) -> Result<(), String> {
        let times = [
            ("header_timeout_secs", self.header_timeout_secs),
            ("body_grace_secs", self.body_grace_secs),
            ("write_stall_timeout_secs", self.write_stall_timeout_secs),
            ("keepalive_timeout_secs", self.keepalive_timeout_secs),
            ("connection_age_max_secs", self.connection_age_max_secs),
            ("linger_timeout_secs", self.linger_timeout_secs),
            ("request_timeout_secs", self.request_timeout_secs),
            ("request_overrun_secs", self.request_overrun_secs),
        ];
        for (name, value) in times {
            if !(0.0..=86_400.0).contains(&value) {
                return Err(format!("limits.{name} = {value}: expected 0 to 86400 seconds"));
            }
        }
        RequestStart::new(&self.request_start_from)?;
        if self.head_bytes_max < 512 || self.headers_max == 0 || self.connections_max == 0 {
            return Err(
                "limits: head_bytes_max must be at least 512, headers_max and connections_max at least 1"
                    .into(),
            );
        }
        if self.body_ahead_bytes_max > COLLECT_BYTES_MAX {
            return Err(format!(
                "limits.body_ahead_bytes_max = {}: expected at most 2 MiB",
                self.body_ahead_bytes_max
            ));
        }
        if self.buffers_bytes_max < 1 << 20 {
            return Err(format!(
                "limits.buffers_bytes_max = {}: expected at least 1 MiB",
                self.buffers_bytes_max
            ));
        }
        let bounds_addresses = self.address_connections_max > 0 || self.address_requests_per_sec > 0;
        if (self.address_dry_run && !bounds_addresses)
            || (self.address_requests_burst > 0 && self.address_requests_per_sec == 0)
        {
            return Err(
                "limits: address_dry_run and address_requests_burst are for address_connections_max and \
                        address_requests_per_sec"
                    .into(),
            );
        }
        Ok(())
    }
}

fn secs(value: f64) -> Duration {
    Duration::from_secs_f64(value)
}
