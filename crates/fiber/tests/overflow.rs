//! Stack overflow: found by the guard, reported by name, and the end of the process by a signal.
//!
//! Each test runs itself again as a child process, lets that overflow, and looks at what it left behind.

#![allow(unsafe_code, reason = "fork(2), and a wild write")]

mod support;

use std::{hint::black_box, os::unix::process::ExitStatusExt};

use support::in_child;
use tenfold_fiber::{Fiber, GuardKind, Resume, StackConfig, StackPool, overflow, set_name, suspend};

#[inline(never)]
fn recurse_for_ever(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if black_box(depth) == u64::MAX {
        return 0;
    }
    // Not a tail call: the frame is used afterwards.
    recurse_for_ever(depth + 1) + black_box(frame)[0]
}

fn overflow_with(config: StackConfig, prepare: impl FnOnce() + 'static) {
    let pool = StackPool::new(config).unwrap();
    let mut fiber = Fiber::new(pool.take().unwrap(), "deep", move || {
        prepare();
        black_box(recurse_for_ever(0));
    });
    fiber.resume();
}

fn with_report() -> overflow::AltStack {
    overflow::install().unwrap();
    overflow::install_for_thread().unwrap()
}

fn assert_reported(output: &std::process::Output, line: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let position = stderr.find(line).unwrap_or_else(|| panic!("no {line:?} in:\n{stderr}"));
    let report = &stderr[position..];
    let frames = report.lines().skip(1).take_while(|line| line.trim_start().contains(": 0x")).count();
    assert_eq!(frames, 32, "{report}");
    assert!(report.contains("(executable + 0x"), "{report}");
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{:?}", output.status);
}

#[test]
fn an_overflow_names_the_fiber_and_kills_the_process() {
    let output = in_child("an_overflow_names_the_fiber_and_kills_the_process", || {
        let _alt = with_report();
        overflow_with(StackConfig::default(), || set_name("GET /deep/{n}"));
    });
    assert_reported(&output, "stack overflow in fiber \"GET /deep/{n}\" (64 KiB stack, fault at 0x");
}

#[test]
fn an_overflow_is_found_by_mprotect_guards_too() {
    let output = in_child("an_overflow_is_found_by_mprotect_guards_too", || {
        let _alt = with_report();
        let config =
            StackConfig { guard: GuardKind::Mprotect, usable_bytes: 256 << 10, ..StackConfig::default() };
        overflow_with(config, || {});
    });
    assert_reported(&output, "stack overflow in fiber \"deep\" (256 KiB stack, fault at 0x");
}

#[test]
fn an_overflow_after_suspending_and_trimming_is_still_found() {
    let output = in_child("an_overflow_after_suspending_and_trimming_is_still_found", || {
        let _alt = with_report();
        let pool = StackPool::new(StackConfig::default()).unwrap();
        pool.put(pool.take().unwrap());
        for _ in 0..3 {
            pool.trim();
        }
        assert_eq!(pool.stats().cold, 1, "the guard has to survive MADV_DONTNEED");
        let mut fiber = Fiber::new(pool.take().unwrap(), "resumed", || {
            suspend();
            black_box(recurse_for_ever(0));
        });
        assert_eq!(fiber.resume(), Resume::Suspended);
        fiber.resume();
    });
    assert_reported(&output, "stack overflow in fiber \"resumed\" (64 KiB stack");
}

#[test]
fn an_overflow_of_an_inner_fiber_names_the_inner_one() {
    let output = in_child("an_overflow_of_an_inner_fiber_names_the_inner_one", || {
        let _alt = with_report();
        let pool = StackPool::new(StackConfig::default()).unwrap();
        let inner = pool.take().unwrap();
        let mut outer = Fiber::new(pool.take().unwrap(), "outer", move || {
            let mut inner = Fiber::new(inner, "inner", || drop(black_box(recurse_for_ever(0).to_string())));
            inner.resume();
        });
        outer.resume();
    });
    assert_reported(&output, "stack overflow in fiber \"inner\"");
}

#[test]
fn a_thread_overflow_is_still_reported_by_std() {
    let output = in_child("a_thread_overflow_is_still_reported_by_std", || {
        let _alt = with_report();
        black_box(recurse_for_ever(0));
    });
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("has overflowed its stack"), "{stderr}");
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "std aborts");
}

#[test]
fn a_wild_write_is_not_taken_for_an_overflow() {
    let output = in_child("a_wild_write_is_not_taken_for_an_overflow", || {
        let _alt = with_report();
        let pool = StackPool::new(StackConfig::default()).unwrap();
        let mut fiber = Fiber::new(pool.take().unwrap(), "wild", || {
            // SAFETY: none: the point is the fault. Nothing is mapped at 8 (vm.mmap_min_addr).
            unsafe { black_box(std::ptr::without_provenance_mut::<u8>(8)).write_volatile(1) };
        });
        fiber.resume();
    });
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("stack overflow"), "{stderr}");
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV));
}

#[test]
fn a_segv_that_was_sent_still_kills() {
    let output = in_child("a_segv_that_was_sent_still_kills", || {
        let _alt = with_report();
        // SAFETY: raise(3) has no preconditions.
        unsafe { libc::raise(libc::SIGSEGV) };
    });
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV));
}

#[test]
fn a_forked_child_keeps_the_guards() {
    let output = in_child("a_forked_child_keeps_the_guards", || {
        let _alt = with_report();
        let pool = StackPool::new(StackConfig::default()).unwrap();
        let mut fiber = Fiber::new(pool.take().unwrap(), "forked", || {
            suspend();
            black_box(recurse_for_ever(0));
        });
        assert_eq!(fiber.resume(), Resume::Suspended);
        // SAFETY: the child runs on the forking thread and only touches what that thread owns.
        match unsafe { libc::fork() } {
            0 => {
                fiber.resume();
                std::process::exit(43);
            }
            child => {
                let mut status = 0;
                // SAFETY: waitpid(2) writes to `status`.
                assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
                assert!(libc::WIFSIGNALED(status), "the child went on: {status:#x}");
                assert_eq!(libc::WTERMSIG(status), libc::SIGSEGV);
                std::process::exit(7);
            }
        }
    });
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{stderr}");
    assert!(stderr.contains("stack overflow in fiber \"forked\""), "{stderr}");
}
