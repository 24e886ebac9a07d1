//! The pool's bounds, its line, what becomes of connections, and what its errors say; with connections that only count.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{everywhere, runtime};
use tenfold_client::pool::{Manager, Pool, PoolError, PoolOptions, all_stats};
use tenfold_runtime::{BackendChoice, deadline, scope, sleep, spawn, yield_now};

/// Connections that count how many there are.
#[derive(Clone, Default)]
struct Counting(Arc<Counts>);

#[derive(Default)]
struct Counts {
    made: AtomicUsize,
    open: AtomicUsize,
    most: AtomicUsize,
    checks: AtomicUsize,
    refuses_to_connect: AtomicBool,
    fails_checks: AtomicBool,
}

struct Connection {
    number: usize,
    dirty: bool,
    counts: Arc<Counts>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.counts.open.fetch_sub(1, SeqCst);
    }
}

impl Manager for Counting {
    type Connection = Connection;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn name(&self) -> &str {
        "counting"
    }

    fn connect(&self) -> Result<Connection, Self::Error> {
        yield_now();
        if self.0.refuses_to_connect.load(SeqCst) {
            return Err("nobody there".into());
        }
        let number = self.0.made.fetch_add(1, SeqCst) + 1;
        self.0.most.fetch_max(self.0.open.fetch_add(1, SeqCst) + 1, SeqCst);
        Ok(Connection { number, dirty: false, counts: self.0.clone() })
    }

    fn check(&self, _: &mut Connection) -> Result<(), Self::Error> {
        self.0.checks.fetch_add(1, SeqCst);
        if self.0.fails_checks.load(SeqCst) { Err("stale".into()) } else { Ok(()) }
    }

    fn reset(&self, connection: &mut Connection) -> Result<(), Self::Error> {
        if connection.dirty { Err("dirty".into()) } else { Ok(()) }
    }
}

fn pool(options: PoolOptions) -> (Pool<Counting>, Arc<Counts>) {
    let counting = Counting::default();
    let counts = counting.0.clone();
    (options.build(counting), counts)
}

fn pool_error(error: Box<dyn std::error::Error + Send + Sync>) -> PoolError {
    *error.downcast().expect("an error of the pool")
}

/// Waits until a condition holds; the test's own time limit is the bound.
fn until(condition: impl Fn() -> bool) {
    while !condition() {
        sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_is_given_back_is_used_again_newest_first() {
    everywhere(|| {
        let (pool, counts) = pool(PoolOptions::new());
        let (first, second) = (pool.get().unwrap(), pool.get().unwrap());
        assert_eq!((first.number, second.number, first.is_reused()), (1, 2, false));
        drop(first);
        drop(second);
        let (newest, older) = (pool.get().unwrap(), pool.get().unwrap());
        assert_eq!((newest.number, older.number, newest.is_reused()), (2, 1, true));
        assert_eq!(counts.made.load(SeqCst), 2);
    });
}

#[test]
fn the_line_is_served_in_order_and_within_the_bound() {
    everywhere(|| {
        let (pool, counts) = pool(PoolOptions::new().connections_max(1));
        let order = Mutex::new(Vec::new());
        let held = pool.get().unwrap();
        scope(|scope| {
            for number in 0..8 {
                let (pool, order) = (&pool, &order);
                scope.spawn(move || {
                    let connection = pool.get().unwrap();
                    order.lock().unwrap().push(number);
                    assert_eq!(connection.number, 1);
                });
                until(|| pool.stats().waiting == number + 1);
            }
            drop(held);
        });
        assert_eq!(*order.lock().unwrap(), Vec::from_iter(0..8));
        assert_eq!(counts.most.load(SeqCst), 1);
        let stats = pool.stats();
        assert_eq!((stats.borrowed, stats.waited, stats.connected, stats.idle), (9, 8, 1, 1));
        assert!(stats.wait_total >= stats.wait_longest && !stats.wait_longest.is_zero());
    });
}

#[test]
fn a_wait_that_takes_too_long_names_who_holds_the_connections() {
    everywhere(|| {
        let (pool, _) = pool(PoolOptions::new().connections_max(2).wait_max(Duration::from_millis(5)));
        let line = line!() + 1;
        let held = [(); 2].map(|()| pool.get().unwrap());
        let error = pool_error(pool.get().expect_err("all are in use"));
        let text = error.to_string();
        let PoolError::TimedOut { pool: name, holders, .. } = error else { panic!("{text}") };
        let holder = holders.iter().next().unwrap();
        assert_eq!((name.as_str(), holder.connections, holders.iter().count()), ("counting", 2, 1));
        assert_eq!((holder.place.file(), holder.place.line()), (file!(), line));
        assert!(text.contains(&format!("{}:{line} (2, for ", file!())), "{text}");
        assert_eq!((pool.stats().timed_out, pool.stats().waiting), (1, 0));
        drop(held);
        assert!(pool.get().is_ok());
    });
}

#[test]
fn a_full_line_refuses_at_once_and_a_deadline_or_a_cancel_leaves_it() {
    everywhere(|| {
        let (pool, _) = pool(PoolOptions::new().connections_max(1).waiters_max(1));
        let held = pool.get().unwrap();
        let late = deadline(Duration::from_millis(5), || pool.get().err().unwrap());
        assert!(matches!(pool_error(late), PoolError::TimedOut { .. }));
        let waiting = {
            let pool = pool.clone();
            spawn(move || pool.get().err().map(pool_error))
        };
        until(|| pool.stats().waiting == 1);
        assert!(matches!(pool_error(pool.get().err().unwrap()), PoolError::Full { waiting: 1, .. }));
        waiting.cancel();
        assert!(matches!(waiting.join().unwrap(), Some(PoolError::Cancelled { .. })));
        assert_eq!((pool.stats().waiting, pool.stats().refused), (0, 1));
        drop(held);
    });
}

#[test]
fn a_panic_a_cancel_and_an_unclean_state_close_the_connection() {
    everywhere(|| {
        let (pool, counts) = pool(PoolOptions::new());
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _connection = pool.get().unwrap();
            std::panic::resume_unwind(Box::new("a panic without its message"));
        }));
        assert!(panicked.is_err());
        assert_eq!((pool.stats().discarded, counts.open.load(SeqCst)), (1, 0));

        let cancelled = {
            let pool = pool.clone();
            spawn(move || {
                let _connection = pool.get().unwrap();
                sleep(Duration::from_secs(60));
            })
        };
        until(|| counts.open.load(SeqCst) == 1);
        cancelled.cancel();
        cancelled.join().unwrap();
        assert_eq!((pool.stats().discarded, counts.open.load(SeqCst)), (2, 0));

        pool.get().unwrap().dirty = true;
        assert_eq!((pool.stats().discarded, counts.open.load(SeqCst)), (3, 0));
        pool.get().unwrap().discard();
        assert_eq!((pool.stats().discarded, pool.stats().open), (4, 0));
    });
}

#[test]
fn a_place_whose_connection_is_lost_goes_to_the_next_in_line() {
    everywhere(|| {
        let (pool, _) = pool(PoolOptions::new().connections_max(1));
        let held = pool.get().unwrap();
        scope(|scope| {
            let next = scope.spawn(|| pool.get().unwrap().number);
            until(|| pool.stats().waiting == 1);
            held.discard();
            assert_eq!(next.join().unwrap(), 2);
        });
    });
}

#[test]
fn a_service_that_cannot_be_reached_leaks_no_place() {
    everywhere(|| {
        let (pool, counts) = pool(PoolOptions::new().connections_max(2));
        counts.refuses_to_connect.store(true, SeqCst);
        for _ in 0..10 {
            assert_eq!(pool.get().err().unwrap().to_string(), "nobody there");
        }
        assert_eq!((pool.stats().open, pool.stats().connect_failed), (0, 10));
        counts.refuses_to_connect.store(false, SeqCst);
        assert_eq!(pool.get().unwrap().number, 1);
    });
}

#[test]
fn an_idle_connection_is_checked_and_replaced_unseen() {
    everywhere(|| {
        let (pool, counts) = pool(PoolOptions::new().check_after(Duration::ZERO));
        drop(pool.get().unwrap());
        assert_eq!((pool.get().unwrap().number, counts.checks.load(SeqCst)), (1, 1));
        counts.fails_checks.store(true, SeqCst);
        let connection = pool.get().unwrap();
        assert_eq!((connection.number, connection.is_reused(), pool.stats().check_failed), (2, false, 1));
        assert_eq!(counts.open.load(SeqCst), 1);
    });
}

#[test]
fn a_recent_connection_is_not_checked() {
    everywhere(|| {
        let (pool, counts) = pool(PoolOptions::new().check_after(Duration::from_secs(60)));
        drop(pool.get().unwrap());
        drop(pool.get().unwrap());
        assert_eq!(counts.checks.load(SeqCst), 0);
    });
}

#[test]
fn a_connection_that_has_lived_long_enough_is_not_used_again() {
    everywhere(|| {
        let (pool, counts) = pool(PoolOptions::new().lifetime_max(Some(Duration::ZERO)));
        drop(pool.get().unwrap());
        assert_eq!((pool.get().unwrap().number, counts.open.load(SeqCst)), (2, 1));
        assert_eq!(pool.stats().expired, 2);
    });
}

#[test]
fn a_reconnect_keeps_the_place() {
    everywhere(|| {
        let (pool, counts) = pool(PoolOptions::new().connections_max(1));
        let first = pool.get().unwrap();
        let second = first.reconnect().unwrap();
        assert_eq!((second.number, counts.open.load(SeqCst), pool.stats().open), (2, 1, 1));
    });
}

/// The pool's housekeeping runs once a second, so these wait for it in one test.
#[test]
fn housekeeping_closes_what_idles_keeps_the_minimum_and_warns_of_leaks() {
    everywhere(|| {
        let options = PoolOptions::new().idle_timeout(Duration::ZERO).leak_after(Duration::ZERO);
        let (idling, counts) = pool(options);
        drop([(); 4].map(|()| idling.get().unwrap()));
        assert_eq!(idling.stats().idle, 4);
        let (kept, kept_counts) = pool(PoolOptions::new().idle_min(3));
        let held = idling.get().unwrap();
        until(|| {
            drop(idling.get().unwrap());
            drop(kept.get().unwrap());
            idling.stats().expired >= 3 && kept.stats().idle == 3
        });
        assert_eq!((idling.stats().leak_warnings, counts.open.load(SeqCst) <= 2), (1, true));
        assert_eq!(kept_counts.open.load(SeqCst), 3);
        drop(held);
    });
}

#[test]
fn a_pool_can_be_warmed_and_emptied() {
    everywhere(|| {
        let (pool, counts) = pool(PoolOptions::new().idle_min(3).connections_max(2));
        pool.warm().unwrap();
        assert_eq!((pool.stats().idle, counts.open.load(SeqCst)), (2, 2));
        pool.close_idle();
        assert_eq!((pool.stats().open, counts.open.load(SeqCst)), (0, 0));
        counts.refuses_to_connect.store(true, SeqCst);
        assert!(pool.warm().is_err());
        assert_eq!(pool.stats().open, 0);
    });
}

#[test]
fn fibers_of_several_loops_and_threads_stand_in_one_line() {
    let (pool, counts) = pool(PoolOptions::new().connections_max(3));
    let calls = move || {
        scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let _connection = pool.get().unwrap();
                        yield_now();
                    }
                });
            }
        });
        pool.stats()
    };
    let threads = [None, Some(BackendChoice::Auto), Some(BackendChoice::Epoll)].map(|backend| {
        let calls = calls.clone();
        std::thread::spawn(move || match backend {
            None => calls(),
            Some(backend) => runtime(backend).unwrap().run(calls).unwrap(),
        })
    });
    threads.into_iter().for_each(|thread| drop(thread.join().unwrap()));
    let stats = calls();
    assert_eq!(counts.most.load(SeqCst), 3);
    assert_eq!((stats.borrowed, stats.waiting, stats.open, stats.idle), (4 * 16 * 20, 0, 3, 3));
}

#[test]
fn all_pools_of_the_process_can_be_listed() {
    let (pool, _) = pool(PoolOptions::new().connections_max(77));
    assert!(all_stats().iter().any(|stats| stats.connections_max == 77 && stats.name == "counting"));
    drop(pool);
    assert!(!all_stats().iter().any(|stats| stats.connections_max == 77));
}
