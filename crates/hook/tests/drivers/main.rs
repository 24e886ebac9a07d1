//! Drivers that nobody here wrote, unmodified, each against the real server: 200 requests at once on one thread, each on a
//! connection of its own, on both backends.
//!
//! That they park is shown by a query that makes the server wait 100 ms: 200 of them take less than ten times as long as
//! one. (On a thread that blocks they would take two hundred times as long.)

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

#[path = "../common/mod.rs"]
mod common;

mod http;
mod memcached;
mod mysql;
mod postgres;
mod redis;

use common::{on_fibers, side_by_side};

/// Requests at a time.
const REQUESTS: usize = 200;
/// How long the server is asked to wait.
const WAIT_MS: u64 = 100;
/// Two hundred waits may take this many times as long as one.
const RATIO_MAX: u32 = 10;

/// One driver: how it connects and what it asks.
struct Driver<C> {
    connect: fn() -> C,
    /// Writes and reads something of that number's, and checks it.
    ask: fn(&mut C, usize),
    /// Makes the server wait for [`WAIT_MS`]; not every server can.
    wait: Option<fn(&mut C)>,
}

/// Shows that a driver works and parks.
fn show<C: Send + 'static>(driver: &'static Driver<C>) {
    // Servers, and their limits of connections, are shared.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    on_fibers(move || {
        // Not a lock of the runtime's: each is used by one fiber at a time, and is never waited for.
        let connections: Vec<Mutex<Option<C>>> = (0..REQUESTS).map(|_| Mutex::default()).collect();
        side_by_side(REQUESTS, |number| {
            let fresh = (driver.connect)();
            *connections[number].lock().unwrap() = Some(fresh);
        });
        let with = |number: usize, f: &dyn Fn(&mut C)| {
            let mut connection = connections[number].lock().unwrap().take().unwrap();
            f(&mut connection);
            *connections[number].lock().unwrap() = Some(connection);
        };
        for _ in 0..3 {
            side_by_side(REQUESTS, |number| with(number, &|connection| (driver.ask)(connection, number)));
        }
        let Some(wait) = driver.wait else { return };
        let started = Instant::now();
        with(0, &|connection| wait(connection));
        let one = started.elapsed();
        let all = side_by_side(REQUESTS, |number| with(number, &|connection| wait(connection)));
        let driver = std::any::type_name::<C>();
        println!("{driver}: one wait of {WAIT_MS} ms took {one:?}, {REQUESTS} side by side {all:?}");
        assert!(one.as_millis() >= u128::from(WAIT_MS) * 9 / 10, "the server has not waited: {one:?}");
        assert!(all < one * RATIO_MAX, "one took {one:?}, {REQUESTS} took {all:?}");
        side_by_side(REQUESTS, |number| drop(connections[number].lock().unwrap().take()));
    });
}
