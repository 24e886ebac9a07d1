//! What the master prepares and every worker inherits: settings, the built application, bound listeners.

use std::sync::Arc;

use tenfold_runtime::ProcessShare;
use tenfold_scoreboard::{Scoreboard, Slot};
use tenfold_supervisor::{ExitReason, Group, Identity, Listen, ListenerSet, Worker};

use crate::app::Blueprint;
use crate::aside::Aside;
use crate::part::Companions;
use crate::services::Listening;
use crate::settings::Settings;
use crate::sight::title;

/// Made in the master for each generation; cheap to have and safe to fork.
#[derive(Debug)]
pub struct Plan {
    /// Checked settings.
    pub settings: Settings,
    pub(crate) blueprint: Arc<Blueprint>,
    /// All sockets of the master; `listen` says which are this generation's.
    pub(crate) listeners: ListenerSet,
    pub(crate) listen: Listen,
    /// Whom workers run as.
    pub(crate) identity: Option<Identity>,
    /// The counters of all processes.
    pub(crate) board: Option<Scoreboard>,
    /// What the worker runs beside its requests.
    pub(crate) companions: Companions,
}

impl Plan {
    /// The worker's listeners as this process's own descriptors, non-blocking. All others are closed in this process: so
    /// an address that nobody listens on any more is really free.
    pub(crate) fn open_listeners(&self, worker: &Worker) -> Result<Listening, String> {
        title::begin(worker);
        let mut listening = Listening::of(worker);
        for (spec, bound) in self.listeners.take(&self.listen, worker.index()) {
            listening
                .add(self.blueprint.services(), &spec, &bound)
                .map_err(|error| format!("cannot use the listener {spec}: {error}"))?;
        }
        Ok(listening)
    }

    /// All processes of a generation, when these are the model's. The workers stay the last of them.
    pub(crate) fn groups(self: &Arc<Self>, model: Vec<Group>) -> Vec<Group> {
        let mut before: usize = model.iter().map(Group::count).sum();
        let processes = before + self.blueprint.aside_processes(&self.settings);
        let aside = |aside: &Aside| {
            let group = aside.group(self, before, processes);
            before += aside.count(&self.settings);
            group
        };
        self.blueprint.asides().iter().map(aside).collect::<Vec<_>>().into_iter().chain(model).collect()
    }

    /// What a process does that runs the app: it takes its part of what is divided over all processes, and ends with its
    /// companions.
    pub(crate) fn process(
        &self,
        share: impl Fn(&Worker) -> ProcessShare + 'static,
        run: impl Fn(&Worker) -> ExitReason + 'static,
    ) -> impl Fn(&Worker) -> ExitReason + 'static {
        let companions = self.companions.clone();
        move |worker| {
            share(worker).set();
            let reason = run(worker);
            companions.end();
            reason
        }
    }

    /// Workers that accept, with what the settings say about their number and their lives.
    pub(crate) fn group(
        &self,
        is_spare: fn(&Slot) -> bool,
        run: impl Fn(&Worker) -> ExitReason + 'static,
    ) -> Group {
        let workers = self.settings.workers();
        let processes = workers + self.blueprint.aside_processes(&self.settings);
        let run = self.process(move |worker| ProcessShare::new(worker.index(), processes), run);
        let group = Group::new("worker", workers, run)
            .spawning(self.settings.spawning())
            .recycling(self.settings.recycling())
            .accepting()
            .spare_when(is_spare)
            .identity(self.identity.clone());
        // With a socket for each worker another number of workers shares the sockets in another way.
        if self.listen.reuseport { group } else { group.elastic() }
    }
}
