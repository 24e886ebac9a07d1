//! How the running fiber stops and goes on. All of it runs on that fiber.

use std::time::Instant;

use tenfold_scoreboard::Cause;

use super::Scheduler;
use crate::park::{self, Unparked, earlier};
use crate::table::{FiberId, Record, State};

impl Scheduler {
    /// Parks the running fiber until it is woken, until `until` or its deadline, or until it is cancelled.
    ///
    /// Inlined into its callers, as all of the way to the switch: each `ret` after a switch is one that the processor's
    /// return stack predicts wrong (some 6 ns).
    #[inline(always)]
    pub(crate) fn park_current(&self, cause: Cause, until: Option<Instant>) -> Unparked {
        let id = self.running.get().expect("only a running fiber parks");
        {
            let mut table = self.table.borrow_mut();
            let record = table.alive(id);
            if record.task.cancelled {
                return Unparked::Cancelled;
            }
            let limit = earlier(until, record.task.deadline);
            if !self.begin_park(record, id, cause, limit) {
                return Unparked::Woken;
            }
        }
        tenfold_fiber::suspend();
        let mut table = self.table.borrow_mut();
        let record = table.alive(id);
        let timed_out = self.end_park(record);
        match (timed_out, record.task.cancelled) {
            (true, _) => Unparked::TimedOut,
            (false, true) => Unparked::Cancelled,
            (false, false) => Unparked::Woken,
        }
    }

    /// Parks the running fiber until it is woken or `until`, whatever else; true when the time was the reason.
    pub(crate) fn park_running(&self, cause: Cause, until: Option<Instant>) -> bool {
        let id = self.running.get().expect("only a running fiber parks");
        if !self.begin_park(self.table.borrow_mut().alive(id), id, cause, until) {
            return false;
        }
        tenfold_fiber::suspend();
        self.end_park(self.table.borrow_mut().alive(id))
    }

    /// False when the wake-up has come before.
    #[inline]
    fn begin_park(&self, record: &mut Record, id: FiberId, cause: Cause, until: Option<Instant>) -> bool {
        park::count_wait();
        if std::mem::take(&mut record.permit) {
            return false;
        }
        record.state = State::Parked;
        record.resting_at = std::ptr::from_ref(&id).addr();
        record.timed_out = false;
        if let Some(until) = until {
            record.timer = Some(self.reactor.add_timer(until, id.pack()));
        }
        if record.task.account.is_some() {
            record.task.note_park(cause);
            record.task.due_ns = until.map_or(u64::MAX, |until| self.ns(until));
        }
        true
    }

    #[inline]
    fn end_park(&self, record: &mut Record) -> bool {
        record.task.note_resume();
        if let Some(timer) = record.timer.take() {
            self.reactor.cancel_timer(timer);
        }
        std::mem::take(&mut record.timed_out)
    }

    /// Puts the running fiber at the end of the run queue.
    #[inline]
    pub(crate) fn yield_running(&self) {
        let id = self.running.get().expect("only a running fiber yields");
        let accounted = {
            let mut table = self.table.borrow_mut();
            let record = table.alive(id);
            record.state = State::Ready;
            record.task.note_yield();
            record.task.account.is_some()
        };
        self.ready.borrow_mut().push_back(id);
        tenfold_fiber::suspend();
        if accounted {
            self.table.borrow_mut().alive(id).task.note_resume();
        }
    }
}
