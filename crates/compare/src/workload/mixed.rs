//! `mixed`: requests of 5 ms and requests of 1 s, both waits, at fixed rates. Long ones hold what short ones need; a lane of
//! their own for the long ones is the cure.

use std::time::Duration;

use tenfold_runtime::try_sleep;
use tenfold_server::{App, Facts, Lane, Result};

use super::{Dial, Setup, Workload};
use crate::load::{Arrivals, LoadSpec, Shape, TargetSpec};

pub(super) struct Mixed;

const SHORT: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_secs(1);

/// Long requests a second for each short one a second.
const LONG_SHARE: f64 = 0.4;

/// Most long requests at once where they have a lane of their own; the rest queue there or get 503.
const LANE_AT_ONCE: usize = 16;
const LANE_QUEUE: usize = 1_024;

fn short() -> Result<&'static str> {
    try_sleep(SHORT)?;
    Ok("short\n")
}

fn long() -> Result<&'static str> {
    try_sleep(LONG)?;
    Ok("long\n")
}

impl Workload for Mixed {
    fn name(&self) -> &'static str {
        "mixed"
    }

    fn teaches(&self) -> &'static str {
        "200 requests a second of 5 ms, measured, and 80 of 1 s beside them: head-of-line blocking, and lanes as the cure"
    }

    fn dial(&self, quick: bool) -> Dial {
        let seconds = if quick { 0.7 } else { 4.0 };
        Dial {
            rate: 200.0,
            seconds,
            rounds: 1,
            warm_up_ms: if quick { 200 } else { 1_000 },
            timeout_ms: if quick { 1_100 } else { 3_000 },
            connections: 4_000,
        }
    }

    fn app(&self, setup: &Setup) -> std::result::Result<App, String> {
        let app = App::new().get("/short", short);
        Ok(match setup.lanes {
            true => {
                let lane = Lane::default().at_once(LANE_AT_ONCE).queue(LANE_QUEUE);
                app.lane("long", lane, |routes| routes.get("/long", long))
            }
            false => app.get("/long", long),
        })
    }

    fn load(&self, url: &str, dial: &Dial) -> LoadSpec {
        let open =
            |rate| Shape::Open { rate, connections_max: dial.connections, arrivals: Arrivals::Uniform };
        let mut short = TargetSpec::get(format!("{url}/short"), open(dial.rate));
        short.name = "short".into();
        let mut long = TargetSpec::get(format!("{url}/long"), open((dial.rate * LONG_SHARE).max(1.0)));
        long.name = "long".into();
        dial.spec(vec![short, long])
    }

    /// Where threads or processes behind a loop run the handlers, a lane keeps some of them for the others.
    fn has_lanes_variant(&self, facts: &Facts) -> bool {
        facts.evented && facts.at_once.is_some()
    }
}
