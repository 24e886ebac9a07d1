//! Long answers of server-sent events.

use std::rc::Rc;
use std::time::Instant;

use crate::load::connection::{Connection, check_status};
use crate::load::failure::{Failure, FailureKind};
use crate::load::job::Job;
use crate::load::outcome::EventCounts;

pub(super) fn start(job: &Rc<Job>, connections: usize) {
    let preparing = job.signals.preparing.join();
    job.spawn("streams", move |job| {
        let opened = job.open_all(connections);
        drop(preparing);
        if !job.wait_for_start() {
            return;
        }
        let start = job.window().start;
        for one in opened {
            match one {
                Ok(connection) => job.spawn("stream", move |job| listen(job, connection, start)),
                Err(failure) => job.failed(job.window().begin, &failure),
            }
        }
    });
}

/// Reads one connection's events until the end.
fn listen(job: &Job, mut connection: Connection, start: Instant) {
    let window = job.window();
    job.tally().begun();
    let until = start + job.timeout;
    let head = connection
        .send(&job.target.request, until)
        .and_then(|()| connection.head(&job.target.method, until))
        .and_then(|head| check_status(head.status, &job.target.expect).map(|()| head));
    let head = match head {
        Ok(head) => head,
        // It is the connection of the measured time, whenever it was opened.
        Err(failure) => return job.ended(window.begin, Err(&failure), &mut connection),
    };
    let opened = head.first_byte.saturating_duration_since(start);
    let mut counter = EventCounter::default();
    let mut counts = EventCounts::default();
    let mut last: Option<Instant> = None;
    let outcome = connection.pieces(head.framing, window.end, |piece| {
        let now = Instant::now();
        for _ in 0..counter.count(piece) {
            if window.has(now) {
                counts.events += 1;
                if let Some(last) = last {
                    counts.gaps.record(now - last);
                }
            }
            last = Some(now);
        }
    });
    let failure = match outcome {
        Ok(()) => Some(Failure::closed("the stream has ended before the run")),
        // The end of the run is what ends a stream that is in order.
        Err(failure) if failure.kind == FailureKind::Timeout || failure.is_cancelled() => None,
        Err(failure) => Some(failure),
    };
    let mut tally = job.tally();
    tally.stream_ended(opened, failure.as_ref());
    tally.bytes(window.begin, connection.take_bytes());
    counts.per_connection_min = counts.events;
    counts.per_connection_max = counts.events;
    match &mut tally.events {
        Some(all) => all.add(&counts),
        none => *none = Some(counts),
    }
}

/// Counts events in a stream of bytes: blocks with at least one line that is no comment, ended by an empty line. Lines end
/// with LF or CR LF; the lone CR that the standard allows as well is not known here.
#[derive(Debug, Default)]
struct EventCounter {
    line_bytes: usize,
    is_comment: bool,
    has_fields: bool,
}

impl EventCounter {
    fn count(&mut self, piece: &[u8]) -> u64 {
        let mut events = 0;
        for &byte in piece {
            match byte {
                b'\n' if self.line_bytes == 0 => events += u64::from(std::mem::take(&mut self.has_fields)),
                b'\n' => {
                    self.has_fields |= !self.is_comment;
                    self.line_bytes = 0;
                }
                b'\r' => {}
                byte => {
                    if self.line_bytes == 0 {
                        self.is_comment = byte == b':';
                    }
                    self.line_bytes += 1;
                }
            }
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_however_they_are_cut() {
        let text = b"data: 1\n\nevent: x\r\ndata: 2\r\n\r\n: heartbeat\n\n\n\ndata: 3\n\ndata: unfinished\n";
        for size in 1..=text.len() {
            let mut counter = EventCounter::default();
            let count: u64 = text.chunks(size).map(|piece| counter.count(piece)).sum();
            assert_eq!(count, 3, "pieces of {size}");
        }
    }
}
