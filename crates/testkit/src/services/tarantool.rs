//! Tarantool, in memory only.

use std::fs;
use std::io::Read;
use std::ops::Deref;
use std::process::Command;

use super::instance::{Instance, Recipe, find_program};

/// The port is the script's argument; `ready` is written when the rights are given, since the port accepts before.
const SCRIPT: &str = r#"
box.cfg{listen = '127.0.0.1:' .. arg[1], wal_mode = 'none', memtx_memory = 64 * 1024 * 1024, log_level = 3}
box.schema.user.create('tenfold', {password = 'tenfold', if_not_exists = true})
box.schema.user.grant('tenfold', 'super', nil, nil, {if_not_exists = true})
box.schema.user.grant('guest', 'super', nil, nil, {if_not_exists = true})
local file = io.open('ready', 'w')
file:close()
"#;

static RECIPE: Recipe = Recipe {
    name: "tarantool",
    prepare: |place| fs::write(place.directory.join("init.lua"), SCRIPT),
    command: |place| {
        let _ = fs::remove_file(place.directory.join("ready"));
        let mut command = Command::new(&place.program);
        command.arg(place.directory.join("init.lua")).arg(place.port.to_string());
        command
    },
    answers: |stream, place| {
        let mut greeting = [0; 10];
        stream.read_exact(&mut greeting)?;
        Ok(&greeting == b"Tarantool " && place.directory.join("ready").exists())
    },
};

/// A private Tarantool; `guest` and `tenfold` (password `tenfold`) may do everything.
#[derive(Debug)]
pub struct Tarantool(Instance);

impl Tarantool {
    /// Starts one; `None` when it is not installed.
    ///
    /// # Panics
    /// When it does not get ready, see [`crate::services`].
    #[track_caller]
    pub fn start() -> Option<Tarantool> {
        Instance::start(&RECIPE, find_program(&["tarantool"])).map(Tarantool)
    }
}

impl Deref for Tarantool {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        &self.0
    }
}
