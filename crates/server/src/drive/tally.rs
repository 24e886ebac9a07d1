//! What the scoreboard does not know yet.

use http::StatusCode;
use tenfold_scoreboard as scoreboard;

/// Counts of one run of requests, told to the scoreboard at its end: sixteen pipelined requests cost one locked addition
/// and not sixteen. Also remembers what the fiber is called.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    ok: u64,
    name: &'static str,
}

impl Tally {
    #[inline]
    pub(crate) fn response(&mut self, status: StatusCode) {
        match status.as_u16() {
            200..=299 => self.ok += 1,
            other => scoreboard::current().count_response(other),
        }
    }

    /// Names the running fiber after a route.
    #[inline]
    pub(crate) fn name(&mut self, name: &'static str) {
        let before = std::mem::replace(&mut self.name, name);
        if !std::ptr::eq(before, name) {
            tenfold_runtime::set_name(name);
        }
    }

    /// Tells the scoreboard.
    pub(crate) fn settle(&mut self, requests: u64) {
        self.name = "";
        if requests > 0 {
            let slot = scoreboard::current();
            slot.requests.add(requests);
            slot.responses_2xx.add(std::mem::take(&mut self.ok));
        }
    }
}
