//! What the suites share: the same test over every way to run.

#![allow(dead_code, reason = "each suite uses some of it")]

use tenfold_runtime::{BackendChoice, ReactorConfig, Runtime, RuntimeConfig};

/// Runs a test on fibers over io_uring (where the kernel allows it), over epoll, and on a plain thread.
pub fn everywhere(test: fn()) {
    on_fibers(test);
    std::thread::spawn(test).join().unwrap();
}

/// Runs a test on fibers, over both backends.
pub fn on_fibers(test: fn()) {
    for backend in [BackendChoice::IoUring, BackendChoice::Epoll] {
        let reactor = ReactorConfig { backend, ..ReactorConfig::default() };
        match Runtime::new(&RuntimeConfig { reactor, ..RuntimeConfig::default() }) {
            Ok(runtime) => runtime.run(test).unwrap(),
            Err(error) if backend == BackendChoice::IoUring => eprintln!("left out: {error}"),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Small numbers that look random, the same in each run.
pub struct Dice(pub u64);

impl Dice {
    /// Dice of their own for a task.
    pub fn another(&mut self) -> Dice {
        Dice(self.below(1 << 32) + 1)
    }

    /// A number below `bound` (xorshift64*).
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }
}
