//! A model and a backend, with the server that its cases share.

use std::process::Command;
use std::sync::OnceLock;

use tenfold_runtime::{BackendChoice, ReactorConfig, Runtime, RuntimeConfig};
use tenfold_server::{Facts, Lane, MODELS, Model, Placement, Settings};
use tenfold_testkit::ServerProcess;

use crate::fixture::{CONNECTIONS_MAX, FIXTURE, Status};
use crate::services::SERVICES;

/// The models that drivers are tried in: of each kind one, and both that park.
const TRIED: [&str; 5] = ["serial", "pool", "event-pool", "fiber", "steal"];

pub(crate) struct Variant {
    model: &'static dyn Model,
    backend: Option<&'static str>,
    server: OnceLock<ServerProcess>,
}

impl Variant {
    /// They live as long as the process does.
    pub(crate) fn all() -> Vec<&'static Variant> {
        let reactor = ReactorConfig { backend: BackendChoice::IoUring, ..ReactorConfig::default() };
        let has_io_uring = match Runtime::new(&RuntimeConfig { reactor, ..RuntimeConfig::default() }) {
            Ok(_) => true,
            Err(error) => {
                println!("left out: all variants on io_uring, which this kernel refuses ({error})");
                false
            }
        };
        let mut all: Vec<&'static Variant> = Vec::new();
        for model in MODELS.iter().copied().filter(|model| TRIED.contains(&model.name())) {
            let backends = match (model.facts(&Settings::default()).evented, has_io_uring) {
                (false, _) => &[None][..],
                (true, true) => &[Some("epoll"), Some("io_uring")],
                (true, false) => &[Some("epoll")],
            };
            for backend in backends.iter().copied() {
                all.push(Box::leak(Box::new(Variant { model, backend, server: OnceLock::new() })));
            }
        }
        assert!(all.len() >= TRIED.len(), "a model has another name now");
        all
    }

    /// As `fiber-epoll`, or the model's name alone.
    pub(crate) fn name(&self) -> String {
        match self.backend {
            Some(backend) => format!("{}-{backend}", self.model.name()),
            None => self.model.name().to_owned(),
        }
    }

    /// The server that all cases share; it has one worker.
    pub(crate) fn server(&self) -> &ServerProcess {
        self.server.get_or_init(|| {
            let own = std::env::current_exe().expect("a process knows its binary");
            let mut command = Command::new(own);
            command.env(FIXTURE, self.settings_text());
            for service in SERVICES.iter().filter(|service| service.is_installed()) {
                command.env(format!("TENFOLD_HOOK_{}", service.name), service.url());
            }
            ServerProcess::start(&mut command)
        })
    }

    pub(crate) fn status(&self) -> Status {
        let response = self.server().client().get("/status").expect(200);
        serde_json::from_slice(&response.body).unwrap_or_else(|error| panic!("{error} in {response}"))
    }

    fn facts(&self) -> Facts {
        self.model.facts(&self.settings())
    }

    pub(crate) fn threads_max(&self) -> usize {
        self.facts().threads_max
    }

    /// Requests that can be with a service at the same time.
    pub(crate) fn at_once(&self) -> usize {
        self.facts().at_once.unwrap_or(CONNECTIONS_MAX).min(CONNECTIONS_MAX)
    }

    /// Whether a driver's call ends at its request's deadline: where it parks.
    pub(crate) fn parks(&self) -> bool {
        let place = self.model.place(&Lane::default(), &self.settings());
        self.facts().evented && place == Ok(Placement::Fiber)
    }

    fn settings(&self) -> Settings {
        toml::from_str(&self.settings_text()).expect("the settings of a variant are valid")
    }

    fn settings_text(&self) -> String {
        let backend = self.backend.map_or_else(String::new, |backend| format!("backend = '{backend}'"));
        let model = self.model.name();
        format!(
            "watchdog_ms = 0\nkeepalive_min_grace_secs = 0.1\nmodel = '{model}'\nlisten = ['127.0.0.1:0']\n\
             workers = 1\n{backend}\n"
        )
    }
}
