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
//!
//! This file is the front: what a caller sets. What runs is in `crew.rs`.

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use tenfold_scoreboard::Scoreboard;

use crate::{
    crew::{Crew, Options},
    error::Error,
    group::Group,
    source::Source,
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
    /// The longest delay of a lasting worker. 1 s: there is one of its kind, and every other worker waits for it, so a rest that
    /// outlives their patience is a fault of its own; and one start a second burns no machine.
    pub lasting_restart_delay_max: Duration,
    /// A worker that served for this long did not die early and is replaced at
    /// once. 1 s.
    pub stable_after: Duration,
    /// Early deaths in a row after which a worker is reported as failing. 5.
    pub failing_after: u32,
    /// Before all workers were ready for the first time: after this many starts
    /// of one worker that failed in a row the master gives up. 3.
    pub start_failures_max: u32,
    /// How long a final stop goes on accepting, while readiness checks are told
    /// "no", before it drains. 0: set it where a load balancer needs time to
    /// notice, as in Kubernetes (5 to 10 s).
    pub drain_delay: Duration,
    /// Generations that may drain at a time. 2; the oldest is cut then, and a
    /// reload waits up to `cut_patience` for it to end by itself first.
    pub draining_max: usize,
    /// See `draining_max`. 5 s.
    pub cut_patience: Duration,
}

/// The parent of all workers.
#[derive(Debug)]
pub struct Master {
    config: MasterConfig,
    groups: Vec<Group>,
    lasting: Vec<Group>,
    board: Option<Scoreboard>,
    options: Options,
}

impl Default for MasterConfig {
    fn default() -> Self {
        Self {
            graceful_timeout: Duration::from_secs(30),
            fast_timeout: Duration::from_secs(2),
            ready_timeout: Duration::from_secs(60),
            restart_delay_min: Duration::from_millis(100),
            restart_delay_max: Duration::from_secs(30),
            lasting_restart_delay_max: Duration::from_secs(1),
            stable_after: Duration::from_secs(1),
            failing_after: 5,
            start_failures_max: 3,
            drain_delay: Duration::ZERO,
            draining_max: 2,
            cut_patience: Duration::from_secs(5),
        }
    }
}

impl Master {
    /// A master without workers.
    pub fn new(config: MasterConfig) -> Self {
        Self {
            config,
            groups: Vec::new(),
            lasting: Vec::new(),
            board: None,
            options: Options { program: std::env::current_exe().ok(), ..Options::default() },
        }
    }

    /// Adds workers. See [`Group`] for the order in which groups start and stop.
    #[must_use]
    pub fn group(mut self, group: Group) -> Self {
        self.groups.push(group);
        self
    }

    /// Adds workers that live as long as the master: a reload does not replace them. They start before all others and stop
    /// after them. Dead ones are started again after [`MasterConfig::lasting_restart_delay_max`] at the latest.
    #[must_use]
    pub fn lasting_group(mut self, group: Group) -> Self {
        self.lasting.push(group);
        self
    }

    /// Uses this board, which must come from [`Scoreboard::new`] and have a slot
    /// for every worker; without it the master makes one that fits. Reloads
    /// need free slots for a second generation.
    #[must_use]
    pub fn scoreboard(mut self, board: Scoreboard) -> Self {
        self.board = Some(board);
        self
    }

    /// Where a reload gets its generation from; without it there is none.
    #[must_use]
    pub fn source(mut self, source: impl Source + 'static) -> Self {
        self.options.source = Some(Box::new(source));
        self
    }

    /// Listens for commands on a socket file, which gets mode 0600.
    #[must_use]
    pub fn control(mut self, path: Option<PathBuf>) -> Self {
        self.options.control = path;
        self
    }

    /// Writes the master's number to a file.
    #[must_use]
    pub fn pid_file(mut self, path: Option<PathBuf>) -> Self {
        self.options.pid_file = path;
        self
    }

    /// What `status` says about the program.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.options.version = version.into();
        self
    }

    /// Has `hook` called in the master, once, as soon as all workers are ready.
    #[must_use]
    pub fn on_ready(mut self, hook: impl FnOnce() + 'static) -> Self {
        self.options.on_ready = Some(Box::new(hook));
        self
    }

    /// Starts the workers and looks after them until they are all gone.
    ///
    /// TERM and QUIT stop gracefully, a second one or INT stops fast, and one
    /// more kills. HUP reloads, USR1 opens the logs again, USR2 upgrades the
    /// program, WINCH ends the workers and keeps the listeners (ignored on a
    /// terminal, which sends it when its size changes), TTIN and TTOU start and
    /// end one worker. The answer is 0 after an ordered stop, whatever the
    /// workers did about it, and 1 when the master gave up starting them.
    ///
    /// In the workers this function never returns.
    ///
    /// # Errors
    /// Nothing was started: [`Error::NoWorkers`], [`Error::Threads`],
    /// [`Error::SignalsTaken`], [`Error::Slots`], [`Error::Scoreboard`],
    /// [`Error::Control`], [`Error::PidFile`], [`Error::System`]. Once there are
    /// workers, only poll(2) or wait(2) failing for no reason ends it with an
    /// error.
    pub fn run(self) -> Result<ExitCode, Error> {
        let workers: usize = self.groups.iter().chain(&self.lasting).map(|group| group.count).sum();
        if workers == 0 {
            return Err(Error::NoWorkers);
        }
        let threads = crate::sys::threads()?;
        if threads != 1 {
            return Err(Error::Threads { threads });
        }
        let board = match self.board {
            Some(board) if board.len() < workers => {
                return Err(Error::Slots { slots: board.len(), workers });
            }
            Some(board) => board,
            None => Scoreboard::new((workers * 4 + 16).min(tenfold_scoreboard::SLOTS_MAX))?,
        };
        Crew::new(self.config, (self.lasting, self.groups), board, self.options)?.run(Instant::now())
    }
}
