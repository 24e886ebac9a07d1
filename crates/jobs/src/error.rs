//! What can go wrong between a program and its jobs.

use std::io;
use std::time::Duration;

use tenfold_server::Busy;
use tenfold_server::runtime::sync::WaitError;

/// What this crate answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why jobs were not taken in, or a question not answered.
///
/// In a handler, `?` answers [`Error::Full`] and [`Error::Unavailable`] with 503 and `Retry-After`, or with the page that the
/// queue has for it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The queue has no room, or takes nothing in at present; nothing was kept.
    #[error("the queue {queue:?} is full")]
    Full {
        /// The queue.
        queue: String,
        /// What a client is told.
        #[source]
        busy: Busy,
    },
    /// The store could not be reached, or could not write, for as long as was waited. The jobs may be kept nevertheless: sending
    /// them again with the same ids is safe.
    #[error("the jobs' store does not answer: {reason}")]
    Unavailable {
        /// The last failure.
        reason: String,
        /// What a client is told.
        #[source]
        busy: Busy,
    },
    /// The payload is larger than the queue allows.
    #[error("the payload of a job {name:?} has {bytes} bytes, and {bytes_max} are allowed")]
    TooLarge {
        /// The job's name.
        name: String,
        /// What it has.
        bytes: usize,
        /// What it may have.
        bytes_max: usize,
    },
    /// No handler of this name was given to the app, so there is no queue that it belongs to.
    #[error("there is no job {name:?}: App::job gives it a handler")]
    UnknownJob {
        /// The name.
        name: String,
    },
    /// The payload has no form in JSON.
    #[error("a job's payload cannot be JSON")]
    Payload(#[from] serde_json::Error),
    /// The application's own database, in a transaction that jobs take part in.
    #[error("the database of the transaction")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store refuses, for this reason.
    #[error("{0}")]
    Refused(String),
    /// A record is larger than a topic takes.
    #[error("a record for the topic {topic:?} has {bytes} bytes, and {bytes_max} are allowed")]
    RecordTooLarge {
        /// The topic.
        topic: String,
        /// What it has.
        bytes: usize,
        /// What it may have.
        bytes_max: usize,
    },
    /// A topic that refuses has as much on disk as it may, and its buffer is full as well; the record was not kept.
    #[error("the topic {topic:?} is full")]
    TopicFull {
        /// The topic.
        topic: String,
        /// What a client is told.
        #[source]
        busy: Busy,
    },
    /// A topic's files cannot be read or written.
    #[error("the files of the topic {topic:?}")]
    Topic {
        /// The topic.
        topic: String,
        /// What the system says.
        source: io::Error,
    },
    /// Whoever takes a topic's batches did not take one.
    #[error("a batch was not taken")]
    Collect {
        /// What it says.
        source: io::Error,
    },
    /// No topic of this name was given to the app.
    #[error("there is no topic {topic:?}: App::topic makes it")]
    UnknownTopic {
        /// The name.
        topic: String,
    },
    /// The wait ended before the answer came: a deadline (`TimedOut`) or a cancellation. The jobs may be kept.
    #[error("the wait for the jobs' store has ended")]
    Ended(#[from] io::Error),
}

impl Error {
    pub(crate) fn database<E: std::error::Error + Send + Sync + 'static>(error: E) -> Error {
        Error::Database(Box::new(error))
    }

    pub(crate) fn topic_full(topic: &str) -> Error {
        let busy = Busy::new("there is no room at the moment", Duration::from_secs(1));
        Error::TopicFull { topic: topic.into(), busy }
    }

    pub(crate) fn unavailable(reason: impl Into<String>) -> Error {
        let busy = Busy::new("try again in a moment", Duration::from_secs(1));
        Error::Unavailable { reason: reason.into(), busy }
    }
}

impl From<WaitError> for Error {
    fn from(error: WaitError) -> Error {
        Error::Ended(error.into())
    }
}
