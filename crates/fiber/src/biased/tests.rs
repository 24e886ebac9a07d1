//! Who owns a lock, and that it excludes while its bias is taken away.
//!
//! The stress tests bring an owner and revokers together in the instant of the revocation, many thousand times: each
//! round has a lock of its own, and its value is two halves that are equal unless two were inside at once. Without the
//! barrier in `revoke` two of three runs failed.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError, atomic::AtomicUsize},
    thread,
};

use super::*;
use crate::{Fiber, Resume, StackConfig, StackPool};

/// One test at a time: whether a bias is given depends on what others have revoked.
static TURN: Mutex<()> = Mutex::new(());

fn begin() -> MutexGuard<'static, ()> {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    prepare_biased_locks();
    PAUSE.store(0, Relaxed);
    turn
}

fn on_fiber<R: 'static>(f: impl FnOnce() -> R + 'static) -> R {
    let pool = StackPool::new(StackConfig { stacks_max: 1, ..StackConfig::default() }).unwrap();
    let result = Rc::new(Cell::new(None));
    let into = result.clone();
    let mut fiber = Fiber::new(pool.take().unwrap(), "test", move || into.set(Some(f())));
    assert_eq!(fiber.resume(), Resume::Finished);
    result.take().unwrap()
}

fn owner(lock: &BiasedLock<impl Sized>) -> u64 {
    lock.owner.load(Relaxed)
}

#[test]
fn the_first_fibers_thread_owns_a_lock_until_another_thread_locks_it() {
    let _turn = begin();
    let lock = Arc::new(BiasedLock::new(0));
    assert_eq!(owner(&lock), UNOWNED);
    let ours = lock.clone();
    let number = on_fiber(move || {
        *ours.lock() += 1;
        thread()
    });
    let expected = if membarrier::is_ready() { number } else { SHARED };
    assert_eq!(owner(&lock), expected);
    *lock.lock() += 1;
    assert_eq!(owner(&lock), expected, "the same thread, without a fiber");
    let theirs = lock.clone();
    thread::spawn(move || *theirs.lock() += 1).join().unwrap();
    assert_eq!(owner(&lock), SHARED);
    assert_eq!(*lock.lock(), 3);
}

#[test]
fn a_lock_that_is_first_taken_without_a_fiber_is_shared() {
    let _turn = begin();
    let lock = BiasedLock::new(0);
    *lock.lock() += 1;
    assert_eq!((owner(&lock), *lock.lock()), (SHARED, 1));
}

#[test]
fn after_a_bias_in_vain_the_next_locks_begin_without_one() {
    let _turn = begin();
    PAUSE.store(2, Relaxed);
    let shared: Vec<bool> = on_fiber(|| {
        let locks: [BiasedLock<()>; 3] = std::array::from_fn(|_| BiasedLock::new(()));
        locks.iter().for_each(|lock| drop(lock.lock()));
        locks.iter().map(|lock| owner(lock) == SHARED).collect()
    });
    assert_eq!(shared, [true, true, !membarrier::is_ready()]);
}

#[test]
fn an_owner_that_locks_twice_is_told() {
    let _turn = begin();
    if !membarrier::is_ready() {
        return; // A spin lock waits for itself.
    }
    let twice = on_fiber(|| {
        let lock = BiasedLock::new(());
        let _first = lock.lock();
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(lock.lock()))).is_err()
    });
    assert!(twice);
}

#[test]
fn a_revoker_waits_until_the_owner_has_left() {
    let _turn = begin();
    let lock = Arc::new(BiasedLock::new(0));
    let theirs = lock.clone();
    let other = on_fiber(move || {
        let mut inside = theirs.lock();
        let revoker = theirs.clone();
        let other = thread::spawn(move || *revoker.lock() *= 10);
        // With a bias the other has taken it and waits; without one it just waits.
        while membarrier::is_ready() && owner(&theirs) != REVOKING {
            thread::yield_now();
        }
        *inside = 7;
        drop(inside);
        other
    });
    other.join().unwrap();
    assert_eq!(*lock.lock(), 70);
}

/// Both halves are equal outside of the lock.
#[derive(Default)]
struct Halves(u64, u64);

impl Halves {
    fn grow(&mut self) {
        assert_eq!(self.0, self.1, "somebody else is inside");
        self.0 += 1;
        std::hint::black_box(&mut *self);
        self.1 += 1;
    }
}

/// Rounds of one owner and `revokers` other threads that lock a new lock `times` each, at the same time.
fn race(rounds: usize, revokers: usize, times: u64) {
    let _turn = begin();
    let locks: Arc<Vec<BiasedLock<Halves>>> = Arc::new((0..rounds).map(|_| BiasedLock::default()).collect());
    let round = Arc::new(AtomicUsize::new(0));
    let start = Arc::new(Barrier::new(revokers + 1));
    let others: Vec<_> = (0..revokers)
        .map(|number| {
            let (locks, round, start) = (locks.clone(), round.clone(), start.clone());
            thread::spawn(move || {
                start.wait();
                for (index, lock) in locks.iter().enumerate() {
                    wait_while(|| round.load(Acquire) <= index);
                    // The instant differs from round to round.
                    (0..(index + 7 * number) % 128).for_each(|_| std::hint::spin_loop());
                    (0..times).for_each(|_| lock.lock().grow());
                }
            })
        })
        .collect();
    let ours = locks.clone();
    on_fiber(move || {
        start.wait();
        for (index, lock) in ours.iter().enumerate() {
            PAUSE.store(0, Relaxed);
            lock.lock().grow(); // From now on it is biased.
            round.store(index + 1, Release);
            (0..256).for_each(|_| lock.lock().grow());
        }
    });
    others.into_iter().for_each(|other| other.join().unwrap());
    let expected = 257 + times * revokers as u64;
    for lock in locks.iter() {
        let halves = lock.lock();
        assert_eq!((halves.0, halves.1), (expected, expected));
    }
}

#[test]
fn nobody_is_inside_with_the_owner_while_the_bias_is_taken() {
    race(if cfg!(miri) { 3 } else { 20_000 }, 1, 16);
}

#[test]
fn several_revokers_agree() {
    race(if cfg!(miri) { 3 } else { 4_000 }, 3, 16);
}
