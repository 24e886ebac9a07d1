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

/// Bytes that this process holds. One worker is one process, and buffers are made where no service is at hand.
static HELD: AtomicU64 = AtomicU64::new(0);

/// What a body is charged when its request is let in, if it is as long: so much may come at any moment.
pub(crate) const AHEAD_BYTES: u64 = 64 << 10;

/// Some bytes of the budget, until it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Charge(u64);

impl Charge {
    /// Takes bytes without asking.
    pub(crate) fn new(bytes: usize) -> Charge {
        HELD.fetch_add(bytes as u64, Ordering::Relaxed);
        Charge(bytes as u64)
    }

    /// Lets in a request whose body is announced with `body_bytes`, if there is room for all of it at the moment, and takes
    /// room for [`AHEAD_BYTES`] of it. A body that is not collected costs less than that, and one that is collected into more
    /// than 2 MiB is the application's decision.
    pub(crate) fn request(body_bytes: u64, bytes_max: u64) -> Option<Charge> {
        let announced = body_bytes.min(COLLECT_BYTES_MAX as u64);
        let bytes = announced.min(AHEAD_BYTES);
        let charge = Charge(bytes);
        // Most requests have none, and a locked instruction is 8 ns.
        let held = match bytes {
            0 => HELD.load(Ordering::Relaxed),
            bytes => HELD.fetch_add(bytes, Ordering::Relaxed),
        };
        (held + announced <= bytes_max).then_some(charge)
    }

    /// So many bytes of a body have arrived. Whether there is room for what is beyond [`AHEAD_BYTES`].
    pub(crate) fn arrived(&mut self, bytes: u64, bytes_max: u64) -> bool {
        let beyond = bytes.min(COLLECT_BYTES_MAX as u64).saturating_sub(AHEAD_BYTES);
        if beyond <= self.0 {
            return true;
        }
        self.resize(beyond as usize);
        fits(bytes_max)
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

/// Whether what is held is within the budget.
pub(crate) fn fits(bytes_max: u64) -> bool {
    HELD.load(Ordering::Relaxed) <= bytes_max
}

/// Whether there is room for another connection.
pub(crate) fn has_room(bytes_max: u64) -> bool {
    HELD.load(Ordering::Relaxed) < bytes_max / 10 * 9
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::*;

    /// The budget is the process's: one test at a time fills it.
    static ALONE: Mutex<()> = Mutex::new(());

    /// Other tests of this process hold buffers too, so the budget is far above what they can take.
    #[test]
    fn what_does_not_fit_is_refused_and_given_back() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
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

    #[test]
    fn a_body_costs_what_has_arrived_of_it() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let max = 1 << 40;
        let _most = Charge::new((max - (1 << 30)) as usize);
        // A gibibyte is left: announced are two.
        let announced: Vec<_> = (0..1024).map(|_| Charge::request(2 << 20, max)).collect();
        assert!(announced.iter().all(Option::is_some), "none of them has sent anything");
        let mut bodies: Vec<Charge> = (0..1024).map(|_| Charge::default()).collect();
        let fitted = bodies.iter_mut().map(|body| usize::from(body.arrived(2 << 20, max))).sum::<usize>();
        assert!((400..512).contains(&fitted), "{fitted} of 2 MiB, beside 64 KiB for each request");
        assert!(Charge::request(1, max).is_none());
        drop(bodies);
        assert!(Charge::request(1, max).is_some());
    }
}
