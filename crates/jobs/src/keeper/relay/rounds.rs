//! Rounds of calls to the engine, and what their answers mean.

use std::time::{Duration, Instant};

use super::{EngineError, For, Link, Order, Relay, now_ms};
use crate::store::engine::{Answer, Call};
use crate::wire::{Ask, Lease, Reply, ScheduleSpec};

/// The longest that the engine is not asked for anything: it may have missed to ring.
const LOOK_MAX: Duration = Duration::from_secs(1);

impl Relay<'_> {
    /// When the next round is due, if nobody says anything.
    pub(super) fn next_round(&self, now: Instant) -> Instant {
        if !self.gathered.is_empty() || self.rang {
            return now;
        }
        let mut next = self.look_at.min(self.beat_at);
        if !self.spool.is_empty() {
            next = next.min(self.forward.next_at().unwrap_or(now));
        }
        if let Some(at) = self.schedules.next_time() {
            let wait = Duration::from_millis(at.saturating_sub(now_ms()).max(0).unsigned_abs());
            next = next.min(now + wait.min(LOOK_MAX));
        }
        next
    }

    /// Sends a round if it is time to, or connects.
    pub(super) fn advance(&mut self) {
        self.try_again();
        let now = Instant::now();
        if !matches!(self.link, Link::Up) || self.in_flight.is_some() || now < self.quiet_until {
            return;
        }
        if self.opened && self.next_round(now) > now {
            return;
        }
        self.fire();
        if let Some(load) = self.load_spool() {
            self.gathered.push(load);
        }
        if self.beat_at <= now {
            self.beat_at = now + (self.lease / 5).min(LOOK_MAX);
            let (held, workers) = (self.desks.held(), self.desks.workers());
            self.gathered.push((Call::Beat { held, workers }, For::Nobody));
        }
        if self.facts.is_due() {
            self.gathered.push((Call::Ask(Ask::Queues), For::Facts));
        }
        self.rang = false;
        self.look_at = now + LOOK_MAX;
        self.gathered.push((Call::Take(self.desks.room()), For::Take));
        self.send_gathered();
    }

    /// Sends what is gathered; after a connection was made, with what it has to know first.
    pub(super) fn send_gathered(&mut self) {
        let mut round = Vec::new();
        if !self.opened {
            self.opened = true;
            // What has ended here and is not settled is held until it is.
            let mut held = self.desks.held();
            held.extend(self.unsettled.keys());
            round.push((Call::Open { held }, For::Nobody));
            round.push((Call::Define(self.specs.values().cloned().collect()), For::Nobody));
            if !self.unsettled.is_empty() {
                let ends = self.unsettled.values().map(|(_, end)| end.clone()).collect();
                round.push((Call::Settle(ends), For::Ends(self.unsettled.keys().copied().collect())));
            }
        }
        round.append(&mut self.gathered);
        self.engine.order(Order::Round(round.iter().map(|(call, _)| call.clone()).collect()));
        self.in_flight = Some(round);
    }

    /// Makes the jobs of schedules whose time has come.
    fn fire(&mut self) {
        for firing in self.schedules.due(now_ms()) {
            self.gathered.push((Call::Fire(firing), For::Nobody));
        }
    }

    pub(super) fn settle_round(&mut self, answers: Vec<Answer>) {
        let round = self.in_flight.take().unwrap_or_default();
        self.schedules.settle();
        for ((call, whom), answer) in round.into_iter().zip(answers) {
            match whom {
                For::Client(id) => self.answer(id, answer),
                For::Ends(seqs) => self.settled(seqs, &answer),
                For::Spool(numbers) => match answer {
                    Answer::Forwarded(taken) => self.forwarded(&numbers, &taken),
                    other => return self.lose(EngineError::Gone(format!("the spool is answered {other:?}"))),
                },
                For::Schedules(specs) => self.define_schedules(specs, answer),
                For::Facts => {
                    if let Answer::Value { value, .. } = answer {
                        self.queues = value;
                        self.tell();
                    }
                }
                For::Take => self.give_out(answer),
                For::Nobody => self.note(&call, answer),
            }
        }
    }

    fn answer(&mut self, id: u64, answer: Answer) {
        let reply = match answer {
            Answer::Kept(receipts) => Reply::Kept(receipts),
            Answer::Full(queue) => Reply::Full { queue },
            Answer::Refused(reason) => Reply::Refused(reason),
            Answer::Value { value, cancelled } => {
                cancelled.into_iter().for_each(|seq| self.cancel_here(seq));
                Reply::Answer(value)
            }
            other => Reply::Refused(format!("the engine answers something else: {other:?}")),
        };
        self.replies.push((id, reply));
    }

    fn settled(&mut self, seqs: Vec<i64>, answer: &Answer) {
        if let Answer::Refused(reason) = answer {
            tracing::error!(target: "jobs", reason, "ends that the engine does not take");
        }
        for seq in seqs {
            if let Some((id, _)) = self.unsettled.remove(&seq) {
                self.replies.push((id, Reply::Settled(vec![seq])));
            }
        }
    }

    fn define_schedules(&mut self, specs: Vec<ScheduleSpec>, answer: Answer) {
        let Answer::Fired(fired) = answer else { return };
        let names: Vec<String> = specs.iter().map(|one| one.name.clone()).collect();
        let last = |name: &str| {
            let index = names.iter().position(|known| known == name);
            Ok::<_, std::convert::Infallible>(index.and_then(|index| fired.get(index).copied().flatten()))
        };
        let Ok(()) = self.schedules.define(specs, now_ms(), last);
    }

    fn give_out(&mut self, answer: Answer) {
        let Answer::Taken { leases, wait_ms } = answer else { return };
        self.look_at = Instant::now() + Duration::from_millis(wait_ms).min(LOOK_MAX);
        let mut work: Vec<(u64, Vec<Lease>)> = Vec::new();
        let mut homeless = Vec::new();
        for lease in leases {
            match self.desks.give(&lease) {
                Some(desk) => match work.iter_mut().find(|(known, _)| *known == desk) {
                    Some((_, leases)) => leases.push(lease),
                    None => work.push((desk, vec![lease])),
                },
                None => homeless.push(lease.seq),
            }
        }
        if !homeless.is_empty() {
            self.gathered.push((Call::Returned(homeless), For::Nobody));
        }
        self.replies.extend(work.into_iter().map(|(desk, leases)| (desk, Reply::Work(leases))));
    }

    fn note(&mut self, call: &Call, answer: Answer) {
        match (call, answer) {
            (_, Answer::Lost(seqs)) => seqs.into_iter().for_each(|seq| self.cancel_here(seq)),
            (Call::Fire(_), Answer::Full(queue)) => {
                tracing::warn!(target: "jobs", queue, "a scheduled job has no room in its queue");
            }
            (call, Answer::Refused(reason)) => {
                tracing::error!(target: "jobs", reason, ?call, "the engine refuses");
            }
            _ => {}
        }
    }
}
