//! From an application and settings to running processes. Runs in the process that becomes the master.

use std::process::ExitCode;
use std::sync::Arc;

use tenfold_scoreboard::{SLOTS_MAX, Scoreboard};
use tenfold_supervisor::{Group, Identity, Listen, ListenSpec, ListenerSet, Master};

use crate::app::{App, Blueprint, BuildError};
use crate::lane::Lane;
use crate::models::Model;
use crate::part::Companions;
use crate::plan::Plan;
use crate::settings::Settings;
use crate::sight::{listener, picture::Picture};

mod site;

use site::Site;

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
    /// TCP and UDP services: name and address as it is bound.
    pub services: Vec<(String, String)>,
}

/// What a reload builds from: called in a child process first, then in the master. See [`serve_with`].
///
/// An application of `None` means that the present one goes on with the new settings.
pub type Again = Box<dyn FnMut() -> Result<(Settings, Option<App>), String>>;

/// Fewest slots: what a reload may ask for beyond the settings of the start.
const SLOTS_MIN: usize = 256;
/// Generations that may live at a time: one serves, one comes, two drain.
const GENERATIONS: usize = 4;

/// Binds, forks and serves until the process is told to stop. A reload starts new workers with the same settings and
/// application.
///
/// `extra` are further groups of processes, which are started before the workers and stopped after them; a reload does not
/// replace them. `on_ready` runs in the master, once all processes are ready.
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
    let same = settings.clone();
    serve_with(app, settings, Box::new(move || Ok((same.clone(), None))), extra, on_ready)
}

/// As [`serve`]; a reload asks `again` what to serve from then on. What it answers is checked as at the start, and what
/// does not come up changes nothing.
///
/// # Errors
/// As [`serve`].
pub fn serve_with(
    mut app: App,
    settings: &Settings,
    again: Again,
    extra: Vec<Group>,
    on_ready: impl FnOnce(&Serving) + 'static,
) -> Result<ExitCode, ServeError> {
    let model = settings.check().map_err(ServeError::Settings)?;
    app.prepare(settings)?;
    let of_parts = app.processes();
    let blueprint = Arc::new(app.build()?);
    let listeners = ListenerSet::inherited()?;
    let slots = slots(model, settings, &blueprint);
    let board = match &settings.scoreboard_file {
        Some(path) => Scoreboard::create_at(path, slots),
        None => Scoreboard::new(slots),
    }
    .map_err(tenfold_supervisor::Error::from)?;
    let mut site = Site::new(blueprint.clone(), again, listeners.clone(), board, settings.clone());
    let (_, plan) = plan(settings, blueprint, &listeners, board)?;
    listeners.open(&plan.listen)?;
    let identity = plan.identity.clone();
    let of_parts_identity = identity.clone();
    raise_descriptors(model, settings);
    crate::panic::install_hook();
    let groups = groups(model, plan).map_err(ServeError::Settings)?;
    site.begin()?;
    let serving = serving(&listeners, model, settings);
    let mut master = Master::new(settings.master())
        .scoreboard(board)
        .source(site)
        .control(settings.control.clone().filter(|path| path != "off").map(Into::into))
        .pid_file(settings.pid_file.clone())
        .version(env!("CARGO_PKG_VERSION"))
        .on_ready(move || on_ready(&serving));
    let picture = Picture { board, settings: settings.clone() };
    if let Some(address) = settings.status.as_deref().and_then(|address| address.parse().ok()) {
        master = master.lasting_group(listener::group(address, picture).identity(identity));
    }
    for group in of_parts {
        master = master.lasting_group(group.identity(of_parts_identity.clone()));
    }
    for group in extra {
        master = master.lasting_group(group);
    }
    for group in groups {
        master = master.group(group);
    }
    Ok(master.run()?)
}

fn serving(listeners: &ListenerSet, model: &dyn Model, settings: &Settings) -> Serving {
    let (mut addresses, mut services) = (Vec::new(), Vec::new());
    for address in listeners.addresses() {
        match address.split_once('=').filter(|(name, _)| ListenSpec::is_name(name)) {
            Some((name, address)) => services.push((name.into(), address.into())),
            None => addresses.push(address),
        }
    }
    Serving { addresses, model: model.name(), workers: settings.workers(), services }
}

/// Where HTTP and the services are served.
fn specs(settings: &Settings, blueprint: &Blueprint) -> Result<Vec<ListenSpec>, String> {
    if settings.listen.is_empty() && blueprint.services().is_empty() {
        return Err("listen: at least one address is needed".into());
    }
    let mut specs = Vec::new();
    for text in &settings.listen {
        let spec: ListenSpec = text.parse().map_err(|error: tenfold_supervisor::Error| error.to_string())?;
        if spec.name().is_some() || matches!(spec, ListenSpec::Udp(_) | ListenSpec::AnyUdp(_)) {
            return Err(format!("listen: {text} is an address for services and not for HTTP"));
        }
        specs.push(spec);
    }
    specs.extend(blueprint.services().addresses(&settings.services)?);
    Ok(specs)
}

/// Checks everything that can be checked before anything is opened.
fn plan(
    settings: &Settings,
    blueprint: Arc<Blueprint>,
    listeners: &ListenerSet,
    board: Scoreboard,
) -> Result<(&'static dyn Model, Plan), ServeError> {
    let model = settings.check().map_err(ServeError::Settings)?;
    for (name, lane) in blueprint.lanes() {
        lane.check(name).map_err(ServeError::Settings)?;
        model
            .place(lane, settings)
            .map_err(|error| ServeError::Settings(format!("lane {name:?}: {error}")))?;
    }
    check_descriptors(model, settings)?;
    let own = model.place(&Lane::default(), settings).map_err(ServeError::Settings)?;
    blueprint.services().check_placement(model.name(), own).map_err(ServeError::Settings)?;
    let specs = specs(settings, &blueprint).map_err(ServeError::Settings)?;
    let identity = Identity::find(settings.user.as_deref(), settings.group.as_deref())
        .map_err(|error| ServeError::Settings(error.to_string()))?;
    let plan = Plan {
        settings: settings.clone(),
        blueprint,
        listeners: listeners.clone(),
        listen: Listen { specs, reuseport: settings.reuseport, workers: settings.workers() },
        identity,
        board: Some(board),
        companions: Companions::new(settings.graceful_timeout()),
    };
    Ok((model, plan))
}

/// The processes of a generation.
fn groups(model: &'static dyn Model, plan: Plan) -> Result<Vec<Group>, String> {
    let plan = Arc::new(plan);
    Ok(plan.groups(model.groups(&plan)?))
}

fn slots(model: &dyn Model, settings: &Settings, blueprint: &Blueprint) -> usize {
    let processes =
        settings.workers() * (1 + model.facts(settings).processes) + blueprint.aside_processes(settings);
    (processes * GENERATIONS).clamp(SLOTS_MIN, SLOTS_MAX)
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
    Ok(())
}

/// The soft limit is often 1,024; the hard one is what the system means.
fn raise_descriptors(model: &dyn Model, settings: &Settings) {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let needed = model.facts(settings).descriptors_max as u64;
    if limit.current.is_some_and(|now| now < needed) {
        let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
        let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, raised);
    }
}
