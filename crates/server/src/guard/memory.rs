//! The budget for the buffers of a worker: what clients can make it hold, whatever else is bounded.
//!
//! Counted are the buffers that connections read into, and of bodies what has arrived, since it may be collected: what a
//! client announces and does not send takes no memory, and would let a few of them keep everybody out. A request is let in
//! with a little ahead, and asks again as its body grows. What handlers allocate is their own. Refused is first what costs
//! least:
//!
//! ```text
//!   0 ─────────────── 90 % ─────────────── 100 %
//!     everything          new connections wait     a request whose body would not fit gets 503 before it, and a body
//!                         in the kernel's queue    that does not fit any more gets 503 where it is
//! ```

use std::sync::atomic::{AtomicU64, Ordering};

use crate::route::COLLECT_BYTES_MAX;

/// What this process holds. One worker is one process, and buffers are made where no service is at hand.
static PROCESS: Budget = Budget::new();

/// What a body is charged when its request is let in, if it is as long: so much may come at any moment.
pub(crate) const AHEAD_BYTES: u64 = 64 << 10;

/// Bytes that are held; their bound is the settings'.
#[derive(Debug)]
struct Budget {
    held: AtomicU64,
}

/// Some bytes of the budget, until it is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    bytes: u64,
    of: &'static Budget,
}

impl Budget {
    const fn new() -> Budget {
        Budget { held: AtomicU64::new(0) }
    }

    fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    fn charge(&'static self, bytes: u64) -> Charge {
        let mut charge = Charge { bytes: 0, of: self };
        charge.resize(bytes as usize);
        charge
    }

    fn request(&'static self, body_bytes: u64, bytes_max: u64) -> Option<Charge> {
        let announced = body_bytes.min(COLLECT_BYTES_MAX as u64);
        let bytes = announced.min(AHEAD_BYTES);
        let charge = Charge { bytes, of: self };
        // Most requests have none, and a locked instruction is 8 ns.
        let held = match bytes {
            0 => self.held(),
            bytes => self.held.fetch_add(bytes, Ordering::Relaxed),
        };
        (held + announced <= bytes_max).then_some(charge)
    }

    fn fits(&self, bytes_max: u64) -> bool {
        self.held() <= bytes_max
    }

    fn has_room(&self, bytes_max: u64) -> bool {
        self.held() < bytes_max / 10 * 9
    }
}

impl Default for Charge {
    fn default() -> Charge {
        PROCESS.charge(0)
    }
}

impl Charge {
    /// Takes bytes without asking.
    pub(crate) fn new(bytes: usize) -> Charge {
        PROCESS.charge(bytes as u64)
    }

    /// Lets in a request whose body is announced with `body_bytes`, if there is room for all of it at the moment, and takes
    /// room for [`AHEAD_BYTES`] of it. A body that is not collected costs less than that, and one that is collected into more
    /// than 2 MiB is the application's decision.
    pub(crate) fn request(body_bytes: u64, bytes_max: u64) -> Option<Charge> {
        PROCESS.request(body_bytes, bytes_max)
    }

    /// So many bytes of a body have arrived. Whether there is room for what is beyond [`AHEAD_BYTES`].
    pub(crate) fn arrived(&mut self, bytes: u64, bytes_max: u64) -> bool {
        let beyond = bytes.min(COLLECT_BYTES_MAX as u64).saturating_sub(AHEAD_BYTES);
        if beyond <= self.bytes {
            return true;
        }
        self.resize(beyond as usize);
        self.of.fits(bytes_max)
    }

    /// The buffer has another size now.
    pub(crate) fn resize(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        if bytes > self.bytes {
            self.of.held.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else if bytes < self.bytes {
            self.of.held.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.resize(0);
    }
}

/// Whether what is held is within the budget.
pub(crate) fn fits(bytes_max: u64) -> bool {
    PROCESS.fits(bytes_max)
}

/// Whether there is room for another connection.
pub(crate) fn has_room(bytes_max: u64) -> bool {
    PROCESS.has_room(bytes_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_and_given_back() {
        static BUDGET: Budget = Budget::new();
        let max = 1 << 40;
        let most = BUDGET.charge(max - (1 << 30));
        assert!(!BUDGET.has_room(max), "beyond nine tenths");
        let small = BUDGET.request(1000, max).expect("a gibibyte is left");
        let mut large = BUDGET.charge(0);
        large.resize(1 << 30);
        assert!(BUDGET.request(1000, max).is_none());
        large.resize(0);
        assert!(BUDGET.request(1000, max).is_some());
        drop((most, small));
        assert!(BUDGET.has_room(max));
    }

    #[test]
    fn a_body_costs_what_has_arrived_of_it() {
        static BUDGET: Budget = Budget::new();
        let max = 1 << 40;
        let _most = BUDGET.charge(max - (1 << 30));
        // A gibibyte is left: announced are two.
        let announced: Vec<_> = (0..1024).map(|_| BUDGET.request(2 << 20, max)).collect();
        assert!(announced.iter().all(Option::is_some), "none of them has sent anything");
        let mut bodies: Vec<Charge> = (0..1024).map(|_| BUDGET.charge(0)).collect();
        let fitted = bodies.iter_mut().map(|body| usize::from(body.arrived(2 << 20, max))).sum::<usize>();
        assert!((400..512).contains(&fitted), "{fitted} of 2 MiB, beside 64 KiB for each request");
        assert!(BUDGET.request(1, max).is_none());
        drop(bodies);
        assert!(BUDGET.request(1, max).is_some());
    }
}
