//! A worker's settings: what the command line and the configuration file say, checked as a whole.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::limits::Limits;
use crate::models::{self, Model};

/// How the server runs. Every field has a default; a file may name any of them.
///
/// ```
/// use tenfold_server::Settings;
/// let settings: Settings = toml::from_str("model = 'pool'\nthreads = 16\n[limits]\nheaders_max = 50").unwrap();
/// assert_eq!(settings.check().unwrap().name(), "pool");
/// assert!(toml::from_str::<Settings>("modell = 'pool'").is_err());
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The model's name; default `fiber`.
    pub model: String,
    /// Addresses to listen on, as `127.0.0.1:8080`, `[::1]:8080`, `:8080` or `unix:/path`; default `127.0.0.1:8080`.
    pub listen: Vec<String>,
    /// Worker processes; default one for each core.
    pub workers: Option<usize>,
    /// Threads of a worker that run connections: loops in the evented models (default 1), blocking threads in `pool`
    /// (default 64), most connections at a time in `thread` (default `limits.connections_max`).
    pub threads: Option<usize>,
    /// Threads of the pool that runs handlers in `event-pool`; default 64.
    pub pool_threads: Option<usize>,
    /// Handler processes of each worker in `event-worker`; default 4.
    pub handlers: Option<usize>,
    /// `auto`, `io_uring` or `epoll`; evented models only.
    pub backend: Option<String>,
    /// Usable bytes of a handler's stack in the evented models; default 256 KiB.
    pub stack_bytes: Option<usize>,
    /// Most fibers of a loop; default 100,000. One more connection that has something to say gets 503.
    pub fibers_max: Option<usize>,
    /// A loop that is held for longer is reported with a stack trace; default 100 ms, 0 for never.
    pub watchdog_ms: u64,
    /// Longest time that a graceful stop takes, in seconds; default 30.
    pub graceful_timeout_secs: f64,
    /// `off`, `text` or `json`; default off.
    pub access_log: String,
    /// Where the access log goes; default standard output.
    pub access_log_file: Option<PathBuf>,
    /// The `Server` header; default `tenfold`, empty for none.
    pub server_header: String,
    /// What a client may ask for.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            model: "fiber".into(),
            listen: vec!["127.0.0.1:8080".into()],
            workers: None,
            threads: None,
            pool_threads: None,
            handlers: None,
            backend: None,
            stack_bytes: None,
            fibers_max: None,
            watchdog_ms: 100,
            graceful_timeout_secs: 30.0,
            access_log: "off".into(),
            access_log_file: None,
            server_header: "tenfold".into(),
            limits: Limits::default(),
        }
    }
}

impl Settings {
    /// Finds what cannot be: an unknown name, a number out of range, an option that the model cannot honour.
    ///
    /// # Errors
    /// One line for a person.
    pub fn check(&self) -> Result<&'static dyn Model, String> {
        let model = models::find(&self.model)?;
        self.limits.check()?;
        let bounded = [
            ("workers", self.workers, 1024),
            ("threads", self.threads, 20_000),
            ("pool_threads", self.pool_threads, 20_000),
            ("handlers", self.handlers, 1024),
            ("fibers_max", self.fibers_max, 16 << 20),
        ];
        for (name, value, most) in bounded {
            if value.is_some_and(|value| value == 0 || value > most) {
                return Err(format!("{name} = {}: expected 1 to {most}", value.unwrap_or(0)));
            }
        }
        if self.stack_bytes.is_some_and(|bytes| !(32 << 10..=64 << 20).contains(&bytes)) {
            return Err("stack_bytes: expected 32768 (32 KiB) to 67108864 (64 MiB)".into());
        }
        if !(0.0..=86_400.0).contains(&self.graceful_timeout_secs) {
            return Err("graceful_timeout_secs: expected 0 to 86400".into());
        }
        if self.listen.is_empty() {
            return Err("listen: at least one address is needed".into());
        }
        if !matches!(self.access_log.as_str(), "off" | "text" | "json") {
            return Err(format!("access_log = {:?}: expected off, text or json", self.access_log));
        }
        if let Some(backend) = &self.backend {
            backend.parse::<tenfold_runtime::BackendChoice>().map_err(|error| error.to_string())?;
        }
        model.check(self)?;
        Ok(model)
    }

    /// Worker processes.
    pub fn workers(&self) -> usize {
        self.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |cores| cores.get()))
    }

    pub(crate) fn graceful_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.graceful_timeout_secs)
    }

    /// For models without loops: what they cannot honour.
    pub(crate) fn refuse_loop_options(&self, model: &str) -> Result<(), String> {
        refuse(model, "backend", self.backend.is_some(), "it has no event loop")?;
        refuse(model, "stack_bytes", self.stack_bytes.is_some(), "it has no fibers")?;
        refuse(model, "fibers_max", self.fibers_max.is_some(), "it has no fibers")
    }

    /// For all models but one each.
    pub(crate) fn refuse_pool_threads(&self, model: &str) -> Result<(), String> {
        refuse(model, "pool_threads", self.pool_threads.is_some(), "it is for event-pool")
    }

    /// For all models but one each.
    pub(crate) fn refuse_handlers(&self, model: &str) -> Result<(), String> {
        refuse(model, "handlers", self.handlers.is_some(), "it is for event-worker")
    }
}

pub(crate) fn refuse(model: &str, option: &str, is_set: bool, why: &str) -> Result<(), String> {
    if is_set { Err(format!("the model {model} cannot honour {option}: {why}")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::MODELS;

    fn refusal(settings: Settings) -> String {
        settings.check().map(|model| model.name()).expect_err("these settings cannot be")
    }

    #[test]
    fn every_model_takes_the_defaults() {
        for model in MODELS {
            let settings = Settings { model: model.name().into(), ..Settings::default() };
            assert_eq!(settings.check().map(|model| model.name()), Ok(model.name()));
        }
    }

    #[test]
    fn a_model_without_loops_refuses_what_only_loops_have() {
        for model in MODELS.into_iter().filter(|model| !model.facts(&Settings::default()).evented) {
            let own = || Settings { model: model.name().into(), ..Settings::default() };
            for (option, settings) in [
                ("backend", Settings { backend: Some("epoll".into()), ..own() }),
                ("stack_bytes", Settings { stack_bytes: Some(64 << 10), ..own() }),
                ("fibers_max", Settings { fibers_max: Some(10), ..own() }),
            ] {
                let line = refusal(settings);
                assert!(
                    line.contains(model.name()) && line.contains(option) && !line.contains('\n'),
                    "{line}"
                );
            }
        }
    }

    #[test]
    fn an_option_of_one_model_is_refused_by_all_others() {
        for (option, owner) in [("pool_threads", "event-pool"), ("handlers", "event-worker")] {
            for model in MODELS {
                let count = |name| (option == name).then_some(2);
                let settings = Settings {
                    model: model.name().into(),
                    pool_threads: count("pool_threads"),
                    handlers: count("handlers"),
                    ..Settings::default()
                };
                if model.name() == owner {
                    assert!(settings.check().is_ok(), "{owner} {option}");
                } else {
                    let line = refusal(settings);
                    assert!(line.contains(option) && line.contains(owner), "{line}");
                }
            }
        }
    }

    #[test]
    fn numbers_out_of_range_are_refused_by_name() {
        for (option, settings) in [
            ("workers", Settings { workers: Some(0), ..Settings::default() }),
            ("threads", Settings { threads: Some(1 << 20), ..Settings::default() }),
            ("graceful_timeout_secs", Settings { graceful_timeout_secs: f64::NAN, ..Settings::default() }),
            ("stack_bytes", Settings { stack_bytes: Some(1), ..Settings::default() }),
        ] {
            let line = refusal(settings);
            assert!(line.contains(option), "{line}");
        }
    }
}
