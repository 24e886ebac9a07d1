//! A panic that nobody catches inside a fiber ends the process, with a line that says why.

mod support;

use std::os::unix::process::ExitStatusExt;

use support::in_child;
use tenfold_fiber::{Fiber, StackConfig, StackPool, lend_scope};

#[test]
fn a_panic_that_leaves_a_fiber_aborts_with_its_name() {
    let output = in_child("a_panic_that_leaves_a_fiber_aborts_with_its_name", || {
        let pool = StackPool::new(StackConfig::default()).unwrap();
        let mut fiber = Fiber::new(pool.take().unwrap(), "careless", || panic!("the reason"));
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| fiber.resume()));
    });
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("the reason"), "{stderr}");
    assert!(stderr.contains("a panic left the closure of fiber \"careless\""), "{stderr}");
    assert_eq!(output.status.signal(), Some(libc::SIGABRT));
}

#[test]
fn a_panic_caught_inside_a_fiber_disturbs_nobody() {
    let pool = StackPool::new(StackConfig::default()).unwrap();
    let mut fiber = Fiber::new(pool.take().unwrap(), "careful", || {
        let caught = std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new(1)));
        assert!(caught.is_err());
        tenfold_fiber::suspend();
    });
    fiber.resume();
    assert!(!std::thread::panicking());
    assert_eq!(fiber.resume(), tenfold_fiber::Resume::Finished);
}

#[test]
fn a_scope_whose_wait_panics_aborts_because_it_can_neither_return_nor_unwind() {
    let output =
        in_child("a_scope_whose_wait_panics_aborts_because_it_can_neither_return_nor_unwind", || {
            let _ = std::panic::catch_unwind(|| {
                lend_scope(|| {}, |_| panic!("wait"), |lender| std::mem::forget(lender.lend(|| {})));
            });
        });
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("a scope was interrupted"), "{stderr}");
    assert_eq!(output.status.signal(), Some(libc::SIGABRT));
}
