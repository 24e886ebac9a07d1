//! Event loops with a fiber for each request.
//!
//! **Use it when** requests wait: for databases, other services, clients. Handlers are plain blocking code. **Costs** a
//! stack for each request that runs (one to three touched pages) and none for an idle connection. **Refuses** nothing but
//! handler processes; code that computes for long, or blocks in a library that is not ours, holds its loop, and the
//! watchdog names it. **Compared with** `event` a waiting handler does not hold the others; compared with `thread` a wait
//! costs a switch of some nanoseconds instead of two context switches.

use tenfold_supervisor::{ExitReason, Worker};

use super::{Facts, Model, loops, place_on_loops};
use crate::drive::evented;
use crate::lane::{Lane, Placement};
use crate::plan::Plan;
use crate::settings::Settings;

pub(super) struct Fiber;

impl Model for Fiber {
    fn name(&self) -> &'static str {
        "fiber"
    }

    fn layers(&self) -> (&'static str, &'static str) {
        (
            "event loop per thread; an idle connection holds no stack",
            "a fiber per request, pinned to its thread",
        )
    }

    fn known_from(&self) -> &'static str {
        "Tarantool, gevent, Goliath, Swoole coroutines"
    }

    fn facts(&self, settings: &Settings) -> Facts {
        loops::facts(settings)
    }

    fn cannot_cancel(&self) -> &'static str {
        "a loop that is held by a handler that computes or blocks outside of Tenfold"
    }

    fn check(&self, settings: &Settings) -> Result<(), String> {
        settings.refuse_pool_threads(self.name())?;
        settings.refuse_handlers(self.name())
    }

    fn place(&self, lane: &Lane, _settings: &Settings) -> Result<Placement, String> {
        place_on_loops(self.name(), lane, Placement::Fiber)
    }

    fn run(&self, worker: &Worker, plan: &Plan) -> ExitReason {
        loops::run(&Fiber, worker, plan, evented::begin, |_, _| Ok(()))
    }
}
