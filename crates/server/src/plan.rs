//! What the master prepares and every worker inherits: settings, the built application, bound listeners.

use std::os::fd::AsFd;

use tenfold_runtime::net::TcpListener;
use tenfold_scoreboard::Scoreboard;
use tenfold_supervisor::Bound;

use crate::app::Blueprint;
use crate::settings::Settings;

/// Made in the master; cheap to have and safe to fork.
#[derive(Debug)]
pub struct Plan {
    /// Checked settings.
    pub settings: Settings,
    pub(crate) blueprint: Blueprint,
    pub(crate) listeners: Vec<Bound>,
    /// The counters of all processes.
    pub(crate) board: Option<Scoreboard>,
}

impl Plan {
    /// The listeners as this process's own descriptors, non-blocking.
    pub(crate) fn open_listeners(&self) -> Result<Vec<TcpListener>, String> {
        self.listeners
            .iter()
            .map(|bound| {
                let fd = bound.listener().as_fd().try_clone_to_owned()?;
                // The flag belongs to the open file, which all workers share; all of them want it.
                rustix::io::ioctl_fionbio(&fd, true)?;
                Ok(TcpListener::from_fd(fd))
            })
            .collect::<std::io::Result<_>>()
            .map_err(|error| format!("cannot use the listener: {error}"))
    }
}
