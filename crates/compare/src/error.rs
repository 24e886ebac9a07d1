//! What can go wrong with a measurement, named by who is at fault.

use std::io;

/// Any error of this crate; one line each.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller's mistake: a value of a specification that cannot be.
    #[error("{field}: {reason}")]
    InvalidSpec {
        /// Which value, as it is called in JSON: `targets[0].url`.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The caller's mistake: the text is no specification.
    #[error("not a load specification: {0}")]
    Json(#[from] serde_json::Error),
    /// A target's host has no address.
    #[error("cannot resolve {host}: {source}")]
    Resolve {
        /// The host and port.
        host: String,
        /// What the resolver answered.
        source: io::Error,
    },
    /// The system refused what the measurement needs.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The user's mistake, in one line.
    #[error("{0}")]
    Usage(String),
    /// A process of the comparison did not do what it is for.
    #[error("{part}: {reason}")]
    Part {
        /// Which one.
        part: String,
        /// What it said.
        reason: String,
    },
    /// The runtime could not start.
    #[error("cannot start an event loop: {0}")]
    Runtime(#[from] tenfold_runtime::RuntimeError),
}

impl Error {
    /// A value that cannot be.
    pub fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Error {
        Error::InvalidSpec { field: field.into(), reason: reason.into() }
    }

    /// Whether the caller's own words are to blame, which the command line answers with exit code 2.
    pub fn is_usage(&self) -> bool {
        matches!(self, Error::InvalidSpec { .. } | Error::Json(_) | Error::Usage(_))
    }
}
