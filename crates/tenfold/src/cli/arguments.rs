//! The words and options of the command line.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tenfold_server::Settings;

use super::compare::{CompareOptions, PartOptions};
use super::jobs::JobsOptions;
use super::load::LoadOptions;
use super::plan::PlanOptions;
use super::top::TopOptions;
use super::{Error, config, program_name};

/// What the user has asked for.
pub(crate) struct Asked {
    pub(crate) command: Command,
}

/// An answer that is given at once: help, the version, or what is wrong.
#[derive(Debug)]
pub(crate) struct Answer {
    text: String,
    code: u8,
}

#[derive(Parser)]
#[command(version, about = "One handler, every concurrency model.", disable_help_subcommand = true)]
struct Line {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Serve until told to stop: TERM or QUIT finish what is in flight, INT ends at once.
    Serve(ServeOptions),
    /// Print the table of the concurrency models.
    Models,
    /// Validate a configuration file, and start nothing.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Run the same handlers under every model, drive load at them, and show what each costs.
    Compare(Box<CompareOptions>),
    /// What `compare` starts.
    #[command(name = tenfold_compare::part::WORD, hide = true)]
    Part(PartOptions),
    /// Drive load at a server and measure its answers.
    Load(Box<LoadOptions>),
    /// Reckon how many requests fit through, and what that takes.
    Plan(Box<PlanOptions>),
    /// Watch a running server: its workers, where the time goes, and what each request in flight waits for.
    Top(TopOptions),
    /// Look at the jobs of a running server, and step in.
    Jobs(JobsOptions),
    /// Ask or tell a running server.
    #[command(flatten)]
    Ask(Request),
}

/// Which server is meant: without either, the only one of this user.
#[derive(Args, Default, Debug)]
pub(crate) struct Server {
    /// The control socket of the server.
    #[arg(long, value_name = "PATH", global = true)]
    pub(crate) control: Option<PathBuf>,
    /// The configuration file that the server was started with.
    #[arg(long, value_name = "FILE.toml", global = true)]
    pub(crate) config: Option<PathBuf>,
}

/// What is asked of a running server.
#[derive(Subcommand, Debug)]
pub(crate) enum Request {
    /// Show how a running server is.
    Status {
        #[command(flatten)]
        server: Server,
        /// Print all of it, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Start new workers from the configuration, then drain the old ones; nothing changes if they do not come up.
    Reload {
        #[command(flatten)]
        server: Server,
    },
    /// Start the program file again as a new master, which takes over when it serves; nothing changes if it does not.
    Upgrade {
        #[command(flatten)]
        server: Server,
        /// Let both serve until `commit` or `rollback`.
        #[arg(long)]
        hold: bool,
    },
    /// Finish an upgrade that is held.
    Commit {
        #[command(flatten)]
        server: Server,
    },
    /// Undo an upgrade that is not finished.
    Rollback {
        #[command(flatten)]
        server: Server,
    },
    /// Change the number of workers, until the next reload.
    Scale {
        /// Workers.
        count: usize,
        #[command(flatten)]
        server: Server,
    },
    /// End all workers and keep the listeners; `reload` starts new ones.
    Drain {
        #[command(flatten)]
        server: Server,
    },
    /// Open all log files again.
    ReopenLogs {
        #[command(flatten)]
        server: Server,
    },
    /// End the server.
    Stop {
        #[command(flatten)]
        server: Server,
        /// Without waiting for requests in flight.
        #[arg(long)]
        fast: bool,
    },
    /// Log from this level on.
    Log {
        /// The level.
        level: LogLevel,
        #[command(flatten)]
        server: Server,
    },
    /// Do something with one worker.
    Worker {
        #[command(subcommand)]
        what: WorkerRequest,
    },
}

#[derive(Subcommand, Debug)]
pub(crate) enum WorkerRequest {
    /// Kill the worker in a slot; it is replaced.
    Kill {
        /// The slot, as `status` shows it.
        slot: usize,
        #[command(flatten)]
        server: Server,
    },
    /// Tell what the worker in a slot is doing.
    Dump {
        /// The slot, as `status` shows it.
        slot: usize,
        #[command(flatten)]
        server: Server,
    },
}

impl Request {
    /// The server that is meant, and the line of the control protocol.
    pub(crate) fn line(&self) -> (&Server, String) {
        match self {
            Request::Status { server, .. } => (server, "status".into()),
            Request::Reload { server } => (server, "reload".into()),
            Request::Upgrade { server, hold } => {
                (server, if *hold { "upgrade hold" } else { "upgrade" }.into())
            }
            Request::Commit { server } => (server, "commit".into()),
            Request::Rollback { server } => (server, "rollback".into()),
            Request::Scale { count, server } => (server, format!("scale {count}")),
            Request::Drain { server } => (server, "drain".into()),
            Request::ReopenLogs { server } => (server, "reopen-logs".into()),
            Request::Stop { server, fast } => (server, if *fast { "stop fast" } else { "stop" }.into()),
            Request::Log { level, server } => {
                (server, format!("log {}", tenfold_server::supervisor::LogLevel::from(*level)))
            }
            Request::Worker { what: WorkerRequest::Kill { slot, server } } => {
                (server, format!("worker kill {slot}"))
            }
            Request::Worker { what: WorkerRequest::Dump { slot, server } } => {
                (server, format!("worker dump {slot}"))
            }
        }
    }

    pub(crate) fn wants_json(&self) -> bool {
        matches!(self, Request::Status { json: true, .. })
    }
}

impl From<LogLevel> for tenfold_server::supervisor::LogLevel {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Off => Self::Off,
            LogLevel::Error => Self::Error,
            LogLevel::Warn => Self::Warn,
            LogLevel::Info => Self::Info,
            LogLevel::Debug => Self::Debug,
            LogLevel::Trace => Self::Trace,
        }
    }
}

#[derive(Args, Default)]
pub(crate) struct ServeOptions {
    /// How requests run: see `models`.
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Worker processes; one for each core unless given.
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// Threads of a worker that run connections.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Handler threads of a worker, in the model event-pool.
    #[arg(long, value_name = "N")]
    pool_threads: Option<usize>,
    /// Handler processes of a worker, in the model event-worker.
    #[arg(long, value_name = "N")]
    handlers: Option<usize>,
    /// An address to listen on: 127.0.0.1:8080, [::1]:8080, :8080 or unix:/path. May be repeated.
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
    /// What evented models wait with: auto, io_uring or epoll.
    #[arg(long, value_name = "BACKEND")]
    backend: Option<String>,
    /// A configuration file; options of the command line win over it.
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// One line for each request: off, text or json.
    #[arg(long, value_name = "FORMAT")]
    access_log: Option<String>,
    /// A socket for each worker instead of a shared one.
    #[arg(long)]
    reuseport: bool,
    /// The control socket: a path, or `off`.
    #[arg(long, value_name = "PATH")]
    control: Option<String>,
    /// Where to write the master's process id.
    #[arg(long, value_name = "PATH")]
    pid_file: Option<PathBuf>,
    /// The file in which jobs are kept, or the address of an engine: redis://HOST:PORT, nats://HOST:PORT.
    #[arg(long, value_name = "FILE")]
    jobs: Option<String>,
    /// Processes that run jobs and serve no request, beside the workers; 0: jobs run in the workers.
    #[arg(long, value_name = "N")]
    job_workers: Option<usize>,
    /// Report whoever holds a loop for longer than this many milliseconds; 0 for never.
    #[arg(long, value_name = "N")]
    watchdog_ms: Option<u64>,
    /// The least severe messages to log.
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = LogLevel::Info)]
    pub(crate) log: LogLevel,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    Off,
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl Asked {
    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Asked, Answer> {
        let line = Line::try_parse_from(arguments).map_err(Answer::from)?;
        // An application that is started without a word is meant to serve.
        Ok(Asked { command: line.command.unwrap_or_else(|| Command::Serve(ServeOptions::default())) })
    }
}

impl ServeOptions {
    /// The file's settings, or the defaults, with what the command line says on top.
    pub(crate) fn settings(&self) -> Result<Settings, Error> {
        let mut settings = match &self.config {
            Some(file) => config::load(file)?,
            None => Settings::default(),
        };
        if let Some(model) = &self.model {
            settings.model.clone_from(model);
        }
        if !self.listen.is_empty() {
            settings.listen.clone_from(&self.listen);
        }
        settings.workers = self.workers.or(settings.workers);
        settings.threads = self.threads.or(settings.threads);
        settings.pool_threads = self.pool_threads.or(settings.pool_threads);
        settings.handlers = self.handlers.or(settings.handlers);
        settings.backend = self.backend.clone().or(settings.backend);
        settings.watchdog_ms = self.watchdog_ms.unwrap_or(settings.watchdog_ms);
        settings.reuseport |= self.reuseport;
        settings.control = self.control.clone().or(settings.control);
        settings.jobs = self.jobs.clone().or(settings.jobs);
        settings.job_workers = self.job_workers.unwrap_or(settings.job_workers);
        settings.pid_file = self.pid_file.clone().or(settings.pid_file);
        if let Some(access_log) = &self.access_log {
            settings.access_log.clone_from(access_log);
        }
        Ok(settings)
    }
}

impl Answer {
    pub(crate) fn print(self) -> ExitCode {
        // A reader that has gone away is not worth a second error.
        let _ = match self.code {
            0 => std::io::stdout().write_all(self.text.as_bytes()),
            _ => std::io::stderr().write_all(self.text.as_bytes()),
        };
        ExitCode::from(self.code)
    }
}

impl From<clap::Error> for Answer {
    fn from(error: clap::Error) -> Answer {
        let text = error.render().to_string();
        if !error.use_stderr() {
            return Answer { text, code: 0 };
        }
        // The first paragraph says what is wrong; usage and hints follow it and are in `--help`.
        let said: Vec<&str> =
            text.lines().take_while(|line| !line.trim().is_empty()).map(str::trim).collect();
        let said = said.join(" ");
        let said = said.strip_prefix("error: ").unwrap_or(&said);
        Answer { text: format!("{}: {said}\n", program_name()), code: 2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Asked, Answer> {
        Asked::parse(line.split_whitespace().map(OsString::from))
    }

    fn settings(line: &str) -> Settings {
        match parse(line).unwrap().command {
            Command::Serve(options) => options.settings().unwrap(),
            _ => panic!("{line} does not serve"),
        }
    }

    #[test]
    fn the_command_line_wins_over_the_file_and_the_file_over_the_defaults() {
        let file = std::env::temp_dir().join(format!("tenfold-arguments-{}.toml", std::process::id()));
        std::fs::write(&file, "model = 'pool'\nthreads = 7\nworkers = 3\n").unwrap();
        let both =
            settings(&format!("x serve --config {} --threads 9 --listen :1 --listen :2", file.display()));
        std::fs::remove_file(&file).unwrap();
        assert_eq!((both.model.as_str(), both.threads, both.workers), ("pool", Some(9), Some(3)));
        assert_eq!(both.listen, [":1", ":2"]);
        assert_eq!(both.watchdog_ms, Settings::default().watchdog_ms);
    }

    #[test]
    fn no_word_means_serve() {
        assert_eq!(settings("x").model, "fiber");
    }

    #[test]
    fn a_mistake_is_one_line_and_help_is_no_mistake() {
        for wrong in [
            "x serve --modell fiber",
            "x serve --threads many",
            "x nonsense",
            "x check",
            "x serve --log loud",
        ] {
            let answer = parse(wrong).err().expect(wrong);
            assert_eq!((answer.code, answer.text.lines().count()), (2, 1), "{wrong}: {}", answer.text);
            assert!(!answer.text.contains("error:"), "{}", answer.text);
        }
        assert_eq!(parse("x --help").err().unwrap().code, 0);
        assert_eq!(parse("x --version").err().unwrap().code, 0);
    }
}
