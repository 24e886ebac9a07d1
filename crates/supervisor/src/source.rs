//! `Source`: where the master gets a generation from, and what it cannot know itself.

use serde_json::{Map, Value};

use crate::{group::Group, listeners::ListenerSet, master::MasterConfig, order::LogLevel};

/// Makes generations. Implemented by whoever knows the configuration and the application.
///
/// All of it runs in the master, on its only thread, except [`Source::prepare`] of a trial and [`Source::forked`].
pub trait Source {
    /// Reads the configuration again and builds what it asks for.
    ///
    /// It is called twice for a reload: first in a child process whose only purpose is to find out whether it fails, panics,
    /// exits, hangs, or starts threads (`wish.trial`, in which no socket must be opened), and then in the master.
    ///
    /// # Errors
    /// One line for a person. Nothing has changed then.
    fn prepare(&mut self, wish: &Wish) -> Result<Prepared, String>;

    /// What was prepared last serves: the sockets that only older generations had can go.
    fn committed(&mut self) {}

    /// What was prepared last does not come up: the sockets that only it had can go.
    fn abandoned(&mut self) {}

    /// The listening sockets, to pass them to a new master.
    fn listeners(&self) -> Option<&ListenerSet> {
        None
    }

    /// Opens the master's own log files again, before the workers do.
    ///
    /// # Errors
    /// One line for a person.
    fn reopen_logs(&mut self) -> Result<(), String> {
        Ok(())
    }

    /// Logs from this level on, in the master.
    ///
    /// # Errors
    /// One line for a person.
    fn set_log_level(&mut self, level: LogLevel) -> Result<(), String> {
        Err(format!("the log level cannot be set to {level}: the program has a log of its own"))
    }

    /// Adds to the answer of `status`.
    fn describe(&self, _status: &mut Map<String, Value>) {}

    /// What the requests in a slot are doing, as lines of text, whatever its worker is doing.
    fn in_flight(&self, _slot: usize) -> String {
        String::new()
    }

    /// In a new process that is no worker of a generation: lets go of what only workers and the master need.
    fn forked(&mut self) {}
}

/// What a new generation should be like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wish {
    /// Workers, instead of what the configuration says.
    pub workers: Option<usize>,
    /// Only to find out whether it is possible.
    pub trial: bool,
}

/// A generation that may be started.
#[derive(Debug)]
pub struct Prepared {
    /// Its workers.
    pub groups: Vec<Group>,
    /// The master's bounds from now on.
    pub config: MasterConfig,
}
