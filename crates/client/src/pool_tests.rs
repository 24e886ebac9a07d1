//! The pool's bound, its line, and what becomes of idle connections.

use std::sync::mpsc;

use super::*;

fn pool(connections: usize, waiters: usize, idle: usize) -> Arc<Pool<&'static str, u32>> {
    Arc::new(Pool::new(PoolLimits {
        connections_max_per_host: connections,
        idle_max: idle,
        idle_timeout: Duration::from_secs(60),
        waiters_max: waiters,
        wait_max: Duration::from_secs(60),
    }))
}

#[test]
fn what_is_given_back_is_used_again_newest_first() {
    let pool = pool(2, 0, 8);
    let (first, none) = pool.checkout(&"a", None).unwrap();
    assert_eq!(none, None);
    let (second, _) = pool.checkout(&"a", None).unwrap();
    first.give_back(1);
    second.give_back(2);
    let (_lease, newest) = pool.checkout(&"a", None).unwrap();
    let (_other, older) = pool.checkout(&"a", None).unwrap();
    assert_eq!((newest, older), (Some(2), Some(1)));
}

#[test]
fn one_more_than_the_bound_waits_and_gets_the_connection_that_is_given_back() {
    let pool = pool(1, 1, 8);
    let (lease, _) = pool.checkout(&"a", None).unwrap();
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        let pool = &pool;
        scope.spawn(move || sender.send(pool.checkout(&"a", None).unwrap().1));
        while pool.lock().hosts["a"].line.is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(pool.checkout(&"a", None).map(|_| ()), Err(Refusal::Full));
        assert!(pool.checkout(&"b", None).is_ok(), "another peer has places of its own");
        lease.give_back(7);
        assert_eq!(receiver.recv().unwrap(), Some(7));
    });
}

#[test]
fn a_lease_that_is_dropped_lets_the_next_one_connect() {
    let pool = pool(1, 1, 8);
    let (lease, _) = pool.checkout(&"a", None).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| pool.checkout(&"a", None).unwrap().1);
        while pool.lock().hosts["a"].line.is_empty() {
            std::thread::yield_now();
        }
        drop(lease);
        assert_eq!(waiting.join().unwrap(), None);
    });
}

#[test]
fn a_wait_ends_at_its_time_and_leaves_the_line() {
    let pool = pool(1, 1, 8);
    let (lease, _) = pool.checkout(&"a", None).unwrap();
    let soon = Some(Instant::now() + Duration::from_millis(5));
    assert_eq!(pool.checkout(&"a", soon).map(|_| ()), Err(Refusal::TimedOut));
    assert!(pool.lock().hosts["a"].line.is_empty());
    drop(lease);
    assert!(pool.lock().hosts.is_empty(), "a peer without connections takes no memory");
}

#[test]
fn idle_connections_are_bounded_and_swept() {
    let pool = pool(4, 0, 1);
    let (first, _) = pool.checkout(&"a", None).unwrap();
    let (second, _) = pool.checkout(&"a", None).unwrap();
    first.give_back(1);
    second.give_back(2);
    assert_eq!(pool.lock().idle_total, 1);
    assert_eq!(pool.sweep(Instant::now() + Duration::from_secs(59)), Vec::<u32>::new());
    assert_eq!(pool.sweep(Instant::now() + Duration::from_secs(61)), vec![1]);
    assert!(pool.lock().hosts.is_empty());
}
