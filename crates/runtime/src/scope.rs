//! Structured concurrency: what is started inside a scope has ended when the scope returns, and may borrow what lives
//! outside of it.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Instant;

use tenfold_fiber::{Lender, lend_scope};

use crate::account;
use crate::cancel::CancelHandle;
use crate::cause::Cause;
use crate::error::RuntimeError;
use crate::join::{self, JoinError, Packet};
use crate::park::{self, Unparked, Waiter};
use crate::spawn::Builder;

/// Where children are started. See [`scope`].
#[derive(Debug)]
pub struct Scope<'scope, 'env> {
    lender: &'scope Lender<'scope, 'env>,
    children: RefCell<Vec<CancelHandle>>,
}

/// The result to come of a scope's child.
#[derive(Debug)]
pub struct ScopedJoinHandle<'scope, T> {
    packet: Arc<Packet<T>>,
    cancel: CancelHandle,
    scope: PhantomData<&'scope ()>,
}

/// Runs `body`, then waits until all children that it has started have ended: fibers of this thread, or threads where
/// there is no loop.
///
/// When the caller is cancelled or `body` panics, the children are cancelled. Children inherit the caller's deadline.
///
/// ```
/// use tenfold_runtime::scope;
/// let words = ["one", "three"];
/// let mut lengths = [0; 2];
/// scope(|scope| {
///     for (word, length) in words.iter().zip(&mut lengths) {
///         scope.spawn(move || *length = word.len());
///     }
/// });
/// assert_eq!(lengths, [3, 5]);
/// ```
///
/// # Panics
/// With the panic of `body`. A child's panic is in its [`ScopedJoinHandle::join`].
pub fn scope<'env, R>(body: impl for<'scope> FnOnce(&Scope<'scope, 'env>) -> R) -> R {
    let waiter = Waiter::current();
    let children = RefCell::new(Vec::new());
    if let Some(account) = account::current() {
        account.forget_children();
    }
    lend_scope(
        move || waiter.wake(),
        |_| match park::park_for(Cause::Task, None) {
            Unparked::Woken => {}
            Unparked::TimedOut | Unparked::Cancelled => {
                // Said once; from then on there is nothing to do but to wait for the children's own ends.
                children.borrow_mut().drain(..).for_each(|child: CancelHandle| child.cancel());
                park::park_regardless(Cause::Task);
            }
        },
        |lender| {
            let scope = Scope { lender, children: RefCell::default() };
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(&scope)));
            let started = scope.children.take();
            if outcome.is_err() {
                started.iter().for_each(CancelHandle::cancel);
            }
            *children.borrow_mut() = started;
            outcome
        },
    )
    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

impl<'scope> Scope<'scope, '_> {
    /// Starts a child.
    ///
    /// # Panics
    /// When there is no stack or thread left. [`Scope::try_spawn`] returns an error instead.
    pub fn spawn<T: Send + 'scope>(
        &self,
        f: impl FnOnce() -> T + Send + 'scope,
    ) -> ScopedJoinHandle<'scope, T> {
        self.try_spawn(f).unwrap_or_else(|error| panic!("cannot spawn: {error}"))
    }

    /// Starts a child.
    ///
    /// # Errors
    /// When there is no stack or thread left.
    pub fn try_spawn<T: Send + 'scope>(
        &self,
        f: impl FnOnce() -> T + Send + 'scope,
    ) -> Result<ScopedJoinHandle<'scope, T>, RuntimeError> {
        let (packet, run) = join::packet(f);
        let cancel = self.start(run)?;
        Ok(ScopedJoinHandle { packet, cancel, scope: PhantomData })
    }

    /// Starts a child that hands in its result on its own. It must not panic.
    pub(crate) fn start(&self, f: impl FnOnce() + Send + 'scope) -> Result<CancelHandle, RuntimeError> {
        let lent = self.lender.lend(f);
        let cancel =
            Builder::new().start(park::current_deadline(), account::of_parent(), move || lent.run())?;
        self.children.borrow_mut().push(cancel.clone());
        Ok(cancel)
    }

    /// Cancels all children that were started so far.
    pub fn cancel(&self) {
        self.children.borrow().iter().for_each(CancelHandle::cancel);
    }
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Waits for the child's end.
    ///
    /// # Errors
    /// As [`crate::JoinHandle::join`].
    pub fn join(self) -> Result<T, JoinError> {
        self.packet.wait(None)
    }

    /// Waits for the child's end until `until`; the handle stays usable.
    ///
    /// # Errors
    /// As [`crate::JoinHandle::join`].
    pub fn join_until(&self, until: Instant) -> Result<T, JoinError> {
        self.packet.wait(Some(until))
    }

    /// Cancels the child.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }
}
