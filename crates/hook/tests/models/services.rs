//! The services under test, as a case sees them: something with a route, that can be killed.

use std::sync::OnceLock;

use tenfold_testkit::services::{Instance, MariaDb, Memcached, Postgres, Redis};

/// One service with its route in the fixture, `/NAME/{number}`.
pub(crate) struct Service {
    pub(crate) name: &'static str,
    /// Whether it has a request that makes it wait, at `/NAME/wait/{ms}`.
    pub(crate) waits: bool,
    start: fn() -> Option<(String, Running)>,
    running: OnceLock<Option<(String, Running)>>,
}

type Running = Box<dyn std::ops::Deref<Target = Instance> + Send + Sync>;

pub(crate) static SERVICES: [Service; 4] = [
    Service::new("redis", true, || Redis::start().map(|it| (it.url(), Box::new(it) as Running))),
    Service::new("mysql", true, || MariaDb::start().map(|it| (it.url(), Box::new(it) as Running))),
    Service::new("postgres", true, || Postgres::start().map(|it| (it.url(), Box::new(it) as Running))),
    Service::new("memcached", false, || Memcached::start().map(|it| (it.url(), Box::new(it) as Running))),
];

impl Service {
    const fn new(name: &'static str, waits: bool, start: fn() -> Option<(String, Running)>) -> Service {
        Service { name, waits, start, running: OnceLock::new() }
    }

    fn running(&self) -> Option<&(String, Running)> {
        self.running.get_or_init(self.start).as_ref()
    }

    pub(crate) fn is_installed(&self) -> bool {
        self.running().is_some()
    }

    /// Its address as its driver takes it.
    pub(crate) fn url(&self) -> &str {
        &self.running().expect("asked before").0
    }

    pub(crate) fn instance(&self) -> &Instance {
        &self.running().expect("asked before").1
    }
}
