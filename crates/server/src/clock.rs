//! The date for the `Date` header, made once a second by each thread.

use std::cell::RefCell;
use std::time::{Duration, UNIX_EPOCH};

thread_local! {
    static DATE: RefCell<(i64, [u8; 29])> = const { RefCell::new((i64::MIN, [0; 29])) };
}

/// Runs `f` with the present second (of the Unix era) and date, in the form of RFC 9110 section 5.6.7.
///
/// The coarse clock is at most a tick (4 ms) behind and costs a tenth of the exact one.
pub(crate) fn with_date<R>(f: impl FnOnce(i64, &[u8]) -> R) -> R {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse).tv_sec;
    DATE.with_borrow_mut(|(second, text)| {
        if *second != now {
            *second = now;
            let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(now.max(0) as u64));
            text.copy_from_slice(date.as_bytes());
        }
        f(now, text)
    })
}
