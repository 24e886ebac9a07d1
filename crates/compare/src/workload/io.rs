//! `io`: ten requests of 20 ms of computing and 80 ms of waiting, all at once. One after another they take 1 s; where the
//! waits overlap, 190 to 280 ms.

use std::time::Duration;

use tenfold_runtime::try_sleep;
use tenfold_server::{App, Result};

use super::cpu::burn;
use super::{Dial, Setup, Workload};
use crate::load::{LoadSpec, Shape, TargetSpec};

pub(super) struct Io;

/// Before the wait, as who reads a request, and again after it, as who renders an answer.
const WORK: Duration = Duration::from_millis(10);

/// As for a slow query.
const WAIT: Duration = Duration::from_millis(80);

fn compute_and_wait() -> Result<String> {
    let mut rounds = burn(WORK);
    try_sleep(WAIT)?;
    rounds += burn(WORK);
    Ok(format!("{rounds} rounds\n"))
}

impl Workload for Io {
    fn name(&self) -> &'static str {
        "io"
    }

    fn teaches(&self) -> &'static str {
        "10 requests of 20 ms of computing and 80 ms of waiting at once: 1 s one after another, 190 to 280 ms when waits overlap"
    }

    fn dial(&self, quick: bool) -> Dial {
        Dial::at_once(quick, 10)
    }

    fn app(&self, _setup: &Setup) -> std::result::Result<App, String> {
        Ok(App::new().get("/io", compute_and_wait))
    }

    fn load(&self, url: &str, dial: &Dial) -> LoadSpec {
        let shape = Shape::AtOnce { requests: dial.connections };
        dial.spec(vec![TargetSpec::get(format!("{url}/io"), shape)])
    }
}
