//! `Master`: starts workers, replaces those that die, and stops them all.
//!
//! Runs in the parent process, on its only thread, and never runs a handler:
//! all it does between two waits in poll(2) is bookkeeping.
//!
//! ```text
//!            all ready
//!   start ───────────────► serve ──TERM, QUIT──► graceful ──(all gone)──► exit
//!     │                      │                      │ bound, 2nd TERM, INT
//!     │ a worker fails       └──────── INT ───────► fast ──(2 s)──► KILL ──► exit
//!     │ 3 times in a row                             ▲
//!     └──────────────────────────────────────────────┘ exit code 1
//! ```

use std::{
    os::fd::OwnedFd,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, Signal, WaitOptions, WaitStatus, wait},
};

use tenfold_scoreboard::{Scoreboard, State};

use crate::{
    backoff::Backoff,
    error::Error,
    group::{ExitReason, Group},
    seat::{Process, Seat, how},
    sys::{self, Forked},
    worker::{self, Lines, Order, Worker},
};

/// Bounds of a master; the defaults suit a server in production.
#[derive(Clone, Debug)]
pub struct MasterConfig {
    /// How long a graceful stop may take before what is left is killed. 30 s:
    /// what Kubernetes and most service managers wait for.
    pub graceful_timeout: Duration,
    /// How long a fast stop may take before what is left is killed. 2 s.
    pub fast_timeout: Duration,
    /// How long a worker may take to say that it is ready. 60 s.
    pub ready_timeout: Duration,
    /// Delay before the first restart of a worker that died early; it doubles
    /// with each early death in a row. 100 ms.
    pub restart_delay_min: Duration,
    /// The longest delay. 30 s.
    pub restart_delay_max: Duration,
    /// A worker that served for this long did not die early and is replaced at
    /// once. 1 s.
    pub stable_after: Duration,
    /// Early deaths in a row after which a worker is reported as failing. 5.
    pub failing_after: u32,
    /// Before all workers were ready for the first time: after this many starts
    /// of one worker that failed in a row the master gives up. 3.
    pub start_failures_max: u32,
}

/// The parent of all workers.
#[derive(Debug)]
pub struct Master {
    config: MasterConfig,
    groups: Vec<Group>,
    board: Option<Scoreboard>,
    on_ready: Option<OnReady>,
}

/// Called once, when all workers are ready.
struct OnReady(Box<dyn FnOnce()>);

/// A master that runs.
struct Crew {
    config: MasterConfig,
    groups: Vec<Group>,
    on_ready: Option<OnReady>,
    seats: Vec<Seat>,
    /// Where this process's signals arrive as bytes.
    signals: OwnedFd,
    phase: Phase,
    /// All workers were ready at the same time, once.
    announced: bool,
    exit_code: u8,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Serve,
    /// The groups above `group` are gone, `group` was told, the rest follow.
    Graceful {
        until: Instant,
        group: usize,
    },
    Fast {
        until: Instant,
    },
}

impl Default for MasterConfig {
    fn default() -> Self {
        Self {
            graceful_timeout: Duration::from_secs(30),
            fast_timeout: Duration::from_secs(2),
            ready_timeout: Duration::from_secs(60),
            restart_delay_min: Duration::from_millis(100),
            restart_delay_max: Duration::from_secs(30),
            stable_after: Duration::from_secs(1),
            failing_after: 5,
            start_failures_max: 3,
        }
    }
}

impl Master {
    /// A master without workers.
    pub fn new(config: MasterConfig) -> Self {
        Self { config, groups: Vec::new(), board: None, on_ready: None }
    }

    /// Adds workers. See [`Group`] for the order in which groups start and stop.
    #[must_use]
    pub fn group(mut self, group: Group) -> Self {
        self.groups.push(group);
        self
    }

    /// Uses this board, which must come from [`Scoreboard::new`] and have a slot
    /// for every worker; without it the master makes one that fits.
    #[must_use]
    pub fn scoreboard(mut self, board: Scoreboard) -> Self {
        self.board = Some(board);
        self
    }

    /// Has `hook` called in the master, once, as soon as all workers are ready.
    #[must_use]
    pub fn on_ready(mut self, hook: impl FnOnce() + 'static) -> Self {
        self.on_ready = Some(OnReady(Box::new(hook)));
        self
    }

    /// Starts the workers and looks after them until they are all gone.
    ///
    /// TERM and QUIT stop gracefully, a second one or INT stops fast, and one
    /// more kills. The answer is 0 after an ordered stop, whatever the workers
    /// did about it, and 1 when the master gave up starting them.
    ///
    /// In the workers this function never returns.
    ///
    /// # Errors
    /// Nothing was started: [`Error::NoWorkers`], [`Error::Threads`],
    /// [`Error::SignalsTaken`], [`Error::Slots`], [`Error::Scoreboard`],
    /// [`Error::System`]. Once there are workers, only poll(2) or wait(2) failing
    /// for no reason ends it with an error.
    pub fn run(self) -> Result<ExitCode, Error> {
        let workers: usize = self.groups.iter().map(|group| group.count).sum();
        if workers == 0 {
            return Err(Error::NoWorkers);
        }
        let threads = sys::threads()?;
        if threads != 1 {
            return Err(Error::Threads { threads });
        }
        let board = match self.board {
            Some(board) if board.len() < workers => {
                return Err(Error::Slots { slots: board.len(), workers });
            }
            Some(board) => board,
            None => Scoreboard::new(workers)?,
        };
        let (signals, pipe) = worker::pipe()?;
        let _caught = sys::Caught::new(pipe, &[Signal::TERM, Signal::QUIT, Signal::INT, Signal::CHILD])?;
        let seats = seats(&self.groups, board, &self.config);
        let crew = Crew {
            config: self.config,
            groups: self.groups,
            on_ready: self.on_ready,
            seats,
            signals,
            phase: Phase::Serve,
            announced: false,
            exit_code: 0,
        };
        crew.run()
    }
}

/// One seat per worker, all due now.
fn seats(groups: &[Group], board: Scoreboard, config: &MasterConfig) -> Vec<Seat> {
    let places =
        groups.iter().enumerate().flat_map(|(group, of)| (0..of.count).map(move |index| (group, index)));
    places
        .enumerate()
        .map(|(slot_index, (group, index))| Seat {
            group,
            index,
            slot_index,
            slot: board.slot(slot_index),
            process: None,
            start_at: Some(Instant::now()),
            backoff: Backoff::new(config.restart_delay_min, config.restart_delay_max),
            failed_starts: 0,
        })
        .collect()
}

impl Crew {
    fn run(mut self) -> Result<ExitCode, Error> {
        loop {
            self.start_due();
            if self.phase != Phase::Serve && self.seats.iter().all(|seat| seat.process.is_none()) {
                tracing::info!(target: "supervisor", "all workers are gone");
                return Ok(ExitCode::from(self.exit_code));
            }
            self.wait()?;
            // Signals first: a worker that went because the service manager
            // told it and us to stop must not be replaced.
            self.take_signals();
            self.take_ready();
            self.reap()?;
            self.enforce();
        }
    }

    /// Starts the workers whose time has come.
    fn start_due(&mut self) {
        let now = Instant::now();
        for number in 0..self.seats.len() {
            if self.phase == Phase::Serve && self.seats[number].start_at.is_some_and(|at| at <= now) {
                self.seats[number].start_at = None;
                if let Err(error) = self.start(number) {
                    tracing::error!(target: "supervisor", slot = number, "cannot start a worker: {error}");
                    self.seats[number].slot.vacate();
                    self.plan_restart(number, false, &error.to_string());
                }
            }
        }
    }

    fn start(&mut self, number: usize) -> Result<(), Error> {
        let Lines { orders: (orders, sender), ready: (ready, ready_said) } = Lines::new()?;
        // The child has two ends of its own to write orders to: one for its
        // signal handler, one for its own threads.
        let duplicate = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, 0).map_err(Error::system("dup"));
        let (for_handler, for_worker) = (duplicate(&sender)?, duplicate(&sender)?);
        match sys::fork(for_handler, self.config.graceful_timeout)? {
            Forked::Parent(pid) => {
                let seat = &mut self.seats[number];
                tracing::debug!(target: "supervisor", group = self.groups[seat.group].name, slot = number, %pid, "started");
                seat.process = Some(Process::new(pid, sender, ready));
                Ok(())
            }
            Forked::Child => {
                drop((sender, ready));
                self.become_worker(number, (orders, for_worker, ready_said))
            }
        }
    }

    /// The rest of a worker's life. Runs in the child.
    fn become_worker(&mut self, number: usize, lines: (OwnedFd, OwnedFd, OwnedFd)) -> ! {
        // The other workers' lines are the master's business. A copy kept here
        // would also keep a pipe open whose end somebody waits for.
        self.seats.iter_mut().for_each(|seat| seat.process = None);
        if let Ok((nothing, _)) = worker::pipe() {
            self.signals = nothing;
        }
        let seat = &self.seats[number];
        let group = &self.groups[seat.group];
        let worker = Worker::forked(&group.name, seat.index, (seat.slot_index, seat.slot), GENERATION, lines);
        let code = match catch_unwind(AssertUnwindSafe(|| (group.run)(&worker))) {
            Ok(ExitReason::Done) => 0,
            Ok(ExitReason::Failed(reason)) => {
                tracing::error!(target: "supervisor", group = group.name, slot = number, "worker failed: {reason}");
                1
            }
            // The panic hook has printed where. 101 is what a panic in main gives.
            Err(_) => 101,
        };
        sys::exit(code)
    }

    /// Waits until there is something to do.
    fn wait(&self) -> Result<(), Error> {
        let ready_pipes = self.seats.iter().filter_map(|seat| seat.process.as_ref()?.ready.as_ref());
        let mut fds: Vec<PollFd<'_>> = std::iter::once(&self.signals)
            .chain(ready_pipes)
            .map(|fd| PollFd::new(fd, PollFlags::IN))
            .collect();
        let left = self.next_deadline().map(|at| at.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(Error::system("poll")(errno)),
        }
    }

    /// When the next timer runs out, if there is one.
    fn next_deadline(&self) -> Option<Instant> {
        let starts = self.seats.iter().filter_map(|seat| seat.start_at);
        let living = || self.seats.iter().filter_map(|seat| seat.process.as_ref()).filter(|p| !p.killed);
        let readies = living().filter(|process| process.ready_at.is_none());
        let readies = readies.map(|process| process.started + self.config.ready_timeout);
        let phase = match self.phase {
            Phase::Serve => None,
            Phase::Graceful { until, .. } | Phase::Fast { until } => living().next().map(|_| until),
        };
        starts.chain(readies).chain(phase).min()
    }

    fn take_signals(&mut self) {
        let mut bytes = [0; 64];
        while let Ok(count @ 1..) = rustix::io::read(&self.signals, &mut bytes) {
            for &byte in &bytes[..count] {
                match Signal::from_named_raw(byte.into()) {
                    Some(Signal::TERM | Signal::QUIT) if self.phase == Phase::Serve => self.stop_gracefully(),
                    Some(Signal::TERM | Signal::QUIT | Signal::INT) => self.stop_fast(),
                    // SIGCHLD only wakes the loop: signals of one kind merge, so
                    // the number that arrives says nothing (signal(7)).
                    _ => {}
                }
            }
        }
    }

    fn take_ready(&mut self) {
        for seat in &mut self.seats {
            if seat.process.as_mut().is_some_and(Process::take_ready) {
                seat.failed_starts = 0;
                let group = &self.groups[seat.group].name;
                tracing::debug!(target: "supervisor", group, slot = seat.slot_index, "worker is ready");
            }
        }
        if !self.announced && self.phase == Phase::Serve && self.seats.iter().all(Seat::is_ready) {
            self.announced = true;
            tracing::info!(target: "supervisor", workers = self.seats.len(), "ready");
            if let Some(OnReady(hook)) = self.on_ready.take() {
                hook();
            }
        }
    }

    /// Takes every child that has ended; also strangers', because as process 1
    /// of a container the master inherits them.
    fn reap(&mut self) -> Result<(), Error> {
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
        let has_it = |seat: &Seat| seat.process.as_ref().is_some_and(|process| process.pid == pid);
        let Some(number) = self.seats.iter().position(has_it) else { return };
        let seat = &mut self.seats[number];
        let mut process = seat.process.take().expect("the seat was found by its process");
        // It may have become ready after the last look.
        if process.take_ready() {
            seat.failed_starts = 0;
        }
        seat.slot.vacate();
        let now = Instant::now();
        let (group, slot, why) = (&self.groups[seat.group].name, seat.slot_index, how(status));
        if self.phase != Phase::Serve {
            tracing::info!(target: "supervisor", group, slot, %pid, "worker ended: {why}");
            return;
        }
        let was_ready = process.ready_at.is_some();
        let lived_ms = u64::try_from(now.duration_since(process.started).as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(target: "supervisor", group, slot, %pid, lived_ms, was_ready, "worker died: {why}");
        if Seat::was_stable(&process, now, self.config.stable_after) {
            seat.backoff.reset();
            seat.start_at = Some(now);
        } else {
            self.plan_restart(number, was_ready, &why);
        }
    }

    /// A worker died early, for the reason in `why`: starts it again later, or
    /// gives up.
    fn plan_restart(&mut self, number: usize, was_ready: bool, why: &str) {
        let seat = &mut self.seats[number];
        let (group, slot) = (&self.groups[seat.group].name, seat.slot_index);
        if !was_ready {
            seat.failed_starts += 1;
        }
        if !self.announced && seat.failed_starts >= self.config.start_failures_max {
            let starts = seat.failed_starts;
            tracing::error!(target: "supervisor", group, slot, "giving up: worker failed to start {starts} times in a row, last: {why}");
            self.exit_code = 1;
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

    fn stop_gracefully(&mut self) {
        let until = Instant::now() + self.config.graceful_timeout;
        tracing::info!(target: "supervisor", bound_ms = self.config.graceful_timeout.as_millis(), "stopping gracefully");
        self.seats.iter_mut().for_each(|seat| seat.start_at = None);
        let group = self.groups.len() - 1;
        self.phase = Phase::Graceful { until, group };
        self.order(Order::Graceful, Some(group));
    }

    /// The second call kills at once.
    fn stop_fast(&mut self) {
        let again = matches!(self.phase, Phase::Fast { .. });
        let now = Instant::now();
        tracing::info!(target: "supervisor", "{}", if again { "killing all workers" } else { "stopping fast" });
        self.seats.iter_mut().for_each(|seat| seat.start_at = None);
        self.phase = Phase::Fast { until: if again { now } else { now + self.config.fast_timeout } };
        self.order(Order::Fast, None);
    }

    /// Orders the workers of one group, or all, to stop.
    fn order(&mut self, order: Order, only: Option<usize>) {
        for seat in self.seats.iter().filter(|seat| only.is_none_or(|group| seat.group == group)) {
            if let Some(process) = &seat.process {
                process.order(order);
                seat.slot.set_state(State::Draining);
            }
        }
    }

    /// Does what time demands: next stage of a stop, and kills.
    fn enforce(&mut self) {
        let now = Instant::now();
        match self.phase {
            Phase::Serve => self.kill_late_starters(now),
            Phase::Graceful { until, .. } | Phase::Fast { until } if now >= until => self.kill_the_rest(),
            Phase::Graceful { until, mut group } => {
                while group > 0 && !self.seats.iter().any(|s| s.group == group && s.process.is_some()) {
                    group -= 1;
                    self.order(Order::Graceful, Some(group));
                }
                self.phase = Phase::Graceful { until, group };
            }
            Phase::Fast { .. } => {}
        }
    }

    fn kill_the_rest(&mut self) {
        for seat in &mut self.seats {
            if let Some(process) = seat.process.as_mut().filter(|process| !process.killed) {
                let (group, pid) = (&self.groups[seat.group].name, process.pid);
                tracing::warn!(target: "supervisor", group, slot = seat.slot_index, %pid, "worker did not stop in time, killing it");
                process.kill();
            }
        }
    }

    fn kill_late_starters(&mut self, now: Instant) {
        for seat in &mut self.seats {
            let late = |process: &&mut Process| {
                process.ready_at.is_none()
                    && !process.killed
                    && now >= process.started + self.config.ready_timeout
            };
            if let Some(process) = seat.process.as_mut().filter(late) {
                let (group, pid) = (&self.groups[seat.group].name, process.pid);
                tracing::error!(target: "supervisor", group, slot = seat.slot_index, %pid, "worker was not ready in time, killing it");
                process.kill();
            }
        }
    }
}

/// The generation of every worker. A reload makes a new one, and there is none yet.
const GENERATION: u32 = 1;

impl std::fmt::Debug for OnReady {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnReady")
    }
}
