//! What a running piece of code carries with it, on a fiber or on a plain thread: its deadline, whether it was
//! cancelled, whether it may park, and its locals.

use std::any::Any;
use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tenfold_reactor::WatchedPeer;
use tenfold_scoreboard::Account;

use crate::cancel::ThreadCancel;
use crate::cause::Named;
use crate::expiry::Expiry;
use crate::park::{Before, Terms};
use crate::scheduler;

#[derive(Default)]
pub(crate) struct Task {
    pub(crate) deadline: Option<Instant>,
    /// Sticky: every wait fails until the task ends.
    pub(crate) cancelled: bool,
    /// Waits block the thread although there is a fiber: see [`crate::park::inline`].
    pub(crate) inline: bool,
    /// Where its waits are written down: see [`crate::account`].
    pub(crate) account: Option<&'static Account>,
    /// The account is that of the task that has started this one.
    pub(crate) is_child: bool,
    /// See [`crate::cause::waiting_for`].
    pub(crate) named: Option<Named>,
    /// When the present park's timer is due, where there is an account.
    pub(crate) due_ns: u64,
    /// For whom it works: see [`crate::park::for_peer`].
    pub(crate) peer: Option<WatchedPeer>,
    /// The peer was there already when the loop looked last: what takes no time is not asked about.
    pub(crate) peer_is_old: bool,
    /// What few tasks have; apart, so that starting and ending the others touches one word of it.
    pub(crate) extra: Option<Box<Extra>>,
}

/// The rare part of a [`Task`].
#[derive(Default)]
pub(crate) struct Extra {
    /// How another thread cancels this one; plain threads only.
    pub(crate) thread_cancel: Option<Arc<ThreadCancel>>,
    /// Ends waits of a plain thread when it becomes readable: see [`crate::park::interruptible`].
    pub(crate) interrupt: Option<Arc<OwnedFd>>,
    pub(crate) locals: Locals,
    /// The first wait that the deadline has ended.
    pub(crate) expiry: Option<Box<Expiry>>,
}

impl Task {
    pub(crate) fn thread_cancel(&self) -> Option<Arc<ThreadCancel>> {
        self.extra.as_ref()?.thread_cancel.clone()
    }

    pub(crate) fn interrupt(&self) -> Option<Arc<OwnedFd>> {
        self.extra.as_ref()?.interrupt.clone()
    }

    pub(crate) fn extra_mut(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }
}

/// Values of [`crate::Local`], by the key's address.
pub(crate) type Locals = Vec<(usize, Rc<dyn Any>)>;

thread_local! {
    static PLAIN: RefCell<Task> = const {
        RefCell::new(Task {
            deadline: None,
            cancelled: false,
            inline: false,
            account: None,
            is_child: false,
            named: None,
            due_ns: 0,
            peer: None,
            peer_is_old: false,
            extra: None,
        })
    };
}

/// Runs `look` on the task of the calling code. `look` must not wait.
#[inline]
pub(crate) fn with<R>(look: impl FnOnce(&mut Task) -> R) -> R {
    let mut look = Some(look);
    let on_fiber = scheduler::with_current(|scheduler| {
        scheduler.with_running(|record| (look.take().expect("called once"))(&mut record.task))
    });
    match on_fiber.flatten() {
        Some(result) => result,
        None => PLAIN.with_borrow_mut(look.take().expect("no fiber has taken it")),
    }
}

/// Says whether waits block the thread although there is a fiber; returns what was said before.
pub(crate) fn set_inline(inline: bool) -> bool {
    scheduler::with_current(|scheduler| scheduler.set_running_inline(inline));
    with(|task| std::mem::replace(&mut task.inline, inline))
}

/// Says the terms of the calling code's task; returns what it said before. One look at the scheduler for all of them.
#[inline]
pub(crate) fn begin_terms(terms: Terms) -> Before {
    let on_fiber = scheduler::with_current(|scheduler| {
        scheduler.arm_patrol();
        let before = scheduler.with_running(|record| Before::begin(&mut record.task, terms));
        if terms.inline {
            scheduler.set_running_inline(true);
        }
        before
    });
    on_fiber.flatten().unwrap_or_else(|| PLAIN.with_borrow_mut(|task| Before::begin(task, terms)))
}

/// Takes the terms back. `takes_expiry`: also the note of the first wait that a deadline has ended.
#[inline]
pub(crate) fn end_terms(before: Before, takes_expiry: bool) -> Option<Box<Expiry>> {
    let end = |task: &mut Task| {
        let was_inline = task.inline;
        before.end(task);
        let extra = task.extra.as_mut().filter(|_| takes_expiry);
        (was_inline, extra.and_then(|extra| extra.expiry.take()))
    };
    let on_fiber = scheduler::with_current(|scheduler| {
        let (was_inline, expiry) = scheduler.with_running(|record| end(&mut record.task))?;
        if was_inline != before.inline() {
            scheduler.set_running_inline(before.inline());
        }
        Some(expiry)
    });
    on_fiber.flatten().unwrap_or_else(|| PLAIN.with_borrow_mut(|task| end(task).1))
}
