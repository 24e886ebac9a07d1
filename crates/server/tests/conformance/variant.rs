//! A model and a backend, with the servers that its cases share.

use std::process::Command;
use std::sync::OnceLock;

use tenfold_runtime::{BackendChoice, ReactorConfig, Runtime, RuntimeConfig};
use tenfold_server::{Facts, Lane, MODELS, Model, Placement, Settings};
use tenfold_testkit::{Exit, ServerProcess, wait_until};

use crate::fixture::{FIXTURE, Status};

/// One behaviour, as it is run for every variant that it is for.
#[derive(Clone, Copy)]
pub(crate) struct Behaviour {
    pub(crate) module: &'static str,
    pub(crate) name: &'static str,
    pub(crate) run: fn(&'static Variant),
    /// Whether a variant has it, by its facts.
    pub(crate) only: fn(&Variant) -> bool,
}

/// Lists the functions of a file as its behaviours: `name`, or `name only condition`.
macro_rules! behaviours {
    ($($name:ident $(only $only:expr)?),* $(,)?) => {
        pub(crate) fn behaviours() -> Vec<crate::variant::Behaviour> {
            vec![$(crate::variant::Behaviour {
                module: module_path!(),
                name: stringify!($name),
                run: $name,
                only: behaviours!(@only $($only)?),
            }),*]
        }
    };
    (@only) => { |_| true };
    (@only $only:expr) => { $only };
}

/// Connections that a worker takes; far fewer than the default, so that hard limits of small machines suffice.
const CONNECTIONS_MAX: usize = 4096;

/// What the strict server allows: little, so that reaching a limit takes no time.
const STRICT: &str = "
    head_bytes_max = 2048
    headers_max = 12
    target_bytes_max = 256
    body_bytes_max = 1000
    requests_max = 20
    header_timeout_secs = 0.3
    keepalive_timeout_secs = 0.3
    body_grace_secs = 0.3
    body_rate_min = 1000
    write_stall_timeout_secs = 0.3
    linger_timeout_secs = 0.3
";

pub(crate) struct Variant {
    pub(crate) model: &'static dyn Model,
    backend: Option<&'static str>,
    usual: OnceLock<ServerProcess>,
    strict: OnceLock<ServerProcess>,
}

impl Variant {
    /// Every model, and those with a loop on every backend that the kernel has. They live as long as the process does.
    pub(crate) fn all() -> Vec<&'static Variant> {
        let has_io_uring = match Runtime::new(&RuntimeConfig {
            reactor: ReactorConfig { backend: BackendChoice::IoUring, ..ReactorConfig::default() },
            ..RuntimeConfig::default()
        }) {
            Ok(_) => true,
            Err(error) => {
                println!("left out: all variants on io_uring, which this kernel refuses ({error})");
                false
            }
        };
        let mut all: Vec<&'static Variant> = Vec::new();
        for model in MODELS {
            let backends = match (model.facts(&Settings::default()).evented, has_io_uring) {
                (false, _) => &[None][..],
                (true, true) => &[Some("epoll"), Some("io_uring")],
                (true, false) => &[Some("epoll")],
            };
            for backend in backends.iter().copied() {
                let variant = Variant { model, backend, usual: OnceLock::new(), strict: OnceLock::new() };
                all.push(Box::leak(Box::new(variant)));
            }
        }
        all
    }

    /// As `fiber-epoll`, or the model's name alone.
    pub(crate) fn name(&self) -> String {
        match self.backend {
            Some(backend) => format!("{}-{backend}", self.model.name()),
            None => self.model.name().to_owned(),
        }
    }

    /// The server with generous limits that all cases share; it has one worker.
    pub(crate) fn server(&self) -> &ServerProcess {
        self.usual.get_or_init(|| self.start("", ""))
    }

    /// The server with narrow limits and short times.
    pub(crate) fn strict(&self) -> &ServerProcess {
        self.strict.get_or_init(|| self.start("", STRICT))
    }

    /// A server of a case's own; `top` and `limits` are further lines of its settings.
    #[track_caller]
    pub(crate) fn start(&self, top: &str, limits: &str) -> ServerProcess {
        ServerProcess::start(&mut command(&self.settings_text(top, limits)))
    }

    pub(crate) fn facts(&self) -> Facts {
        self.model.facts(&self.settings())
    }

    /// Connections that are served at the same time; the others wait in the kernel's queue.
    pub(crate) fn connections_at_once(&self) -> usize {
        let facts = self.facts();
        let most = if facts.evented { None } else { facts.at_once };
        most.unwrap_or(CONNECTIONS_MAX).min(CONNECTIONS_MAX)
    }

    /// Handlers that run at the same time, if they wait for their clients.
    pub(crate) fn handlers_at_once(&self) -> usize {
        self.facts().at_once.unwrap_or(CONNECTIONS_MAX).min(CONNECTIONS_MAX)
    }

    pub(crate) fn serves_many(&self) -> bool {
        self.connections_at_once() > 1
    }

    /// Whether a connection is accepted by the thread that will serve it, when it has nothing else to do.
    pub(crate) fn accepts_when_free(&self) -> bool {
        matches!(self.model.name(), "serial" | "pool")
    }

    /// Whether handlers run in processes behind the one with the connections.
    pub(crate) fn has_handler_processes(&self) -> bool {
        self.facts().processes > 0
    }

    /// Whether handlers run on threads or in processes of their own.
    pub(crate) fn handlers_leave_the_loop(&self) -> bool {
        let place = self.model.place(&Lane::default(), &self.settings());
        matches!(place, Ok(Placement::Pool(_) | Placement::Worker(_)))
    }

    /// Whether a handler that blocks its thread lets others of its process run.
    pub(crate) fn handlers_have_threads(&self) -> bool {
        let place = self.model.place(&Lane::default(), &self.settings());
        !self.facts().evented || matches!(place, Ok(Placement::Pool(_)))
    }

    /// Whether a handler that waits lets others run.
    pub(crate) fn waits_apart(&self) -> bool {
        let place = self.model.place(&Lane::default(), &self.settings());
        self.handlers_at_once() > 1 && place != Ok(Placement::Inline)
    }

    fn settings(&self) -> Settings {
        toml::from_str(&self.settings_text("", "")).expect("the settings of a variant are valid")
    }

    fn settings_text(&self, top: &str, limits: &str) -> String {
        let backend = self.backend.map_or_else(String::new, |backend| format!("backend = '{backend}'"));
        let workers = if top.contains("workers") { "" } else { "workers = 1" };
        let model = self.model.name();
        // Many servers on few cores starve each other's loops; the watchdog would report that, and the debug information
        // of a report would count as growth of memory.
        let watchdog = if top.contains("watchdog_ms") { "" } else { "watchdog_ms = 0" };
        let grace = if top.contains("grace") { "" } else { "keepalive_min_grace_secs = 0.1" };
        format!(
            "{watchdog}\n{grace}\nmodel = '{model}'\nlisten = ['127.0.0.1:0']\n{workers}\n{backend}\n{top}\n\
             [limits]\nconnections_max = {CONNECTIONS_MAX}\n{limits}"
        )
    }
}

/// This binary as a server.
pub(crate) fn command(settings: &str) -> Command {
    let own = std::env::current_exe().expect("a process knows its binary");
    let mut command = Command::new(own);
    command.env(FIXTURE, settings);
    command
}

/// How a server ends that refuses its settings, and what it says.
#[track_caller]
pub(crate) fn refusal(settings: &str) -> (Exit, String) {
    match ServerProcess::try_start(&mut command(settings)) {
        Ok(_) => panic!("these settings were accepted:\n{settings}"),
        Err(refusal) => refusal,
    }
}

/// What the process with the connections counts.
#[track_caller]
pub(crate) fn status(server: &ServerProcess) -> Status {
    let response = server.client().get("/status").expect(200);
    serde_json::from_slice(&response.body).unwrap_or_else(|error| panic!("{error} in {response}"))
}

/// Waits until nobody but the one who asks has a connection.
#[track_caller]
pub(crate) fn wait_until_alone(server: &ServerProcess) {
    wait_until("the only open connection is the one that asks", || {
        (status(server).connections_open == 1).then_some(())
    });
}
