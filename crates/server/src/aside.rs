//! `Aside`: processes of each generation that have the app's state and run one companion, and serve no request: jobs in processes of
//! their own, say.
//!
//! They come and go with the workers: a reload replaces them, a stop gives them the same time to end what they do.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenfold_runtime::ProcessShare;
use tenfold_supervisor::{ExitReason, Group, Order, Report, Worker};

use crate::part::StartCompanion;
use crate::plan::Plan;
use crate::sight::title;

/// How often a process that stops looks whether it is done.
const LOOK: Duration = Duration::from_millis(10);

#[derive(Clone)]
pub(crate) struct Aside {
    name: String,
    count: usize,
    start: StartCompanion,
}

impl Aside {
    pub(crate) fn new(name: &str, count: usize, start: StartCompanion) -> Aside {
        Aside { name: name.into(), count, start }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
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
        Group::new(self.name.clone(), self.count, run).stops_at_once().identity(plan.identity.clone())
    }
}

/// Runs in a process of its own, until it is told to stop. Its main thread hears orders; what the companion does is on others.
fn run(worker: &Worker, plan: &Plan, start: &StartCompanion) -> Result<(), String> {
    title::begin(worker);
    plan.listeners.close();
    let opened = plan.blueprint.open().map_err(|error| error.to_string())?;
    let mut companion = start(&Arc::new(opened.state))?;
    worker.ready();
    loop {
        match worker.wait_order(None) {
            Some(Order::Graceful) => break,
            Some(Order::Fast) => {
                companion.abandon();
                std::process::exit(0)
            }
            Some(Order::ReopenLogs) => worker.reporter().say(&Report::Logs(crate::logs::reopen_error_log())),
            Some(Order::Log(level)) => drop(crate::logs::set_level(level)),
            Some(Order::Dump) => worker.reporter().say(&Report::Dump(crate::dump::text())),
            _ => {}
        }
    }
    title::state("draining");
    let until = Instant::now() + plan.settings.graceful_timeout();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| companion.wait(until));
        while !waiting.is_finished() {
            // The master's patience may end sooner. What the companion holds is seen to be free by the end of its process.
            if worker.wait_order(Some(LOOK)) == Some(Order::Fast) {
                std::process::exit(0);
            }
        }
    });
    Ok(())
}

impl fmt::Debug for Aside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aside").field("name", &self.name).field("count", &self.count).finish_non_exhaustive()
    }
}
