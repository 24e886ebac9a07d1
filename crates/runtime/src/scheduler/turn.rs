//! The turns of the loop. They run on the thread's own stack.

use std::time::{Duration, Instant};

use tenfold_fiber::{Fiber, Resume};
use tenfold_reactor::Event;

use super::{Scheduler, TIMER_FEED, TIMER_PATROL, TIMER_TRIM, TIMER_WAKER};
use crate::error::RuntimeError;
use crate::remote::Message;
use crate::table::{FiberId, Place, State};

/// Most fibers that run before I/O is looked at again.
const RESUMES_PER_TURN: usize = 64;
/// Longest time that fibers run before I/O is looked at again; the clock is read after every sixteenth of them.
const TURN: Duration = Duration::from_micros(500);
/// Most completions that are dispatched before fibers run again.
const EVENTS_PER_TURN: usize = 1024;
/// How long fibers that are still alive when the main one has returned get to notice that they were cancelled.
const END_GRACE: Duration = Duration::from_secs(5);

impl Scheduler {
    /// Turns until that fiber has ended.
    pub(crate) fn drive_to_end_of(&self, main: FiberId) -> Result<(), RuntimeError> {
        let is_over = || self.table.borrow_mut().get(main).is_none();
        while !is_over() {
            self.turn(None, &is_over)?;
        }
        Ok(())
    }

    /// Cancels what is left and lets it end.
    pub(crate) fn end(&self) -> Result<(), RuntimeError> {
        self.feeds.stop_all(self);
        // Not in the head of the loop: a borrow there would last over it.
        let ids = self.table.borrow().ids();
        for id in ids {
            self.cancel(id);
        }
        let limit = Instant::now() + END_GRACE;
        while self.table.borrow().len() > 0 && Instant::now() < limit {
            self.turn(Some(Duration::from_millis(100)), &|| self.table.borrow().len() == 0)?;
        }
        match self.table.borrow().len() {
            0 => {}
            left => {
                tracing::warn!(fibers = left, "fibers did not end when they were cancelled; leaking them")
            }
        }
        Ok(())
    }

    fn turn(&self, sleep_max: Option<Duration>, is_over: &dyn Fn() -> bool) -> Result<(), RuntimeError> {
        self.resume_ready();
        self.read_messages();
        let idle = self.ready.borrow().is_empty() && !self.remote.has_messages() && !is_over();
        if idle {
            self.reactor.poll(sleep_max)?;
        } else if self.reactor.has_news() {
            self.reactor.poll(Some(Duration::ZERO))?;
        } else {
            self.reactor.refresh_clock();
        }
        self.reactor.dispatch(EVENTS_PER_TURN, |event| self.handle_event(event));
        Ok(())
    }

    fn resume_ready(&self) {
        let started = self.reactor.now();
        self.count_run();
        for count in 1..=RESUMES_PER_TURN {
            let Some(id) = self.ready.borrow_mut().pop_front() else { break };
            self.look_ahead();
            self.resume(id);
            if count % 16 == 0 && started.elapsed() > TURN {
                break;
            }
        }
        self.beat.leave();
    }

    /// Asks for the memory that the next runs begin with, while the present one runs: of the next fiber, whose record was asked
    /// for one run before, what its record leads to, and the record of the one behind it. A wake-up has asked as well, but what
    /// was started or woken many runs ago may be gone again.
    #[inline]
    fn look_ahead(&self) {
        let ready = self.ready.borrow();
        let Some(next) = ready.front() else { return };
        let mut table = self.table.borrow_mut();
        if let Some(second) = ready.get(1) {
            table.prefetch(*second);
        }
        if let Some(record) = table.get(*next) {
            record.prefetch();
        }
    }

    #[inline]
    fn resume(&self, id: FiberId) {
        let (place, name) = {
            let mut table = self.table.borrow_mut();
            let Some(record) = table.get(id) else { return };
            let Some(place) = record.fiber.take() else { return };
            record.state = State::Running;
            self.set_parking(if record.task.inline { None } else { Some(id) });
            (place, record.name)
        };
        self.running.set(Some(id));
        self.count_run();
        self.beat.enter(name);
        let outcome = place.borrow_mut().as_mut().map(Fiber::resume);
        self.running.set(None);
        self.set_parking(None);
        if outcome == Some(Resume::Suspended) {
            // It was taken from there, so there is nothing to drop.
            self.table.borrow_mut().alive(id).fiber = Some(place);
        } else {
            self.finish(id, place);
        }
    }

    #[inline]
    fn count_run(&self) {
        self.runs.set(self.runs.get() + 1);
    }

    #[inline]
    fn finish(&self, id: FiberId, place: Place) {
        // Dropped where it is, which gives its stack back: taken out first it would be copied, and wait for the switch's last
        // stores (4 ns).
        *place.borrow_mut() = None;
        let extra = self.table.borrow_mut().remove(id, place);
        self.arm_trim();
        // What the task owned is dropped outside of the borrow: its locals' destructors are the user's code.
        drop(extra);
    }

    fn read_messages(&self) {
        if !self.remote.has_messages() {
            return;
        }
        let mut messages = self.messages.take();
        self.remote.receive(&mut messages);
        for message in messages.drain(..) {
            match message {
                Message::Wake(id) => self.wake(id),
                Message::Cancel(id) => self.cancel(id),
                Message::Forget(place) => self.readiness.remove(self, place),
                Message::Spawn(name, f) => {
                    if let Err((error, _)) = self.start_detached(name, f) {
                        tracing::error!(%error, name, "a fiber that another thread asked for could not start");
                    }
                }
            }
        }
        *self.messages.borrow_mut() = messages;
    }

    fn handle_event(&self, event: Event<'_>) {
        match event {
            Event::Finished(token) => self.wake(FiberId::unpack(token.0)),
            Event::Timer(TIMER_TRIM) => self.trim(),
            Event::Timer(TIMER_PATROL) => self.patrol(),
            Event::Timer(value) if value & TIMER_FEED != 0 => self.feeds.timer(self, value & !TIMER_FEED),
            Event::Timer(value) if value & TIMER_WAKER != 0 => self.readiness.timer(value & !TIMER_WAKER),
            Event::Timer(value) => self.time_out(FiberId::unpack(value)),
            Event::Received(token, bytes) => self.feeds.received(self, token, bytes),
            Event::ReceiveEnded(token, outcome) => self.feeds.ended(self, token, outcome),
            Event::ReceivePaused(token) => self.feeds.paused(self, token),
            Event::Ready(token, _, _) if self.feeds.readable(self, token) => {}
            Event::Ready(token, ready, more) => self.readiness.ready(self, token, ready, more),
            _ => {}
        }
    }

    fn time_out(&self, id: FiberId) {
        if let Some(record) = self.table.borrow_mut().get(id) {
            record.timer = None;
            record.timed_out = true;
            if record.state == State::Parked {
                // A busy loop notices late; the wait was over before.
                record.task.note_wake(|| record.task.due_ns.min(self.wake_ns()));
            }
        }
        self.wake(id);
    }
}
