//! Why nothing went through a channel.

/// Why a value was not sent; it is in here.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError<T> {
    /// Nobody will receive it.
    #[error("the channel is closed")]
    Closed(T),
    /// There was no room until the time given or the task's deadline.
    #[error("no room in the channel in time")]
    TimedOut(T),
    /// The task was cancelled while it waited for room.
    #[error("cancelled while waiting for room in the channel")]
    Cancelled(T),
}

/// Why a value was not sent at once; it is in here.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrySendError<T> {
    /// There is no room.
    #[error("the channel is full")]
    Full(T),
    /// Nobody will receive it.
    #[error("the channel is closed")]
    Closed(T),
}

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The channel is closed and empty.
    #[error("the channel is closed")]
    Closed,
    /// No value came until the time given or the task's deadline.
    #[error("nothing came through the channel in time")]
    TimedOut,
    /// The task was cancelled while it waited.
    #[error("cancelled while waiting for a value")]
    Cancelled,
}

/// Why there is no value now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TryRecvError {
    /// There is none at the moment.
    #[error("the channel is empty")]
    Empty,
    /// The channel is closed and empty.
    #[error("the channel is closed")]
    Closed,
}

impl<T> std::fmt::Debug for SendError<T> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            SendError::Closed(_) => "Closed(..)",
            SendError::TimedOut(_) => "TimedOut(..)",
            SendError::Cancelled(_) => "Cancelled(..)",
        })
    }
}

impl<T> std::fmt::Debug for TrySendError<T> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            TrySendError::Full(_) => "Full(..)",
            TrySendError::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> SendError<T> {
    /// The value that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            SendError::Closed(value) | SendError::TimedOut(value) | SendError::Cancelled(value) => value,
        }
    }
}

impl<T> TrySendError<T> {
    /// The value that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            TrySendError::Full(value) | TrySendError::Closed(value) => value,
        }
    }
}
