//! `Schedules`: what comes again and again. The keeper makes the jobs, so that there is one firing for the whole service,
//! however many workers it has.
//!
//! A firing is a job whose id is the schedule's name and its time: one that was made already is known by that. Times of
//! `every` are multiples of its period since 1970, so they do not drift, and a restart does not move them.

use crate::cron::Cron;
use crate::store::engine::Firing;
use crate::wire::{Enqueue, Misfire, NewJob, ScheduleSpec};

/// Schedules that there may be.
const SCHEDULES_MAX: usize = 1_000;
/// Most missed times that `Misfire::All` makes up for.
const MISSED_MAX: usize = 100;
/// A firing that is late by less was not missed: nothing ran meanwhile, or there was much to do.
const LATE_MS: i64 = 5_000;

#[derive(Debug, Default)]
pub(super) struct Schedules(Vec<Schedule>);

#[derive(Debug)]
struct Schedule {
    spec: ScheduleSpec,
    times: Times,
    next: i64,
    /// What `next` was when the file knew last.
    settled: i64,
}

#[derive(Debug)]
enum Times {
    Every(i64),
    Cron(Box<Cron>),
}

impl Schedules {
    /// Takes schedules in; the latest word counts. `fired` says when one has fired last.
    pub(super) fn define<E>(
        &mut self,
        specs: Vec<ScheduleSpec>,
        now: i64,
        fired: impl Fn(&str) -> Result<Option<i64>, E>,
    ) -> Result<(), E> {
        for spec in specs.into_iter().take(SCHEDULES_MAX) {
            let known = self.0.iter().position(|one| one.spec.name == spec.name);
            if known.is_some_and(|index| self.0[index].spec == spec) {
                continue;
            }
            let Some(times) = Times::of(&spec) else {
                tracing::error!(target: "jobs", name = spec.name, cron = spec.cron, "a schedule that cannot be");
                continue;
            };
            // One that is new has missed nothing.
            let from = fired(&spec.name)?.unwrap_or(now);
            let next = times.after(from);
            let schedule = Schedule { next, settled: next, spec, times };
            match known {
                Some(index) => self.0[index] = schedule,
                None if self.0.len() < SCHEDULES_MAX => self.0.push(schedule),
                None => {}
            }
        }
        Ok(())
    }

    /// What was fired is in the file.
    pub(super) fn settle(&mut self) {
        self.0.iter_mut().for_each(|one| one.settled = one.next);
    }

    /// What was fired in a turn that failed is to be fired again.
    pub(super) fn forget(&mut self) {
        self.0.iter_mut().for_each(|one| one.next = one.settled);
    }

    pub(super) fn next_time(&self) -> Option<i64> {
        self.0.iter().map(|one| one.next).min()
    }

    /// Those whose time has come, with the jobs that they make: none, where times that have passed are not made up for.
    pub(super) fn due(&mut self, now: i64) -> Vec<Firing> {
        let mut firings = Vec::new();
        for schedule in self.0.iter_mut().filter(|one| one.next <= now) {
            let (mut times, mut at) = (Vec::new(), schedule.next);
            while at <= now {
                if times.len() == MISSED_MAX {
                    times.remove(0);
                }
                times.push(at);
                at = match &schedule.times {
                    // Not one by one: there may be millions of them after a week.
                    Times::Every(every) if now - at > every * MISSED_MAX as i64 => {
                        now - now.rem_euclid(*every) - every * (MISSED_MAX as i64 - 1)
                    }
                    times => times.after(at),
                };
            }
            let fire = match schedule.spec.misfire {
                Misfire::All => &times[..],
                Misfire::Once => &times[times.len() - 1..],
                Misfire::Skip if now - times[times.len() - 1] < LATE_MS => &times[times.len() - 1..],
                Misfire::Skip => &[],
            };
            firings.push(Firing {
                name: schedule.spec.name.clone(),
                last: times[times.len() - 1],
                jobs: fire.iter().map(|time| schedule.job(*time)).collect(),
            });
            schedule.next = at;
        }
        firings
    }
}

impl Schedule {
    fn job(&self, time: i64) -> Enqueue {
        let job = NewJob {
            id: format!("{}@{time}", self.spec.name),
            queue: self.spec.queue.clone(),
            name: self.spec.name.clone(),
            payload: "null".into(),
            ..NewJob::default()
        };
        Enqueue { jobs: vec![job], last: None }
    }
}

impl Times {
    fn of(spec: &ScheduleSpec) -> Option<Times> {
        match spec.every_ms {
            0 => Cron::parse(&spec.cron).ok().map(|cron| Times::Cron(Box::new(cron))),
            every => i64::try_from(every).ok().map(Times::Every),
        }
    }

    /// The first time after `at`.
    fn after(&self, at: i64) -> i64 {
        match self {
            Times::Every(every) => (at.div_euclid(*every) + 1).saturating_mul(*every),
            Times::Cron(cron) => cron.after(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(misfire: Misfire, every_ms: u64, from: i64, now: i64) -> Vec<String> {
        let mut schedules = Schedules::default();
        let spec = ScheduleSpec {
            name: "tick".into(),
            queue: "q".into(),
            every_ms,
            misfire,
            ..ScheduleSpec::default()
        };
        let never = |_: &str| Ok::<_, std::convert::Infallible>(None);
        schedules.define(vec![spec], from, never).unwrap();
        let due = schedules.due(now);
        assert!(schedules.next_time().unwrap() > now, "what is next is in the future");
        assert!(schedules.due(now).is_empty(), "and nothing fires twice");
        due.into_iter().flat_map(|firing| firing.jobs).map(|one| one.jobs[0].id.clone()).collect()
    }

    #[test]
    fn a_period_fires_at_its_multiples_and_never_early() {
        assert_eq!(fired(Misfire::Once, 1_000, 500, 999), [""; 0]);
        assert_eq!(fired(Misfire::Once, 1_000, 500, 1_000), ["tick@1000"]);
        assert_eq!(fired(Misfire::Once, 1_000, 500, 1_300), ["tick@1000"]);
    }

    #[test]
    fn missed_times_are_made_up_for_as_the_rule_says() {
        assert_eq!(fired(Misfire::Once, 1_000, 500, 9_500), ["tick@9000"]);
        assert_eq!(fired(Misfire::All, 1_000, 500, 3_500), ["tick@1000", "tick@2000", "tick@3000"]);
        assert_eq!(fired(Misfire::All, 1_000, 500, 9_000_500).len(), MISSED_MAX);
        assert_eq!(fired(Misfire::Skip, 60_000, 1, 119_000), [""; 0]);
        assert_eq!(fired(Misfire::Skip, 60_000, 1, 120_100), ["tick@120000"]);
    }
}
