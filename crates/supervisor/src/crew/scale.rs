//! How many workers there are: asked for, by need, and one for one when they have served enough.
//!
//! Everything is decided once a second from the scoreboard, except that a connection that finds no worker on demand starts
//! one at once. Clocks are monotonic throughout: a jump of the wall clock changes nothing.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Crew, Stop, TICK, reload};
use crate::{
    control::ClientId,
    generation::Generation,
    group::{Recycling, Spawning},
    seat::{Process, Seat},
};

/// Most workers that are started in one second by need (PHP-FPM's `max_spawn_rate`).
const BURST_MAX: usize = 32;
/// No listener is looked at for so long after a worker was started for it: it has to accept first.
const DEMAND_PAUSE: Duration = Duration::from_millis(100);
/// Memory is measured every so many ticks: the kernel walks the pages for it.
const MEMORY_TICKS: u64 = 5;
/// Most workers of a group.
const WORKERS_MAX: usize = 1024;

impl Crew {
    /// How many workers there should be.
    pub(super) fn workers_wanted(&self) -> usize {
        self.current().and_then(|generation| generation.groups.last()).map_or(0, |group| group.count)
    }

    /// Changes the number of workers: in place where workers do not depend on it, else by a new generation. That is so where the
    /// group says so, and where a worker has taken its part of something that all have together: the parts of others would
    /// add up to too much or too little.
    pub(super) fn request_scale(&mut self, count: usize, client: Option<ClientId>) {
        if count == 0 || count > WORKERS_MAX {
            let error = format!("{count} workers: expected 1 to {WORKERS_MAX}; drain ends all of them");
            tracing::warn!(target: "supervisor", "not scaled: {error}");
            return self.answer(client, Err(error));
        }
        let before = self.workers_wanted();
        let config = self.config.clone();
        let in_place = self.reload.is_none() && self.upgrade.is_none();
        let generation = self.current_mut().filter(|_| in_place);
        match generation.filter(|generation| is_elastic(generation)) {
            Some(generation) => {
                resize(generation, count, &config);
                tracing::info!(target: "supervisor", before, count, "scaled");
                let said = format!("{count} workers, {before} before");
                self.answer(client, Ok(json!({ "said": said, "workers": count })));
            }
            None => {
                let clients = client.into_iter().collect();
                self.request_reload(reload::Request { workers: Some(count), clients });
            }
        }
    }

    /// Whether workers have to be looked at every second.
    pub(super) fn wants_ticks(&self) -> bool {
        let counts = |generation: &Generation| {
            generation
                .groups
                .iter()
                .any(|group| group.recycling.is_on() || group.spawning != Spawning::Static)
        };
        self.stop == Stop::No && self.current().is_some_and(counts)
    }

    pub(super) fn tick(&mut self) {
        let now = Instant::now();
        if now < self.next_tick {
            return;
        }
        // Not `next_tick + TICK`: after a pause (SIGSTOP) one tick is enough.
        self.next_tick = now + TICK;
        self.ticks += 1;
        if !self.wants_ticks() {
            return;
        }
        self.balance(now);
        self.recycle(now);
    }

    /// Starts and ends workers by need.
    fn balance(&mut self, now: Instant) {
        let config = self.config.clone();
        let mut burst = self.burst;
        let Some(generation) = self.current_mut() else { return };
        for group in 0..generation.groups.len() {
            match generation.groups[group].spawning {
                Spawning::Static => {}
                Spawning::Dynamic { spare_min, spare_max } => {
                    burst = balance_spares(generation, group, (spare_min, spare_max), burst, &config);
                }
                Spawning::OnDemand { idle_max } => {
                    end_idle(generation, group, idle_max, now, config.graceful_timeout)
                }
            }
        }
        self.burst = burst;
    }

    /// Whether a connection may be waiting for a worker that has to be started first.
    pub(super) fn wants_demand(&self) -> bool {
        self.is_on_demand() && Instant::now() >= self.demand_not_before
    }

    pub(super) fn is_on_demand(&self) -> bool {
        self.stop == Stop::No
            && self.current().is_some_and(|generation| demanding_group(generation).is_some())
    }

    /// A connection waits: one more worker.
    pub(super) fn meet_demand(&mut self) {
        let config = self.config.clone();
        if let Some(generation) = self.current_mut()
            && let Some(group) = demanding_group(generation)
        {
            generation.add_seat(group, &config);
            self.demand_not_before = Instant::now() + DEMAND_PAUSE;
        }
    }

    /// Starts replacements for workers that have served enough.
    fn recycle(&mut self, now: Instant) {
        let look_at_memory = self.ticks.is_multiple_of(MEMORY_TICKS);
        let Some(index) = self.generations.iter().position(|it| it.is_serving() && !it.lasting) else {
            return;
        };
        for group in 0..self.generations[index].groups.len() {
            let recycling = self.generations[index].groups[group].recycling;
            if !recycling.is_on() {
                continue;
            }
            let of_group = |seat: &&Seat| seat.group == group;
            let seats = self.generations[index].seats.iter().filter(of_group);
            let busy = seats.clone().filter(|seat| seat.successor.is_some()).count();
            let leaving = self.generations[index].leaving.iter().filter(|(of, _)| *of == group).count();
            let most = (seats.count() / 10).max(1);
            let mut free = most.saturating_sub(busy + leaving);
            for number in 0..self.generations[index].seats.len() {
                let seat = &self.generations[index].seats[number];
                let is_due = seat.group == group
                    && seat.successor.is_none()
                    && seat.recycle_not_before.is_none_or(|at| at <= now);
                let reason = seat.process.as_ref().filter(|process| is_due && process.ready_at.is_some());
                let reason =
                    reason.and_then(|process| reason_to_recycle(process, &recycling, now, look_at_memory));
                if let (Some(reason), 1..) = (reason, free) {
                    free -= 1;
                    self.start_successor(index, number, reason);
                }
            }
        }
    }

    /// A worker has a request that does not end: whatever it does next, somebody else has to serve. Not bounded as
    /// recycling is: a worker that is stuck is missing already.
    pub(super) fn condemn(&mut self, index: usize, number: Option<usize>, slot: usize, reason: &str) {
        tracing::error!(target: "supervisor", slot, "a worker is condemned: {reason}");
        let is_serving = self.stop == Stop::No && self.generations[index].is_serving();
        let Some(number) = number.filter(|_| is_serving) else { return };
        let seat = &mut self.generations[index].seats[number];
        let Some(process) = seat.process.as_mut().filter(|process| process.slot_index == slot) else {
            return;
        };
        process.condemned = true;
        if seat.successor.is_none() {
            self.start_successor(index, number, "deadline");
        }
    }

    fn start_successor(&mut self, index: usize, number: usize, reason: &'static str) {
        match self.start(index, number) {
            Ok(process) => {
                let seat = &mut self.generations[index].seats[number];
                let slot = seat.process.as_ref().map_or(0, |process| process.slot_index);
                tracing::info!(target: "supervisor", slot, reason, "replacing a worker");
                seat.successor = Some(process);
                seat.count_restart(reason);
                *self.restarts.entry(reason).or_default() += 1;
            }
            Err(error) => {
                let seat = &mut self.generations[index].seats[number];
                seat.recycle_not_before = Some(Instant::now() + seat.backoff.fail());
                tracing::error!(target: "supervisor", "cannot start a replacement, the old worker goes on: {error}");
            }
        }
    }

    /// A replacement that is ready gets the seat, and who had it finishes what it has.
    pub(super) fn seat_successor(&mut self, index: usize, number: usize) {
        let until = self.graceful_until();
        let generation = &mut self.generations[index];
        let is_draining = generation.is_draining();
        let seat = &mut generation.seats[number];
        if seat.successor.as_ref().is_none_or(|process| process.ready_at.is_none()) || is_draining {
            return;
        }
        let group = seat.group;
        let old = std::mem::replace(&mut seat.process, seat.successor.take());
        seat.idle_since = None;
        if let Some(old) = old {
            generation.let_go(group, old, until);
        }
    }

    /// A replacement did not come up: who is there goes on, and the next try comes later.
    pub(super) fn successor_died(&mut self, index: usize, number: usize, process: Process, why: &str) {
        process.slot.vacate();
        let generation = &mut self.generations[index];
        let seat = &mut generation.seats[number];
        seat.recycle_not_before = Some(Instant::now() + seat.backoff.fail());
        let slot = process.slot_index;
        if !generation.is_draining() {
            tracing::error!(target: "supervisor", slot, "a replacement did not start, the old worker goes on: {why}");
        }
    }
}

/// Whether the last group's workers go on as they are when there are more of them, or fewer.
fn is_elastic(generation: &Generation) -> bool {
    let last = generation.groups.len().saturating_sub(1);
    let shares =
        generation.processes().any(|(group, process)| group == last && process.slot.has_share.get() > 0);
    generation.groups.last().is_some_and(|group| group.elastic) && !shares
}

/// Brings the last group to `count` workers at most.
fn resize(generation: &mut Generation, count: usize, config: &crate::master::MasterConfig) {
    let group = generation.groups.len() - 1;
    generation.groups[group].count = count;
    let seats = |generation: &Generation| generation.seats.iter().filter(|seat| seat.group == group).count();
    let target = generation.groups[group].start_count();
    let is_static = generation.groups[group].spawning == Spawning::Static;
    while is_static && seats(generation) < target {
        generation.add_seat(group, config);
    }
    while seats(generation) > count {
        let last = generation.seats.iter().enumerate().filter(|(_, seat)| seat.group == group);
        let Some((number, _)) = last.max_by_key(|(_, seat)| seat.index) else { return };
        generation.remove_seat(number, config.graceful_timeout);
    }
}

/// The group whose workers come on demand, if it may have one more and none is on its way or has room.
fn demanding_group(generation: &Generation) -> Option<usize> {
    generation.groups.iter().enumerate().find_map(|(number, group)| {
        let mut seats = generation.seats.iter().filter(|seat| seat.group == number);
        let has_room = |seat: &Seat| match &seat.process {
            Some(process) => process.ready_at.is_none() || (group.is_spare)(process.slot),
            None => seat.start_at.is_some(),
        };
        let on_demand = matches!(group.spawning, Spawning::OnDemand { .. });
        let full = seats.clone().count() >= group.count;
        (on_demand && !full && !seats.any(has_room)).then_some(number)
    })
}

fn balance_spares(
    generation: &mut Generation,
    group: usize,
    (spare_min, spare_max): (usize, usize),
    burst: usize,
    config: &crate::master::MasterConfig,
) -> usize {
    let is_spare = generation.groups[group].is_spare;
    let of_group = |seat: &&Seat| seat.group == group;
    let spare = |seat: &&Seat| match &seat.process {
        // Who is on its way will have room.
        Some(process) => process.ready_at.is_none() || is_spare(process.slot),
        None => true,
    };
    let seats = generation.seats.iter().filter(of_group).count();
    let spares = generation.seats.iter().filter(of_group).filter(spare).count();
    let most = generation.groups[group].count;
    if spares < spare_min && seats < most {
        let count = burst.min(most - seats);
        tracing::info!(target: "supervisor", spares, count, "few workers have room, starting more");
        (0..count).for_each(|_| generation.add_seat(group, config));
        return (burst * 2).min(BURST_MAX);
    }
    if spares > spare_max && seats > 1 {
        let idle =
            generation.seats.iter().enumerate().filter(|(_, seat)| seat.group == group && seat.is_ready());
        let idle = idle.filter(|(_, seat)| spare(seat)).max_by_key(|(_, seat)| seat.index);
        if let Some(number) = idle.map(|(number, _)| number) {
            generation.remove_seat(number, config.graceful_timeout);
        }
    }
    1
}

fn end_idle(generation: &mut Generation, group: usize, idle_max: Duration, now: Instant, graceful: Duration) {
    let is_spare = generation.groups[group].is_spare;
    let mut ended = Vec::new();
    for (number, seat) in generation.seats.iter_mut().enumerate().filter(|(_, seat)| seat.group == group) {
        let Some(process) = seat.process.as_ref().filter(|process| process.ready_at.is_some()) else {
            continue;
        };
        let accepted = process.slot.connections_accepted.get();
        let nothing_to_do = is_spare(process.slot) && process.slot.connections_open.get() == 0;
        seat.idle_since = match seat.idle_since {
            Some((since, before)) if nothing_to_do && before == accepted => Some((since, before)),
            _ if nothing_to_do => Some((now, accepted)),
            _ => None,
        };
        if seat.idle_since.is_some_and(|(since, _)| now.duration_since(since) >= idle_max) {
            ended.push(number);
        }
    }
    // From the back, so that the numbers stay right.
    ended.into_iter().rev().for_each(|number| generation.remove_seat(number, graceful));
}

/// Which limit the worker has reached. Limits are up to a tenth lower for each, so that workers that started together do
/// not end together.
fn reason_to_recycle(
    process: &Process,
    recycling: &Recycling,
    now: Instant,
    look_at_memory: bool,
) -> Option<&'static str> {
    let less = |limit: u64| (limit as f64 * process.jitter).ceil() as u64;
    if recycling.requests_max.is_some_and(|most| process.requests() >= less(most).max(1)) {
        return Some("requests");
    }
    let lived = process.ready_at.map(|at| now.duration_since(at));
    if recycling.age_max.zip(lived).is_some_and(|(most, lived)| lived >= most.mul_f64(process.jitter)) {
        return Some("age");
    }
    let most = recycling.memory_bytes_max.filter(|_| look_at_memory)?;
    let pid = process.pid.as_raw_pid();
    memory_bytes(pid).is_some_and(|bytes| bytes >= less(most)).then_some("memory")
}

/// The process's proportional share of memory, or what is resident where the kernel does not tell (before 4.14).
pub(super) fn memory_bytes(pid: i32) -> Option<u64> {
    let field = |path: String, name: &str| -> Option<u64> {
        let text = std::fs::read_to_string(path).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
    };
    field(format!("/proc/{pid}/smaps_rollup"), "Pss:")
        .or_else(|| field(format!("/proc/{pid}/status"), "VmRSS:"))
}
