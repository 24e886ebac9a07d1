//! `RobustLocks`: locks in shared memory that do not stay locked when their owner is killed.
//!
//! They are the robust mutexes of pthreads(7): the kernel walks a list of what a thread holds when it ends, however it ends
//! (get_robust_list(2)), and the next one to ask is told. What the locks guard is published by single stores, so there is
//! nothing to repair.
//!
//! # Invariants
//! - **I1.** The words were mapped for good (`map.rs`), and nobody but this file reads or writes them.
//! - **I2.** Each lock is initialised once, by whoever makes the mapping, before anybody else can see it.
#![allow(unsafe_code, reason = "mutexes of pthreads in shared memory")]

use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

/// Words of one lock: a cache line. A mutex has 40 bytes on x86-64 and 48 on arm64.
pub(crate) const LOCK_WORDS: usize = 8;

const _: () = assert!(size_of::<libc::pthread_mutex_t>() <= 8 * LOCK_WORDS);

/// How often a lock is asked for before others get the processor: it is held for less than a microsecond.
const SPINS: u32 = 64;
/// Between two looks after that.
const PAUSE: Duration = Duration::from_micros(50);
/// How long somebody who is stopped (SIGSTOP, a debugger) may hold everybody else up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
pub(crate) struct RobustLocks {
    words: &'static [AtomicU64],
}

/// One locked lock.
pub(crate) struct Locked(*mut libc::pthread_mutex_t);

impl RobustLocks {
    /// Locks that another process has initialised.
    pub(crate) fn at(words: &'static [AtomicU64]) -> RobustLocks {
        RobustLocks { words }
    }

    /// New ones.
    ///
    /// # Errors
    /// When pthreads cannot make them.
    pub(crate) fn initialise(words: &'static [AtomicU64]) -> io::Result<RobustLocks> {
        let locks = RobustLocks { words };
        let mut attributes = MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
        let attributes = attributes.as_mut_ptr();
        // SAFETY: the pointer is to a local of the right type, which the first call initialises and the last one ends; the
        // mutexes are this file's (I1), and nobody uses them yet (I2).
        unsafe {
            check(libc::pthread_mutexattr_init(attributes))?;
            let mut made =
                check(libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED)).and_then(
                    |()| check(libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST)),
                );
            for number in 0..locks.count() {
                made = made.and_then(|()| check(libc::pthread_mutex_init(locks.mutex(number), attributes)));
            }
            libc::pthread_mutexattr_destroy(attributes);
            made?;
        }
        Ok(locks)
    }

    pub(crate) fn count(&self) -> usize {
        self.words.len() / LOCK_WORDS
    }

    /// Locks one; `None` when somebody holds it for longer than [`PATIENCE`]. Cost: 20 ns when nobody does.
    pub(crate) fn lock(&self, number: usize) -> Option<Locked> {
        let mutex = self.mutex(number);
        let mut since = None;
        for turn in 0_u32.. {
            // SAFETY: an initialised mutex (I2) that lives for ever (I1).
            match unsafe { libc::pthread_mutex_trylock(mutex) } {
                0 => return Some(Locked(mutex)),
                libc::EOWNERDEAD => {
                    // SAFETY: it is locked by this thread now, and what it guards is consistent at any time.
                    unsafe { libc::pthread_mutex_consistent(mutex) };
                    return Some(Locked(mutex));
                }
                _ if turn < SPINS => std::hint::spin_loop(),
                _ if turn < 2 * SPINS => std::thread::yield_now(),
                _ if since.get_or_insert_with(Instant::now).elapsed() < PATIENCE => std::thread::sleep(PAUSE),
                _ => return None,
            }
        }
        None
    }

    fn mutex(&self, number: usize) -> *mut libc::pthread_mutex_t {
        self.words[number * LOCK_WORDS].as_ptr().cast()
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // SAFETY: this thread has locked it: the value cannot go to another one, as a pointer is not Send.
        unsafe { libc::pthread_mutex_unlock(self.0) };
    }
}

fn check(error: i32) -> io::Result<()> {
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}
