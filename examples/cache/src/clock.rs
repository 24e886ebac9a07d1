//! Seconds: since the store began, and as clients say them.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Beyond so many seconds an expiry is a point in time and no time from now on (memcached's protocol.txt).
const RELATIVE_MAX: i64 = 60 * 60 * 24 * 30;

/// Counts whole seconds. They begin with 2, so that there is one before the first that is not 0: 0 is "never".
#[derive(Debug)]
pub(crate) struct Clock {
    began: Instant,
    began_unix: i64,
}

impl Clock {
    pub(crate) fn new() -> Clock {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        Clock { began: Instant::now(), began_unix: unix - 2 }
    }

    /// Now, as the loop's present turn has read it.
    #[inline]
    pub(crate) fn now(&self) -> u32 {
        tenfold::runtime::turn_now().duration_since(self.began).as_secs() as u32 + 2
    }

    /// When an item with this expiry ends: 0 is never, and what is over already ends with 1.
    #[inline]
    pub(crate) fn expires(&self, expiry: i64, now: u32) -> u32 {
        match expiry {
            0 => 0,
            ..0 => 1,
            1..=RELATIVE_MAX => now + expiry as u32,
            absolute => u32::try_from(absolute - self.began_unix)
                .unwrap_or(if absolute > self.began_unix { 0 } else { 1 })
                .max(1),
        }
    }

    pub(crate) fn unix(&self, now: u32) -> i64 {
        self.began_unix + i64::from(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_a_time_from_now_on_or_a_point_in_time() {
        let clock = Clock::new();
        assert_eq!(clock.expires(0, 10), 0);
        assert_eq!(clock.expires(-1, 10), 1);
        assert_eq!(clock.expires(5, 10), 15);
        assert_eq!(clock.expires(clock.unix(70), 10), 70);
        assert_eq!(clock.expires(RELATIVE_MAX + 1, 10), 1, "in 1970");
    }
}
