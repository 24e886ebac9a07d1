//! The budget for the buffers of a worker: what clients can make it hold, whatever else is bounded.
//!
//! Counted are the buffers that connections read into, and what a body may be collected to, from the moment when its
//! request is let in. What handlers allocate is their own. Refused is first what costs least:
//!
//! ```text
//!   0 ─────────────── 90 % ─────────────── 100 %
//!     everything          new connections wait     a request that does not fit gets 503, before its body
//!                         in the kernel's queue
//! ```

use std::sync::atomic::{AtomicU64, Ordering};

use crate::route::COLLECT_BYTES_MAX;

/// Bytes that this process holds. One worker is one process, and buffers are made where no service is at hand.
static HELD: AtomicU64 = AtomicU64::new(0);

/// Some bytes of the budget, until it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Charge(u64);

impl Charge {
    /// Takes bytes without asking.
    pub(crate) fn new(bytes: usize) -> Charge {
        HELD.fetch_add(bytes as u64, Ordering::Relaxed);
        Charge(bytes as u64)
    }

    /// Takes room for a request with a body of `body_bytes`, if it is there. A body that is not collected costs less than
    /// that, and one that is collected into more than 2 MiB is the application's decision.
    pub(crate) fn request(body_bytes: u64, bytes_max: u64) -> Option<Charge> {
        let bytes = body_bytes.min(COLLECT_BYTES_MAX as u64);
        let charge = Charge(bytes);
        // Most requests have none, and a locked instruction is 8 ns.
        let held = match bytes {
            0 => HELD.load(Ordering::Relaxed),
            bytes => HELD.fetch_add(bytes, Ordering::Relaxed),
        };
        (held + bytes <= bytes_max).then_some(charge)
    }

    /// The buffer has another size now.
    pub(crate) fn resize(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        if bytes > self.0 {
            HELD.fetch_add(bytes - self.0, Ordering::Relaxed);
        } else {
            HELD.fetch_sub(self.0 - bytes, Ordering::Relaxed);
        }
        self.0 = bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.0 > 0 {
            HELD.fetch_sub(self.0, Ordering::Relaxed);
        }
    }
}

/// Whether there is room for another connection.
pub(crate) fn has_room(bytes_max: u64) -> bool {
    HELD.load(Ordering::Relaxed) < bytes_max / 10 * 9
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Other tests of this process hold buffers too, so the budget is far above what they can take.
    #[test]
    fn what_does_not_fit_is_refused_and_given_back() {
        let max = 1 << 40;
        let most = Charge::new((max - (1 << 30)) as usize);
        assert!(!has_room(max), "beyond nine tenths");
        let small = Charge::request(1000, max).expect("a gibibyte is left");
        let mut large = Charge::new(0);
        large.resize(1 << 30);
        assert!(Charge::request(1000, max).is_none());
        large.resize(0);
        assert!(Charge::request(1000, max).is_some());
        drop((most, small));
        assert!(has_room(max));
    }
}
