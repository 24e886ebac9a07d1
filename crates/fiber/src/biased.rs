#![allow(unsafe_code, reason = "a lock hands out a reference to what it guards")]
//! A lock that costs one thread no locked instruction.
//!
//! What fibers share (a channel, a line of waiters) is nearly always touched by one thread only, and on that thread by one
//! fiber at a time. Still it must be a lock, because another thread may come by. A compare-and-swap waits for all stores
//! before it, some 8 ns, and a switch through a channel takes three of them.
//!
//! ```text
//!   unowned ──first lock, on a fiber──▶ biased to its thread ──another thread's lock──▶ revoking ─▶ shared
//!      └──────first lock, elsewhere, or a bias was in vain a short time ago────────────────────────────▲
//! ```
//!
//! The owner of a biased lock enters with two plain stores and loads: it says that it is inside, then looks whether the bias
//! is still its own. Who revokes does the same crosswise: it takes the bias away, then looks whether the owner is inside.
//! One of the two sees the other (Dekker), if neither look passes its store. The owner's is kept behind by the compiler
//! only; the revoker makes the processors agree, with [`membarrier`](crate::membarrier) (a few µs, once in the life of a
//! lock). From then on the lock is an ordinary spin lock. The JVM's biased locks and folly's asymmetric fences work alike.
//!
//! Who finds it held spins, and after a while gives the processor away: with more threads than processors the holder may not
//! be running at all. It is held for a few instructions and never over a wait: a fiber cannot park for it, being what parking
//! is made of, and a futex would put the whole loop to sleep.
//!
//! # Invariants
//! I1. `owner` goes from `UNOWNED` to a thread's number or to `SHARED`, from a number to `REVOKING`, from there to `SHARED`, and
//! never elsewhere. A number belongs to one thread and is never given again.
//! I2. `inside` is true by the owner's own store only, and only that thread's stores change it.
//! I3. `owner` is `SHARED` only if no owner is inside and none will be: by I4, or because there never was one.
//! I4. A revoker stores `SHARED` only when it has found `inside` false, after a full barrier on all threads that came after its
//! `REVOKING`. An owner that stored `inside` before that barrier was seen; one that stored it later sees `REVOKING`, and
//! leaves without having touched the value.
//! I5. `locked` is taken only while `owner` is `SHARED`, which it then stays.

use std::{
    cell::{Cell, UnsafeCell},
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    sync::atomic::{
        AtomicBool, AtomicU32, AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
        compiler_fence,
    },
};

use crate::{fiber::is_on_fiber, membarrier};

/// States of `owner` that are not a thread's number. Not zero, which is the number of a thread that has none yet.
const UNOWNED: u64 = 1;
const SHARED: u64 = 2;
const REVOKING: u64 = 3;
const FIRST_THREAD: u64 = 4;

/// How often to look before giving the processor away; some hundred nanoseconds.
const SPINS: u32 = 64;

/// After a bias that was in vain that many locks begin without one: a program whose locks all are shared soon pays for one
/// revocation in as many locks, which is some ten nanoseconds each.
const PAUSE_LOCKS: u32 = 256;

/// Locks that are still to begin without a bias. A hint: an update that is lost does no harm.
static PAUSE: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// Names this thread among owners; zero until it owns something.
    static THREAD: Cell<u64> = const { Cell::new(0) };
}

/// Lets locks be biased in this process, where the kernel has what that takes. Until it is called, and where not, each
/// [`BiasedLock`] is an ordinary spin lock. Costs some system calls the first time, best while there is one thread.
pub fn prepare_biased_locks() {
    membarrier::prepare();
}

/// A lock for a few instructions, nearly free for the thread whose fibers use it first. See the file's front comment.
///
/// ```
/// let lock = tenfold_fiber::BiasedLock::new(1);
/// *lock.lock() += 1;
/// assert_eq!(*lock.lock(), 2);
/// ```
pub struct BiasedLock<T> {
    owner: AtomicU64,
    /// The owner holds it.
    inside: AtomicBool,
    /// Somebody holds it who had to compete.
    locked: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by one guard at a time (`BiasedLock::lock`), from any thread, hence `Send`.
unsafe impl<T: Send> Sync for BiasedLock<T> {}

/// The value, until this is dropped. It must not be kept over a suspension.
///
/// It stays on its thread, which for an owner is what frees the lock:
///
/// ```compile_fail,E0277
/// fn assert_send<T: Send>(_: T) {}
/// assert_send(tenfold_fiber::BiasedLock::new(1).lock());
/// ```
#[must_use = "it is unlocked at once"]
pub struct BiasedGuard<'a, T> {
    value: &'a UnsafeCell<T>,
    /// `inside` or `locked`: true, by this guard's own store.
    held: &'a AtomicBool,
    not_send: PhantomData<*mut T>,
}

impl<T> BiasedLock<T> {
    /// An unlocked one.
    pub const fn new(value: T) -> Self {
        Self {
            owner: AtomicU64::new(UNOWNED),
            inside: AtomicBool::new(false),
            locked: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Locks it.
    ///
    /// # Panics
    /// When its owner holds it already: another thread in that place would wait for itself for ever.
    #[inline(always)]
    pub fn lock(&self) -> BiasedGuard<'_, T> {
        // Acquire, for who finds `SHARED`: what the owner did is done (I4).
        let owner = self.owner.load(Acquire);
        if owner == THREAD.get() && !self.inside.load(Relaxed) {
            // Only this thread stores in `inside` (I2), so no exchange is needed.
            self.inside.store(true, Relaxed);
            // The compiler's half of the fence; the processor's is in `revoke`.
            compiler_fence(SeqCst);
            if self.owner.load(Relaxed) == owner {
                return self.guard(&self.inside);
            }
            self.leave_late();
        } else if owner == SHARED && self.try_take() {
            return self.guard(&self.locked);
        }
        self.lock_slowly()
    }

    #[inline(always)]
    fn guard<'a>(&'a self, held: &'a AtomicBool) -> BiasedGuard<'a, T> {
        BiasedGuard { value: &self.value, held, not_send: PhantomData }
    }

    #[inline(always)]
    fn try_take(&self) -> bool {
        self.locked.compare_exchange(false, true, Acquire, Relaxed).is_ok()
    }

    /// The bias is gone (I4). Release, although nothing was done: a revoker may read this store in place of the one before,
    /// which ended what it has to see.
    #[cold]
    fn leave_late(&self) {
        self.inside.store(false, Release);
    }

    #[cold]
    #[inline(never)]
    fn lock_slowly(&self) -> BiasedGuard<'_, T> {
        loop {
            match self.owner.load(Acquire) {
                SHARED if self.try_take() => return self.guard(&self.locked),
                SHARED => wait_while(|| self.locked.load(Relaxed)),
                REVOKING => wait_while(|| self.owner.load(Relaxed) == REVOKING),
                UNOWNED => self.settle(),
                owner if owner == THREAD.get() => {
                    assert!(!self.inside.load(Relaxed), "the lock is held by this thread already");
                    return self.lock();
                }
                owner => self.revoke(owner),
            }
        }
    }

    /// The first lock says whose it is.
    fn settle(&self) {
        let to = if may_bias() { thread() } else { SHARED };
        // Whoever was quicker has said it; the caller looks again.
        let _ = self.owner.compare_exchange(UNOWNED, to, AcqRel, Relaxed);
    }

    /// Takes the bias from its owner.
    fn revoke(&self, owner: u64) {
        if self.owner.compare_exchange(owner, REVOKING, AcqRel, Relaxed).is_err() {
            return;
        }
        PAUSE.store(PAUSE_LOCKS, Relaxed);
        membarrier::everywhere(); // I4.
        wait_while(|| self.inside.load(Acquire));
        self.owner.store(SHARED, Release);
    }
}

/// Whether a lock that somebody takes for the first time should be that thread's. A thread without fibers has its locks for the
/// sake of others.
fn may_bias() -> bool {
    if !membarrier::is_ready() || !is_on_fiber() {
        return false;
    }
    let pause = PAUSE.load(Relaxed);
    PAUSE.store(pause.saturating_sub(1), Relaxed);
    pause == 0
}

/// The number of this thread.
fn thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(FIRST_THREAD);
    if THREAD.get() == 0 {
        THREAD.set(NEXT.fetch_add(1, Relaxed));
    }
    THREAD.get()
}

fn wait_while(busy: impl Fn() -> bool) {
    let mut spins = 0;
    while busy() {
        spins += 1;
        if spins % SPINS == 0 {
            std::thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
    }
}

impl<T> Deref for BiasedGuard<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: this guard holds the lock: as the owner (I2: no other guard of its thread, I3: none of another) or by
        // `locked`, which excludes others of its kind, and by I3 and I5 every owner.
        unsafe { &*self.value.get() }
    }
}

impl<T> DerefMut for BiasedGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `self` is borrowed mutably.
        unsafe { &mut *self.value.get() }
    }
}

impl<T> Drop for BiasedGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.held.store(false, Release);
    }
}

impl<T: Default> Default for BiasedLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> fmt::Debug for BiasedLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BiasedLock")
    }
}

#[cfg(test)]
mod tests;
