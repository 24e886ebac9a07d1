//! `Gathering`: calls that run as children of one scope, and their results in the order in which they end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use crate::join::JoinError;
use crate::scope::{Scope, scope};
use crate::sync::{Receiver, RecvError, Sender, channel};

/// What a call has come back with, and its number.
pub(super) type Ended<T> = (usize, Result<T, JoinError>);

pub(super) struct Gathering<'a, 'scope, 'env, T> {
    scope: &'a Scope<'scope, 'env>,
    sender: Sender<Ended<T>>,
    receiver: &'a Receiver<Ended<T>>,
    running: usize,
}

/// Runs `body` with a gathering of at most `calls_max` calls; what still runs after it is cancelled and waited for. What had
/// ended by then and was not asked for is returned too: a result that has arrived is not thrown away.
pub(super) fn gather<'env, T: Send + 'env, R>(
    calls_max: usize,
    body: impl for<'a, 'scope> FnOnce(&mut Gathering<'a, 'scope, 'env, T>) -> R,
) -> (R, Vec<Ended<T>>) {
    // Each call sends once, so there is always room and no child waits here.
    let (sender, receiver) = channel(calls_max.max(1));
    let result = scope(|scope| {
        let mut gathering = Gathering { scope, sender, receiver: &receiver, running: 0 };
        let result = body(&mut gathering);
        if gathering.running > 0 {
            scope.cancel();
        }
        result
    });
    let mut late = Vec::new();
    while let Ok(ended) = receiver.try_recv() {
        late.push(ended);
    }
    (result, late)
}

impl<'scope, T: Send + 'scope> Gathering<'_, 'scope, '_, T> {
    /// Starts a call.
    pub(super) fn start(&mut self, number: usize, call: impl FnOnce() -> T + Send + 'scope) {
        let sender = self.sender.clone();
        let started = self.scope.start(move || {
            let outcome = catch_unwind(AssertUnwindSafe(call)).map_err(JoinError::Panicked);
            let _ = sender.try_send((number, outcome));
        });
        if let Err(error) = started {
            let _ = self.sender.try_send((number, Err(JoinError::NotStarted(error))));
        }
        self.running += 1;
    }

    /// How many have been started and not come back.
    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// The next one that ends.
    ///
    /// # Errors
    /// `TimedOut` or `Cancelled`, which the children are told of when the gathering ends.
    pub(super) fn next(&mut self, until: Option<Instant>) -> Result<Ended<T>, RecvError> {
        let ended = self.receiver.recv_until(until)?;
        self.running -= 1;
        Ok(ended)
    }
}
