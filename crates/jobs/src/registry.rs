//! `Registry`: the jobs, queues and schedules of one app.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::handler::{Erased, JobOptions};
use crate::queue::{Queue, Workers};
use crate::wire::{Hello, ScheduleSpec, Want};

/// What an app knows about its jobs; made before the fork and the same in all workers.
#[derive(Default)]
pub(crate) struct Registry {
    pub(crate) jobs: BTreeMap<String, Job>,
    pub(crate) queues: BTreeMap<String, Queue>,
    pub(crate) schedules: Vec<ScheduleSpec>,
}

/// One kind of jobs.
pub(crate) struct Job {
    pub(crate) run: Erased,
    pub(crate) options: JobOptions,
}

impl Registry {
    pub(crate) fn job(&self, name: &str) -> Option<&Job> {
        self.jobs.get(name)
    }

    /// A queue's rules; the defaults where nobody has given any.
    pub(crate) fn queue(&self, name: &str) -> Queue {
        self.queues.get(name).cloned().unwrap_or_else(|| Queue::new(name))
    }

    /// All queues that jobs of this app may be in.
    pub(crate) fn all_queues(&self) -> Vec<Queue> {
        let named = self.jobs.values().map(|job| &job.options.queue);
        let names: BTreeSet<&String> = named.chain(self.queues.keys()).collect();
        names.into_iter().map(|name| self.queue(name)).collect()
    }

    /// What the store has to know.
    pub(crate) fn hello(&self) -> Hello {
        Hello {
            pid: std::process::id(),
            queues: self.all_queues().into_iter().map(|queue| queue.spec).collect(),
            schedules: self.schedules.clone(),
            held: Vec::new(),
        }
    }

    /// What a process takes at a time that runs jobs of all queues which have no processes of their own.
    pub(crate) fn wants(&self) -> Vec<Want> {
        let wants = self.all_queues().into_iter().filter_map(|queue| match queue.workers {
            Workers::Fibers(at_once) | Workers::Threads(at_once) if at_once > 0 => {
                Some(Want { queue: queue.spec.name, at_once })
            }
            _ => None,
        });
        wants.collect()
    }

    /// Queues that have processes of their own, and how many.
    pub(crate) fn apart(&self) -> Vec<(String, usize)> {
        let queues = self.all_queues().into_iter().filter_map(|queue| match queue.workers {
            Workers::Processes(count) if count > 0 => Some((queue.spec.name, count as usize)),
            _ => None,
        });
        queues.collect()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("jobs", &self.jobs.keys())
            .field("queues", &self.queues)
            .finish_non_exhaustive()
    }
}
