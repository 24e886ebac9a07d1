#![allow(unsafe_code, reason = "erases the lifetime of closures that a scope outlives")]
//! Lending closures to whoever runs them, with a scope that outlives them all.
//!
//! The primitive under structured concurrency: a closure that borrows from the caller's frame becomes a `'static` value
//! ([`Lent`]) that can be queued, spawned on a fiber or sent to a pool, and [`lend_scope`] does not return before every such
//! value is gone. It decides nothing about where they run or how the scope waits: the caller passes `wait` and
//! `notify`, so that a fiber parks and a thread blocks.
//!
//! The argument is that of `std::thread::scope`, with "the thread has ended" replaced by "the `Lent` was run or dropped":
//!
//! # Invariants
//! I1. What a closure of type `F: 'scope` borrows is valid for `'scope`. `'scope` lasts until `lend_scope` has seen a count
//! of zero: the body gets `&'scope Lender<'scope, 'env>` for a `'scope` of our choosing, and `'scope` is invariant, so
//! no closure can borrow from inside the body, which ends earlier; `'env` outlives the call.
//! I2. Every lent closure is counted from before its lifetime is erased until after it has been consumed or dropped: the
//! count is a field declared after the closure, and fields are dropped in order, also while unwinding.
//! I3. `lend_scope` neither returns nor unwinds while the count is not zero. A panic of the body is held back, and one of
//! `wait` aborts. A `Lent` that is leaked is counted for ever, and the scope waits for ever: that is safe.
//! I4. The last decrement releases, and the scope's read acquires, so all that the closures did happened before the
//! return. After its decrement a `Lent` touches only the `Arc`, which it owns a share of.
//! I5. A scope on the stack of a fiber that is dropped while suspended never returns; that stack stays for ever
//! (`fiber.rs`, I2), and so does all that was borrowed from it.

use std::{
    fmt,
    marker::PhantomData,
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc,
        atomic::{
            AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

/// Runs `body` with a [`Lender`], waits until everything that was lent has been run or dropped, and returns what `body`
/// returned.
///
/// `wait` is called while something is outstanding, again and again: it parks or blocks until it is notified, and may
/// return early. `notify` is called by whoever finishes the last outstanding closure, on its thread; it may be called when
/// the scope has already gone on, so it must tolerate that.
///
/// Costs one allocation, and one per lent closure.
///
/// # Panics
/// With the panic of `body`, after everything lent is gone. A panic of a lent closure belongs to whoever ran it.
///
/// # Aborts
/// When `wait` panics: the scope could neither return nor unwind.
///
/// # Examples
/// ```
/// use std::{sync::mpsc, thread};
///
/// let (done, woken) = mpsc::channel();
/// let words = vec!["one", "two"];
/// let mut lengths = [0; 2];
/// tenfold_fiber::lend_scope(
///     move || drop(done.send(())),
///     |_| drop(woken.recv()),
///     |lender| {
///         for (word, length) in words.iter().zip(&mut lengths) {
///             let lent = lender.lend(move || *length = word.len());
///             thread::spawn(move || lent.run()); // 'static, although it borrows `words` and `lengths`.
///         }
///     },
/// );
/// assert_eq!(lengths, [3, 3]);
/// ```
///
/// Nothing can be borrowed from inside the body:
/// ```compile_fail,E0597
/// tenfold_fiber::lend_scope(|| {}, |_| {}, |lender| {
///     let local = 1;
///     let borrowed = &local;
///     drop(lender.lend(move || println!("{borrowed}")));
/// });
/// ```
///
/// And the lender cannot leave it:
/// ```compile_fail,E0521
/// let mut escaped = None;
/// tenfold_fiber::lend_scope(|| {}, |_| {}, |lender| escaped = Some(lender));
/// ```
pub fn lend_scope<'env, R>(
    notify: impl Fn() + Send + Sync + 'static,
    wait: impl Fn(&Borrows),
    body: impl for<'scope> FnOnce(&'scope Lender<'scope, 'env>) -> R,
) -> R {
    let borrows: Arc<Borrows> = Arc::new(Borrows { outstanding: AtomicUsize::new(0), notify });
    let lender = Lender { borrows, scope: PhantomData, env: PhantomData };
    let result = panic::catch_unwind(AssertUnwindSafe(|| body(&lender)));
    let bomb = AbortOnUnwind;
    while lender.borrows.outstanding() != 0 {
        wait(&lender.borrows);
    }
    std::mem::forget(bomb);
    result.unwrap_or_else(|payload| panic::resume_unwind(payload))
}

/// Turns closures that live as long as `'scope` into `'static` ones. See [`lend_scope`].
pub struct Lender<'scope, 'env: 'scope> {
    borrows: Arc<Borrows>,
    /// Invariant, so that `'scope` cannot shrink to the body (I1).
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

impl<'scope> Lender<'scope, '_> {
    /// Lends `f` to any thread. The scope waits until the result has been run or dropped.
    pub fn lend(&'scope self, f: impl FnOnce() + Send + 'scope) -> Lent {
        let borrow = Borrow::new(&self.borrows);
        let closure: Box<dyn FnOnce() + Send + 'scope> = Box::new(f);
        // SAFETY: only the lifetime changes. I1 and I2: the closure is gone before `borrow` is, and the scope lasts until
        // then.
        let closure = unsafe {
            std::mem::transmute::<Box<dyn FnOnce() + Send + 'scope>, Box<dyn FnOnce() + Send + 'static>>(
                closure,
            )
        };
        Lent { closure, borrow }
    }

    /// Lends `f` to other code of this thread, for closures that are not `Send`.
    pub fn lend_local(&'scope self, f: impl FnOnce() + 'scope) -> LocalLent {
        let borrow = Borrow::new(&self.borrows);
        let closure: Box<dyn FnOnce() + 'scope> = Box::new(f);
        // SAFETY: as in `lend`.
        let closure = unsafe {
            std::mem::transmute::<Box<dyn FnOnce() + 'scope>, Box<dyn FnOnce() + 'static>>(closure)
        };
        LocalLent { closure, borrow }
    }

    /// What is lent at the moment.
    pub fn borrows(&self) -> &Borrows {
        &self.borrows
    }
}

impl fmt::Debug for Lender<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lender").field("outstanding", &self.borrows.outstanding()).finish()
    }
}

/// A closure lent by [`Lender::lend`]. Run it or drop it; the scope waits until then.
#[must_use = "the scope waits until it has been run or dropped"]
pub struct Lent {
    closure: Box<dyn FnOnce() + Send>,
    /// I2: dropped after `closure`.
    borrow: Borrow,
}

impl Lent {
    /// Runs the closure. Its panic passes through, after the scope has been told.
    pub fn run(self) {
        let Self { closure, borrow } = self;
        // Not a plain call followed by a drop: a panic of the closure must drop `borrow` as well, and last (I2).
        let _after_the_closure = borrow;
        closure();
    }
}

/// A closure lent by [`Lender::lend_local`]. Stays on its thread.
///
/// ```compile_fail,E0277
/// fn assert_send<T: Send>() {}
/// assert_send::<tenfold_fiber::LocalLent>();
/// ```
#[must_use = "the scope waits until it has been run or dropped"]
pub struct LocalLent {
    closure: Box<dyn FnOnce()>,
    /// I2: dropped after `closure`.
    borrow: Borrow,
}

impl LocalLent {
    /// Runs the closure. Its panic passes through, after the scope has been told.
    pub fn run(self) {
        let Self { closure, borrow } = self;
        let _after_the_closure = borrow;
        closure();
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent").field("borrow", &self.borrow).finish_non_exhaustive()
    }
}

impl fmt::Debug for LocalLent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalLent").field("borrow", &self.borrow).finish_non_exhaustive()
    }
}

/// How much of a scope is lent at the moment.
pub struct Borrows<N: ?Sized = dyn Fn() + Send + Sync> {
    /// Closures lent and neither run nor dropped.
    outstanding: AtomicUsize,
    /// Called after `outstanding` has become zero.
    notify: N,
}

impl Borrows {
    /// Closures that are lent and have been neither run nor dropped. Zero means that the scope may go on: what they
    /// did is visible then.
    pub fn outstanding(&self) -> usize {
        self.outstanding.load(Acquire)
    }
}

impl fmt::Debug for Borrows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Borrows").field("outstanding", &self.outstanding()).finish_non_exhaustive()
    }
}

/// One count in a [`Borrows`].
#[derive(Debug)]
struct Borrow(Arc<Borrows>);

impl Borrow {
    fn new(borrows: &Arc<Borrows>) -> Self {
        // Relaxed: whoever lends holds the scope open, by running its body or by being counted itself.
        let before = borrows.outstanding.fetch_add(1, Relaxed);
        assert!(before < usize::MAX / 2, "more closures lent than memory could hold: they are being leaked");
        Self(Arc::clone(borrows))
    }
}

impl Drop for Borrow {
    fn drop(&mut self) {
        if self.0.outstanding.fetch_sub(1, Release) == 1 {
            (self.0.notify)();
        }
    }
}

/// Ends the process when `wait` panics (I3).
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    #[cold]
    fn drop(&mut self) {
        eprintln!("a scope was interrupted by a panic while closures that borrow from it are out: aborting");
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc, sync::Mutex, sync::mpsc, thread};

    use super::*;

    /// A scope of a plain thread: it blocks on a channel.
    fn blocking_scope<'env, R>(body: impl for<'scope> FnOnce(&'scope Lender<'scope, 'env>) -> R) -> R {
        let (done, woken) = mpsc::channel();
        let done = Mutex::new(done);
        lend_scope(
            move || done.lock().unwrap().send(()).unwrap_or_default(),
            |borrows| {
                assert_ne!(borrows.outstanding(), 0, "waited although nothing is lent");
                woken.recv().unwrap();
            },
            body,
        )
    }

    #[test]
    fn closures_on_other_threads_borrow_from_the_callers_frame() {
        let mut numbers = [1, 2, 3];
        let answer = blocking_scope(|lender| {
            for number in &mut numbers {
                let lent = lender.lend(move || *number *= 10);
                thread::spawn(move || lent.run());
            }
            "answer"
        });
        assert_eq!((answer, numbers), ("answer", [10, 20, 30]));
    }

    #[test]
    fn the_scope_waits_for_a_closure_that_is_dropped_instead_of_run() {
        let dropped = Cell::new(false);
        struct Notes<'a>(&'a Cell<bool>);
        impl Drop for Notes<'_> {
            fn drop(&mut self) {
                self.0.set(true);
            }
        }
        let queue = Rc::new(Cell::new(None::<LocalLent>));
        lend_scope(
            || {},
            |borrows| {
                assert_eq!(borrows.outstanding(), 1);
                drop(queue.take());
            },
            |lender| {
                let notes = Notes(&dropped);
                queue.set(Some(lender.lend_local(move || drop(notes))));
            },
        );
        assert!(dropped.get());
    }

    #[test]
    fn a_panic_of_the_body_arrives_after_everything_lent_is_gone() {
        let finished = Mutex::new(false);
        let (go, gate) = mpsc::channel::<()>();
        let caught = panic::catch_unwind(AssertUnwindSafe(|| {
            blocking_scope(|lender| {
                let lent = lender.lend(|| *finished.lock().unwrap() = true);
                thread::spawn(move || {
                    gate.recv().unwrap();
                    lent.run();
                });
                go.send(()).unwrap();
                panic::resume_unwind(Box::new("body"));
            })
        }));
        assert_eq!(*caught.unwrap_err().downcast::<&str>().unwrap(), "body");
        assert!(*finished.lock().unwrap());
    }

    #[test]
    fn a_panic_of_a_lent_closure_passes_through_run_and_ends_the_loan() {
        blocking_scope(|lender| {
            let lent = lender.lend(|| panic::resume_unwind(Box::new("lent")));
            assert_eq!(lender.borrows().outstanding(), 1);
            let caught = panic::catch_unwind(AssertUnwindSafe(|| lent.run()));
            assert_eq!(*caught.unwrap_err().downcast::<&str>().unwrap(), "lent");
            assert_eq!(lender.borrows().outstanding(), 0);
        });
    }

    #[test]
    fn a_lent_closure_can_lend_again() {
        let count = Mutex::new(0);
        blocking_scope(|lender| {
            let outer = lender.lend(|| {
                let inner = lender.lend(|| *count.lock().unwrap() += 1);
                thread::spawn(move || inner.run());
            });
            thread::spawn(move || outer.run());
        });
        assert_eq!(*count.lock().unwrap(), 1);
    }

    #[test]
    fn what_was_captured_is_dropped_before_the_count_falls() {
        let seen = Cell::new(0);
        lend_scope(
            || {},
            |_| unreachable!("nothing is outstanding"),
            |lender| {
                let (seen, borrows) = (&seen, lender.borrows());
                struct Sees<'a>(&'a Borrows, &'a Cell<usize>);
                impl Drop for Sees<'_> {
                    fn drop(&mut self) {
                        self.1.set(self.0.outstanding());
                    }
                }
                let run = Sees(borrows, seen);
                lender.lend_local(move || drop(run)).run();
                assert_eq!(seen.take(), 1);
                let unrun = Sees(borrows, seen);
                drop(lender.lend_local(move || drop(unrun)));
            },
        );
        assert_eq!(seen.get(), 1);
    }
}
