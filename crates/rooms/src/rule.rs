//! `Rule`: what holds for the rooms of a pattern.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

/// What becomes of a client that reads more slowly than its room speaks. Nobody else waits for it, and whatever it loses it
/// is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Slow {
    /// What it has not taken when the room's history forgets it is lost to it; it gets a `reset` and goes on.
    #[default]
    DropOldest,
    /// As `DropOldest`, and of several messages with the same key that wait for it only the newest is sent: for values that
    /// replace each other.
    Coalesce,
    /// Its connection ends with code 1013 once the history forgets what it has not taken.
    Disconnect,
}

/// Who asks, as the app has told it from the request: any JSON value, `null` for nobody in particular.
#[derive(Clone, Debug, Default)]
pub struct Visitor {
    /// What is known about them.
    pub identity: Value,
}

type Allow = Arc<dyn Fn(&Visitor, &str) -> bool + Send + Sync>;

/// What holds for the rooms whose names match a pattern: a name, or a beginning and `*`.
///
/// ```
/// use std::time::Duration;
/// use tenfold_rooms::{Rule, Slow};
///
/// let chat = Rule::new("chat:*").history(200, Duration::from_secs(3600)).presence().clients_publish();
/// let prices = Rule::new("prices").slow(Slow::Coalesce);
/// let mine = Rule::new("user:*").allow(|visitor, room| room.strip_prefix("user:") == visitor.identity.as_str());
/// # let _ = (chat, prices, mine);
/// ```
#[derive(Clone)]
pub struct Rule {
    pattern: String,
    pub(crate) history_max: usize,
    pub(crate) history_bytes_max: usize,
    pub(crate) history_age: Duration,
    pub(crate) message_bytes_max: usize,
    pub(crate) members_max: usize,
    pub(crate) slow: Slow,
    pub(crate) presence: bool,
    pub(crate) clients_publish: bool,
    pub(crate) allow: Option<Allow>,
}

impl Rule {
    /// The defaults: a history of 100 messages, 1 MiB and 5 minutes; messages of up to 64 KiB; 100,000 members in each worker;
    /// no presence; everybody may join, and nobody but the server publishes.
    pub fn new(pattern: &str) -> Rule {
        Rule {
            pattern: pattern.into(),
            history_max: 100,
            history_bytes_max: 1 << 20,
            history_age: Duration::from_secs(300),
            message_bytes_max: 64 << 10,
            members_max: 100_000,
            slow: Slow::DropOldest,
            presence: false,
            clients_publish: false,
            allow: None,
        }
    }

    /// How many messages are kept, and for how long: what a client can catch up with after a loss of its connection, and how far
    /// a slow one may fall behind. At least one.
    #[must_use]
    pub fn history(mut self, messages: usize, age: Duration) -> Rule {
        (self.history_max, self.history_age) = (messages.max(1), age);
        self
    }

    /// Most bytes of the kept messages; default 1 MiB. The newest one is kept in any case.
    #[must_use]
    pub fn history_bytes(mut self, bytes: usize) -> Rule {
        self.history_bytes_max = bytes;
        self
    }

    /// Longest message in bytes of JSON; default 64 KiB.
    #[must_use]
    pub fn message_bytes(mut self, bytes: usize) -> Rule {
        self.message_bytes_max = bytes;
        self
    }

    /// Most members of a room in each worker; default 100,000.
    #[must_use]
    pub fn members(mut self, members: usize) -> Rule {
        self.members_max = members;
        self
    }

    /// What becomes of slow clients; default [`Slow::DropOldest`].
    #[must_use]
    pub fn slow(mut self, slow: Slow) -> Rule {
        self.slow = slow;
        self
    }

    /// Members are told who comes and goes. In a room of thousands that is many messages.
    #[must_use]
    pub fn presence(mut self) -> Rule {
        self.presence = true;
        self
    }

    /// Clients may publish by themselves, over the app's rooms endpoint.
    #[must_use]
    pub fn clients_publish(mut self) -> Rule {
        self.clients_publish = true;
        self
    }

    /// Who may join, and read. Asked with the room's name; it may wait.
    #[must_use]
    pub fn allow(mut self, allow: impl Fn(&Visitor, &str) -> bool + Send + Sync + 'static) -> Rule {
        self.allow = Some(Arc::new(allow));
        self
    }

    fn matches(&self, room: &str) -> bool {
        match self.pattern.strip_suffix('*') {
            Some(beginning) => room.starts_with(beginning),
            None => room == self.pattern,
        }
    }

    pub(crate) fn allows(&self, visitor: &Visitor, room: &str) -> bool {
        self.allow.as_ref().is_none_or(|allow| allow(visitor, room))
    }
}

/// All rules of an app; the first that matches counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules(pub(crate) Vec<Arc<Rule>>);

impl Rules {
    /// The rule of a room that the app has named.
    pub(crate) fn named(&self, room: &str) -> Option<&Arc<Rule>> {
        self.0.iter().find(|rule| rule.matches(room))
    }

    /// The rule of any room: the server's own code may use rooms that no rule names.
    pub(crate) fn of(&self, room: &str) -> Arc<Rule> {
        self.named(room).cloned().unwrap_or_else(|| Arc::new(Rule::new("*")))
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("pattern", &self.pattern)
            .field("slow", &self.slow)
            .finish_non_exhaustive()
    }
}
