//! Sleeping and deadlines.

use std::io;
use std::time::{Duration, Instant};

use crate::cause::Cause;
use crate::park::{self, Unparked, after, earlier};
use crate::scheduler;
use crate::task;

/// Waits. Returns early only when the task is cancelled or its deadline passes; [`try_sleep`] tells.
pub fn sleep(duration: Duration) {
    let _ = try_sleep(duration);
}

/// Waits until a point in time, as [`sleep`] does.
pub fn sleep_until(until: Instant) {
    let _ = wait_until(until);
}

/// Waits.
///
/// # Errors
/// `TimedOut` when the task's deadline came first, `ECANCELED` when it was cancelled.
pub fn try_sleep(duration: Duration) -> io::Result<()> {
    wait_until(after(duration))
}

/// When that has come which the loop dispatches at the moment: its own clock, which is read once a turn. On a fiber, and
/// where there is no loop, the clock itself.
///
/// ```
/// let before = std::time::Instant::now();
/// assert!(tenfold_runtime::turn_now() >= before);
/// ```
pub fn turn_now() -> Instant {
    scheduler::with_current(|scheduler| scheduler.turn_now()).unwrap_or_else(Instant::now)
}

fn wait_until(until: Instant) -> io::Result<()> {
    loop {
        match park::park_for(Cause::Sleep, Some(until)) {
            Unparked::Cancelled => return Err(park::cancelled()),
            Unparked::Woken if Instant::now() < until => {}
            Unparked::Woken => return Ok(()),
            Unparked::TimedOut => {
                return if Instant::now() < until { park::check(Unparked::TimedOut) } else { Ok(()) };
            }
        }
    }
}

/// Runs `f`; whatever it waits for fails with `TimedOut` once `duration` is over. Deadlines nest: the nearest one counts.
///
/// ```
/// use std::time::Duration;
/// use tenfold_runtime::{deadline, try_sleep};
/// let outcome = deadline(Duration::from_millis(5), || try_sleep(Duration::from_secs(60)));
/// assert_eq!(outcome.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
/// ```
pub fn deadline<R>(duration: Duration, f: impl FnOnce() -> R) -> R {
    deadline_at(after(duration), f)
}

/// As [`deadline`], with a point in time.
pub fn deadline_at<R>(at: Instant, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<Instant>);
    impl Drop for Restore {
        fn drop(&mut self) {
            task::with(|task| task.deadline = self.0);
        }
    }
    let _restore = Restore(task::with(|task| {
        let nearest = earlier(task.deadline, Some(at));
        std::mem::replace(&mut task.deadline, nearest)
    }));
    f()
}
