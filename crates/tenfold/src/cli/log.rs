//! The error log: standard error or a file, which can be opened again, from a level on that can be changed.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tenfold_server::supervisor::LogLevel;
use tenfold_server::{LogControls, control_log};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::Error;

/// The file of this process; workers inherit it open.
static FILE: Mutex<Option<(PathBuf, File)>> = Mutex::new(None);

/// Changes the level of this process's log.
type SetLevel = Box<dyn Fn(LevelFilter) -> Result<(), String> + Send + Sync>;
static SET_LEVEL: OnceLock<SetLevel> = OnceLock::new();

/// Sends the log to standard error, or to a file. An application may have set up its own; then that one stays.
///
/// # Errors
/// [`Error::System`] when the file cannot be opened.
pub(crate) fn start(level: LogLevel, file: Option<&Path>) -> Result<(), Error> {
    if let Some(path) = file {
        let opened = open(path).map_err(Error::System)?;
        *lock() = Some((path.to_owned(), opened));
    }
    let (level, handle) = tracing_subscriber::reload::Layer::new(filter(level));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| Writer)
        .with_ansi(file.is_none() && io::stderr().is_terminal())
        .with_target(false);
    if tracing_subscriber::registry().with(level).with(lines).try_init().is_ok() {
        let _ = SET_LEVEL.set(Box::new(move |level| handle.reload(level).map_err(|error| error.to_string())));
        control_log(LogControls { reopen, set_level });
    }
    Ok(())
}

fn open(path: &Path) -> Result<File, String> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(|error| format!("cannot open the log {}: {error}", path.display()))
}

/// What was renamed by a rotation is let go only when the new file is open.
fn reopen() -> Result<(), String> {
    let mut file = lock();
    if let Some((path, old)) = &mut *file {
        *old = open(path)?;
    }
    Ok(())
}

fn set_level(level: LogLevel) -> Result<(), String> {
    SET_LEVEL.get().map_or(Ok(()), |set| set(filter(level)))
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

fn lock() -> MutexGuard<'static, Option<(PathBuf, File)>> {
    FILE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes wherever the log goes at the moment.
struct Writer;

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *lock() {
            Some((_, file)) => file.write(bytes),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
