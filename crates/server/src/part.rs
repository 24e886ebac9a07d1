//! `Part`: what another crate adds to an app – jobs, say – without the server knowing what it is; and `Companion`, what such a
//! part has running in each worker beside the requests.
//!
//! ```text
//!   master   prepare(settings) ─► processes() ─► finish(app)      before anything is opened
//!   worker   state is made ─► companion starts ─► serves ─► stop() ─┬► the last request ends ─┬► last words ─► exit
//!                                                                   └► wait() ────────────────┘
//! ```

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tenfold_scoreboard as scoreboard;
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
pub trait Companion: Send + Sync {
    /// Takes up nothing new. Must not wait.
    fn stop(&self) {}

    /// Waits until it has ended what it does, and gives up at `until`. Called once, after [`Companion::stop`], on a thread of its
    /// own, while the last requests are answered.
    fn wait(&self, _until: Instant) {}

    /// The process ends at once, perhaps while somebody waits. Must not wait.
    fn abandon(&self) {}
}

/// Starts a companion in a worker, once its state is made.
pub(crate) type StartCompanion =
    Arc<dyn Fn(&Arc<StateMap>) -> Result<Box<dyn Companion>, String> + Send + Sync>;

/// What is done last in a process that has the app's state.
pub(crate) type LastWords = Arc<dyn Fn(&StateMap) + Send + Sync>;

/// The companions of one process; empty in the master.
#[derive(Clone)]
pub(crate) struct Companions {
    /// How long they have where no master says it. One that does counts from its word on, for the whole worker, and kills it with
    /// all that its companions have not given back: so they do not wait for its requests first.
    patience: Duration,
    crew: Arc<Mutex<Crew>>,
}

#[derive(Default)]
struct Crew {
    all: Vec<Arc<dyn Companion>>,
    last_words: Vec<LastWords>,
    state: Option<Arc<StateMap>>,
    /// Who waits for them, once they were told to stop.
    waiting: Option<Vec<JoinHandle<()>>>,
}

impl Companions {
    pub(crate) fn new(patience: Duration) -> Companions {
        Companions { patience, crew: Arc::default() }
    }

    pub(crate) fn start<'a>(
        &self,
        start: impl IntoIterator<Item = &'a StartCompanion>,
        last_words: &[LastWords],
        state: &Arc<StateMap>,
    ) -> Result<(), String> {
        self.with(|crew| (crew.last_words, crew.state) = (last_words.to_vec(), Some(state.clone())));
        for start in start {
            let companion = start(state)?.into();
            self.with(|crew| crew.all.push(companion));
        }
        Ok(())
    }

    /// Tells them to stop, once; from now on their time runs, for all of them at once. Does not wait.
    pub(crate) fn stop(&self) {
        let until = Instant::now() + scoreboard::current().rest_to_stop().unwrap_or(self.patience);
        self.with(|crew| {
            let Crew { all, waiting, .. } = crew;
            if waiting.is_some() {
                return;
            }
            all.iter().for_each(|one| one.stop());
            *waiting = Some(all.iter().filter_map(|one| wait_for(one.clone(), until)).collect());
        });
    }

    /// Whether they were told to stop.
    pub(crate) fn are_told(&self) -> bool {
        self.with(|crew| crew.waiting.is_some())
    }

    /// Whether they were told to stop and have done so.
    pub(crate) fn have_ended(&self) -> bool {
        self.with(|crew| crew.waiting.as_ref().is_some_and(|all| all.iter().all(JoinHandle::is_finished)))
    }

    /// The end of the process, once its requests have ended: waits for the companions, and then has the last words said.
    pub(crate) fn end(&self) {
        self.stop();
        let (waiting, last_words, state) = self.with(|crew| {
            (
                crew.waiting.as_mut().map(std::mem::take),
                std::mem::take(&mut crew.last_words),
                crew.state.take(),
            )
        });
        // One that panicked has said so.
        waiting.into_iter().flatten().for_each(|one| drop(one.join()));
        if let Some(state) = state {
            last_words.iter().for_each(|say| say(&state));
        }
    }

    pub(crate) fn abandon(&self) {
        self.with(|crew| crew.all.iter().for_each(|one| one.abandon()));
    }

    fn with<R>(&self, f: impl FnOnce(&mut Crew) -> R) -> R {
        f(&mut self.crew.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Without a thread to be had nobody waits, and what the companion holds is given up.
fn wait_for(companion: Arc<dyn Companion>, until: Instant) -> Option<JoinHandle<()>> {
    let waits = companion.clone();
    let thread = std::thread::Builder::new().name("companion".into()).spawn(move || waits.wait(until));
    thread.inspect_err(|_| companion.abandon()).ok()
}

impl fmt::Debug for Companions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Companions({})", self.with(|crew| crew.all.len()))
    }
}
