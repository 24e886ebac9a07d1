//! `Seat`: one place for a worker, and the process that has it at the moment.
//!
//! Everything here runs in the master.

use std::{
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitStatus, kill_process};

use tenfold_scoreboard::Slot;

use crate::{
    backoff::Backoff,
    worker::{self, Order},
};

/// One place for a worker. Its slot number never changes, its process does.
pub(crate) struct Seat {
    /// Which group, by its number.
    pub(crate) group: usize,
    /// Which worker of the group.
    pub(crate) index: usize,
    pub(crate) slot_index: usize,
    pub(crate) slot: &'static Slot,
    /// Who has the seat. At most one of `process` and `start_at` is set.
    pub(crate) process: Option<Process>,
    /// When to start the next one.
    pub(crate) start_at: Option<Instant>,
    pub(crate) backoff: Backoff,
    /// Workers in a row that ended before they were ready.
    pub(crate) failed_starts: u32,
}

/// A living worker.
pub(crate) struct Process {
    pub(crate) pid: Pid,
    /// Master's end of the orders pipe.
    orders: OwnedFd,
    /// Master's end of the ready pipe, until it said so.
    pub(crate) ready: Option<OwnedFd>,
    pub(crate) started: Instant,
    pub(crate) ready_at: Option<Instant>,
    /// SIGKILL was sent.
    pub(crate) killed: bool,
}

impl Seat {
    /// Whether a worker serves here.
    pub(crate) fn is_ready(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.ready_at.is_some())
    }

    /// Whether the worker served for at least `stable_after` before `now`.
    pub(crate) fn was_stable(process: &Process, now: Instant, stable_after: Duration) -> bool {
        process.ready_at.is_some_and(|ready_at| now.duration_since(ready_at) >= stable_after)
    }
}

impl Process {
    pub(crate) fn new(pid: Pid, orders: OwnedFd, ready: OwnedFd) -> Self {
        Self { pid, orders, ready: Some(ready), started: Instant::now(), ready_at: None, killed: false }
    }

    /// Tells the worker to stop.
    pub(crate) fn order(&self, order: Order) {
        worker::send(&self.orders, order);
    }

    /// Ends the worker the hard way, once.
    pub(crate) fn kill(&mut self) {
        if !self.killed {
            self.killed = true;
            // It is our child and was not yet reaped, so the pid is still its own.
            let _ = kill_process(self.pid, Signal::KILL);
        }
    }

    /// Whether the worker said "ready" since the last call.
    pub(crate) fn take_ready(&mut self) -> bool {
        let Some(pipe) = &self.ready else { return false };
        match rustix::io::read(pipe, &mut [0; 1]) {
            Ok(1) => {
                self.ready = None;
                self.ready_at = Some(Instant::now());
                true
            }
            // Closed without a word. Polling it further would spin.
            Ok(_) => {
                self.ready = None;
                false
            }
            // EAGAIN, EINTR: not yet.
            Err(_) => false,
        }
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
