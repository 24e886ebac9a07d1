//! `Sentry`: the thread that looks after the requests in flight of its process.
//!
//! It writes the slow log, names requests whose waits cannot be cancelled, and acts when one is past its hard deadline:
//! where the process has one request at a time it kills the process, else it has the worker replaced. It runs no handler,
//! and it needs no loop: a loop that is held is one of the things it is there for.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpid, kill_process};
use tenfold_runtime::{trace, watched_loops};
use tenfold_supervisor::{OrderReader, Report, Reporter, Worker};

use super::Overrun;
use super::desk::{self, Desk, InFlight, Mark};
use super::slow_log;
use crate::service::Service;

/// How long a wait may take to end after the soft deadline before it is named as one that does not heed it.
const HEED_MAX: Duration = Duration::from_millis(100);
/// How long a thread gets to answer with its stack.
const TRACE_TIMEOUT: Duration = Duration::from_millis(100);
/// Most stacks that are taken in one look.
const STACKS_MAX: usize = 4;
/// The casualties of a drain are named so long before the master ends it.
const LAST_WORDS: Duration = Duration::from_millis(500);

struct Sentry {
    service: Arc<Service>,
    overrun: Overrun,
    reporter: Reporter,
    /// Heard once the worker is condemned: whoever else hears may be what is stuck.
    orders: Option<OrderReader>,
    graceful_timeout: Duration,
    condemned: bool,
    stopping_since: Option<Instant>,
    casualties_named: bool,
}

/// Starts the sentry of this process: after the fork, before the worker is ready.
///
/// # Errors
/// When there is no thread for it.
pub(crate) fn start(
    service: &Arc<Service>,
    worker: &Worker,
    overrun: Overrun,
    graceful_timeout: Duration,
) -> Result<(), String> {
    if let Err(error) = trace::install(trace::default_signal()) {
        tracing::warn!(%error, "the slow log will have no stacks of threads that are blocked");
    }
    let orders = match overrun {
        Overrun::Kill => None,
        Overrun::Replace => Some(worker.order_reader().map_err(|error| error.to_string())?),
    };
    let mut sentry = Sentry {
        service: service.clone(),
        overrun,
        reporter: worker.reporter().clone(),
        orders,
        graceful_timeout,
        condemned: false,
        stopping_since: None,
        casualties_named: false,
    };
    let started: io::Result<_> = std::thread::Builder::new().name("sentry".into()).spawn(move || {
        desk::watch_from_here();
        loop {
            std::thread::park_timeout(desk::look_every());
            sentry.look(Instant::now());
        }
    });
    started.map(drop).map_err(|error| format!("cannot start the sentry: {error}"))
}

impl Sentry {
    fn look(&mut self, now: Instant) {
        slow_log::write();
        let (mut unheeding, mut overdue) = (Vec::new(), Vec::new());
        let (mut running, mut past) = (0_usize, 0_usize);
        desk::for_each(|desk, seen| {
            running += 1;
            let deadline = seen.request.deadline;
            if deadline.is_overdue(now) {
                past += 1;
                seen.mark(Mark::Named);
                if seen.mark(Mark::Overdue) {
                    overdue.push((desk.clone(), seen.request.clone()));
                }
            } else if now >= deadline.soft + HEED_MAX && seen.mark(Mark::Named) {
                unheeding.push((desk.clone(), seen.request.clone()));
            }
        });
        let mut stacks_left = STACKS_MAX;
        for (desk, entry) in &unheeding {
            name(desk, entry, now, &mut stacks_left);
        }
        if !overdue.is_empty() {
            self.act(&overdue, now);
        }
        if self.condemned
            && let Some(orders) = &self.orders
        {
            while let Some(order) = orders.try_order() {
                self.service.obey(order, &self.reporter);
            }
        }
        if self.service.was_told_to_stop() {
            self.see_to_the_end(now, running, past);
        }
    }

    /// Some requests are past their hard deadlines.
    fn act(&mut self, overdue: &[(Arc<Desk>, InFlight)], now: Instant) {
        let mut stacks_left = STACKS_MAX;
        for (desk, entry) in overdue {
            let age_ms = now.duration_since(entry.deadline.arrived).as_millis() as u64;
            let (route, request) = (entry.route, &entry.target);
            let end = match self.overrun {
                Overrun::Kill => "its process is killed",
                Overrun::Replace => "its worker is replaced",
            };
            let at = whereabouts(desk, entry, &mut stacks_left);
            tracing::error!(target: "tenfold::slow", route, request, age_ms, "a request is past its hard deadline, {end}; {at}");
        }
        let (_, first) = &overdue[0];
        let reason = match overdue.len() {
            1 => format!("{} is past its hard deadline", first.target),
            more => format!("{} and {} more are past their hard deadlines", first.target, more - 1),
        };
        match self.overrun {
            Overrun::Kill => {
                self.reporter.say(&Report::Condemned(reason));
                end_process();
            }
            Overrun::Replace if !self.condemned => {
                self.condemned = true;
                self.reporter.say(&Report::Condemned(reason));
            }
            Overrun::Replace => {}
        }
    }

    /// The worker drains. What is past its hard deadline is not waited for once it is alone, and whoever is left at the
    /// end of the drain is named.
    fn see_to_the_end(&mut self, now: Instant, running: usize, past: usize) {
        let since = *self.stopping_since.get_or_insert(now);
        let idle_over = now >= since + self.service.idle_grace;
        let is_over = now + LAST_WORDS >= since + self.graceful_timeout;
        if is_over && !std::mem::replace(&mut self.casualties_named, true) {
            name_casualties(now);
        }
        if past > 0 && past == running && idle_over && self.service.connections() <= past {
            if !self.casualties_named {
                name_casualties(now);
            }
            end_process();
        }
    }
}

/// Not exit(3): its handlers may wait for what is stuck.
fn end_process() {
    let _ = kill_process(getpid(), Signal::KILL);
}

fn name_casualties(now: Instant) {
    desk::for_each(|_, seen| {
        let InFlight { route, deadline, target: request } = &seen.request;
        let age_ms = now.duration_since(deadline.arrived).as_millis() as u64;
        tracing::error!(target: "tenfold::slow", route, request, age_ms, "a request is lost: its worker ends");
    });
}

/// Logs a request whose wait has not ended at its deadline.
fn name(desk: &Desk, entry: &InFlight, now: Instant, stacks_left: &mut usize) {
    let age_ms = now.duration_since(entry.deadline.arrived).as_millis() as u64;
    let (route, request) = (entry.route, &entry.target);
    let at = whereabouts(desk, entry, stacks_left);
    tracing::warn!(target: "tenfold::slow", route, request, age_ms, "a request has passed its deadline and cannot be cancelled; {at}");
}

/// Where a request is, as far as it can be seen from outside.
fn whereabouts(desk: &Desk, entry: &InFlight, stacks_left: &mut usize) -> String {
    let Some(thread) = &desk.thread else { return "its thread cannot be asked".into() };
    let loops = watched_loops();
    if let Some(its_loop) = loops.iter().find(|watched| watched.thread.tid() == thread.tid())
        && its_loop.beat.sample().name != Some(entry.route)
    {
        return "its fiber is parked, or waits for its turn".into();
    }
    let doing = doing(thread.tid());
    if *stacks_left == 0 {
        return doing;
    }
    *stacks_left -= 1;
    let lines = trace::symbolise(&trace::capture(thread, TRACE_TIMEOUT));
    let end = lines.iter().position(|line| line.contains("drive::deadline::watched")).unwrap_or(lines.len());
    let mut seen = HashSet::new();
    let lines: Vec<&str> =
        lines[..end].iter().map(String::as_str).filter(|line| seen.insert(*line)).collect();
    if lines.is_empty() { doing } else { format!("{doing}:\n  {}", lines.join("\n  ")) }
}

/// What the kernel says that a thread of this process does.
fn doing(tid: i32) -> String {
    // proc(5): the number of the system call and its arguments, or "running".
    let text = std::fs::read_to_string(format!("/proc/self/task/{tid}/syscall")).unwrap_or_default();
    let mut words = text.split_whitespace();
    let Some(number) = words.next().and_then(|word| word.parse::<i64>().ok()) else {
        return "it computes".into();
    };
    let fd = words.next().and_then(|word| i64::from_str_radix(word.trim_start_matches("0x"), 16).ok());
    let of_fd = || {
        let link = fd.and_then(|fd| std::fs::read_link(format!("/proc/self/fd/{fd}")).ok());
        link.map_or_else(String::new, |link| format!(" {}", link.display()))
    };
    match name_of(number) {
        Some((name, true)) => format!("it is in {name}(2){}", of_fd()),
        Some((name, false)) => format!("it is in {name}(2)"),
        None => format!("it is in system call {number}"),
    }
}

/// The calls that block, by their numbers, and whether the first argument is a descriptor.
#[cfg(target_arch = "x86_64")]
fn name_of(number: i64) -> Option<(&'static str, bool)> {
    Some(match number {
        0 => ("read", true),
        1 => ("write", true),
        7 => ("poll", false),
        19 => ("readv", true),
        20 => ("writev", true),
        23 => ("select", false),
        35 => ("nanosleep", false),
        42 => ("connect", true),
        43 => ("accept", true),
        44 => ("sendto", true),
        45 => ("recvfrom", true),
        46 => ("sendmsg", true),
        47 => ("recvmsg", true),
        61 => ("wait4", false),
        72 => ("fcntl", true),
        73 => ("flock", true),
        74 => ("fsync", true),
        202 => ("futex", false),
        230 => ("clock_nanosleep", false),
        232 => ("epoll_wait", true),
        270 => ("pselect6", false),
        271 => ("ppoll", false),
        281 => ("epoll_pwait", true),
        _ => return None,
    })
}

#[cfg(not(target_arch = "x86_64"))]
fn name_of(_number: i64) -> Option<(&'static str, bool)> {
    None
}
