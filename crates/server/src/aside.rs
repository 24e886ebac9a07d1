//! `Aside`: processes of each generation that have the app's state and run one companion, and serve no request: jobs in processes of
//! their own, say.
//!
//! They come and go with the workers: a reload replaces them, a stop gives them the same time to end what they do.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tenfold_runtime::ProcessShare;
use tenfold_supervisor::{ExitReason, Group, Order, Report, Worker};

use crate::part::StartCompanion;
use crate::plan::Plan;
use crate::settings::Settings;
use crate::sight::title;

/// How often a process that stops looks whether it is done.
const LOOK: Duration = Duration::from_millis(10);

#[derive(Clone)]
pub(crate) struct Aside {
    name: String,
    count: Count,
    start: StartCompanion,
}

/// How many processes there are, by the settings of their generation.
#[derive(Clone)]
pub(crate) enum Count {
    Always(usize),
    /// Where that is 0 it runs in the workers.
    Settings(fn(&Settings) -> usize),
}

impl Aside {
    pub(crate) fn new(name: &str, count: Count, start: StartCompanion) -> Aside {
        Aside { name: name.into(), count, start }
    }

    pub(crate) fn count(&self, settings: &Settings) -> usize {
        match self.count {
            Count::Always(count) => count,
            Count::Settings(count) => count(settings),
        }
    }

    /// What runs in the workers because there are no processes for it.
    pub(crate) fn in_workers(&self, settings: &Settings) -> Option<&StartCompanion> {
        match self.count {
            Count::Settings(count) if count(settings) == 0 => Some(&self.start),
            _ => None,
        }
    }

    /// Its processes as a group. Called in the master. They take their parts of what is divided over all processes behind those
    /// of the model and of the asides before them: `before` in all.
    pub(crate) fn group(&self, plan: &Arc<Plan>, before: usize, processes: usize) -> Group {
        let (for_run, start) = (plan.clone(), self.start.clone());
        let run = move |worker: &Worker| {
            ProcessShare::new(before + worker.index(), processes).set();
            match run(worker, &for_run, &start) {
                Ok(()) => ExitReason::Done,
                Err(reason) => ExitReason::Failed(reason),
            }
        };
        let count = self.count(&plan.settings);
        Group::new(self.name.clone(), count, run).stops_at_once().identity(plan.identity.clone())
    }
}

/// Runs in a process of its own, until it is told to stop. Its main thread hears orders; what the companion does is on others.
fn run(worker: &Worker, plan: &Plan, start: &StartCompanion) -> Result<(), String> {
    title::begin(worker);
    plan.listeners.close();
    let opened = plan.blueprint.open().map_err(|error| error.to_string())?;
    let companions = &plan.companions;
    companions.start([start], plan.blueprint.last_words(), &Arc::new(opened.state))?;
    worker.ready();
    while !companions.have_ended() {
        // Before the end is ordered only orders are waited for.
        let look = companions.are_told().then_some(LOOK);
        match worker.wait_order(look) {
            Some(Order::Graceful) => {
                title::state("draining");
                companions.stop();
            }
            // The master's patience may end sooner than theirs.
            Some(Order::Fast) => {
                companions.abandon();
                std::process::exit(0)
            }
            Some(Order::ReopenLogs) => worker.reporter().say(&Report::Logs(crate::logs::reopen_error_log())),
            Some(Order::Log(level)) => drop(crate::logs::set_level(level)),
            Some(Order::Dump) => worker.reporter().say(&Report::Dump(crate::dump::text())),
            _ => {}
        }
    }
    companions.end();
    Ok(())
}

impl fmt::Debug for Aside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aside").field("name", &self.name).finish_non_exhaustive()
    }
}
