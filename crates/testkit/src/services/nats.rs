//! NATS with JetStream.

use std::io::Read;
use std::ops::Deref;
use std::process::Command;

use super::instance::{Instance, Recipe, find_program};

static RECIPE: Recipe = Recipe {
    name: "nats",
    prepare: |_| Ok(()),
    command: |place| {
        let mut command = Command::new(&place.program);
        command.args(["--addr", "127.0.0.1", "--port", &place.port.to_string()]);
        command.args(["--jetstream", "--store_dir"]).arg(place.directory.join("jetstream"));
        command
    },
    answers: |stream, _| {
        let mut greeting = [0; 5];
        stream.read_exact(&mut greeting)?;
        Ok(&greeting == b"INFO ")
    },
};

/// A private NATS server; what it has acknowledged is there after [`Instance::restart`], though not on disk.
#[derive(Debug)]
pub struct Nats(Instance);

impl Nats {
    /// Starts one; `None` when it is not installed.
    ///
    /// # Panics
    /// When it does not get ready, see [`crate::services`].
    #[track_caller]
    pub fn start() -> Option<Nats> {
        Instance::start(&RECIPE, find_program(&["nats-server"])).map(Nats)
    }

    /// Its address as the clients take it: `nats://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address())
    }
}

impl Deref for Nats {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        &self.0
    }
}
