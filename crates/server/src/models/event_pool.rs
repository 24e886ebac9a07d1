//! Event loops for connections, a pool of threads for handlers.
//!
//! **Use it when** there are many connections, handlers block in code that cannot be changed, and only a bounded number of
//! them should run at once. **Costs** the pool's threads, and two hand-overs between threads for each request. **Refuses**
//! handler processes. **Compared with** `pool` an idle or slow connection holds no thread; compared with `fiber` a waiting
//! handler does.

use tenfold_supervisor::{ExitReason, Worker};

use super::{Facts, Model, loops, place_on_loops};
use crate::drive::evented;
use crate::lane::{Lane, Placement};
use crate::plan::Plan;
use crate::settings::Settings;

pub(super) struct EventPool;

const POOL_THREADS: usize = 64;

fn threads(settings: &Settings) -> usize {
    settings.pool_threads.unwrap_or(POOL_THREADS)
}

impl Model for EventPool {
    fn name(&self) -> &'static str {
        "event-pool"
    }

    fn layers(&self) -> (&'static str, &'static str) {
        ("event loop per thread", "a thread pool")
    }

    fn known_from(&self) -> &'static str {
        "Tomcat NIO, Rainbows! CoolioThreadPool"
    }

    fn facts(&self, settings: &Settings) -> Facts {
        let threads = threads(settings);
        let facts = loops::facts(settings);
        Facts {
            threads_max: facts.threads_max + threads,
            // Each thread keeps the descriptor that it is woken by while it watches its client.
            descriptors_max: facts.descriptors_max + threads,
            at_once: Some(threads),
            parallel_handlers: true,
            ..facts
        }
    }

    fn cannot_cancel(&self) -> &'static str {
        "a thread of the pool that computes or blocks outside of Tenfold"
    }

    fn check(&self, settings: &Settings) -> Result<(), String> {
        settings.refuse_handlers(self.name())
    }

    fn place(&self, lane: &Lane, settings: &Settings) -> Result<Placement, String> {
        place_on_loops(self.name(), lane, Placement::Pool(threads(settings)))
    }

    fn run(&self, worker: &Worker, plan: &Plan) -> ExitReason {
        loops::run(&EventPool, worker, plan, evented::begin, |_, _| Ok(()))
    }
}
