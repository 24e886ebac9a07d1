//! `idle`: ten thousand connections, a hundred requests a second over all of them. What an idle connection costs.

use tenfold_server::{App, Facts};

use super::{Dial, Setup, Workload};
use crate::load::{LoadSpec, Shape, TargetSpec};

pub(super) struct Idle;

fn answer() -> &'static str {
    "still here\n"
}

impl Workload for Idle {
    fn name(&self) -> &'static str {
        "idle"
    }

    fn teaches(&self) -> &'static str {
        "10,000 connections, 100 requests a second over all of them: memory and threads of an idle connection"
    }

    fn dial(&self, quick: bool) -> Dial {
        let seconds = if quick { 0.6 } else { 3.0 };
        Dial {
            connections: 10_000,
            rate: 100.0,
            seconds,
            rounds: 1,
            timeout_ms: 10_000,
            ..Dial::closed(quick, 0)
        }
    }

    fn app(&self, _setup: &Setup) -> Result<App, String> {
        Ok(App::new().get("/idle", answer))
    }

    fn load(&self, url: &str, dial: &Dial) -> LoadSpec {
        let shape = Shape::Idle { connections: dial.connections, active_per_second: dial.rate };
        dial.spec(vec![TargetSpec::get(format!("{url}/idle"), shape)])
    }

    /// A model that gives a connection its thread for as long as it is open has no more of them than threads.
    fn fit(&self, dial: &mut Dial, facts: &Facts, workers: usize) -> Option<String> {
        dial.fit_held_connections(facts, workers)
    }
}
