//! Redis, without persistence or with all that it has.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::ops::Deref;
use std::process::Command;

use super::instance::{Instance, Place, Recipe, find_program};

static RECIPE: Recipe =
    Recipe { name: "redis", prepare: |_| Ok(()), command: |place| command(place, "no"), answers };

static DURABLE: Recipe =
    Recipe { name: "redis", prepare: |_| Ok(()), command: |place| command(place, "yes"), answers };

fn command(place: &Place, append_only: &str) -> Command {
    let mut command = Command::new(&place.program);
    command.args(["--bind", "127.0.0.1", "--port", &place.port.to_string()]);
    command.args(["--unixsocket", "redis.sock", "--save", "", "--appendonly", append_only]);
    command.args(["--appendfsync", "always"]);
    command
}

/// One that still reads its log answers with an error.
fn answers(stream: &mut TcpStream, _: &Place) -> io::Result<bool> {
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    Ok(&answer == b"+PONG\r\n")
}

/// A private Redis; also on `redis.sock` in its directory.
#[derive(Debug)]
pub struct Redis(Instance);

impl Redis {
    /// Starts one; `None` when it is not installed.
    ///
    /// # Panics
    /// When it does not get ready, see [`crate::services`].
    #[track_caller]
    pub fn start() -> Option<Redis> {
        Instance::start(&RECIPE, find_program(&["redis-server"])).map(Redis)
    }

    /// Starts one that answers after fsync: what it has answered is there after [`Instance::restart`].
    ///
    /// # Panics
    /// As [`Redis::start`].
    #[track_caller]
    pub fn start_durable() -> Option<Redis> {
        Instance::start(&DURABLE, find_program(&["redis-server"])).map(Redis)
    }

    /// Its address as the clients take it: `redis://127.0.0.1:PORT/`.
    pub fn url(&self) -> String {
        format!("redis://{}/", self.address())
    }
}

impl Deref for Redis {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        &self.0
    }
}
