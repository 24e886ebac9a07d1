//! The slow log: a line for each request that has passed its soft deadline, with what it was waiting for.
//!
//! Written by the sentry, because naming a stack's functions reads debug information and would hold a loop for
//! milliseconds. The lines go where the error log goes, with the target `tenfold::slow`.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tenfold_runtime::{Expiry, trace};

use crate::guard::desk::{self, InFlight};

/// Most lines that wait for the sentry; what comes beyond is counted.
const LINES_MAX: usize = 256;
/// Most stacks named in one look of the sentry: a name costs milliseconds.
const STACKS_MAX: usize = 4;

struct Slow {
    entry: InFlight,
    ended: Instant,
    expiry: Option<Box<Expiry>>,
}

#[derive(Default)]
struct Told {
    lines: Vec<Slow>,
    /// Requests that found no room.
    left_out: u64,
}

static TOLD: Mutex<Told> = Mutex::new(Told { lines: Vec::new(), left_out: 0 });

/// A request has ended that was past its soft deadline.
#[cold]
pub(crate) fn tell(entry: InFlight, expiry: Option<Box<Expiry>>) {
    tenfold_scoreboard::current().timeouts.add(tenfold_scoreboard::Phase::Request);
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if told.lines.len() >= LINES_MAX {
        told.left_out += 1;
        return;
    }
    let is_first = told.lines.is_empty();
    told.lines.push(Slow { entry, ended: Instant::now(), expiry });
    drop(told);
    if is_first {
        desk::wake_sentry();
    }
}

/// Writes what was told since the last call.
pub(crate) fn write() {
    let Told { lines, left_out } = std::mem::take(&mut *TOLD.lock().unwrap_or_else(PoisonError::into_inner));
    let mut stacks_left = STACKS_MAX;
    for slow in lines {
        let Slow { entry, ended, expiry } = slow;
        let age_ms = ended.duration_since(entry.deadline.arrived).as_millis() as u64;
        let (route, request) = (entry.route, &entry.target);
        let Some(expiry) = expiry else {
            tracing::warn!(target: "tenfold::slow", route, request, age_ms, "a request has ended after its deadline");
            continue;
        };
        let waited_for = expiry.what.as_str();
        if expiry.frames.is_empty() || stacks_left == 0 {
            tracing::warn!(target: "tenfold::slow", route, request, age_ms, waited_for, "a request has passed its deadline");
            continue;
        }
        stacks_left -= 1;
        let stack = stack(&expiry.frames);
        tracing::warn!(target: "tenfold::slow", route, request, age_ms, waited_for, "a request has passed its deadline:\n  {stack}");
    }
    if left_out > 0 {
        tracing::warn!(target: "tenfold::slow", left_out, "more requests have passed their deadlines");
    }
}

/// The lines of a stack from the wait to the handler; how the server called that is of no interest.
fn stack(frames: &[usize]) -> String {
    let lines = trace::symbolise(frames);
    let is_ours = |line: &&String| {
        line.contains("tenfold_fiber::trace::here")
            || line.contains("tenfold_runtime::expiry")
            || line.contains("backtrace::")
    };
    let end = lines.iter().position(|line| line.contains("drive::deadline::watched")).unwrap_or(lines.len());
    let lines: Vec<&str> = lines[..end].iter().skip_while(is_ours).map(String::as_str).collect();
    lines.join("\n  ")
}
