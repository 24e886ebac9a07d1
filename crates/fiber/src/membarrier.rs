#![allow(unsafe_code, reason = "membarrier(2) has no wrapper in libc")]
//! The expensive half of an asymmetric fence: membarrier(2), commands `PRIVATE_EXPEDITED` (Linux 4.14).
//!
//! One thread, which does something often, only keeps the compiler from moving its accesses; the other, which does so
//! seldom, makes every running thread of the process pass a full barrier. Threads that do not run have passed one when
//! they were switched out. Called by [`crate::BiasedLock`].

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Of linux/membarrier.h; the libc crate has the call's number only.
const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

const UNKNOWN: u8 = 0;
const WORKS: u8 = 1;
const REFUSED: u8 = 2;

static SUPPORT: AtomicU8 = AtomicU8::new(UNKNOWN);

/// Asks the kernel, once in a process, whether [`everywhere`] can be had. Until then [`is_ready`] says no.
///
/// Not done by the first one who wants a fence: with several threads the registration waits for a grace period of the
/// kernel's, which takes milliseconds.
pub(crate) fn prepare() {
    if SUPPORT.load(Relaxed) == UNKNOWN {
        let works = !cfg!(miri) && register() && fence();
        SUPPORT.store(if works { WORKS } else { REFUSED }, Relaxed);
    }
}

/// Whether [`everywhere`] works.
pub(crate) fn is_ready() -> bool {
    SUPPORT.load(Relaxed) == WORKS
}

/// Has every thread of the process pass a full memory barrier between the call and the return.
///
/// # Aborts
/// When the kernel refuses what it has granted to [`prepare`], as a system call filter that was installed later makes it do:
/// nobody may go on without the barrier, and there is nothing in its place.
#[cold]
pub(crate) fn everywhere() {
    // A fork keeps the registration, but no manual page promises that.
    let is_passed = fence() || (register() && fence());
    if !is_passed {
        eprintln!("membarrier(2) was allowed when this process began and is not any more: aborting");
        std::process::abort();
    }
}

fn register() -> bool {
    membarrier(REGISTER_PRIVATE_EXPEDITED)
}

fn fence() -> bool {
    membarrier(PRIVATE_EXPEDITED)
}

fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: takes no pointer, and changes nothing but the order in which memory is seen.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}
