//! `Crew`: a master that runs: its loop, its signals, and what it keeps.
//!
//! Everything waits in one poll(2): signals, what workers report, the control socket, the link of an upgrade, and, when
//! there are no workers, the listeners. All else is in the files below, by what happens:
//!
//! ```text
//!   crew/lives.rs      workers start, are ready, die, start again
//!   crew/reload.rs     trial, new generation, old one drains
//!   crew/scale.rs      more and fewer workers, recycling
//!   crew/upgrade.rs    a new program, both sides
//!   crew/stop.rs       drain, graceful, fast
//!   crew/commands.rs   the control socket's requests
//!   crew/status.rs     how everything is
//!   crew/wall_clock.rs somebody has set the clock
//! ```

mod commands;
mod lives;
mod reload;
mod scale;
mod status;
mod stop;
mod upgrade;
mod wall_clock;

use std::{
    collections::BTreeMap,
    io::IsTerminal,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant, SystemTime},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::Signal,
};

use tenfold_scoreboard::Scoreboard;

use crate::{
    control::{ClientId, Control},
    error::Error,
    generation::{Generation, Phase},
    group::Group,
    master::MasterConfig,
    notify,
    pidfile::PidFile,
    source::Source,
    sys,
    takeover::{self, Link},
    worker,
};

use self::{
    commands::Waiting,
    reload::{LastChange, Reload},
    stop::Stop,
    upgrade::Upgrade,
    wall_clock::WallClock,
};

/// What a master has beside its workers.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) source: Option<Box<dyn Source>>,
    pub(crate) on_ready: Option<Box<dyn FnOnce()>>,
    pub(crate) control: Option<PathBuf>,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) version: String,
    /// What an upgrade executes.
    pub(crate) program: Option<PathBuf>,
}

pub(crate) struct Crew {
    config: MasterConfig,
    options: Options,
    board: Scoreboard,
    /// The oldest first. The one that lasts is the first, if there is one.
    generations: Vec<Generation>,
    last_number: u32,
    /// Where this process's signals arrive as bytes.
    signals: OwnedFd,
    _caught: sys::Caught,
    control: Option<Control>,
    pid_file: Option<PidFile>,
    /// Clients that wait for what workers say.
    waiting: Vec<Waiting>,
    reload: Option<Reload>,
    /// Asked for while one was under way: done after it.
    next_reload: Option<reload::Request>,
    last_reload: Option<LastChange>,
    upgrade: Option<Upgrade>,
    last_upgrade: Option<LastChange>,
    /// The old master that waits for this one.
    predecessor: Option<Link>,
    stop: Stop,
    /// The workers were told to end, and the listeners are kept.
    drained: bool,
    /// All workers were ready at the same time, once.
    announced: bool,
    exit_code: u8,
    started: Instant,
    started_at: SystemTime,
    wall_clock: WallClock,
    next_tick: Instant,
    ticks: u64,
    /// Workers to start at a time when spares are short; doubles while they are.
    burst: usize,
    /// When a listener is looked at again after a worker was started for it.
    demand_not_before: Instant,
    /// Restarts since the start, by reason.
    restarts: BTreeMap<&'static str, u32>,
    /// What workers want to be said in `status`, by its name: as many as there are kinds of workers that do.
    facts: BTreeMap<String, serde_json::Value>,
}

/// How often workers are counted, measured and recycled.
const TICK: Duration = Duration::from_secs(1);

/// What the master listens to.
const SIGNALS: [Signal; 10] = [
    Signal::TERM,
    Signal::QUIT,
    Signal::INT,
    Signal::CHILD,
    Signal::HUP,
    Signal::USR1,
    Signal::USR2,
    Signal::WINCH,
    Signal::TTIN,
    Signal::TTOU,
];

impl Crew {
    pub(crate) fn new(
        config: MasterConfig,
        (lasting, groups): (Vec<Group>, Vec<Group>),
        board: Scoreboard,
        options: Options,
    ) -> Result<Self, Error> {
        let predecessor = takeover::link();
        let (mut control, mut pid_file) = (None, None);
        if predecessor.is_none() {
            // A new master takes these only when it is asked to commit.
            control = options.control.as_deref().map(Control::bind).transpose()?;
            pid_file = options.pid_file.as_deref().map(PidFile::write).transpose()?;
        }
        let (signals, pipe) = worker::pipe()?;
        let caught = sys::Caught::new(pipe, &SIGNALS)?;
        let number = takeover::generation() + 1;
        let mut generations = Vec::new();
        if !lasting.is_empty() {
            generations.push(Generation::new(number, lasting, Phase::Serving, true, &config));
        }
        generations.push(Generation::new(number, groups, Phase::Serving, false, &config));
        let now = Instant::now();
        Ok(Self {
            config,
            options,
            board,
            generations,
            last_number: number,
            signals,
            _caught: caught,
            control,
            pid_file,
            waiting: Vec::new(),
            reload: None,
            next_reload: None,
            last_reload: None,
            upgrade: None,
            last_upgrade: None,
            predecessor,
            stop: Stop::No,
            drained: false,
            announced: false,
            exit_code: 0,
            started: now,
            started_at: SystemTime::now(),
            wall_clock: WallClock::new(),
            next_tick: now + TICK,
            ticks: 0,
            burst: 1,
            demand_not_before: now,
            restarts: BTreeMap::new(),
            facts: BTreeMap::new(),
        })
    }

    pub(crate) fn run(mut self, started: Instant) -> Result<ExitCode, Error> {
        self.started = started;
        loop {
            self.start_due();
            self.announce();
            if self.is_over() {
                tracing::info!(target: "supervisor", "all workers are gone");
                return Ok(ExitCode::from(self.exit_code));
            }
            let demand = self.wait()?;
            self.wall_clock.look();
            // Signals first: a worker that went because the service manager
            // told it and us to stop must not be replaced.
            self.take_signals();
            self.take_reports();
            self.reap()?;
            self.take_commands();
            self.go_on_with_reload();
            self.go_on_with_upgrade();
            if demand {
                self.meet_demand();
            }
            self.tick();
            self.enforce();
        }
    }

    /// Waits until there is something to do. Whether a connection waits that nobody takes.
    fn wait(&mut self) -> Result<bool, Error> {
        let look_at_listeners = self.wants_demand();
        let until = self.next_deadline();
        let reports = self.generations.iter().flat_map(Generation::processes);
        let reports = reports.filter_map(|(_, process)| process.reports.pipe()).map(AsFd::as_fd);
        let links = self.predecessor.iter().map(AsFd::as_fd);
        let links = links
            .chain(self.upgrade.iter().map(Upgrade::fd))
            .chain(self.reload.iter().filter_map(Reload::fd));
        let control = self.control.iter().flat_map(Control::interests);
        let mut fds: Vec<PollFd<'_>> = std::iter::once(self.signals.as_fd())
            .chain(reports)
            .chain(links)
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .chain(control.map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)))
            .collect();
        let count = fds.len();
        let left = until.map(|at| at.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let wait = |fds: &mut Vec<PollFd<'_>>| match poll(fds, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {
                Ok(fds[count..].iter().any(|fd| fd.revents().contains(PollFlags::IN)))
            }
            Err(errno) => Err(Error::system("poll")(errno)),
        };
        match self.options.source.as_deref().and_then(Source::listeners).filter(|_| look_at_listeners) {
            None => wait(&mut fds),
            Some(listeners) => listeners.poll_fds(|listeners| {
                let mut all: Vec<PollFd<'_>> = fds.clone();
                all.extend(listeners.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)));
                wait(&mut all)
            }),
        }
    }

    /// When the next timer runs out, if there is one.
    fn next_deadline(&self) -> Option<Instant> {
        let generations = self
            .generations
            .iter()
            .filter_map(|generation| generation.next_deadline(self.config.ready_timeout));
        let ticks = self.wants_ticks().then_some(self.next_tick);
        let demand = self.is_on_demand().then_some(self.demand_not_before).filter(|at| *at > Instant::now());
        generations
            .chain(ticks)
            .chain(demand)
            .chain(self.stop.next_deadline())
            .chain(self.reload.as_ref().and_then(Reload::next_deadline))
            .chain(self.upgrade.as_ref().and_then(Upgrade::next_deadline))
            .chain(self.control.as_ref().and_then(Control::next_deadline))
            .chain(self.waiting.iter().map(|waiting| waiting.until))
            .chain([self.wall_clock.next_look()])
            .min()
    }

    fn take_signals(&mut self) {
        let mut bytes = [0; 64];
        while let Ok(count @ 1..) = rustix::io::read(&self.signals, &mut bytes) {
            for &byte in &bytes[..count] {
                if let Some(signal) = Signal::from_named_raw(byte.into()) {
                    self.take_signal(signal);
                }
            }
        }
    }

    /// A signal cannot be answered: what comes of it is in the log and in `status`.
    fn take_signal(&mut self, signal: Signal) {
        match signal {
            Signal::TERM | Signal::QUIT if self.stop == Stop::No => self.stop_gracefully(),
            // Somebody has pressed ^C, and can do it again.
            Signal::INT if self.stop == Stop::No && std::io::stdin().is_terminal() => self.stop_gracefully(),
            Signal::TERM | Signal::QUIT | Signal::INT => self.stop_fast(),
            // SIGCHLD only wakes the loop: signals of one kind merge, so
            // the number that arrives says nothing (signal(7)).
            Signal::CHILD => {}
            _ if self.stop != Stop::No => {}
            Signal::HUP => self.request_reload(reload::Request::default()),
            Signal::USR1 => drop(self.reopen_logs()),
            Signal::USR2 => self.request_upgrade(false, None),
            // A terminal sends it to everybody whenever its window changes.
            Signal::WINCH if !std::io::stdin().is_terminal() => drop(self.drain()),
            Signal::TTIN | Signal::TTOU => {
                let now = self.workers_wanted();
                let count = if signal == Signal::TTIN { now + 1 } else { now.saturating_sub(1) };
                self.request_scale(count, None);
            }
            _ => {}
        }
    }

    /// Says once that everything serves.
    fn announce(&mut self) {
        if self.announced || self.stop != Stop::No || !self.generations.iter().all(Generation::is_ready) {
            return;
        }
        self.announced = true;
        let workers: usize = self.generations.iter().map(|generation| generation.seats.len()).sum();
        tracing::info!(target: "supervisor", workers, "ready");
        if let Some(source) = &mut self.options.source {
            source.committed();
        }
        match &mut self.predecessor {
            Some(old) => old.say("ready"),
            None => {
                if let Some(listeners) = self.options.source.as_deref().and_then(Source::listeners) {
                    listeners.own_files(true);
                }
                notify::ready(std::process::id());
            }
        }
        if let Some(hook) = self.options.on_ready.take() {
            hook();
        }
    }

    /// The generation that serves and is replaced by reloads.
    fn current(&self) -> Option<&Generation> {
        self.generations.iter().find(|generation| generation.is_serving() && !generation.lasting)
    }

    fn current_mut(&mut self) -> Option<&mut Generation> {
        self.generations.iter_mut().find(|generation| generation.is_serving() && !generation.lasting)
    }

    fn answer(&mut self, client: Option<ClientId>, outcome: Result<serde_json::Value, String>) {
        if let (Some(id), Some(control)) = (client, &mut self.control) {
            control.answer(id, outcome);
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("control", &self.control).finish_non_exhaustive()
    }
}
