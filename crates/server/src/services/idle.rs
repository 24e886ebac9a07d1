//! Connections that are idle on a fiber of their own: how they learn that the worker stops.
//!
//! A connection between two frames rests without a fiber, and `feed::stop_resting` ends it. That of a function has its
//! fiber, which waits here: cancelling it would be too much, since its farewell could not be written any more.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::time::Instant;

use tenfold_runtime::feed::{self, FeedId};
use tenfold_runtime::park::Waiter;

thread_local! {
    /// Of this loop. Bounded by the worker's connections.
    static IDLE: RefCell<BTreeMap<u64, Waiter>> = const { RefCell::new(BTreeMap::new()) };
    static NEXT: Cell<u64> = const { Cell::new(0) };
    /// Idle connections are not waited for any more.
    static IS_OVER: Cell<bool> = const { Cell::new(false) };
}

/// Whether bytes, or the end, have come; false once this loop's idle connections are told to end.
pub(super) fn wait(feed: FeedId, until: Instant) -> io::Result<bool> {
    struct Forget(u64);
    impl Drop for Forget {
        fn drop(&mut self) {
            IDLE.with_borrow_mut(|idle| idle.remove(&self.0));
        }
    }
    let number = NEXT.replace(NEXT.get() + 1);
    IDLE.with_borrow_mut(|idle| idle.insert(number, Waiter::current()));
    let _forget = Forget(number);
    loop {
        if feed::wait(feed, Some(until))? {
            return Ok(true);
        }
        if IS_OVER.get() {
            return Ok(false);
        }
    }
}

/// Ends the idle connections of this loop, now and from now on.
pub(crate) fn rouse_idle() {
    IS_OVER.set(true);
    IDLE.with_borrow(|idle| idle.values().for_each(Waiter::wake));
}
