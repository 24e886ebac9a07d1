//! What a wait is for: said by whoever knows, for the account of the request that waits.

pub use tenfold_scoreboard::Cause;
use tenfold_scoreboard::What;

use crate::task;

/// What the waits inside of [`waiting_for`] are for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named {
    pub(crate) cause: Cause,
    pub(crate) what: What,
}

/// Runs `f`; whatever it waits for counts as a wait for `cause`, and shows with `name` (a host, say; 32 bytes are kept).
///
/// For clients and drivers, whose waits would else be for "network" or "channel". Of several inside one another the
/// innermost counts. Fibers that `f` starts have to say it for themselves.
///
/// Cost: one branch where nothing keeps account of the request, else some nanoseconds.
///
/// ```
/// use tenfold_runtime::{cause::{Cause, waiting_for}, sleep};
/// let answer = waiting_for(Cause::Database, "orders", || {
///     sleep(std::time::Duration::from_millis(1)); // a driver at work
///     42
/// });
/// assert_eq!(answer, 42);
/// ```
pub fn waiting_for<R>(cause: Cause, name: &str, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<Named>);
    impl Drop for Restore {
        fn drop(&mut self) {
            task::with(|task| task.named = self.0.take());
        }
    }
    if !task::with(|task| task.account.is_some()) {
        return f();
    }
    let named = Named { cause, what: What::new(name) };
    let _restore = Restore(task::with(|task| task.named.replace(named)));
    f()
}
