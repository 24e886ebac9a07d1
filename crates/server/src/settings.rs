//! A worker's settings: what the command line and the configuration file say, checked as a whole.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use tenfold_supervisor::{MasterConfig, Recycling, Spawning};

use crate::limits::Limits;
use crate::models::{self, Model};
use crate::sight::listener::Address;

/// Most processes that run nothing but jobs.
const JOB_WORKERS_MAX: usize = 256;

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
    /// Addresses to listen on, as `127.0.0.1:8080`, `[::1]:8080`, `:8080` or `unix:/path`; default `127.0.0.1:8080`. None
    /// where the app has only TCP and UDP services.
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
    /// Seconds that a final stop goes on accepting while health checks are answered with 503; default 0. Set it to 5 to 10
    /// where a load balancer needs time to notice, as in Kubernetes.
    pub drain_delay_secs: f64,
    /// Seconds that an idle connection may still send a request after its worker was told to stop; default 2.
    pub keepalive_min_grace_secs: f64,
    /// Seconds that a new worker, or a new master, may take until it serves; default 60.
    pub ready_timeout_secs: f64,
    /// A socket of its own for each worker (SO_REUSEPORT) instead of one that they share; default false.
    pub reuseport: bool,
    /// `static`, `dynamic` or `ondemand`: how many of the workers there are at a time; default static.
    pub spawning: String,
    /// In `dynamic`: fewer workers with room start more; default 1.
    pub spare_min: Option<usize>,
    /// In `dynamic`: more workers with room end; default 3.
    pub spare_max: Option<usize>,
    /// In `ondemand`: seconds without anything to do after which a worker ends; default 10.
    pub idle_timeout_secs: Option<f64>,
    /// A worker is replaced after so many requests, less up to a tenth; default never.
    pub recycle_requests: Option<u64>,
    /// A worker is replaced when it holds so many MiB, less up to a tenth; default never.
    pub recycle_memory_mib: Option<u64>,
    /// A worker is replaced after so many seconds, less up to a tenth; default never.
    pub recycle_age_secs: Option<f64>,
    /// Whom workers run as, once the master has bound; default as the master.
    pub user: Option<String>,
    /// The group that workers run as; default the user's.
    pub group: Option<String>,
    /// The control socket's path; `off` for none. The library has none by default, the command line one in a private
    /// directory.
    pub control: Option<String>,
    /// Where the master's number is written; default nowhere.
    pub pid_file: Option<PathBuf>,
    /// Where the error log goes; default standard error.
    pub error_log_file: Option<PathBuf>,
    /// `off`, `text` or `json`; default off.
    pub access_log: String,
    /// Where the access log goes; default standard output.
    pub access_log_file: Option<PathBuf>,
    /// `on` or `off`: whether it is kept where the time of each request goes, and what it waits for; default on.
    pub sight: String,
    /// A file that the scoreboard is kept in, so that other programs may read it; best in `/dev/shm`. Default none: shared
    /// memory without a name.
    pub scoreboard_file: Option<PathBuf>,
    /// Where `/status`, `/status.txt` and `/metrics` are served, also while every worker is busy: an address of this machine,
    /// as `127.0.0.1:9101`, or `unix:/path`; default nowhere.
    pub status: Option<String>,
    /// Where jobs are kept: a file, by default `jobs.db`, beside which its keeper listens; or the address of an engine that
    /// several machines share, as `redis://host:6379?prefix=shop` (docs/jobs.md).
    pub jobs: Option<String>,
    /// Processes that run jobs and serve no request, beside the workers; default 0: jobs run in the workers.
    pub job_workers: usize,
    /// Where rooms are kept: `redis://host:port` or `nats://host:port`, the same for all machines of a service; default in the
    /// memory of this machine's keeper.
    pub rooms: Option<String>,
    /// Addresses of the app's TCP and UDP services by their names, instead of those that the app says.
    pub services: BTreeMap<String, String>,
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
            drain_delay_secs: 0.0,
            keepalive_min_grace_secs: 2.0,
            ready_timeout_secs: 60.0,
            reuseport: false,
            spawning: "static".into(),
            spare_min: None,
            spare_max: None,
            idle_timeout_secs: None,
            recycle_requests: None,
            recycle_memory_mib: None,
            recycle_age_secs: None,
            user: None,
            group: None,
            control: None,
            pid_file: None,
            error_log_file: None,
            access_log: "off".into(),
            access_log_file: None,
            sight: "on".into(),
            scoreboard_file: None,
            status: None,
            jobs: None,
            job_workers: 0,
            rooms: None,
            services: BTreeMap::new(),
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
        if self.job_workers > JOB_WORKERS_MAX {
            return Err(format!(
                "job_workers = {}: at most {JOB_WORKERS_MAX} are possible",
                self.job_workers
            ));
        }
        if self.stack_bytes.is_some_and(|bytes| !(32 << 10..=64 << 20).contains(&bytes)) {
            return Err("stack_bytes: expected 32768 (32 KiB) to 67108864 (64 MiB)".into());
        }
        for (name, value) in [
            ("graceful_timeout_secs", self.graceful_timeout_secs),
            ("drain_delay_secs", self.drain_delay_secs),
            ("keepalive_min_grace_secs", self.keepalive_min_grace_secs),
            ("ready_timeout_secs", self.ready_timeout_secs),
            ("idle_timeout_secs", self.idle_timeout_secs.unwrap_or(0.0)),
        ] {
            if !(0.0..=86_400.0).contains(&value) {
                return Err(format!("{name}: expected 0 to 86400"));
            }
        }
        self.check_operations()?;
        if !matches!(self.access_log.as_str(), "off" | "text" | "json") {
            return Err(format!("access_log = {:?}: expected off, text or json", self.access_log));
        }
        if !matches!(self.sight.as_str(), "on" | "off") {
            return Err(format!("sight = {:?}: expected on or off", self.sight));
        }
        if let Some(status) = &self.status {
            status.parse::<Address>()?;
        }
        if let Some(backend) = &self.backend {
            backend.parse::<tenfold_runtime::BackendChoice>().map_err(|error| error.to_string())?;
        }
        model.check(self)?;
        Ok(model)
    }

    /// What of these settings a master that was started with `started` cannot do, since it belongs to processes and files that it
    /// made once: a reload leaves them as they are.
    pub(crate) fn check_reload(&self, started: &Settings) -> Result<(), String> {
        let text = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        // The command line chooses a control socket only at the start.
        let control = self.control.clone().or_else(|| started.control.clone());
        let lasting = [
            ("jobs", &self.jobs, &started.jobs),
            ("rooms", &self.rooms, &started.rooms),
            ("status", &self.status, &started.status),
            ("control", &control, &started.control),
            ("pid_file", &text(&self.pid_file), &text(&started.pid_file)),
            ("scoreboard_file", &text(&self.scoreboard_file), &text(&started.scoreboard_file)),
        ];
        let word =
            |value: &Option<String>| value.as_ref().map_or("not set".into(), |value| format!("{value:?}"));
        match lasting.into_iter().find(|(_, now, before)| now != before) {
            Some((name, now, before)) => Err(format!(
                "{name}: a reload cannot change it (it is {}, and was {} at the start); an upgrade or a restart can",
                word(now),
                word(before)
            )),
            None => Ok(()),
        }
    }

    /// Worker processes.
    pub fn workers(&self) -> usize {
        self.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |cores| cores.get()))
    }

    /// How long a worker has to end when it is told to stop.
    pub fn graceful_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.graceful_timeout_secs)
    }

    /// What the master does for the workers.
    fn check_operations(&self) -> Result<(), String> {
        let dynamic = self.spare_min.is_some() || self.spare_max.is_some();
        match self.spawning.as_str() {
            "static" | "dynamic" | "ondemand" => {}
            other => return Err(format!("spawning = {other:?}: expected static, dynamic or ondemand")),
        }
        if dynamic && self.spawning != "dynamic" {
            return Err("spare_min and spare_max are for spawning = \"dynamic\"".into());
        }
        if self.idle_timeout_secs.is_some() && self.spawning != "ondemand" {
            return Err("idle_timeout_secs is for spawning = \"ondemand\"".into());
        }
        if self.spare_min() == 0 || self.spare_max() < self.spare_min() {
            return Err("spare_min must be at least 1, and spare_max not less than it".into());
        }
        if self.spawning != "static" && self.reuseport {
            return Err("spawning other than static cannot go with reuseport: a socket of a worker that is not there \
                        would keep its connections waiting"
                .into());
        }
        if self.recycle_age_secs.is_some_and(|age| !(1.0..=31_536_000.0).contains(&age)) {
            return Err("recycle_age_secs: expected 1 to 31536000".into());
        }
        if self.recycle_requests == Some(0) || self.recycle_memory_mib == Some(0) {
            return Err("recycle_requests and recycle_memory_mib: expected at least 1".into());
        }
        Ok(())
    }

    fn spare_min(&self) -> usize {
        self.spare_min.unwrap_or(1)
    }

    fn spare_max(&self) -> usize {
        self.spare_max.unwrap_or_else(|| self.spare_min().max(3))
    }

    /// How many workers there are at a time.
    pub(crate) fn spawning(&self) -> Spawning {
        match self.spawning.as_str() {
            "dynamic" => Spawning::Dynamic { spare_min: self.spare_min(), spare_max: self.spare_max() },
            "ondemand" => Spawning::OnDemand {
                idle_max: Duration::from_secs_f64(self.idle_timeout_secs.unwrap_or(10.0)),
            },
            _ => Spawning::Static,
        }
    }

    pub(crate) fn recycles(&self) -> bool {
        self.recycling() != Recycling::default()
    }

    /// When workers are replaced.
    pub(crate) fn recycling(&self) -> Recycling {
        let age = self.recycle_age_secs.map(Duration::from_secs_f64);
        Recycling::new(self.recycle_requests, self.recycle_memory_mib.map(|mib| mib << 20), age)
    }

    /// The bounds of the master.
    pub(crate) fn master(&self) -> MasterConfig {
        MasterConfig {
            graceful_timeout: self.graceful_timeout(),
            drain_delay: Duration::from_secs_f64(self.drain_delay_secs),
            ready_timeout: Duration::from_secs_f64(self.ready_timeout_secs),
            // Long enough that no idle connection of an older generation is cut.
            cut_patience: Duration::from_secs_f64(self.keepalive_min_grace_secs + 3.0),
            ..MasterConfig::default()
        }
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
