//! What the suites share: the same test over every way to run, with the hook linked.

#![allow(dead_code, reason = "each suite uses some of it")]

use std::time::{Duration, Instant};

use tenfold_hook as _;
use tenfold_runtime::{BackendChoice, ReactorConfig, Runtime, RuntimeConfig, scope};

/// Drivers and C libraries want more of a stack than a handler does.
pub const STACK_BYTES: usize = 256 * 1024;

/// Runs a test on fibers over io_uring (where the kernel allows it), over epoll, and on a plain thread.
pub fn everywhere(test: fn()) {
    on_fibers(test);
    std::thread::spawn(test).join().unwrap();
}

/// Runs a test on fibers, over both backends.
pub fn on_fibers(test: impl Fn() + Copy + 'static) {
    for backend in [BackendChoice::IoUring, BackendChoice::Epoll] {
        on_fibers_of(backend, test);
    }
}

/// Runs a test on fibers over one backend, if the kernel allows it.
pub fn on_fibers_of(backend: BackendChoice, test: impl Fn() + Copy + 'static) {
    let reactor = ReactorConfig { backend, ..ReactorConfig::default() };
    let config = RuntimeConfig { reactor, stack_bytes: STACK_BYTES, ..RuntimeConfig::default() };
    match Runtime::new(&config) {
        Ok(runtime) => runtime.run(test).unwrap(),
        Err(error) if backend == BackendChoice::IoUring => eprintln!("left out: {error}"),
        Err(error) => panic!("{error}"),
    }
}

/// How long `count` runs of `f` take on as many fibers.
pub fn side_by_side(count: usize, f: impl Fn(usize) + Sync) -> Duration {
    let started = Instant::now();
    scope(|scope| {
        let f = &f;
        let all: Vec<_> = (0..count).map(|number| scope.spawn(move || f(number))).collect();
        all.into_iter().for_each(|one| one.join().unwrap());
    });
    started.elapsed()
}
