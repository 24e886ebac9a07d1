//! The new master's side of a binary upgrade: what the old one has passed, and the talk with it.
//!
//! ```text
//!   old master                                   new master
//!   fork, exec: TENFOLD_UPGRADE={…} ───────────▶ adopts the listeners, starts its workers
//!                                  ◀── ready ─── every worker serves; both generations accept
//!   commit ───────────────────────────────────▶  takes pid file, control socket, socket files
//!                                  ◀── taken ───
//!   drains and exits                             is the master
//! ```
//!
//! `failed REASON` instead of `ready`, the end of the link, or silence roll the upgrade back: the old master has not given
//! anything up until `taken`. When it is the old master that dies, the new one takes over by itself.

use std::{
    io::{ErrorKind, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::Mutex,
};

use serde::{Deserialize, Serialize};

use crate::{error::Error, listen_spec::ListenSpec, listener::Bound, listeners::Offered, sys};

/// The variable in the new master's environment.
pub(crate) const VARIABLE: &str = "TENFOLD_UPGRADE";

/// A listener as it is passed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Passed {
    pub(crate) spec: String,
    pub(crate) slot: Option<usize>,
}

/// The variable's value.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Baton {
    /// The old master; whoever has another parent has only inherited the variable.
    pub(crate) master: u32,
    /// The descriptor of the link.
    pub(crate) link: i32,
    /// The number of its last generation.
    pub(crate) generation: u32,
    /// Its control socket.
    pub(crate) control: Option<String>,
    /// The descriptors of the listeners.
    pub(crate) listeners: Vec<(i32, Passed)>,
}

/// One end of the link. Lines; never blocks.
#[derive(Debug)]
pub(crate) struct Link {
    stream: UnixStream,
    bytes: Vec<u8>,
    pub(crate) ended: bool,
}

/// The link of this process, until the master takes it.
static LINK: Mutex<Option<Link>> = Mutex::new(None);

fn baton() -> Result<Option<Baton>, Error> {
    let Ok(text) = std::env::var(VARIABLE) else { return Ok(None) };
    let baton: Baton =
        serde_json::from_str(&text).map_err(|error| Error::Takeover { reason: error.to_string() })?;
    let parent = rustix::process::getppid().map(|pid| pid.as_raw_pid().unsigned_abs());
    Ok((parent == Some(baton.master)).then_some(baton))
}

/// The control socket of the master that this process is to replace, if it is.
pub fn inherited_control() -> Option<std::path::PathBuf> {
    baton().ok().flatten()?.control.map(Into::into)
}

/// The number of the old master's last generation.
pub(crate) fn generation() -> u32 {
    baton().ok().flatten().map_or(0, |baton| baton.generation)
}

/// The passed listeners; opens the link. Called once.
pub(crate) fn offered() -> Result<Vec<Offered>, Error> {
    let Some(baton) = baton()? else { return Ok(Vec::new()) };
    let lost = |what: &str| Error::Takeover { reason: format!("{what} is not an open descriptor") };
    let link = sys::inherited(baton.link).ok_or_else(|| lost("the link"))?;
    *LINK.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Link::new(link)?);
    let mut offered = Vec::new();
    for (fd, Passed { spec, slot }) in baton.listeners {
        let spec: ListenSpec = spec.parse()?;
        let bound = sys::inherited(fd).and_then(Bound::adopt).ok_or_else(|| lost("a listener"))?;
        offered.push(Offered { spec, slot, bound });
    }
    Ok(offered)
}

/// The link to the old master, once.
pub(crate) fn link() -> Option<Link> {
    LINK.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
}

/// Tells the old master why this process gives up, if there is one that waits for it. For errors before the master runs.
pub fn report_failure(reason: &str) {
    if let Some(mut link) = link() {
        link.say(&format!("failed {reason}"));
    } else if let Ok(Some(baton)) = baton()
        && let Some(fd) = sys::inherited(baton.link)
        && let Ok(mut link) = Link::new(fd)
    {
        link.say(&format!("failed {reason}"));
    }
}

impl Link {
    pub(crate) fn new(fd: OwnedFd) -> Result<Self, Error> {
        let stream = UnixStream::from(fd);
        stream.set_nonblocking(true).map_err(|source| Error::System { call: "fcntl", source })?;
        Ok(Self { stream, bytes: Vec::new(), ended: false })
    }

    /// A line fits into the socket's buffer, since few are ever sent; whoever is gone needs none.
    pub(crate) fn say(&mut self, line: &str) {
        let line = line.replace('\n', " ");
        let _ = self.stream.write_all(format!("{line}\n").as_bytes());
    }

    /// What was said since the last call.
    pub(crate) fn take(&mut self) -> Vec<String> {
        let mut chunk = [0; 1024];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => self.ended = true,
                Ok(count) if self.bytes.len() < 64 << 10 => {
                    self.bytes.extend_from_slice(&chunk[..count]);
                    continue;
                }
                Ok(_) => continue,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.ended = true,
            }
            break;
        }
        let Some(end) = self.bytes.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        let lines: Vec<u8> = self.bytes.drain(..=end).collect();
        String::from_utf8_lossy(&lines).lines().map(str::to_owned).collect()
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
