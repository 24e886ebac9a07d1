//! `getaddrinfo`: names to addresses, on the offload pool.
//!
//! The resolver is a library with files, sockets and time-outs of its own, whose calls do not go through our symbols. So
//! it runs on a thread of the pool while the fiber parks. libc's own function is behind `getaddrinfo_a`, which calls it
//! inside of libc (glibc 2.34 and later, resolv/gai_misc.c).

use std::ffi::{CStr, CString, c_char, c_int, c_void};

use libc::addrinfo;
use tenfold_runtime::{OffloadError, offload};

use crate::wait::parks;

const GAI_WAIT: c_int = 0;
const EAI_INPROGRESS: c_int = -100;
const EAI_INTR: c_int = -104;

/// struct gaicb of netdb.h.
#[repr(C)]
struct Request {
    name: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    result: *mut addrinfo,
    returned: c_int,
    reserved: [c_int; 5],
}

unsafe extern "C" {
    fn getaddrinfo_a(mode: c_int, list: *mut *mut Request, count: c_int, event: *mut c_void) -> c_int;
    fn gai_error(request: *mut Request) -> c_int;
    fn freeaddrinfo(result: *mut addrinfo);
}

/// getaddrinfo(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getaddrinfo(
    name: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    result: *mut *mut addrinfo,
) -> c_int {
    // SAFETY: the caller's strings, hints and place for the result, as for getaddrinfo(3).
    unsafe {
        let (returned, found) = match parks() {
            true => resolve_parking(name, service, hints),
            false => resolve(name, service, hints),
        };
        if returned == 0 {
            *result = found;
        }
        returned
    }
}

/// # Safety
/// As getaddrinfo(3).
unsafe fn resolve(
    name: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
) -> (c_int, *mut addrinfo) {
    let result = std::ptr::null_mut();
    let mut request = Request { name, service, hints, result, returned: 0, reserved: [0; 5] };
    let list = &mut [&raw mut request];
    // SAFETY: GAI_WAIT returns when the request is done; it and what it points to live as long.
    unsafe {
        match getaddrinfo_a(GAI_WAIT, list.as_mut_ptr(), 1, std::ptr::null_mut()) {
            0 | EAI_INTR => {}
            // Not even begun.
            error => return (error, std::ptr::null_mut()),
        }
        // A signal ends the wait and not the request, which still uses our memory.
        loop {
            match gai_error(&raw mut request) {
                EAI_INPROGRESS => wait_once_more(&raw mut request),
                returned => return (returned, request.result),
            }
        }
    }
}

/// # Safety
/// The request is one that was started.
unsafe fn wait_once_more(request: *mut Request) {
    unsafe extern "C" {
        fn gai_suspend(list: *const *const Request, count: c_int, timeout: *const libc::timespec) -> c_int;
    }
    let list = [request.cast_const()];
    // SAFETY: the caller's promise.
    unsafe { gai_suspend(list.as_ptr(), 1, std::ptr::null()) };
}

/// Addresses that nobody has taken yet.
struct Found(*mut addrinfo);

// SAFETY: libc's list belongs to whoever holds it and to no thread.
unsafe impl Send for Found {}

impl Drop for Found {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: it came from getaddrinfo, and is freed once.
            unsafe { freeaddrinfo(self.0) };
        }
    }
}

/// # Safety
/// As getaddrinfo(3).
unsafe fn resolve_parking(
    name: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
) -> (c_int, *mut addrinfo) {
    // SAFETY: the caller's strings and hints. They are copied: a task that is cancelled leaves the pool's thread behind.
    let copy = |text: *const c_char| (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_owned());
    let (name, service) = (copy(name), copy(service));
    // SAFETY: as above. Of the hints only the first four fields may be set (getaddrinfo(3)).
    let hints = unsafe { hints.as_ref() }
        .map(|hints| [hints.ai_flags, hints.ai_family, hints.ai_socktype, hints.ai_protocol]);
    let outcome = offload(move || {
        // SAFETY: zeroes are valid hints.
        let mut own = unsafe { std::mem::zeroed::<addrinfo>() };
        if let Some(hints) = hints {
            [own.ai_flags, own.ai_family, own.ai_socktype, own.ai_protocol] = hints;
        }
        let own = if hints.is_some() { &raw const own } else { std::ptr::null() };
        let text = |text: &Option<CString>| text.as_ref().map_or(std::ptr::null(), |text| text.as_ptr());
        // SAFETY: the copies outlive the call.
        let (returned, found) = unsafe { resolve(text(&name), text(&service), own) };
        (returned, Found(if returned == 0 { found } else { std::ptr::null_mut() }))
    });
    let failed = |errno| {
        // SAFETY: the calling thread's own variable.
        unsafe { *libc::__errno_location() = errno };
        (libc::EAI_SYSTEM, std::ptr::null_mut())
    };
    match outcome {
        Ok((returned, mut found)) => (returned, std::mem::replace(&mut found.0, std::ptr::null_mut())),
        Err(OffloadError::Cancelled) => failed(libc::ECANCELED),
        Err(OffloadError::TimedOut) => failed(libc::ETIMEDOUT),
        Err(_) => failed(libc::EAGAIN),
    }
}
