//! The services under test, as a case sees them: something with a route, that can be killed.

use std::sync::OnceLock;

use tenfold_testkit::services::{Instance, MariaDb, Memcached, Postgres, Redis};

/// One service with its route in the fixture, `/NAME/{number}`.
pub(crate) struct Service {
    pub(crate) name: &'static str,
    /// Whether it has a request that makes it wait, at `/NAME/wait/{ms}`.
    pub(crate) waits: bool,
    /// Whether its driver says by an error that the service is away: memcache's inner pool waits on a condition variable for
    /// a new connection, in every model (docs/drivers.md).
    pub(crate) tells: bool,
    /// Whether its driver has a time-out of its own for an answer that does not come: libpq has none.
    pub(crate) times_out: bool,
    start: fn() -> Option<(String, Running)>,
    running: OnceLock<Option<(String, Running)>>,
}

type Running = Box<dyn std::ops::Deref<Target = Instance> + Send + Sync>;

pub(crate) static SERVICES: [Service; 5] = [
    Service::new("redis", true, true, true, || Redis::start().map(|it| (it.url(), Box::new(it) as Running))),
    Service::new("mysql", true, true, true, || {
        MariaDb::start().map(|it| (it.url(), Box::new(it) as Running))
    }),
    Service::new("postgres", true, true, false, || {
        Postgres::start().map(|it| (it.url(), Box::new(it) as Running))
    }),
    Service::new("memcached", false, false, false, || {
        Memcached::start().map(|it| (it.url(), Box::new(it) as Running))
    }),
    // The client of this project, whose calls share a connection.
    Service::new("memcached-own", false, true, true, || {
        Memcached::start().map(|it| (it.url(), Box::new(it) as Running))
    }),
];

impl Service {
    const fn new(
        name: &'static str,
        waits: bool,
        tells: bool,
        times_out: bool,
        start: fn() -> Option<(String, Running)>,
    ) -> Service {
        Service { name, waits, tells, times_out, start, running: OnceLock::new() }
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
