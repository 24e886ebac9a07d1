//! `On`: which store a test runs on. Each test runs on all that there are.

use std::path::Path;
use std::sync::OnceLock;

use tenfold_testkit::Case;
use tenfold_testkit::services::{Nats, Redis};

use crate::site::Site;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    /// A file of the keeper's.
    File,
    /// A Redis that answers after fsync; one for all tests, each of which has a prefix of its own.
    Redis,
    /// A NATS with JetStream, in the same way.
    Nats,
}

impl On {
    /// The stores that can be tested here.
    fn all() -> Vec<On> {
        let mut all = vec![On::File];
        all.extend(redis().map(|_| On::Redis));
        all.extend(nats().map(|_| On::Nats));
        all
    }

    fn word(self) -> &'static str {
        match self {
            On::File => "file",
            On::Redis => "redis",
            On::Nats => "nats",
        }
    }

    /// What the settings of a site in this directory say about its jobs.
    pub(crate) fn jobs(self, directory: &Path) -> String {
        let file = directory.join("jobs.db");
        match self {
            On::File => file.display().to_string(),
            On::Redis => engine(&redis().expect("it is there").url(), directory, ""),
            On::Nats => {
                engine(&nats().expect("it is there").url(), directory, "&durability=process&stream_mib=64")
            }
        }
    }

    /// Serves with these settings, beside the directory's own.
    pub(crate) fn start(self, settings: &str) -> Site {
        let mut site = Site::new(self, settings, false);
        site.serve();
        site
    }

    pub(crate) fn with_schedules(self) -> Site {
        let mut site = Site::new(self, "model = 'fiber'\nworkers = 2", true);
        site.serve();
        site
    }
}

/// The address of an engine for a site in this directory, which is its prefix as well.
pub(crate) fn engine(url: &str, directory: &Path, more: &str) -> String {
    let prefix = directory.file_name().unwrap().to_str().unwrap();
    let spool = directory.join("jobs.db");
    format!("{}?prefix={prefix}&spool={}{more}", url.trim_end_matches('/'), spool.display())
}

fn redis() -> Option<&'static Redis> {
    static REDIS: OnceLock<Option<Redis>> = OnceLock::new();
    REDIS.get_or_init(Redis::start_durable).as_ref()
}

fn nats() -> Option<&'static Nats> {
    static NATS: OnceLock<Option<Nats>> = OnceLock::new();
    NATS.get_or_init(Nats::start).as_ref()
}

/// All models, by their names.
pub(crate) const MODELS: [&str; 8] =
    ["serial", "thread", "pool", "event", "event-pool", "event-worker", "fiber", "steal"];

/// A test for each model, on the store that is a file.
pub(crate) fn in_each_model(name: &str, test: fn(&str)) -> Vec<Case> {
    MODELS.into_iter().map(|model| Case::new(format!("{name}_{model}"), move || test(model))).collect()
}

/// A test for each store.
pub(crate) fn each(name: &str, test: fn(On)) -> Vec<Case> {
    On::all().into_iter().map(|on| Case::new(format!("{name}_{}", on.word()), move || test(on))).collect()
}
