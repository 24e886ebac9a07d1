//! What can go wrong when a runtime is made or a fiber is started.

use tenfold_fiber::FiberError;
use tenfold_reactor::ReactorError;

/// Why a runtime could not be made, or could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The reactor could not be made.
    #[error(transparent)]
    Reactor(#[from] ReactorError),
    /// No stack: the bound is reached or the system is out of memory.
    #[error("no stack for a fiber: {0}")]
    Stack(#[from] FiberError),
    /// The kernel wait failed for good.
    #[error("the event loop cannot wait: {0}")]
    Wait(#[from] std::io::Error),
    /// As many loops as a process can have.
    #[error("this process has {loops_max} event loops already")]
    TooManyLoops {
        /// How many that is.
        loops_max: u32,
    },
    /// This thread runs a loop already.
    #[error("this thread runs an event loop already")]
    Nested,
}
