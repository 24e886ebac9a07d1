//! What happens to connections while they rest or while a fiber reads them: completions, timers, and the program's end.
//!
//! Called by the scheduler's turn, on the loop's own stack.

use std::io;
use std::os::fd::AsFd;

use tenfold_reactor::Token;

use super::{FeedId, Feeds, News, ONCE, PENDING_MAX, Record, copy_of};
use crate::scheduler::Scheduler;
use crate::table::FiberId;

impl Feeds {
    /// A connection that rests by [`super::rest_once`] is readable; false when the token is none of ours.
    pub(crate) fn readable(&self, scheduler: &Scheduler, token: Token) -> bool {
        if token.value() & ONCE == 0 {
            return false;
        }
        let id = FiberId::unpack(token.value() & !ONCE);
        if let Some(dormant) = self.take_dormant(id) {
            // The loop lets go of the socket before its next owner, perhaps on another thread, begins.
            let socket = self.with(id, |record| record.socket.take()).flatten();
            if let Some(socket) = socket {
                socket.leave();
            }
            self.remove(scheduler, id);
            dormant.rouse(FeedId(id), News::Bytes(&[]));
        }
        true
    }

    pub(crate) fn received(&self, scheduler: &Scheduler, token: Token, bytes: &[u8]) {
        let id = FiberId::unpack(token.value());
        if let Some(dormant) = self.take_dormant(id) {
            dormant.rouse(FeedId(id), News::Bytes(bytes));
            return;
        }
        let next = self.with(id, |record| {
            record.pending.extend_from_slice(bytes);
            let full = record.pending.len() >= PENDING_MAX && record.open;
            let stop = (full && !std::mem::replace(&mut record.closing, full)).then(|| record.socket.clone());
            (record.waiter.take(), stop.flatten())
        });
        let Some((waiter, stop)) = next else { return };
        if let Some(socket) = stop {
            scheduler.reactor().close_stream(socket.as_fd(), token);
        }
        if let Some(waiter) = waiter {
            scheduler.wake(waiter);
        }
    }

    pub(crate) fn ended(&self, scheduler: &Scheduler, token: Token, outcome: io::Result<()>) {
        let id = FiberId::unpack(token.value());
        let waiter = self.with(id, |record| {
            record.open = false;
            record.ended = Some(match &outcome {
                Ok(()) => Ok(()),
                Err(error) => Err(copy_of(error)),
            });
            record.waiter.take()
        });
        if let Some(dormant) = self.take_dormant(id) {
            dormant.rouse(FeedId(id), News::End(outcome));
        } else if let Some(Some(waiter)) = waiter {
            scheduler.wake(waiter);
        }
    }

    /// The receive has stopped: for want of buffers, or because it was told to.
    pub(crate) fn paused(&self, scheduler: &Scheduler, token: Token) {
        let id = FiberId::unpack(token.value());
        let next = self.with(id, |record| {
            record.open = false;
            let told = std::mem::take(&mut record.closing);
            (record.waiter.take(), !told || record.dormant.is_some())
        });
        let Some((waiter, reopen)) = next else { return };
        if reopen {
            self.open(scheduler, id);
        }
        if let Some(waiter) = waiter {
            scheduler.wake(waiter);
        }
    }

    /// An idle timer: usually it is older than the last request and is only renewed.
    pub(crate) fn timer(&self, scheduler: &Scheduler, packed: u64) {
        let id = FiberId::unpack(packed);
        let now = scheduler.reactor().now();
        let renew = self.with(id, |record| {
            let until = record.rests_until.filter(|_| record.dormant.is_some());
            record.timer = until.is_some_and(|until| until > now);
            until
        });
        match renew.flatten() {
            Some(until) if until > now => drop(scheduler.add_feed_timer(until, packed)),
            Some(_) => {
                if let Some(dormant) = self.take_dormant(id) {
                    self.drop_once(scheduler, id);
                    dormant.rouse(FeedId(id), News::TimedOut);
                }
            }
            None => {}
        }
    }

    /// Nobody but the feed knows a record of [`super::rest_once`], so nobody else removes it.
    fn drop_once(&self, scheduler: &Scheduler, id: FiberId) {
        if self.with(id, |record| record.once) == Some(true) {
            self.remove(scheduler, id);
        }
    }

    pub(crate) fn stop_all(&self, scheduler: &Scheduler) {
        let count = self.records.borrow().len() as u32;
        for index in 0..count {
            let generation = self.records.borrow()[index as usize].generation;
            let id = FiberId::new(index, generation);
            let outlasts =
                |record: &mut Record| record.dormant.as_ref().is_some_and(|one| one.outlasts_stop());
            if self.with(id, outlasts) == Some(true) {
                continue;
            }
            if let Some(dormant) = self.take_dormant(id) {
                self.drop_once(scheduler, id);
                dormant.rouse(FeedId(id), News::Stopping);
            }
        }
    }
}
