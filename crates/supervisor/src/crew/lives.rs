//! How workers start, become ready, end, and are started again.

use std::{
    os::fd::OwnedFd,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{Pid, WaitOptions, WaitStatus, wait},
};

use tenfold_scoreboard::{Slot, State};

use super::{Crew, Stop};
use crate::{
    error::Error,
    generation::{Generation, Phase},
    group::ExitReason,
    report::{Report, Reporter},
    seat::{Process, how},
    sys::{self, Forked},
    worker::{self, Lines, Worker},
};

impl Crew {
    /// Starts the workers whose time has come.
    pub(super) fn start_due(&mut self) {
        let now = Instant::now();
        for index in 0..self.generations.len() {
            if self.generations[index].is_draining() || self.stop.forbids_starts() {
                continue;
            }
            for number in 0..self.generations[index].seats.len() {
                let seat = &mut self.generations[index].seats[number];
                if seat.start_at.is_some_and(|at| at <= now) {
                    seat.start_at = None;
                    match self.start(index, number) {
                        Ok(process) => self.generations[index].seats[number].process = Some(process),
                        Err(error) => {
                            tracing::error!(target: "supervisor", seat = number, "cannot start a worker: {error}");
                            self.plan_restart(index, number, false, &error.to_string());
                        }
                    }
                }
            }
        }
    }

    /// Forks a worker for a seat.
    pub(super) fn start(&mut self, index: usize, number: usize) -> Result<Process, Error> {
        let (slot_index, slot) = self.free_slot(self.generations[index].seats[number].slot_wish)?;
        let Lines { orders: (orders, sender), reports: (reports, reports_said) } = Lines::new()?;
        // The child has two ends of its own to write orders to: one for its
        // signal handler, one for its own threads.
        let duplicate = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, 0).map_err(Error::system("dup"));
        let (for_handler, for_worker) = (duplicate(&sender)?, duplicate(&sender)?);
        slot.set_state(State::Starting);
        let forked = sys::fork(for_handler, self.config.graceful_timeout).inspect_err(|_| slot.vacate())?;
        match forked {
            Forked::Parent(pid) => {
                let generation = &mut self.generations[index];
                let seat = &mut generation.seats[number];
                let (group, number) = (&generation.groups[seat.group].name, generation.number);
                tracing::debug!(target: "supervisor", group, slot = slot_index, generation = number, %pid, "started");
                seat.slot_wish = Some(slot_index);
                seat.idle_since = None;
                Ok(Process::new(pid, (slot_index, slot), sender, reports))
            }
            Forked::Child => {
                drop((sender, reports));
                let lines = (orders, for_worker, reports_said);
                self.become_worker((index, number), (slot_index, slot), lines)
            }
        }
    }

    /// The wish if it is free, else the first slot that is.
    fn free_slot(&self, wish: Option<usize>) -> Result<(usize, &'static Slot), Error> {
        let taken = |index: usize| {
            let mut processes = self.generations.iter().flat_map(Generation::processes);
            processes.any(|(_, process)| process.slot_index == index)
        };
        let free = wish.filter(|index| !taken(*index));
        let free = free.or_else(|| (0..self.board.len()).find(|index| !taken(*index)));
        let index = free.ok_or(Error::Slots { slots: self.board.len(), workers: self.board.len() + 1 })?;
        Ok((index, self.board.slot(index)))
    }

    /// Gives up, in a child, what is the master's business: a copy kept here would also keep a pipe open whose end
    /// somebody waits for. Nothing of the caller's is dropped: its destructors are the master's, too.
    pub(super) fn leave_the_master(&mut self) {
        for generation in &mut self.generations {
            generation.leaving.clear();
            for seat in &mut generation.seats {
                (seat.process, seat.successor) = (None, None);
            }
        }
        (self.control, self.pid_file, self.predecessor, self.upgrade) = (None, None, None, None);
        self.reload = None;
        if let Ok((nothing, _)) = worker::pipe() {
            self.signals = nothing;
        }
    }

    /// The rest of a worker's life. Runs in the child.
    fn become_worker(
        &mut self,
        (index, number): (usize, usize),
        slot: (usize, &'static Slot),
        lines: (OwnedFd, OwnedFd, OwnedFd),
    ) -> ! {
        self.leave_the_master();
        let generation = &self.generations[index];
        if generation.lasting
            && let Some(source) = &mut self.options.source
        {
            source.forked();
        }
        let seat = &generation.seats[number];
        let group = &generation.groups[seat.group];
        let worker = Worker::forked(&group.name, seat.index, slot, generation.number, lines);
        if let Some(identity) = &group.identity
            && let Err(error) = sys::become_identity(identity)
        {
            worker.reporter().say(&Report::Failed(error.to_string()));
            sys::exit(1);
        }
        let code = match catch_unwind(AssertUnwindSafe(|| (group.run)(&worker))) {
            Ok(ExitReason::Done) => 0,
            Ok(ExitReason::Failed(reason)) => {
                tracing::error!(target: "supervisor", group = group.name, slot = slot.0, "worker failed: {reason}");
                say_failed(&worker, worker.reporter(), &reason);
                1
            }
            // The panic hook has printed where. 101 is what a panic in main gives.
            Err(payload) => {
                say_failed(&worker, worker.reporter(), &format!("panic: {}", text_of(&*payload)));
                101
            }
        };
        sys::exit(code)
    }

    /// Hears what the workers say.
    pub(super) fn take_reports(&mut self) {
        for index in 0..self.generations.len() {
            for number in 0..self.generations[index].seats.len() {
                let seat = &mut self.generations[index].seats[number];
                let mut said = Vec::new();
                for process in [&mut seat.process, &mut seat.successor].into_iter().flatten() {
                    let slot = process.slot_index;
                    said.extend(process.take_reports().into_iter().map(|report| (slot, report)));
                }
                said.into_iter().for_each(|(slot, report)| self.heard(index, Some(number), slot, report));
                self.seat_successor(index, number);
            }
            let mut said = Vec::new();
            for (_, process) in &mut self.generations[index].leaving {
                let slot = process.slot_index;
                said.extend(process.take_reports().into_iter().map(|report| (slot, report)));
            }
            said.into_iter().for_each(|(slot, report)| self.heard(index, None, slot, report));
        }
    }

    fn heard(&mut self, index: usize, number: Option<usize>, slot: usize, report: Report) {
        if let Report::Condemned(reason) = &report {
            return self.condemn(index, number, slot, reason);
        }
        if let Report::Facts { name, json } = &report {
            // A worker that leaves has nothing to say about how things are.
            if let (Some(_), Ok(value)) = (number, serde_json::from_str(json)) {
                self.facts.insert(name.clone(), value);
            }
            return;
        }
        let generation = &mut self.generations[index];
        match (report, number.and_then(|number| generation.seats.get_mut(number))) {
            (Report::Ready, Some(seat)) => {
                seat.failed_starts = 0;
                seat.last_failure = None;
                let group = &generation.groups[seat.group].name;
                tracing::debug!(target: "supervisor", group, slot, "worker is ready");
            }
            (Report::Failed(reason), Some(seat)) => seat.last_failure = Some(reason),
            (Report::Logs(outcome), _) => self.logs_reopened(slot, outcome),
            (Report::Dump(text), _) => self.dumped(slot, text),
            _ => {}
        }
    }

    /// Takes every child that has ended; also strangers', because as process 1
    /// of a container the master inherits them.
    pub(super) fn reap(&mut self) -> Result<(), Error> {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => self.ended(pid, status),
                Ok(None) | Err(Errno::CHILD) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::system("wait")(errno)),
            }
        }
    }

    fn ended(&mut self, pid: Pid, status: WaitStatus) {
        if self.trial_ended(pid, status) || self.successor_master_ended(pid, status) {
            return;
        }
        // The last words may have come after the last look.
        self.take_reports();
        let is_it = |process: &Option<Process>| process.as_ref().is_some_and(|process| process.pid == pid);
        for index in 0..self.generations.len() {
            let generation = &mut self.generations[index];
            if let Some(at) = generation.leaving.iter().position(|(_, process)| process.pid == pid) {
                let (group, process) = generation.leaving.remove(at);
                return self.left(index, group, process, &how(status));
            }
            for number in 0..self.generations[index].seats.len() {
                let seat = &mut self.generations[index].seats[number];
                if is_it(&seat.process) {
                    let process = seat.process.take().expect("it was found by its process");
                    return self.died(index, number, process, &how(status));
                }
                if is_it(&seat.successor) {
                    let process = seat.successor.take().expect("it was found by its process");
                    return self.successor_died(index, number, process, &how(status));
                }
            }
        }
    }

    /// A worker that was told to go has gone.
    fn left(&mut self, index: usize, group: usize, process: Process, why: &str) {
        process.slot.vacate();
        self.forget_waiting(process.slot_index);
        let (group, slot, pid) =
            (&self.generations[index].groups[group].name, process.slot_index, process.pid);
        tracing::info!(target: "supervisor", group, slot, %pid, "worker ended: {why}");
    }

    fn died(&mut self, index: usize, number: usize, process: Process, why: &str) {
        process.slot.vacate();
        self.forget_waiting(process.slot_index);
        let now = Instant::now();
        let generation = &mut self.generations[index];
        let seat = &mut generation.seats[number];
        let (group, slot, pid) = (&generation.groups[seat.group].name, process.slot_index, process.pid);
        if generation.phase != Phase::Serving && !matches!(generation.phase, Phase::Coming { .. })
            || self.stop.forbids_starts()
        {
            tracing::info!(target: "supervisor", group, slot, %pid, "worker ended: {why}");
            return;
        }
        let was_ready = process.ready_at.is_some();
        let lived_ms = u64::try_from(now.duration_since(process.started).as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(target: "supervisor", group, slot, %pid, lived_ms, was_ready, "worker died: {why}");
        if let Some(successor) = seat.successor.take() {
            // Who was to replace it anyway does so at once.
            seat.process = Some(successor);
            return;
        }
        let reason = if was_ready { reason_of(why) } else { "failed to start" };
        seat.count_restart(reason);
        *self.restarts.entry(reason).or_default() += 1;
        if process.was_stable(now, self.config.stable_after) {
            seat.backoff.reset();
            seat.start_at = Some(now);
        } else {
            self.plan_restart(index, number, was_ready, why);
        }
    }

    /// A worker died early, for the reason in `why`: starts it again later, or
    /// gives up.
    fn plan_restart(&mut self, index: usize, number: usize, was_ready: bool, why: &str) {
        let generation = &mut self.generations[index];
        let seat = &mut generation.seats[number];
        let group = generation.groups[seat.group].name.clone();
        let slot = seat.slot_wish.unwrap_or(number);
        let said = seat.last_failure.clone();
        let why = said.map_or_else(|| why.to_owned(), |said| format!("{why}: {said}"));
        seat.last_death = Some(why.clone());
        if let Phase::Coming { .. } = generation.phase {
            let reason = format!("{group} {} did not start: {why}", seat.index);
            return self.fail_reload(&reason);
        }
        if !was_ready {
            seat.failed_starts += 1;
        }
        if !self.announced && seat.failed_starts >= self.config.start_failures_max {
            let starts = seat.failed_starts;
            tracing::error!(target: "supervisor", group, slot, "giving up: worker failed to start {starts} times in a row, last: {why}");
            self.exit_code = 1;
            if let Some(old) = &mut self.predecessor {
                old.say(&format!("failed {group} failed to start {starts} times in a row, last: {why}"));
            }
            return self.stop_fast();
        }
        let delay = seat.backoff.fail();
        seat.start_at = Some(Instant::now() + delay);
        let (failures, delay_ms) = (seat.backoff.failures(), delay.as_millis());
        if failures >= self.config.failing_after {
            tracing::error!(target: "supervisor", group, slot, failures, "worker is failing, next start in {delay_ms} ms: {why}");
        } else {
            tracing::warn!(target: "supervisor", group, slot, failures, "worker died early, next start in {delay_ms} ms");
        }
    }

    /// Kills workers that take too long to be ready.
    pub(super) fn kill_late_starters(&mut self, now: Instant) {
        let limit = self.config.ready_timeout;
        for generation in &mut self.generations {
            if !generation.is_draining() {
                generation.kill("was not ready in time, killing it", |process| {
                    process.ready_at.is_none() && now >= process.started + limit
                });
            }
        }
    }

    /// Whether the master has nothing left to do.
    pub(super) fn is_over(&self) -> bool {
        self.stop != Stop::No
            && !matches!(self.stop, Stop::Announced { .. })
            && self.generations.iter().all(Generation::is_gone)
    }

    /// Longest that a graceful end may take from now on.
    pub(super) fn graceful_until(&self) -> Instant {
        Instant::now() + self.config.graceful_timeout
    }
}

/// Why a worker failed is worth telling only if it never served: afterwards nobody waits for it.
fn say_failed(worker: &Worker, reporter: &Reporter, reason: &str) {
    if !worker.said_ready() {
        reporter.say(&Report::Failed(reason.to_owned()));
    }
}

fn text_of(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "(not a text)".into())
}

/// The counter under which a death is told.
fn reason_of(why: &str) -> &'static str {
    match why {
        "exit code 0" => "told by signal",
        "exit code 101 (panic)" => "panic",
        why if why.starts_with("exit code") => "exit",
        _ => "signal",
    }
}

/// How long a worker's answer is waited for.
pub(super) const REPORT_TIMEOUT: Duration = Duration::from_secs(5);
