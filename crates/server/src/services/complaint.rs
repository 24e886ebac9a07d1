//! `Complaints`: lines about what clients send, at most one a second for each service, so that a flood of bad input is no
//! flood of the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::peer::Peer;

const EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Complaints(Mutex<(Option<Instant>, u64)>);

impl Complaints {
    /// Logs that a connection ends, and counts it as a bad request.
    #[cold]
    pub(crate) fn bad_input(&self, service: &'static str, peer: Peer, reason: &str) {
        tenfold_scoreboard::current().bad_requests.add(1);
        if let Some(left_out) = self.turn(Instant::now()) {
            tracing::warn!(target: "tenfold::services", service, %peer, reason, left_out, "bad input");
        }
    }

    /// Whether it is time for a line, and how many were left out since the last one.
    fn turn(&self, now: Instant) -> Option<u64> {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if log.0.is_some_and(|at| now < at + EVERY) {
            log.1 += 1;
            return None;
        }
        log.0 = Some(now);
        Some(std::mem::take(&mut log.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_a_second_there_is_one_line_and_the_next_one_tells_of_the_others() {
        let (complaints, now) = (Complaints::default(), Instant::now());
        assert_eq!(complaints.turn(now), Some(0));
        assert_eq!(complaints.turn(now), None);
        assert_eq!(complaints.turn(now + EVERY / 2), None);
        assert_eq!(complaints.turn(now + EVERY), Some(2));
    }
}
