//! `push`: server-sent events to many clients that stay. The real-time case.

use std::io;
use std::time::Duration;

use tenfold_runtime::try_sleep;
use tenfold_server::{App, Body, BodySource, Bytes, Facts};

use super::{Dial, Setup, Workload};
use crate::load::{LoadSpec, Shape, TargetSpec};

pub(super) struct Push;

/// Between two events of a client.
const EVERY: Duration = Duration::from_millis(100);

/// Makes an event whenever the time has come; the connection pulls it.
struct Events {
    number: u64,
}

impl BodySource for Events {
    fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        try_sleep(EVERY)?;
        self.number += 1;
        Ok(Some(Bytes::from(format!("id: {0}\ndata: {{\"price\":{0}}}\n\n", self.number))))
    }
}

fn events() -> Body {
    Body::from_source(Events { number: 0 }).with_content_type("text/event-stream")
}

impl Workload for Push {
    fn name(&self) -> &'static str {
        "push"
    }

    fn teaches(&self) -> &'static str {
        "server-sent events, ten a second to each of 500 clients that stay: the real-time case"
    }

    fn dial(&self, quick: bool) -> Dial {
        let (seconds, timeout_ms) = if quick { (0.6, 700) } else { (3.0, 2_000) };
        Dial { connections: 500, seconds, rounds: 1, timeout_ms, ..Dial::closed(quick, 0) }
    }

    fn app(&self, _setup: &Setup) -> Result<App, String> {
        Ok(App::new().get("/events", events))
    }

    fn load(&self, url: &str, dial: &Dial) -> LoadSpec {
        let shape = Shape::Stream { connections: dial.connections };
        dial.spec(vec![TargetSpec::get(format!("{url}/events"), shape)])
    }

    fn fit(&self, dial: &mut Dial, facts: &Facts, workers: usize) -> Option<String> {
        dial.fit_held_connections(facts, workers)
    }
}
