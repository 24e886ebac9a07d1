//! Event loops; handlers run on the loop itself.
//!
//! **Use it when** handlers are short and do not wait, or are `async fn`. **Costs** next to nothing for a connection, idle
//! or not. **Refuses** handler processes. A handler that blocks holds every connection of its loop: that is the lesson of
//! this model, and lanes (`Lane::pool`, `Lane::fiber`) are the cure. An `async fn` does not: its future waits and the loop
//! goes on. **Compared with** `fiber` it saves nothing but a wait that parks; the connection's own reads and writes never
//! hold the loop in either.

use tenfold_supervisor::{ExitReason, Worker};

use super::{Facts, Model, loops, place_on_loops};
use crate::drive::evented;
use crate::lane::{Lane, Placement};
use crate::plan::Plan;
use crate::settings::Settings;

pub(super) struct Event;

impl Model for Event {
    fn name(&self) -> &'static str {
        "event"
    }

    fn layers(&self) -> (&'static str, &'static str) {
        ("event loop per thread", "inline, on the loop; async fn handlers wait without holding it")
    }

    fn known_from(&self) -> &'static str {
        "nginx, node.js, memcached, EventMachine"
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
        place_on_loops(self.name(), lane, Placement::Inline)
    }

    fn run(&self, worker: &Worker, plan: &Plan) -> ExitReason {
        loops::run(&Event, worker, plan, evented::begin, |_, _| Ok(()))
    }
}
