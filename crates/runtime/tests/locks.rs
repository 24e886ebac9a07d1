//! Mutex, RwLock, Condvar, Semaphore, Once, WaitGroup: exclusion, order, and that no turn gets lost in a race.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{Dice, everywhere, on_fibers};
use tenfold_runtime::sync::{Condvar, Mutex, Once, OnceCell, RwLock, Semaphore, WaitError, WaitGroup};
use tenfold_runtime::{deadline, scope, sleep, spawn, yield_now};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(10);

#[test]
fn a_mutex_is_held_over_waits_and_by_one_at_a_time() {
    everywhere(|| {
        let mutex = Mutex::new(0);
        scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let mut count = mutex.lock().unwrap();
                        let before = *count;
                        yield_now();
                        *count = before + 1;
                    }
                });
            }
        });
        assert_eq!(mutex.into_inner(), 160);
    });
}

#[test]
fn threads_exclude_each_other() {
    let mutex = Arc::new(Mutex::new(0_u64));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let mutex = mutex.clone();
            std::thread::spawn(move || (0..20_000).for_each(|_| *mutex.lock().unwrap() += 1))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(*mutex.lock().unwrap(), 80_000);
}

#[test]
fn a_mutex_is_handed_over_in_order() {
    on_fibers(|| {
        let order = Arc::new(Mutex::new(Vec::new()));
        let mutex = Arc::new(Mutex::new(()));
        let held = mutex.lock().unwrap();
        let waiting: Vec<_> = (0..5)
            .map(|number| {
                let (mutex, order) = (mutex.clone(), order.clone());
                spawn(move || {
                    let _held = mutex.lock().unwrap();
                    order.lock().unwrap().push(number);
                })
            })
            .collect();
        yield_now();
        drop(held);
        assert!(mutex.try_lock().is_none(), "whoever comes late does not overtake");
        waiting.into_iter().for_each(|waiting| waiting.join().unwrap());
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
    });
}

#[test]
fn a_mutex_is_free_again_after_a_panic() {
    everywhere(|| {
        let mutex = Arc::new(Mutex::new(1));
        let panicking = spawn({
            let mutex = mutex.clone();
            move || {
                let _held = mutex.lock().unwrap();
                panic!("on purpose");
            }
        });
        assert!(panicking.join().is_err());
        assert_eq!(*mutex.lock_timeout(LONG).unwrap(), 1);
    });
}

#[test]
fn a_wait_for_a_lock_ends_with_its_time_and_leaves_the_lock_usable() {
    everywhere(|| {
        let mutex = Arc::new(Mutex::new(()));
        let held = mutex.lock().unwrap();
        let waiting = spawn({
            let mutex = mutex.clone();
            move || mutex.lock_timeout(SHORT).err()
        });
        assert_eq!(waiting.join().unwrap(), Some(WaitError::TimedOut));
        drop(held);
        assert!(mutex.try_lock().is_some());
    });
}

/// Waiters that are cancelled or time out just as they are served: in the end every permit is back.
#[test]
fn permits_survive_thousands_of_races_with_cancels_and_deadlines() {
    everywhere(|| {
        for seed in 1..40 {
            let mut dice = Dice(seed);
            let semaphore = Arc::new(Semaphore::new(3));
            let most = Arc::new(AtomicUsize::new(0));
            let tasks: Vec<_> = (0..10)
                .map(|_| {
                    let (semaphore, most) = (semaphore.clone(), most.clone());
                    let mut luck = dice.another();
                    spawn(move || {
                        for _ in 0..15 {
                            let wanted = 1 + luck.below(3) as usize;
                            let limit = Duration::from_micros(luck.below(1500));
                            let outcome = deadline(limit, || semaphore.acquire_many_until(wanted, None));
                            let Ok(_permit) = outcome else { continue };
                            let present = most.fetch_add(wanted, Ordering::SeqCst) + wanted;
                            assert!(present <= 3, "{present} permits of 3");
                            yield_now();
                            most.fetch_sub(wanted, Ordering::SeqCst);
                        }
                    })
                })
                .collect();
            yield_now();
            for task in &tasks {
                if dice.below(3) == 0 {
                    task.cancel();
                    yield_now();
                }
            }
            tasks.into_iter().for_each(|task| task.join().unwrap());
            assert_eq!((semaphore.available(), semaphore.waiting()), (3, 0));
        }
    });
}

#[test]
fn who_gives_up_waiting_for_many_permits_lets_those_behind_pass() {
    on_fibers(|| {
        let semaphore = Arc::new(Semaphore::new(2));
        let one = semaphore.acquire().unwrap();
        let many = spawn({
            let semaphore = semaphore.clone();
            move || semaphore.acquire_many_until(2, None).map(drop)
        });
        yield_now();
        let few = spawn({
            let semaphore = semaphore.clone();
            move || semaphore.acquire_timeout(LONG).map(drop)
        });
        yield_now();
        assert_eq!(semaphore.waiting(), 2, "no overtaking");
        many.cancel();
        assert_eq!(few.join().unwrap(), Ok(()));
        assert_eq!(many.join().unwrap(), Err(WaitError::Cancelled));
        drop(one);
    });
}

#[test]
fn a_bounded_line_turns_away_who_comes_too_late() {
    everywhere(|| {
        let semaphore = Semaphore::with_waiters_max(1, 0);
        let held = semaphore.acquire().unwrap();
        assert_eq!(semaphore.acquire().err(), Some(WaitError::Full));
        drop(held);
        assert!(semaphore.acquire().is_ok());
    });
}

#[test]
fn a_failed_try_leaves_the_permits_as_they_were() {
    let semaphore = Arc::new(Semaphore::new(1));
    assert!(semaphore.try_acquire_many(2).is_none());
    assert!(semaphore.try_acquire_owned(2).is_none());
    assert_eq!(semaphore.available(), 1);
}

#[test]
fn owned_permits_go_back_from_another_task() {
    everywhere(|| {
        let semaphore = Arc::new(Semaphore::new(1));
        let permit = semaphore.acquire_owned(1, None).unwrap();
        let holder = spawn(move || drop(permit));
        assert!(semaphore.acquire_timeout(LONG).is_ok());
        holder.join().unwrap();
    });
}

#[test]
fn readers_share_and_writers_do_not() {
    everywhere(|| {
        let lock = RwLock::new(0);
        let (first, second) = (lock.read().unwrap(), lock.read().unwrap());
        assert!(lock.try_write().is_none());
        drop((first, second));
        scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let mut value = lock.write().unwrap();
                        let before = *value;
                        yield_now();
                        *value = before + 1;
                    }
                });
                scope.spawn(|| (0..20).for_each(|_| drop(lock.read().unwrap())));
            }
        });
        assert_eq!(*lock.read().unwrap(), 80);
    });
}

#[test]
fn a_condvar_wakes_those_who_wait_and_comes_back_with_the_lock() {
    everywhere(|| {
        let (queue, changed) = (Mutex::new(Vec::new()), Condvar::new());
        let total = scope(|scope| {
            let takers: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        let mut queue = queue.lock().unwrap();
                        loop {
                            if let Some(number) = queue.pop() {
                                return number;
                            }
                            changed.wait(&mut queue).unwrap();
                        }
                    })
                })
                .collect();
            yield_now();
            for number in 1..=3 {
                queue.lock().unwrap().push(number);
                changed.notify_one();
            }
            takers.into_iter().map(|taker| taker.join().unwrap()).sum::<i32>()
        });
        assert_eq!(total, 6);
    });
}

#[test]
fn a_condvars_wait_that_ends_early_holds_the_lock_again() {
    everywhere(|| {
        let (mutex, never) = (Mutex::new(1), Condvar::new());
        let mut guard = mutex.lock().unwrap();
        assert_eq!(never.wait_timeout(&mut guard, SHORT), Err(WaitError::TimedOut));
        *guard += 1;
        assert!(mutex.try_lock().is_none());
        drop(guard);
        assert_eq!(mutex.into_inner(), 2);
    });
}

#[test]
fn a_once_runs_once_and_others_wait_for_it() {
    everywhere(|| {
        let (cell, runs) = (OnceCell::new(), AtomicUsize::new(0));
        scope(|scope| {
            for _ in 0..5 {
                scope.spawn(|| {
                    let value = cell.get_or_init(|| {
                        runs.fetch_add(1, Ordering::Relaxed);
                        sleep(SHORT);
                        7
                    });
                    assert_eq!(value, Ok(&7));
                });
            }
        });
        assert_eq!(runs.into_inner(), 1);
    });
}

#[test]
fn after_a_panic_in_a_once_the_next_one_tries() {
    everywhere(|| {
        let once = Arc::new(Once::new());
        let panicking = spawn({
            let once = once.clone();
            move || once.call_once(|| panic!("on purpose"))
        });
        assert!(panicking.join().is_err());
        assert!(!once.is_completed());
        once.call_once(|| ()).unwrap();
        assert!(once.is_completed());
    });
}

#[test]
fn a_wait_group_waits_for_members_that_panic_as_well() {
    everywhere(|| {
        let group = WaitGroup::new();
        let members: Vec<_> = (0..3).map(|_| group.join()).collect();
        assert_eq!(deadline(SHORT, || group.wait()), Err(WaitError::TimedOut));
        for member in members {
            spawn(move || {
                let _member = member;
                panic!("on purpose");
            });
        }
        group.wait().unwrap();
        assert_eq!(group.members(), 0);
    });
}
