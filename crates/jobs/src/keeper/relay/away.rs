//! What the relay does while the engine is away: jobs go to the spool, everything else waits or is told again.

use std::time::{Duration, Instant};

use super::super::now_ms;
use super::{For, Link, Order, Relay, receipts};
use crate::store::engine::{Call, EngineError};
use crate::wire::{Enqueue, Reply};

/// Rests before the engine is tried again.
const REST_MIN: Duration = Duration::from_millis(50);
const REST_MAX: Duration = Duration::from_secs(1);

impl Relay<'_> {
    /// The engine does not answer, or cannot be used. What was on its way to it may have arrived.
    pub(super) fn lose(&mut self, error: EngineError) {
        let (reason, rest) = match (error, &self.link) {
            (EngineError::Unfit(reason), _) => (reason, REST_MAX),
            (EngineError::Gone(reason), Link::Away { rest, .. }) => (reason, (*rest * 2).min(REST_MAX)),
            (EngineError::Gone(reason), _) => (reason, REST_MIN),
        };
        let known = match &self.link {
            Link::Away { reason: known, .. } => *known == reason,
            _ => false,
        };
        if !known {
            tracing::warn!(target: "jobs", engine = self.shown, reason, "the engine is away: jobs go to the spool");
        }
        self.link = Link::Away { again_at: Instant::now() + rest, rest, reason: reason.clone() };
        self.schedules.forget();
        self.forward.begin_again();
        let lost = self.in_flight.take().unwrap_or_default();
        let gathered = std::mem::take(&mut self.gathered);
        for (call, whom) in lost.into_iter().chain(gathered) {
            match (call, whom) {
                // In the order in which they came: nobody was told anything about them.
                (Call::Enqueue(enqueue), For::Client(id)) => self.spool(id, &enqueue),
                (Call::Ask(_), For::Client(id)) => {
                    self.replies.push((id, Reply::Failed(format!("the engine is away: {reason}"))));
                }
                (call @ Call::Fired(_), whom) => self.gathered.push((call, whom)),
                // Ends are kept in `unsettled`, rows in the spool, rules in `specs`; leases that came with a lost answer go back
                // when the engine is reached again.
                _ => {}
            }
        }
    }

    /// Connects again when it is time to.
    pub(super) fn try_again(&mut self) {
        if let Link::Away { again_at, .. } = &mut self.link
            && *again_at <= Instant::now()
        {
            // Until its answer is heard, which comes in any case.
            *again_at = Instant::now() + Duration::from_secs(3600);
            self.engine.order(Order::Connect(self.keeper.clone()));
        }
    }

    /// Keeps jobs here, if they have room: a queue takes no more in the spool than it would take at the engine.
    pub(super) fn spool(&mut self, id: u64, enqueue: &Enqueue) {
        for job in enqueue.jobs.iter().chain(&enqueue.last) {
            let capacity = self.specs.get(&job.queue).map_or(u64::MAX, |spec| spec.capacity);
            let coming =
                enqueue.jobs.iter().chain(&enqueue.last).filter(|other| other.queue == job.queue).count()
                    as u64;
            let is_stuck = matches!(self.link, Link::Up) && self.forward.is_stuck(&job.queue);
            if is_stuck || self.spool.of(&job.queue) + coming > capacity {
                return self.replies.push((id, Reply::Full { queue: job.queue.clone() }));
            }
        }
        if !self.spool.has_room(enqueue) {
            let reason = "the engine is away, and the spool is full".to_owned();
            return self.replies.push((id, Reply::Failed(reason)));
        }
        self.pledged.push((id, Reply::Kept(receipts(enqueue))));
        if let Err(error) = self.spool.put(enqueue, now_ms()) {
            self.fail_spool(&error);
        }
    }

    /// Nothing of this turn is in the spool.
    pub(super) fn fail_spool(&mut self, error: &rusqlite::Error) {
        tracing::error!(target: "jobs", %error, "the spool cannot be written: nothing of this turn is kept");
        let reason = format!("the spool cannot be written: {error}");
        let pledged = std::mem::take(&mut self.pledged).into_iter();
        self.replies.extend(pledged.map(|(id, _)| (id, Reply::Failed(reason.clone()))));
        self.forward.begin_again();
        if let Err(error) = self.spool.reopen() {
            tracing::error!(target: "jobs", %error, "the spool cannot be read");
        }
    }

    /// What the spool was given is on disk, and said to be; or it is neither.
    pub(super) fn commit(&mut self) {
        match self.spool.commit() {
            Ok(()) => self.replies.append(&mut self.pledged),
            Err(error) => self.fail_spool(&error),
        }
    }
}
