//! The date for the `Date` header, made once a second by each thread.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

thread_local! {
    static DATE: RefCell<(i64, [u8; 29])> = const { RefCell::new((i64::MIN, [0; 29])) };
}

/// Runs `f` with the present second (of the Unix era) and date, in the form of RFC 9110 section 5.6.7.
///
/// The coarse clock is at most a tick (4 ms) behind and costs a tenth of the exact one, so it is what each answer looks at: has
/// a second passed, or the clock jumped? The date itself is std's time, which is read when that is so. It goes through libc,
/// so that whoever gives a process another time (libfaketime, a sandbox) reaches the header as well as the access log.
pub(crate) fn with_date<R>(f: impl FnOnce(i64, &[u8]) -> R) -> R {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse).tv_sec;
    DATE.with_borrow_mut(|(second, text)| {
        if *second != now {
            *second = now;
            // The form knows no years before 1970.
            let date = httpdate::fmt_http_date(SystemTime::now().max(UNIX_EPOCH));
            text.copy_from_slice(date.as_bytes());
        }
        f(now, text)
    })
}
