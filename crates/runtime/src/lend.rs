//! Running a closure that borrows on another thread, and waiting for it.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use tenfold_fiber::lend_scope;

use crate::cause::Cause;
use crate::park::{self, Waiter};

/// A borrowed closure on its way to another thread: run it or drop it.
pub use tenfold_fiber::Lent;

/// Gives `f` to `deliver`, which hands it to another thread, and waits until it was run there; the fiber parks meanwhile.
///
/// The wait ends only with `f`, since `f` may borrow from the caller: neither a deadline nor a cancel cuts it short.
/// Hand them to `f` if it should end early.
///
/// # Panics
/// With the panic of `f`, or when the closure was dropped without having been run.
pub fn run_elsewhere<R: Send>(f: impl FnOnce() -> R + Send, deliver: impl FnOnce(Lent)) -> R {
    let waiter = Waiter::current();
    let mut outcome: Option<Result<R, Box<dyn Any + Send>>> = None;
    lend_scope(
        move || waiter.wake(),
        |_| park::park_regardless(Cause::Offload),
        |lender| {
            let outcome = &mut outcome;
            deliver(lender.lend(move || *outcome = Some(std::panic::catch_unwind(AssertUnwindSafe(f)))));
        },
    );
    match outcome.expect("the closure was dropped and not run") {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
