//! From an application and settings to running processes. Runs in the process that becomes the master.

use std::process::ExitCode;
use std::sync::Arc;

use tenfold_scoreboard::Scoreboard;
use tenfold_supervisor::{Bound, Group, ListenSpec, Master, MasterConfig};

use crate::app::{App, BuildError};
use crate::models::Model;
use crate::plan::Plan;
use crate::settings::Settings;

/// Why nothing was served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The settings cannot be: exit code 2.
    #[error("{0}")]
    Settings(String),
    /// The application cannot be built: exit code 2.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The system refused: exit code 1.
    #[error(transparent)]
    System(#[from] tenfold_supervisor::Error),
}

/// What is served, for a banner.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Serving {
    /// The addresses as they are bound.
    pub addresses: Vec<String>,
    /// The model's name.
    pub model: &'static str,
    /// Worker processes.
    pub workers: usize,
}

/// Slots for groups that the caller adds.
const EXTRA_SLOTS: usize = 16;

/// Binds, forks and serves until the process is told to stop.
///
/// `extra` are further groups of processes, which are started before the workers and stopped after them. `on_ready` runs
/// in the master, once all processes are ready.
///
/// # Errors
/// Before anything was started; afterwards the exit code tells: 0 after an ordered stop, 1 when the workers could not
/// start.
pub fn serve(
    app: App,
    settings: &Settings,
    extra: Vec<Group>,
    on_ready: impl FnOnce(&Serving) + 'static,
) -> Result<ExitCode, ServeError> {
    let model = settings.check().map_err(ServeError::Settings)?;
    let blueprint = app.build()?;
    for (name, lane) in blueprint.lanes() {
        lane.check(name).map_err(ServeError::Settings)?;
        model
            .place(lane, settings)
            .map_err(|error| ServeError::Settings(format!("lane {name:?}: {error}")))?;
    }
    check_descriptors(model, settings)?;
    let listeners = bind(settings)?;
    crate::panic::install_hook();
    let board = Scoreboard::new(slots(model, settings)).map_err(tenfold_supervisor::Error::from)?;
    let plan = Arc::new(Plan { settings: settings.clone(), blueprint, listeners, board: Some(board) });
    let serving = Serving {
        addresses: plan.listeners.iter().map(|bound| bound.address().to_owned()).collect(),
        model: model.name(),
        workers: settings.workers(),
    };
    let config = MasterConfig { graceful_timeout: settings.graceful_timeout(), ..MasterConfig::default() };
    let mut master = Master::new(config).scoreboard(board).on_ready(move || on_ready(&serving));
    for group in extra {
        master = master.group(group);
    }
    for group in model.groups(&plan).map_err(ServeError::Settings)? {
        master = master.group(group);
    }
    Ok(master.run()?)
}

fn bind(settings: &Settings) -> Result<Vec<Bound>, ServeError> {
    let specs: Vec<ListenSpec> = settings
        .listen
        .iter()
        .map(|address| address.parse())
        .collect::<Result<_, tenfold_supervisor::Error>>()
        .map_err(|error| ServeError::Settings(error.to_string()))?;
    Ok(specs.iter().map(Bound::bind).collect::<Result<_, _>>()?)
}

fn slots(model: &dyn Model, settings: &Settings) -> usize {
    let facts = model.facts(settings);
    settings.workers() * (1 + facts.processes.max(64)) + EXTRA_SLOTS
}

/// A worker that may run out of descriptors is a mistake of the settings, and better said now.
fn check_descriptors(model: &dyn Model, settings: &Settings) -> Result<(), ServeError> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let needed = model.facts(settings).descriptors_max as u64;
    if limit.maximum.is_some_and(|most| most < needed) {
        return Err(ServeError::Settings(format!(
            "limits.connections_max = {}: the model {} then needs up to {needed} descriptors in a process, and the \
             system allows {}",
            settings.limits.connections_max,
            model.name(),
            limit.maximum.unwrap_or(0),
        )));
    }
    // The soft limit is often 1,024; the hard one is what the system means.
    if limit.current.is_some_and(|now| now < needed) {
        let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
        let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, raised);
    }
    Ok(())
}
