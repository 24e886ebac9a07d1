//! `Log`: what an engine has to do to carry jobs.

use crate::store::engine::EngineError;

/// A log with an image of what it comes to.
pub(crate) trait Log: Send {
    /// Connects. `writer` names who appends from now on.
    fn connect(&mut self, writer: u64) -> Result<(), EngineError>;

    /// Appends an entry behind `tip`, the number of the last one that its writer has seen; the entry's number, or `None` when the
    /// log ends elsewhere. Returns when the entry is as safe as was asked for.
    fn append(&mut self, tip: u64, entry: &[u8]) -> Result<Option<u64>, EngineError>;

    /// The first entry behind `tip`, with its number.
    fn next(&mut self, tip: u64) -> Result<Next, EngineError>;

    /// Whether somebody else may have appended since the last call.
    fn has_news(&mut self) -> bool;

    /// The latest image: what entries up to its number come to.
    fn image(&mut self) -> Result<Option<(u64, Vec<u8>)>, EngineError>;

    /// Keeps an image, unless another one was kept meanwhile, and cuts off entries that it has in it.
    fn put_image(&mut self, tip: u64, image: &[u8]) -> Result<(), EngineError>;
}

/// What is behind a place in a log.
pub(crate) enum Next {
    Entry(u64, Vec<u8>),
    /// Nothing yet.
    End,
    /// It was cut off: an image has it.
    Gone,
}
