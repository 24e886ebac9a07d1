//! The concurrency models: how one worker turns accepted connections into running handlers. One file each.
//!
//! A model's facts (what it needs, what it costs, what it refuses) are in its file and come out through [`Model`]; nothing
//! else asks which model it is.

use std::sync::Arc;

use tenfold_scoreboard::Slot;
use tenfold_supervisor::{ExitReason, Group, Worker};

use crate::guard::Overrun;
use crate::lane::{Lane, Placement};
use crate::plan::Plan;
use crate::settings::Settings;

mod serial;

mod pool;
mod thread;

mod event;
mod event_pool;
mod fiber;
mod steal;

mod event_worker;

mod loops;

/// What a model takes from the machine for given settings, in one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Whether idle connections cost neither a stack nor a thread.
    pub evented: bool,
    /// Most threads of a worker process.
    pub threads_max: usize,
    /// Further processes of each worker.
    pub processes: usize,
    /// Most requests that a worker runs at the same time; `None` for as many as there are connections.
    pub at_once: Option<usize>,
    /// Most descriptors of a worker process.
    pub descriptors_max: usize,
    /// Whether handlers of one worker run at the same time on several threads.
    pub parallel_handlers: bool,
    /// What becomes of the process of a handler that is past its hard deadline, where the model itself runs it.
    pub overrun: Overrun,
}

/// One concurrency model.
pub trait Model: Sync {
    /// The word that chooses it.
    fn name(&self) -> &'static str;

    /// How it works, as a line of the table of models: connection layer, handler layer.
    fn layers(&self) -> (&'static str, &'static str);

    /// Systems that work this way.
    fn known_from(&self) -> &'static str;

    /// What it takes.
    fn facts(&self, settings: &Settings) -> Facts;

    /// What its soft deadlines do not reach, as a line for a person: everything else that waits is cancelled.
    fn cannot_cancel(&self) -> &'static str;

    /// Refuses settings that it cannot honour.
    ///
    /// # Errors
    /// One line for a person.
    fn check(&self, settings: &Settings) -> Result<(), String>;

    /// Where a lane's handlers run under this model.
    ///
    /// # Errors
    /// One line, when the lane asks for what the model has not.
    fn place(&self, lane: &Lane, settings: &Settings) -> Result<Placement, String>;

    /// The processes that serve. Called in the master, before it forks.
    ///
    /// # Errors
    /// One line.
    fn groups(&'static self, plan: &Arc<Plan>) -> Result<Vec<Group>, String> {
        let for_run = plan.clone();
        Ok(vec![plan.group(self.is_spare(), move |worker| self.run(worker, &for_run))])
    }

    /// What tells from its slot whether a worker has room for more work, for spawning by need.
    fn is_spare(&self) -> fn(&Slot) -> bool {
        // A loop takes any number of connections; what it lacks room for is running requests.
        |slot| slot.fibers_in_use.get() == 0
    }

    /// Serves until the worker is ordered to stop. Called in the worker.
    fn run(&self, worker: &Worker, plan: &Plan) -> ExitReason;
}

/// All models, in the order of the table.
pub static MODELS: [&dyn Model; 8] = [
    &serial::Serial,
    &thread::Thread,
    &pool::Pool,
    &event::Event,
    &event_pool::EventPool,
    &event_worker::EventWorker,
    &fiber::Fiber,
    &steal::Steal,
];

/// Finds a model by its name.
///
/// # Errors
/// One line with the names that there are.
pub fn find(name: &str) -> Result<&'static dyn Model, String> {
    MODELS.into_iter().find(|model| model.name() == name).ok_or_else(|| {
        let names: Vec<_> = MODELS.iter().map(|model| model.name()).collect();
        format!("unknown model {name:?}: expected one of {}", names.join(", "))
    })
}

/// The placements of the models whose connections have threads of their own.
pub(crate) fn place_on_threads(model: &str, lane: &Lane) -> Result<Placement, String> {
    match lane.placement() {
        // A pool's number bounds how many run at once; the connection's thread is there anyway.
        Placement::Model | Placement::Pool(_) => Ok(Placement::Model),
        Placement::Inline | Placement::Fiber => {
            Err(format!("the model {model} has no event loop: a lane cannot ask for inline or fiber"))
        }
        Placement::Worker(_) => {
            Err(format!("the model {model} has no handler processes: only event-worker has"))
        }
    }
}

/// The placements of the evented models; `own` is where the model itself runs handlers.
pub(crate) fn place_on_loops(model: &str, lane: &Lane, own: Placement) -> Result<Placement, String> {
    match lane.placement() {
        Placement::Model => Ok(own),
        Placement::Worker(_) if !matches!(own, Placement::Worker(_)) => {
            Err(format!("the model {model} has no handler processes: only event-worker has"))
        }
        other => Ok(other),
    }
}
