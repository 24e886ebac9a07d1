//! `hello`: a constant answer. What is left is what the model itself costs.

use tenfold_server::{App, Facts};

use super::{Dial, Setup, Workload};
use crate::load::{Expect, LoadSpec, Shape, TargetSpec};

pub(super) struct Hello;

/// 13 bytes, as every benchmark has them.
const TEXT: &str = "Hello, world!";

fn hello() -> &'static str {
    TEXT
}

impl Workload for Hello {
    fn name(&self) -> &'static str {
        "hello"
    }

    fn teaches(&self) -> &'static str {
        "a constant answer over keep-alive connections: the pure overhead of the model"
    }

    fn dial(&self, quick: bool) -> Dial {
        Dial::closed(quick, 64)
    }

    fn app(&self, _setup: &Setup) -> Result<App, String> {
        Ok(App::new().get("/hello", hello))
    }

    fn fit(&self, dial: &mut Dial, facts: &Facts, workers: usize) -> Option<String> {
        dial.say_who_waits(facts, workers)
    }

    fn load(&self, url: &str, dial: &Dial) -> LoadSpec {
        let shape = Shape::Closed { connections: dial.connections, pipeline: 1, close: false };
        let mut target = TargetSpec::get(format!("{url}/hello"), shape);
        target.expect = Expect { body: Some(TEXT.into()), ..Expect::default() };
        dial.spec(vec![target])
    }

    fn sweep(&self) -> &'static [usize] {
        &[1, 4, 16, 64, 256]
    }
}
