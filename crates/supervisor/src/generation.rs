//! `Generation`: the workers of one configuration, from their start to the end of the last one.
//!
//! ```text
//!   coming ──(every worker ready)──► serving ──(a newer one serves)──► draining ──(all gone)──► forgotten
//!      └──(one fails, or time is over)──► cut
//! ```
//!
//! Runs in the master.

use std::time::{Duration, Instant};

use crate::{
    backoff::Backoff,
    group::Group,
    master::MasterConfig,
    order::Order,
    seat::{Process, Seat},
};

pub(crate) struct Generation {
    pub(crate) number: u32,
    pub(crate) groups: Vec<Group>,
    pub(crate) seats: Vec<Seat>,
    /// Workers that have lost their seat and finish what they have.
    pub(crate) leaving: Vec<(usize, Process)>,
    pub(crate) phase: Phase,
    /// It is never replaced.
    pub(crate) lasting: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Phase {
    /// It must be ready by then.
    Coming {
        until: Instant,
    },
    Serving,
    /// The groups above `group` are gone, `group` was told, the rest follow; what is left at `until` is killed.
    Draining {
        until: Instant,
        group: usize,
    },
    /// All were told to end now.
    Cut {
        until: Instant,
    },
}

impl Generation {
    /// With one seat per worker that is needed at first, all due now.
    pub(crate) fn new(
        number: u32,
        groups: Vec<Group>,
        phase: Phase,
        lasting: bool,
        config: &MasterConfig,
    ) -> Self {
        let mut generation = Self { number, groups, seats: Vec::new(), leaving: Vec::new(), phase, lasting };
        for group in 0..generation.groups.len() {
            for _ in 0..generation.groups[group].start_count() {
                generation.add_seat(group, config);
            }
        }
        generation
    }

    /// A further seat in a group, at its lowest free number. Its worker is due now.
    pub(crate) fn add_seat(&mut self, group: usize, config: &MasterConfig) {
        let taken = |index| self.seats.iter().any(|seat| seat.group == group && seat.index == index);
        let index = (0..).find(|index| !taken(*index)).unwrap_or(0);
        let delay_max = match self.lasting {
            true => config.lasting_restart_delay_max,
            false => config.restart_delay_max,
        };
        let backoff = Backoff::new(config.restart_delay_min, delay_max);
        let mut seat = Seat::new(group, index, backoff);
        seat.start_at = Some(Instant::now());
        self.seats.push(seat);
    }

    /// Takes a seat away; its worker finishes what it has.
    pub(crate) fn remove_seat(&mut self, number: usize, graceful: Duration) {
        let mut seat = self.seats.remove(number);
        let until = Instant::now() + graceful;
        for process in [seat.process.take(), seat.successor.take()].into_iter().flatten() {
            self.let_go(seat.group, process, until);
        }
    }

    /// Has a worker without a seat finish what it has.
    pub(crate) fn let_go(&mut self, group: usize, mut process: Process, until: Instant) {
        process.stop(until);
        process.until = Some(until);
        self.leaving.push((group, process));
    }

    /// Whether every seat has a worker that serves.
    pub(crate) fn is_ready(&self) -> bool {
        self.seats.iter().all(Seat::is_ready)
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.phase == Phase::Serving
    }

    pub(crate) fn is_draining(&self) -> bool {
        matches!(self.phase, Phase::Draining { .. } | Phase::Cut { .. })
    }

    /// Whether no process is left.
    pub(crate) fn is_gone(&self) -> bool {
        self.processes().next().is_none()
    }

    /// Whether no process will accept another connection.
    pub(crate) fn is_closed(&self) -> bool {
        self.processes().all(|(group, process)| process.closed || !self.groups[group].accepts)
    }

    /// Every living process with its group.
    pub(crate) fn processes(&self) -> impl Iterator<Item = (usize, &Process)> {
        let seated = self.seats.iter().flat_map(|seat| {
            [&seat.process, &seat.successor].into_iter().flatten().map(|process| (seat.group, process))
        });
        seated.chain(self.leaving.iter().map(|(group, process)| (*group, process)))
    }

    pub(crate) fn processes_mut(&mut self) -> impl Iterator<Item = (usize, &mut Process)> {
        let seated = self.seats.iter_mut().flat_map(|seat| {
            let group = seat.group;
            [&mut seat.process, &mut seat.successor]
                .into_iter()
                .flatten()
                .map(move |process| (group, process))
        });
        seated.chain(self.leaving.iter_mut().map(|(group, process)| (*group, process)))
    }

    /// Has it finish what it has, the last group first.
    pub(crate) fn drain(&mut self, until: Instant) {
        self.give_up_starts();
        let group = self.groups.len().saturating_sub(1);
        self.phase = Phase::Draining { until, group };
        let at_once =
            self.groups.iter().enumerate().filter(|(index, other)| other.stops_at_once || *index == group);
        at_once.for_each(|(index, _)| self.stop(index, until));
    }

    /// Has the workers of one group finish what they have.
    fn stop(&self, group: usize, until: Instant) {
        self.processes().filter(|(of, _)| *of == group).for_each(|(_, process)| process.stop(until));
    }

    /// Has it end now.
    pub(crate) fn cut(&mut self, until: Instant) {
        self.give_up_starts();
        self.phase = Phase::Cut { until };
        self.order(Order::Fast);
    }

    fn give_up_starts(&mut self) {
        self.seats.iter_mut().for_each(|seat| seat.start_at = None);
    }

    /// Orders all workers.
    pub(crate) fn order(&self, order: Order) {
        self.processes().for_each(|(_, process)| process.order(order));
    }

    /// Does what time demands: the next stage of a drain, and kills.
    pub(crate) fn enforce(&mut self, now: Instant) {
        match self.phase {
            Phase::Draining { until, .. } | Phase::Cut { until } if now >= until => {
                self.kill("did not stop in time, killing it", |_| true);
            }
            Phase::Draining { until, mut group } => {
                while group > 0 && !self.processes().any(|(of, _)| of == group) {
                    group -= 1;
                    self.stop(group, until);
                }
                self.phase = Phase::Draining { until, group };
            }
            _ => {}
        }
        self.kill("did not stop in time, killing it", |process| {
            process.until.is_some_and(|until| now >= until)
        });
    }

    /// Kills whom `which` chooses, unless it is killed already.
    pub(crate) fn kill(&mut self, why: &str, which: impl Fn(&Process) -> bool) {
        let names: Vec<String> = self.groups.iter().map(|group| group.name.clone()).collect();
        for (group, process) in self.processes_mut().filter(|(_, process)| !process.killed && which(process))
        {
            let (group, slot, pid) = (&names[group], process.slot_index, process.pid);
            tracing::warn!(target: "supervisor", group, slot, %pid, "worker {why}");
            process.kill();
        }
    }

    /// When [`Generation::enforce`] or a start has something to do next.
    pub(crate) fn next_deadline(&self, ready_timeout: Duration) -> Option<Instant> {
        let starts = self.seats.iter().filter_map(|seat| seat.start_at);
        let living = || self.processes().map(|(_, process)| process).filter(|process| !process.killed);
        let readies = living().filter(|process| process.ready_at.is_none());
        let readies = readies.map(|process| process.started + ready_timeout);
        let untils = living().filter_map(|process| process.until);
        let phase = match self.phase {
            Phase::Serving => None,
            Phase::Coming { until } => Some(until),
            Phase::Draining { until, .. } | Phase::Cut { until } => living().next().map(|_| until),
        };
        starts.chain(readies).chain(untils).chain(phase).min()
    }
}
