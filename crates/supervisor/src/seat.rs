//! `Seat`: one place for a worker, and the process that has it at the moment.
//!
//! Everything here runs in the master.

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitStatus, kill_process};

use tenfold_scoreboard::{Slot, State};

use crate::{
    backoff::Backoff,
    order::{self, Order},
    report::{Report, ReportReader},
};

/// One place for a worker of a generation. Its number never changes, its process does.
pub(crate) struct Seat {
    /// Which group, by its number.
    pub(crate) group: usize,
    /// Which worker of the group.
    pub(crate) index: usize,
    /// The slot that the next process should have, if it is free: the last one's.
    pub(crate) slot_wish: Option<usize>,
    /// Who has the seat. At most one of `process` and `start_at` is set.
    pub(crate) process: Option<Process>,
    /// Who gets the seat when it is ready; `process` has it until then.
    pub(crate) successor: Option<Process>,
    /// When to start the next one.
    pub(crate) start_at: Option<Instant>,
    pub(crate) backoff: Backoff,
    /// Workers in a row that ended before they were ready.
    pub(crate) failed_starts: u32,
    /// How often a process of this seat was started anew, by reason.
    pub(crate) restarts: BTreeMap<&'static str, u32>,
    /// Why the last process could not start, in its own words.
    pub(crate) last_failure: Option<String>,
    /// How the last one ended that died early, with what it has said.
    pub(crate) last_death: Option<String>,
    /// No replacement for recycling is started before.
    pub(crate) recycle_not_before: Option<Instant>,
    /// Since when its process has nothing to do, for spawning on demand; with the connections it had accepted then.
    pub(crate) idle_since: Option<(Instant, u64)>,
}

/// A living worker.
pub(crate) struct Process {
    pub(crate) pid: Pid,
    pub(crate) slot_index: usize,
    pub(crate) slot: &'static Slot,
    /// Master's end of the orders pipe.
    orders: OwnedFd,
    /// Master's end of the reports pipe.
    pub(crate) reports: ReportReader,
    pub(crate) started: Instant,
    pub(crate) ready_at: Option<Instant>,
    /// SIGKILL was sent.
    pub(crate) killed: bool,
    /// It has said that a request in it does not end.
    pub(crate) condemned: bool,
    /// It has said that it accepts no more.
    pub(crate) closed: bool,
    /// When it is killed, if it was told to stop by itself (recycled, scaled down).
    pub(crate) until: Option<Instant>,
    /// Requests that the slot had counted before it came.
    pub(crate) requests_before: u64,
    /// What makes its limits for recycling its own: 0.9 to 1.
    pub(crate) jitter: f64,
}

impl Seat {
    pub(crate) fn new(group: usize, index: usize, backoff: Backoff) -> Self {
        Self {
            group,
            index,
            slot_wish: None,
            process: None,
            successor: None,
            start_at: None,
            backoff,
            failed_starts: 0,
            restarts: BTreeMap::new(),
            last_failure: None,
            last_death: None,
            recycle_not_before: None,
            idle_since: None,
        }
    }

    /// Whether a worker serves here.
    pub(crate) fn is_ready(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.ready_at.is_some())
    }

    pub(crate) fn count_restart(&mut self, reason: &'static str) {
        *self.restarts.entry(reason).or_default() += 1;
    }
}

impl Process {
    pub(crate) fn new(
        pid: Pid,
        (slot_index, slot): (usize, &'static Slot),
        orders: OwnedFd,
        reports: OwnedFd,
    ) -> Self {
        Self {
            pid,
            slot_index,
            slot,
            orders,
            reports: ReportReader::new(reports),
            started: Instant::now(),
            ready_at: None,
            killed: false,
            condemned: false,
            closed: false,
            until: None,
            requests_before: slot.requests.get(),
            jitter: 1.0 - f64::from(crate::backoff::random() as u8) / 2550.0,
        }
    }

    /// Tells the worker.
    pub(crate) fn order(&self, order: Order) {
        order::send(&self.orders, order);
        if order.is_stop() {
            self.slot.set_state(State::Draining);
        }
    }

    /// Tells the worker to finish what it has, and until when.
    pub(crate) fn stop(&self, until: Instant) {
        self.slot.stop_within(until.saturating_duration_since(Instant::now()));
        self.order(Order::Graceful);
    }

    /// Ends the worker the hard way, once.
    pub(crate) fn kill(&mut self) {
        if !self.killed {
            self.killed = true;
            // It is our child and was not yet reaped, so the pid is still its own.
            let _ = kill_process(self.pid, Signal::KILL);
        }
    }

    /// What the worker has said since the last call.
    pub(crate) fn take_reports(&mut self) -> Vec<Report> {
        let reports = self.reports.take();
        if self.ready_at.is_none() && reports.contains(&Report::Ready) {
            self.ready_at = Some(Instant::now());
        }
        self.closed |= reports.contains(&Report::Closed);
        reports
    }

    /// Whether the worker served for at least `stable_after` before `now`.
    pub(crate) fn was_stable(&self, now: Instant, stable_after: Duration) -> bool {
        self.ready_at.is_some_and(|ready_at| now.duration_since(ready_at) >= stable_after)
    }

    /// What its slot says of it, unless it has been freed.
    pub(crate) fn requests(&self) -> u64 {
        self.slot.requests.get().wrapping_sub(self.requests_before)
    }
}

/// How a process ended, in words.
pub(crate) fn how(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(101), _) => "exit code 101 (panic)".to_owned(),
        (Some(code), _) => format!("exit code {code}"),
        (_, Some(signal)) => signal_name(signal),
        _ => format!("wait status {:#x}", status.as_raw()),
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGSYS => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_named_and_unknown_ones_numbered() {
        assert_eq!(signal_name(9), "SIGKILL");
        assert_eq!(signal_name(11), "SIGSEGV");
        assert_eq!(signal_name(40), "signal 40");
    }
}
