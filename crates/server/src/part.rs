//! `Part`: what another crate adds to an app – jobs, say – without the server knowing what it is; and `Companion`, what such a
//! part has running in each worker beside the requests.
//!
//! ```text
//!   master   prepare(settings) ─► processes() ─► finish(app)      before anything is opened
//!   worker   state is made ─► companion starts ─► serves ─► stop() ─► the last request ends ─► wait() ─► exit
//! ```

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tenfold_supervisor::Group;

use crate::app::App;
use crate::settings::Settings;
use crate::state::StateMap;

/// What another crate adds to an app; at most one of each type. See [`App::part`].
pub trait Part: Any {
    /// Learns the settings. Called in the master, before [`Part::finish`], and where settings are only checked: it opens nothing.
    /// Not at all where an app is built without any.
    ///
    /// # Errors
    /// One line for a person.
    fn prepare(&mut self, settings: &Settings) -> Result<(), String>;

    /// Processes that it needs beside the workers. They start before them, end after them, and outlive a reload.
    fn processes(&self) -> Vec<Group> {
        Vec::new()
    }

    /// Adds to the app what it consists of. Called once, when the app is built.
    ///
    /// # Errors
    /// One line for a person.
    fn finish(self: Box<Self>, app: App) -> Result<App, String>;
}

/// What runs in a worker beside its requests.
pub trait Companion: Send {
    /// Takes up nothing new. Must not wait.
    fn stop(&mut self);

    /// Waits until it has ended what it does, and gives up at `until`.
    fn wait(&mut self, until: Instant);

    /// The process ends at once. Must not wait.
    fn abandon(&mut self) {}
}

/// Starts a companion in a worker, once its state is made.
pub(crate) type StartCompanion =
    Arc<dyn Fn(&Arc<StateMap>) -> Result<Box<dyn Companion>, String> + Send + Sync>;

/// The companions of one worker; empty in the master.
#[derive(Clone, Default)]
pub(crate) struct Companions(Arc<Mutex<Vec<Box<dyn Companion>>>>);

impl Companions {
    pub(crate) fn start(&self, start: &[StartCompanion], state: &Arc<StateMap>) -> Result<(), String> {
        for start in start {
            let companion = start(state)?;
            self.with(|all| all.push(companion));
        }
        Ok(())
    }

    pub(crate) fn stop(&self) {
        self.with(|all| all.iter_mut().for_each(|one| one.stop()));
    }

    /// For at most so long.
    pub(crate) fn wait(&self, patience: Duration) {
        let until = Instant::now() + patience;
        self.stop();
        let all = self.with(std::mem::take);
        for mut companion in all {
            companion.wait(until);
        }
    }

    pub(crate) fn abandon(&self) {
        self.with(|all| all.iter_mut().for_each(|one| one.abandon()));
    }

    fn with<R>(&self, f: impl FnOnce(&mut Vec<Box<dyn Companion>>) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Companions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Companions({})", self.with(|all| all.len()))
    }
}
