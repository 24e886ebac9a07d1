//! Whose account the waits of the running code go to.
//!
//! The server opens an account where it begins to serve requests, on a fiber or a plain thread. From then on the scheduler's own park and wake events write to it; handlers and drivers need to know nothing.
//! Where no account is open each event costs one branch.
//!
//! When the kernel says that something has happened is known to within one turn of the loop: what came while another
//! fiber was running counts as waited for until the loop looked. Timers are exact.

use tenfold_scoreboard::{Account, Cause, What, now_ns};

use crate::cause::Named;
use crate::scheduler;
use crate::task::{self, Task};

/// Runs `f` and keeps its waits in `account`, or nowhere.
///
/// ```
/// use tenfold_runtime::{account, sleep};
/// use tenfold_scoreboard::{Cause, Claim, Stage, Times, now_ns};
/// let (claim, times) = (Claim::take(), Times::new());
/// claim.account().begin(now_ns(), now_ns(), Stage::Run);
/// account::with(Some(claim.account()), || sleep(std::time::Duration::from_millis(1)));
/// claim.account().finish(&times, now_ns());
/// assert!(times.reading().wait_ns(Cause::Sleep) >= 1_000_000);
/// ```
pub fn with<R>(account: Option<&'static Account>, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<&'static Account>, bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            task::with(|task| (task.account, task.is_child) = (self.0, self.1));
        }
    }
    let _restore = task::with(|task| {
        Restore(std::mem::replace(&mut task.account, account), std::mem::take(&mut task.is_child))
    });
    f()
}

/// The account that the running task's waits go to. Fibers and threads of a [`crate::scope`] have none of their own.
#[inline]
pub fn current() -> Option<&'static Account> {
    task::with(|task| task.account.filter(|_| !task.is_child))
}

/// The loop's own clock, which is read once a turn, by [`tenfold_scoreboard::now_ns`]'s scale: when what it dispatches has
/// come. The clock itself where there is no loop.
pub fn turn_ns() -> u64 {
    scheduler::with_current(|scheduler| scheduler.turn_ns()).unwrap_or_else(now_ns)
}

/// When the present run of this fiber began, by [`tenfold_scoreboard::now_ns`]'s scale. Where the fiber that ran just before
/// has ended a request with [`note_reading`], it is that reading: the clock need not be read again.
#[inline]
pub fn run_began_ns() -> u64 {
    scheduler::with_current(|scheduler| scheduler.reading_of_last_run()).flatten().unwrap_or_else(now_ns)
}

/// Tells a reading of the clock near the end of this fiber's run, for the [`run_began_ns`] of the next.
#[inline]
pub fn note_reading(now: u64) {
    scheduler::with_current(|scheduler| scheduler.note_reading(now));
}

/// The account of the running task, for fibers and threads that belong to it.
pub(crate) fn of_parent() -> Option<&'static Account> {
    task::with(|task| task.account)
}

impl Task {
    /// Waits of a child show as its parent's.
    pub(crate) fn adopt(&mut self, parent: Option<&'static Account>) {
        self.account = parent;
        self.is_child = parent.is_some();
    }

    /// The task waits from now on.
    #[inline]
    pub(crate) fn note_park(&mut self, cause: Cause) {
        if let Some(account) = self.account {
            note_park(account, self.is_child, self.named.as_ref(), cause);
        }
    }

    /// What the task waits for has happened, at the time that `at` says.
    #[inline]
    pub(crate) fn note_wake(&self, at: impl FnOnce() -> u64) {
        if let Some(account) = self.account
            && !self.is_child
        {
            account.woken(at());
        }
    }

    /// The task lets others run first: it queues.
    #[inline]
    pub(crate) fn note_yield(&mut self) {
        if let Some(account) = self.account
            && !self.is_child
        {
            let now = now_ns();
            account.parked(Cause::Other, &What::NONE, now);
            account.woken(now);
        }
    }

    /// The task runs again.
    #[inline]
    pub(crate) fn note_resume(&self) {
        if let Some(account) = self.account
            && !self.is_child
        {
            account.resumed(now_ns());
        }
    }
}

/// Apart, so that the way without an account stays short.
#[inline(never)]
fn note_park(account: &'static Account, is_child: bool, named: Option<&Named>, cause: Cause) {
    let (cause, what) = named.map_or((cause, &What::NONE), |named| (named.cause, &named.what));
    if is_child {
        account.child_parked(cause);
    } else {
        account.parked(cause, what, now_ns());
    }
}

/// Runs `f`, which blocks the thread in the kernel, as a wait.
pub(crate) fn blocked<R>(cause: Cause, f: impl FnOnce() -> R) -> R {
    struct Resume;
    impl Drop for Resume {
        fn drop(&mut self) {
            task::with(|task| task.note_resume());
        }
    }
    task::with(|task| task.note_park(cause));
    let _resume = Resume;
    f()
}
