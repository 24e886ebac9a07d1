//! Memcached, 64 MB.

use std::io::{Read, Write};
use std::ops::Deref;
use std::process::Command;

use super::instance::{Instance, Recipe, find_program};

static RECIPE: Recipe = Recipe {
    name: "memcached",
    prepare: |_| Ok(()),
    command: |place| {
        let mut command = Command::new(&place.program);
        // No UDP: that port may be taken although the one for TCP is free.
        command.args(["-l", "127.0.0.1", "-U", "0", "-m", "64", "-p", &place.port.to_string()]);
        command
    },
    answers: |stream, _| {
        stream.write_all(b"version\r\n")?;
        let mut answer = [0; 8];
        stream.read_exact(&mut answer)?;
        Ok(&answer == b"VERSION ")
    },
};

/// A private memcached.
#[derive(Debug)]
pub struct Memcached(Instance);

impl Memcached {
    /// Starts one; `None` when it is not installed.
    ///
    /// # Panics
    /// When it does not get ready, see [`crate::services`].
    #[track_caller]
    pub fn start() -> Option<Memcached> {
        Instance::start(&RECIPE, find_program(&["memcached"])).map(Memcached)
    }

    /// Its address as the crate `memcache` takes it: `memcache://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("memcache://{}", self.address())
    }
}

impl Deref for Memcached {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        &self.0
    }
}
