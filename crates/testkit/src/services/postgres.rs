//! PostgreSQL, with a fresh cluster that trusts the loopback.

use std::fs;
use std::io::{Read, Write};
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;

use super::instance::{Instance, Recipe, find_program, prepare_with};

/// Connections: 200 requests at once, each on its own, and some for the test.
const CONNECTIONS_MAX: u32 = 300;

static RECIPE: Recipe = Recipe {
    name: "postgres",
    prepare: |place| {
        let mut command = Command::new(place.program.with_file_name("initdb"));
        command.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"]);
        command.arg(place.directory.join("data"));
        prepare_with(command)
    },
    command: |place| {
        let mut command = Command::new(&place.program);
        command.arg("-D").arg(place.directory.join("data"));
        command.args(["-h", "127.0.0.1", "-p", &place.port.to_string()]);
        command.arg("-k").arg(&place.directory);
        // What a crash of the machine would lose does not matter here.
        for setting in ["fsync=off", "synchronous_commit=off", "full_page_writes=off"] {
            command.args(["-c", setting]);
        }
        command.args(["-c", "shared_buffers=32MB", "-c", &format!("max_connections={CONNECTIONS_MAX}")]);
        command
    },
    answers: |stream, _| {
        // While it recovers, it answers a start-up message with an error instead of a request to authenticate.
        let parameters = b"user\0postgres\0database\0postgres\0\0";
        let length = 8 + u32::try_from(parameters.len()).expect("a few bytes");
        let version: u32 = 3 << 16;
        stream.write_all(&[&length.to_be_bytes()[..], &version.to_be_bytes(), parameters].concat())?;
        let mut kind = [0];
        stream.read_exact(&mut kind)?;
        Ok(kind == *b"R")
    },
};

/// A private PostgreSQL with the user `postgres` (no password) and the database `postgres`; also on a Unix socket in its
/// directory.
#[derive(Debug)]
pub struct Postgres(Instance);

impl Postgres {
    /// Starts one; `None` when it is not installed. Takes a second or two.
    ///
    /// # Panics
    /// When it does not get ready, see [`crate::services`].
    #[track_caller]
    pub fn start() -> Option<Postgres> {
        Instance::start(&RECIPE, find_program(&["postgres"]).or_else(newest_of_debian)).map(Postgres)
    }

    /// Its address as libpq takes it: `postgres://postgres@127.0.0.1:PORT/postgres`.
    pub fn url(&self) -> String {
        format!("postgres://postgres@{}/postgres", self.address())
    }
}

impl Deref for Postgres {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        &self.0
    }
}

/// Debian keeps each version's programs in a directory of its own, outside of every PATH.
fn newest_of_debian() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.map(|entry| entry.path()).max_by_key(number)?;
    Some(newest.join("bin/postgres")).filter(|program| program.is_file())
}
