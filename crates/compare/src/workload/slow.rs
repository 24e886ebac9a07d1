//! `slow`: clients that trickle their bytes, and ordinary ones that come and go beside them. Which models a slow client can starve.

use tenfold_server::App;

use super::{Dial, Setup, Workload};
use crate::load::{LoadSpec, Shape, TargetSpec};

pub(super) struct Slow;

/// Ordinary clients, whose requests are measured.
const ORDINARY: usize = 8;

/// A piece of a slow client's request, and the time between two: some 100 bytes of a request take seven seconds.
const PIECE_BYTES: usize = 1;
const EVERY_MS: u64 = 70;

fn answer() -> &'static str {
    "quick\n"
}

impl Workload for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn teaches(&self) -> &'static str {
        "100 clients that send a byte every 70 ms; measured are 8 others that come and go: which models a slow client starves"
    }

    fn dial(&self, quick: bool) -> Dial {
        let (seconds, timeout_ms) = if quick { (0.5, 500) } else { (3.0, 1_000) };
        Dial { connections: 100, seconds, rounds: 1, timeout_ms, ..Dial::closed(quick, 0) }
    }

    fn app(&self, _setup: &Setup) -> Result<App, String> {
        Ok(App::new().get("/slow", answer))
    }

    fn load(&self, url: &str, dial: &Dial) -> LoadSpec {
        let url = format!("{url}/slow");
        let trickle =
            Shape::Trickle { connections: dial.connections, bytes_per_step: PIECE_BYTES, every_ms: EVERY_MS };
        let mut slow = TargetSpec::get(url.clone(), trickle);
        slow.name = "slow clients".into();
        // A new connection for each request: who has kept a place from before would not notice anything.
        let closed = Shape::Closed { connections: ORDINARY, pipeline: 1, close: true };
        let mut ordinary = TargetSpec::get(url, closed);
        ordinary.name = "ordinary clients".into();
        // The slow ones first: they are there when the others come.
        dial.spec(vec![slow, ordinary])
    }

    fn measured_target(&self) -> usize {
        1
    }
}
