//! `Addresses`: how many connections and requests one client address may have, in each worker.
//!
//! Off unless the limits say a number, since behind a proxy all clients have one address. Of IPv6 the first 64 bits count:
//! that is what one customer gets. The numbers are a worker's own, so a client that is spread over N of them gets up to N
//! times as much; shared counters would cost every request a lock between processes.
//!
//! With a dry run everything is counted and logged, and nobody is refused: for finding the numbers.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::{Clock, MonotonicClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::peer::Peer;

/// Addresses whose requests are remembered. When there are more, those that have not come for a while are forgotten, and
/// if that is not enough new ones pass: a flood from everywhere is the lanes' business.
const ADDRESSES_MAX: usize = 65_536;
/// How often their number is looked at, in requests.
const LOOK_EVERY: u32 = 1024;
/// Shortest time between two lines of the log.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// What an address may do; 0 is no bound.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AddressLimits {
    pub(crate) connections_max: usize,
    pub(crate) requests_per_sec: u32,
    pub(crate) burst: u32,
    pub(crate) dry_run: bool,
}

type Requests = RateLimiter<IpAddr, HashMapStateStore<IpAddr>, MonotonicClock>;

pub(crate) struct Addresses {
    limits: AddressLimits,
    connections: Mutex<HashMap<IpAddr, usize>>,
    requests: Option<Requests>,
    looks: AtomicU32,
    full: std::sync::atomic::AtomicBool,
    log: Mutex<Log>,
    refused: AtomicU64,
}

#[derive(Default)]
struct Log {
    at: Option<Instant>,
    left_out: u64,
}

/// One connection in its address's count.
pub(crate) struct Counted {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

/// How long an address has to wait before its next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany(pub(crate) Duration);

impl Addresses {
    /// `None` where nothing is bounded, which then costs nothing.
    pub(crate) fn new(limits: AddressLimits) -> Option<Arc<Addresses>> {
        let requests = NonZeroU32::new(limits.requests_per_sec).map(|rate| {
            let burst = NonZeroU32::new(limits.burst).unwrap_or(rate);
            RateLimiter::hashmap_with_clock(Quota::per_second(rate).allow_burst(burst), MonotonicClock)
        });
        (limits.connections_max > 0 || requests.is_some()).then(|| {
            Arc::new(Addresses {
                limits,
                connections: Mutex::default(),
                requests,
                looks: AtomicU32::new(0),
                full: false.into(),
                log: Mutex::default(),
                refused: AtomicU64::new(0),
            })
        })
    }

    /// Counts a new connection; `Err` when its address has as many as it may.
    pub(crate) fn connect(self: &Arc<Self>, address: IpAddr) -> Result<Option<Counted>, ()> {
        let most = self.limits.connections_max;
        if most == 0 {
            return Ok(None);
        }
        let address = group(address);
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let count = connections.entry(address).or_default();
        let is_over = *count >= most;
        if is_over && !self.limits.dry_run {
            drop(connections);
            self.log(address, "connections");
            return Err(());
        }
        *count += 1;
        drop(connections);
        if is_over {
            self.log(address, "connections");
        }
        Ok(Some(Counted { addresses: self.clone(), address }))
    }

    /// Counts a request.
    pub(crate) fn request(&self, peer: &Peer) -> Result<(), TooMany> {
        let (Some(requests), Some(address)) = (&self.requests, peer.ip()) else { return Ok(()) };
        let address = group(address);
        if self.looks.fetch_add(1, Ordering::Relaxed).is_multiple_of(LOOK_EVERY) {
            self.look(requests);
        }
        if self.full.load(Ordering::Relaxed) {
            return Ok(());
        }
        let Err(not_until) = requests.check_key(&address) else { return Ok(()) };
        self.log(address, "requests");
        match self.limits.dry_run {
            true => Ok(()),
            false => Err(TooMany(not_until.wait_time_from(MonotonicClock.now()))),
        }
    }

    /// Keeps the number of addresses bounded.
    fn look(&self, requests: &Requests) {
        if requests.len() >= ADDRESSES_MAX / 2 {
            requests.retain_recent();
            requests.shrink_to_fit();
        }
        self.full.store(requests.len() >= ADDRESSES_MAX, Ordering::Relaxed);
    }

    fn log(&self, address: IpAddr, what: &'static str) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if log.at.is_some_and(|at| now < at + LOG_EVERY) {
            log.left_out += 1;
            return;
        }
        log.at = Some(now);
        let left_out = std::mem::take(&mut log.left_out);
        drop(log);
        match self.limits.dry_run {
            true => tracing::warn!(%address, what, left_out, "an address would be refused (dry run)"),
            false => tracing::warn!(%address, what, left_out, "an address is refused"),
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut connections = self.addresses.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = connections.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                connections.remove(&self.address);
            }
        }
    }
}

/// What counts as one address.
fn group(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => IpAddr::V4(address),
            None => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Peer {
        Peer::tcp((address.parse::<IpAddr>().unwrap(), 4711).into())
    }

    #[test]
    fn connections_are_counted_by_address_and_given_back() {
        let limits = AddressLimits { connections_max: 2, ..AddressLimits::default() };
        let addresses = Addresses::new(limits).unwrap();
        let (one, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let first = addresses.connect(one).unwrap();
        let _second = addresses.connect(one).unwrap();
        assert!(addresses.connect(one).is_err());
        assert!(addresses.connect(other).is_ok());
        drop(first);
        assert!(addresses.connect(one).is_ok());
        assert_eq!(addresses.connections.lock().unwrap().len(), 1, "who has none is forgotten");
    }

    #[test]
    fn requests_beyond_the_burst_are_told_when_to_come_again() {
        let limits = AddressLimits { requests_per_sec: 1, burst: 3, ..AddressLimits::default() };
        let addresses = Addresses::new(limits).unwrap();
        (0..3).for_each(|_| assert_eq!(addresses.request(&peer("2001:db8::1")), Ok(())));
        let TooMany(wait) = addresses.request(&peer("2001:db8::2")).expect_err("the same network");
        assert!(wait <= Duration::from_secs(1), "{wait:?}");
        assert_eq!(addresses.request(&peer("2001:db8:0:1::1")), Ok(()));
    }

    #[test]
    fn a_dry_run_refuses_nobody_and_counts() {
        let limits = AddressLimits { connections_max: 1, requests_per_sec: 1, burst: 1, dry_run: true };
        let addresses = Addresses::new(limits).unwrap();
        let address = "192.0.2.1".parse().unwrap();
        let _held = [addresses.connect(address), addresses.connect(address)].map(|counted| counted.unwrap());
        (0..3).for_each(|_| assert_eq!(addresses.request(&peer("192.0.2.1")), Ok(())));
        assert_eq!(addresses.refused.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn without_a_number_there_is_nothing_to_pay() {
        assert!(Addresses::new(AddressLimits::default()).is_none());
    }
}
