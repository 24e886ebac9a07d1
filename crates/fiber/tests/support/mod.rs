//! Running a test in a process of its own, because it ends that process.

use std::{
    env,
    process::{Command, Output},
};

const CHILD: &str = "TENFOLD_FIBER_TEST_CHILD";

/// Runs `crash` in a child process, which is this test binary with this one test, and returns what it left behind.
///
/// In the child this calls `crash` and, if that returns, leaves with code 42.
pub(crate) fn in_child(test: &str, crash: fn()) -> Output {
    if env::var_os(CHILD).is_some() {
        crash();
        std::process::exit(42);
    }
    Command::new(env::current_exe().expect("a running program has a path"))
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, test)
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("the test binary can be run again")
}
