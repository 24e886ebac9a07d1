//! `select` and `pselect`: poll(2) with the descriptors as bits of three sets.

use std::ffi::c_int;
use std::time::{Duration, Instant};

use libc::{fd_set, sigset_t, timespec, timeval};

use crate::poll::{duration, wait_any};
use crate::sys::{Raw, finish_int, syscall};
use crate::wait::parks;

const WORD_BITS: usize = u64::BITS as usize;
/// A set of libc's, which holds 1,024.
const WORDS: usize = libc::FD_SETSIZE / WORD_BITS;
type Set = [u64; WORDS];

/// The events of poll(2) that the three sets ask for (select(2), "Correspondence between select() and poll()
/// notifications").
const EVENTS: [u16; 3] = [
    (libc::POLLIN | libc::POLLRDNORM | libc::POLLRDBAND) as u16,
    (libc::POLLOUT | libc::POLLWRNORM | libc::POLLWRBAND) as u16,
    libc::POLLPRI as u16,
];

/// select(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn select(
    count: c_int,
    read: *mut fd_set,
    write: *mut fd_set,
    except: *mut fd_set,
    timeout: *mut timeval,
) -> c_int {
    // SAFETY: the caller's sets and time, as for select(2).
    unsafe {
        let mut limit = timeout.as_ref().map(|time| timespec {
            tv_sec: time.tv_sec + time.tv_usec / 1_000_000,
            tv_nsec: time.tv_usec % 1_000_000 * 1000,
        });
        let sets = [read, write, except].map(|set| set.cast::<u64>());
        let result = select_until(count, sets, limit.as_mut());
        // Linux says what is left (select(2), "The timeout").
        if let (Some(limit), Some(timeout)) = (limit, timeout.as_mut()) {
            *timeout = timeval { tv_sec: limit.tv_sec, tv_usec: limit.tv_nsec / 1000 };
        }
        finish_int(result)
    }
}

/// pselect(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pselect(
    count: c_int,
    read: *mut fd_set,
    write: *mut fd_set,
    except: *mut fd_set,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: the caller's sets, time and mask, as for pselect(2), whose time stays as it is: hence the copy.
    unsafe {
        let mut limit = timeout.as_ref().copied();
        let sets = [read, write, except].map(|set| set.cast::<u64>());
        if mask.is_null() {
            return finish_int(select_until(count, sets, limit.as_mut()));
        }
        // The kernel takes the mask with its size, by address (pselect(2), "C library/kernel differences").
        let mask = [mask as usize, size_of::<u64>()];
        let limit = limit.as_mut().map_or(std::ptr::null_mut(), std::ptr::from_mut);
        finish_int(syscall!(SYS_pselect6, count, sets[0], sets[1], sets[2], limit, mask.as_ptr()))
    }
}

/// # Safety
/// As select(2).
unsafe fn select_until(count: c_int, sets: [*mut u64; 3], limit: Option<&mut timespec>) -> Raw {
    let given = limit.as_deref().copied();
    let timeout = given.as_ref().map(duration);
    let plain_time = matches!(timeout, Some(None)) || timeout == Some(Some(Duration::ZERO));
    // SAFETY: the caller's promise, here and below.
    unsafe {
        if plain_time || !(0..=libc::FD_SETSIZE as c_int).contains(&count) || !parks() {
            let limit = limit.map_or(std::ptr::null_mut(), std::ptr::from_mut);
            return syscall!(SYS_pselect6, count, sets[0], sets[1], sets[2], limit, 0);
        }
        let words = (count as usize).div_ceil(WORD_BITS);
        let wanted = sets.map(|set| copy_in(set, words));
        let until = timeout.flatten().and_then(|timeout| Instant::now().checked_add(timeout));
        let left = |until: Instant| until.saturating_duration_since(Instant::now());
        let result = loop {
            let mut now = wanted;
            let sets_now: [*mut u64; 3] = std::array::from_fn(|which| match sets[which].is_null() {
                true => std::ptr::null_mut(),
                false => now[which].as_mut_ptr(),
            });
            let zero = timespec { tv_sec: 0, tv_nsec: 0 };
            let result =
                syscall!(SYS_pselect6, count, sets_now[0], sets_now[1], sets_now[2], &raw const zero, 0);
            let is_late = until.is_some_and(|until| left(until).is_zero());
            if result != 0 || is_late {
                if result >= 0 {
                    (0..3).for_each(|which| copy_out(sets[which], &now[which], words));
                }
                break result;
            }
            if let Err(error) = wait_any(interests(&wanted, count), until) {
                break error;
            }
        };
        if let (Some(limit), Some(until)) = (limit, until) {
            let left = left(until);
            *limit = timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos().into() };
        }
        result
    }
}

/// The descriptors that are in a set, and what for.
fn interests(sets: &[Set; 3], count: c_int) -> impl Iterator<Item = (c_int, u16)> + Clone + '_ {
    let events = |fd: c_int| {
        let (word, bit) = (fd as usize / WORD_BITS, fd as usize % WORD_BITS);
        let asked = sets.iter().zip(EVENTS).filter(move |(set, _)| set[word] >> bit & 1 == 1);
        asked.fold(0, |all, (_, events)| all | events)
    };
    (0..count).map(move |fd| (fd, events(fd))).filter(|(_, events)| *events != 0)
}

/// # Safety
/// `set` is null or has that many words.
unsafe fn copy_in(set: *const u64, words: usize) -> Set {
    let mut copy = [0; WORDS];
    if !set.is_null() {
        // SAFETY: the caller's promise; `words` is at most WORDS.
        unsafe { std::ptr::copy_nonoverlapping(set, copy.as_mut_ptr(), words) };
    }
    copy
}

/// # Safety
/// As [`copy_in`].
unsafe fn copy_out(set: *mut u64, copy: &Set, words: usize) {
    if !set.is_null() {
        // SAFETY: the caller's promise; `words` is at most WORDS.
        unsafe { std::ptr::copy_nonoverlapping(copy.as_ptr(), set, words) };
    }
}
