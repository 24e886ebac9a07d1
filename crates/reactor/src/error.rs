//! What can go wrong while a reactor is made or waits.

use std::io;

/// Why a reactor could not be made or could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReactorError {
    /// `--backend io_uring` was asked for and the kernel or its policy refuses a ring.
    #[error("io_uring is not available here ({0}); use the epoll backend or let it be chosen")]
    UringUnavailable(#[source] io::Error),
    /// The name is not one of `auto`, `io_uring` and `epoll`.
    #[error("unknown backend {0:?}: expected auto, io_uring or epoll")]
    UnknownBackend(String),
    /// The operating system refused something that every backend needs.
    #[error("cannot {what}: {source}")]
    System {
        /// The step that failed, as a verb phrase.
        what: &'static str,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
}

impl ReactorError {
    /// Gives the failing step its name.
    pub(crate) fn system(what: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| ReactorError::System { what, source: errno.into() }
    }
}

impl From<ReactorError> for io::Error {
    fn from(error: ReactorError) -> io::Error {
        let kind = match &error {
            ReactorError::UringUnavailable(source) | ReactorError::System { source, .. } => source.kind(),
            ReactorError::UnknownBackend(_) => io::ErrorKind::InvalidInput,
        };
        io::Error::new(kind, error)
    }
}
