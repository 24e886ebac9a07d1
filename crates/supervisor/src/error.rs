//! `Error`: what can go wrong before and around the workers.

use std::{io, path::PathBuf};

use tenfold_scoreboard as scoreboard;

/// Why the master could not do what it was asked.
///
/// Every message is one line for the person who started the server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The listen address is not one.
    #[error("\"{text}\" is not a listen address: {reason} (expected ADDRESS:PORT, :PORT or unix:/PATH)")]
    ListenSpec {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The address could not be bound.
    #[error("cannot listen on {address}: {}", plain(.source))]
    Listen {
        /// The address, as printed to people.
        address: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// Another server answers on the socket file.
    #[error("cannot listen on unix:{}: another server answers there", .path.display())]
    SocketFileInUse {
        /// The socket file.
        path: PathBuf,
    },
    /// The path of the socket file is taken by something else, which is left alone.
    #[error("cannot listen on unix:{}: the path exists and is not a socket", .path.display())]
    NotASocketFile {
        /// The path.
        path: PathBuf,
    },
    /// The address is already open in another way.
    #[error(
        "cannot listen on {address}: reuseport cannot change while the address is in use, restart for that"
    )]
    Reuseport {
        /// The address.
        address: String,
    },
    /// A name of an inherited socket that nobody has passed.
    #[error("cannot listen on systemd:{name}: the service manager has passed no socket of that name")]
    NotActivated {
        /// The name.
        name: String,
    },
    /// The user or the group cannot be taken on.
    #[error("cannot run as \"{name}\": {reason}")]
    Identity {
        /// The name as it was given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The control socket could not be made.
    #[error("cannot make the control socket {}: {}", .path.display(), plain(.source))]
    Control {
        /// Where it should be.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The pid file could not be written.
    #[error("cannot write the pid file {}: {}", .path.display(), plain(.source))]
    PidFile {
        /// Where it should be.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// What an old master has passed to this one cannot be understood.
    #[error("cannot take over from the old master: {reason}")]
    Takeover {
        /// What is wrong.
        reason: String,
    },
    /// No group has a worker.
    #[error("there is nothing to run: no group has a worker")]
    NoWorkers,
    /// The process has more than one thread, so it must not fork.
    #[error("the master must have one thread when it forks, and this process has {threads}")]
    Threads {
        /// How many it has.
        threads: usize,
    },
    /// There is already a process or a test that handles signals here.
    #[error("this process already has a master or a worker that obeys signals")]
    SignalsTaken,
    /// The scoreboard is missing or too small.
    #[error("the scoreboard has {slots} slots for {workers} workers")]
    Slots {
        /// Slots there are.
        slots: usize,
        /// Workers there would be.
        workers: usize,
    },
    /// The scoreboard could not be made.
    #[error(transparent)]
    Scoreboard(#[from] scoreboard::Error),
    /// A system call failed that has no reason to.
    #[error("{call}: {source}")]
    System {
        /// Which one.
        call: &'static str,
        /// What it answered.
        source: io::Error,
    },
}

impl Error {
    /// Turns what a system call answered into an error that names the call.
    pub(crate) fn system(call: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self::System { call, source: errno.into() }
    }
}

/// The reason in words, without "(os error 13)": people read this line.
fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::AddrInUse => "the address is in use".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address".to_owned(),
        io::ErrorKind::NotFound => "the directory does not exist".to_owned(),
        _ => error.to_string(),
    }
}
