//! Runs a test in every way that a task can wait.

#![allow(dead_code, reason = "each suite uses some of it")]

use std::sync::atomic::{AtomicU32, Ordering};

use tenfold_runtime::{BackendChoice, ReactorConfig, Runtime, RuntimeConfig};

/// Runs a test on fibers over io_uring (where the kernel allows it), over epoll, and on a plain thread.
pub fn everywhere(test: impl Fn() + Clone + Send + 'static) {
    for backend in [BackendChoice::IoUring, BackendChoice::Epoll] {
        match runtime(backend) {
            Ok(runtime) => runtime.run(test.clone()).unwrap(),
            Err(error) if backend == BackendChoice::IoUring => eprintln!("left out: {error}"),
            Err(error) => panic!("{error}"),
        }
    }
    std::thread::spawn(test).join().unwrap();
}

/// A loop with stacks that suit unoptimised code.
pub fn runtime(backend: BackendChoice) -> Result<Runtime, tenfold_runtime::RuntimeError> {
    let reactor = ReactorConfig { backend, ..ReactorConfig::default() };
    Runtime::new(&RuntimeConfig { reactor, stack_bytes: 256 << 10, ..RuntimeConfig::default() })
}

/// A name that nobody else has in this process: what a test leaves on a server is not met by the next one.
pub fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{name}{}", COUNT.fetch_add(1, Ordering::Relaxed))
}
