//! The command line, for the `tenfold` binary and for every application that ends in [`Main::main`].
//!
//! What the user says wins over the configuration file, and that over the defaults. Whatever cannot be is one line on
//! standard error and exit code 2, before anything is bound or forked; a system that refuses is exit code 1.

mod arguments;
mod banner;
mod compare;
mod config;
mod control;
mod jobs;
mod load;
mod log;
mod plan;
mod table;
mod top;

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use tenfold_server::supervisor::{Group, ListenSpec, report_failure};
use tenfold_server::{App, ServeError, Settings};

use self::arguments::{Asked, Command, Request, ServeOptions};

pub use banner::backend_name;

/// What is to be served: an app and what it needs around it.
#[must_use]
pub struct Program {
    app: App,
    extra: Vec<Group>,
    at_end: Option<Box<dyn FnOnce()>>,
}

/// Why a program does not run; one line each.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The command line, the configuration file or the app is wrong: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// The system refused: exit code 1.
    #[error("{0}")]
    System(String),
}

/// Gives an [`App`] a command line.
pub trait Main {
    /// Does what the command line of this process says: `serve` (also without a word), `models`, `check`, `compare`, `load`,
    /// `plan`, and what is asked of a running server: `status`, `top`, `reload`, `upgrade` and
    /// others.
    ///
    /// A reload serves the same app with the configuration file's new settings.
    ///
    /// Returns after an ordered stop. In every other case the process ends here, with exit code 2 for a mistake of the user
    /// and 1 for a failure.
    ///
    /// # Errors
    /// None at present; the signature is that of a `main` function with `?` in it.
    fn main(self) -> tenfold_server::Result<()>;
}

impl Main for App {
    fn main(self) -> tenfold_server::Result<()> {
        let mut app = Some(self);
        let code = run_with(Box::new(move |_| Ok(app.take().map(Program::new))));
        match code == ExitCode::SUCCESS {
            true => Ok(()),
            false => std::process::exit(if code == ExitCode::from(2) { 2 } else { 1 }),
        }
    }
}

impl Program {
    /// An app that needs nothing else.
    pub fn new(app: App) -> Program {
        Program { app, extra: Vec::new(), at_end: None }
    }

    /// Adds a group of processes of its own; it is started before the workers and stopped after them.
    pub fn group(mut self, group: Group) -> Program {
        self.extra.push(group);
        self
    }

    /// Runs `f` in the master when everything has ended, or could not start.
    pub fn at_end(mut self, f: impl FnOnce() + 'static) -> Program {
        self.at_end = Some(Box::new(f));
        self
    }
}

/// Does what the command line of this process says. `make` is called for `serve` and `check`, in the process that becomes
/// the master: it must start no thread and keep no connection open.
///
/// For a reload it is called again, first in a child process, where it may fail, panic or exit without harm, and then in the
/// master. Groups and what runs at the end count from the first call only: they last as long as the master.
pub fn run(mut make: impl FnMut(&Settings) -> Result<Program, Error> + 'static) -> ExitCode {
    run_with(Box::new(move |settings| make(settings).map(Some)))
}

/// `None` from `make` is "the same app as before".
type Make = Box<dyn FnMut(&Settings) -> Result<Option<Program>, Error>>;

fn run_with(make: Make) -> ExitCode {
    let asked = match Asked::parse(std::env::args_os()) {
        Ok(asked) => asked,
        Err(answer) => return answer.print(),
    };
    let outcome = match asked.command {
        Command::Models => print_models(),
        Command::Check { file } => check(&file, make),
        Command::Compare(options) => compare::run(&options),
        Command::Part(options) => compare::part(&options, make),
        Command::Load(options) => load::run(&options),
        Command::Plan(options) => plan::run(&options),
        Command::Serve(options) => serve(options, make),
        Command::Top(options) => top::run(&options),
        Command::Jobs(options) => jobs::run(&options),
        Command::Ask(request) => ask(&request),
    };
    outcome.unwrap_or_else(|error| {
        // A master that waits for this one to take over is told as well.
        report_failure(&error.to_string());
        // Whoever reads this wants the reason, not where in the program it was found.
        let _ = writeln!(std::io::stderr(), "{}: {error}", program_name());
        ExitCode::from(match error {
            Error::Usage(_) => 2,
            Error::System(_) => 1,
        })
    })
}

fn serve(options: ServeOptions, mut make: Make) -> Result<ExitCode, Error> {
    let mut settings = options.settings()?;
    log::start(options.log.into(), settings.error_log_file.as_deref())?;
    settings.check().map_err(Error::Usage)?;
    let backend = backend_name(&settings)?;
    if settings.control.is_none() {
        let path = control::default_path(&settings);
        settings.control = Some(path.map_or_else(|| "off".into(), |path| path.display().to_string()));
    }
    let Program { app, extra, at_end } =
        make(&settings)?.ok_or_else(|| Error::System("there is no app".into()))?;
    let _at_end = AtEnd(at_end);
    let shown = settings.clone();
    let again = move || {
        let settings = options.settings().map_err(|error| error.to_string())?;
        settings.check()?;
        backend_name(&settings).map_err(|error| error.to_string())?;
        let program = make(&settings).map_err(|error| error.to_string())?;
        Ok((settings, program.map(|program| program.app)))
    };
    let code = tenfold_server::serve_with(app, &settings, Box::new(again), extra, move |serving| {
        banner::print(&shown, serving, backend);
    })?;
    Ok(code)
}

fn check(file: &std::path::Path, mut make: Make) -> Result<ExitCode, Error> {
    let settings = config::load(file)?;
    settings.check().map_err(Error::Usage)?;
    for address in &settings.listen {
        address.parse::<ListenSpec>().map_err(|error| Error::Usage(error.to_string()))?;
    }
    let Program { mut app, at_end, .. } =
        make(&settings)?.ok_or_else(|| Error::System("there is no app".into()))?;
    let _at_end = AtEnd(at_end);
    app.prepare(&settings).map_err(|error| Error::Usage(error.to_string()))?;
    let blueprint = app.build().map_err(|error| Error::Usage(error.to_string()))?;
    let model = settings.check().map_err(Error::Usage)?;
    for (name, lane) in blueprint.lanes() {
        model.place(lane, &settings).map_err(|error| Error::Usage(format!("lane {name:?}: {error}")))?;
    }
    print(&format!("{}: ok (model {})\n", file.display(), model.name()))
}

fn ask(request: &Request) -> Result<ExitCode, Error> {
    let (server, line) = request.line();
    let socket = control::find(server.control.as_deref(), server.config.as_deref())?;
    let answer = control::ask(&socket, &line)?;
    print(&if request.wants_json() { format!("{answer}\n") } else { control::text(&answer) })
}

fn print_models() -> Result<ExitCode, Error> {
    print(&table::models())
}

fn print(text: &str) -> Result<ExitCode, Error> {
    match std::io::stdout().write_all(text.as_bytes()) {
        // `tenfold models | head` is no failure.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::System(error.to_string())),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Runs its closure when the master leaves, also early.
struct AtEnd(Option<Box<dyn FnOnce()>>);

impl Drop for AtEnd {
    fn drop(&mut self) {
        if let Some(f) = self.0.take() {
            f();
        }
    }
}

impl From<ServeError> for Error {
    fn from(error: ServeError) -> Error {
        match error {
            ServeError::System(error) => Error::System(error.to_string()),
            other => Error::Usage(other.to_string()),
        }
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("app", &self.app).field("extra", &self.extra).finish_non_exhaustive()
    }
}

/// The name under which the user has called this program.
fn program_name() -> String {
    let first = std::env::args_os().next().unwrap_or_default();
    let name = std::path::Path::new(&first).file_name().map(|name| name.to_string_lossy().into_owned());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "tenfold".into())
}
