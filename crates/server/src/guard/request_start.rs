//! `RequestStart`: how long a request had been under way when it came to us, by the word of a proxy.
//!
//! A proxy that queues says in `X-Request-Start` when it got a request, as `t=1512379167.574`: nginx writes seconds
//! (`"t=${msec}"`), Apache microseconds (`t=%t` of mod_headers), Heroku's router milliseconds. That time counts to the
//! request's age and to its queueing. Only peers that the settings name are believed, since the header moves a deadline; and
//! what cannot be is no time at all: clocks of two machines differ, and some clients send the header themselves.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tenfold_http::h1::HeadView;

use crate::peer::Peer;

/// Longer than any proxy's own time-out: who says that is wrong about the time.
const AGE_MAX: Duration = Duration::from_secs(60);

/// Whose word counts.
#[derive(Debug, Default)]
pub(crate) struct RequestStart {
    trusted: Vec<Trusted>,
}

impl RequestStart {
    /// # Errors
    /// One line for a name that is none.
    pub(crate) fn new(names: &[String]) -> Result<RequestStart, String> {
        let trusted = names.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
        Ok(RequestStart { trusted })
    }

    /// How long ago the request began elsewhere; zero without a word to believe. Costs nothing where nobody is trusted.
    #[inline]
    pub(crate) fn age(&self, peer: &Peer, view: &HeadView<'_>) -> Duration {
        if self.trusted.is_empty() { Duration::ZERO } else { self.age_by_word(peer, view) }
    }

    fn age_by_word(&self, peer: &Peer, view: &HeadView<'_>) -> Duration {
        if !self.trusted.iter().any(|trusted| trusted.is(peer)) {
            return Duration::ZERO;
        }
        let said = view.header("x-request-start").and_then(|said| std::str::from_utf8(said).ok());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        said.and_then(|said| age(said, now)).unwrap_or_default()
    }
}

/// What `said` is ago at `now`, both since 1970; `None` for what cannot be.
fn age(said: &str, now: Duration) -> Option<Duration> {
    let number: f64 = said.trim().trim_start_matches("t=").parse().ok()?;
    // Which unit it is shows by its size: a second of this century is 1e9 to 5e9, and nobody means 1970.
    let scale = [1.0, 1e3, 1e6, 1e9].into_iter().find(|scale| (1e9..1e10).contains(&(number / scale)))?;
    let began = Duration::try_from_secs_f64(number / scale).ok()?;
    now.checked_sub(began).filter(|age| *age <= AGE_MAX)
}

/// One address, a network, or everybody who comes over a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trusted {
    /// The first bits of an address; those of IPv4 as ::ffff:0:0/96 (RFC 4291 section 2.5.5.2).
    Network {
        address: u128,
        bits: u32,
    },
    Unix,
}

impl Trusted {
    fn is(self, peer: &Peer) -> bool {
        match (self, peer.ip()) {
            (Trusted::Unix, ip) => ip.is_none(),
            (Trusted::Network { address, bits }, Some(ip)) => first(number(ip), bits) == address,
            (Trusted::Network { .. }, None) => false,
        }
    }
}

impl FromStr for Trusted {
    type Err = String;

    fn from_str(name: &str) -> Result<Trusted, String> {
        if name == "unix" {
            return Ok(Trusted::Unix);
        }
        let wrong = || {
            format!(
                "limits.request_start_from: {name:?}: expected an address, a network as 10.0.0.0/8, or unix"
            )
        };
        let (address, bits) = name.split_once('/').unwrap_or((name, ""));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let bits = if bits.is_empty() { bits_max } else { bits.parse().map_err(|_| wrong())? };
        if bits > bits_max {
            return Err(wrong());
        }
        let bits = bits + 128 - bits_max;
        Ok(Trusted::Network { address: first(number(address), bits), bits })
    }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => Ipv6Addr::to_bits(ip),
    }
}

fn first(number: u128, bits: u32) -> u128 {
    number & u128::MAX.checked_shl(128 - bits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_in_every_unit_and_nonsense_is_none() {
        let now = Duration::from_millis(1_700_000_000_500);
        let half = Some(Duration::from_millis(500));
        for said in
            ["t=1700000000", "1700000000.000", "t=1700000000000", "1700000000000000", " t=1700000000e9 "]
        {
            assert_eq!(age(said, now), half, "{said:?}");
        }
        for said in [
            "",
            "t=",
            "t=soon",
            "t=-1",
            "NaN",
            "inf",
            "0",
            "t=1700000001",
            "t=1699999000",
            "t=1",
            "1e300",
            "t=1700000000,5",
        ] {
            assert_eq!(age(said, now), None, "{said:?}");
        }
    }

    #[test]
    fn addresses_networks_and_unix_sockets_are_told_apart() {
        let is = |name: &str, ip: &str| {
            let peer = Peer { address: (ip != "unix").then(|| (ip.parse::<IpAddr>().unwrap(), 80).into()) };
            name.parse::<Trusted>().unwrap().is(&peer)
        };
        assert!(is("127.0.0.1", "127.0.0.1") && !is("127.0.0.1", "127.0.0.2"));
        assert!(is("10.1.0.0/16", "10.1.2.3") && !is("10.1.0.0/16", "10.2.2.3"));
        assert!(is("10.1.2.3/8", "10.9.9.9"), "a network may be named by any of its addresses");
        assert!(is("0.0.0.0/0", "192.0.2.1") && !is("0.0.0.0/0", "2001:db8::1") && is("::/0", "192.0.2.1"));
        assert!(is("2001:db8::/32", "2001:db8:1::1") && !is("2001:db8::/32", "2001:db9::1"));
        // A socket of both families shows clients of IPv4 like this.
        assert!(is("127.0.0.1", "::ffff:127.0.0.1"));
        assert!(is("unix", "unix") && !is("unix", "127.0.0.1") && !is("::/0", "unix"));
        for wrong in ["", "localhost", "10.0.0.0/33", "::/129", "10.0.0.0/x", "10.0.0.0/-1", "unix/1"] {
            assert!(wrong.parse::<Trusted>().is_err(), "{wrong:?}");
        }
    }
}
