//! The lock on `FILE.lock`: one keeper at a time has a file. In an upgrade the newer one asks the older one for it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use tenfold_server::supervisor::Worker;

use super::{beside, hear, socket_path};
use crate::wire::{self, Request};

/// How often a lock that another keeper has is tried.
const LOOK: Duration = Duration::from_millis(20);
/// How long a keeper that was asked may take to give it up.
const PATIENCE: Duration = Duration::from_secs(30);

/// `None` when the order to stop came first.
pub(super) fn take(file: &Path, worker: &Worker, asks: bool) -> Result<Option<File>, String> {
    let path = beside(file, "lock");
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| format!("cannot open the lock {}: {error}", path.display()))?;
    let until = Instant::now() + PATIENCE;
    let mut asked = false;
    loop {
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(lock)),
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(error) => return Err(format!("cannot lock {}: {error}", path.display())),
        }
        if asks && !asked {
            asked = ask_to_yield(file, worker.generation()).is_ok();
        }
        if asks && Instant::now() > until {
            return Err("another server keeps its jobs in this file".into());
        }
        if hear(worker, Some(LOOK)) {
            return Ok(None);
        }
    }
}

fn ask_to_yield(file: &Path, generation: u32) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket_path(file))?;
    let mut bytes = Vec::new();
    wire::encode(&Request::Yield { generation }, &mut bytes);
    stream.write_all(&bytes)
}
