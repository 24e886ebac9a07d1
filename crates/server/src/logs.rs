//! The error log of this process, for the supervisor's orders: opening it again, and how much is logged.
//!
//! Libraries emit events and do not know where they go, so whoever has set the log up says here how it is changed. Set once,
//! in the master, before it forks; workers inherit it.

use std::sync::OnceLock;

use tenfold_supervisor::LogLevel;

/// How the log of a process is changed while it runs.
pub struct LogControls {
    /// Opens the log's file again.
    pub reopen: fn() -> Result<(), String>,
    /// Logs from this level on.
    pub set_level: fn(LogLevel) -> Result<(), String>,
}

static CONTROLS: OnceLock<LogControls> = OnceLock::new();

/// Says how the log is changed. The first call counts.
pub fn control_log(controls: LogControls) {
    let _ = CONTROLS.set(controls);
}

pub(crate) fn reopen_error_log() -> Result<(), String> {
    CONTROLS.get().map_or(Ok(()), |controls| (controls.reopen)())
}

pub(crate) fn set_level(level: LogLevel) -> Result<(), String> {
    let controls = CONTROLS.get().ok_or("the program has a log of its own")?;
    (controls.set_level)(level)
}

impl std::fmt::Debug for LogControls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogControls")
    }
}
