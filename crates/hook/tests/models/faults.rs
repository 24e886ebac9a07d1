//! Services that are killed, stopped and started again under load: errors are typed and prompt, nothing leaks, the pool
//! recovers by itself, and other routes do not notice.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tenfold_testkit::{Client, wait_until};

use crate::Behaviour;
use crate::fixture::{CONNECTIONS_MAX, REQUEST_TIMEOUT, Status};
use crate::services::Service;
use crate::variant::Variant;

pub(crate) const BEHAVIOURS: &[Behaviour] = &[
    ("a_kill_and_a_restart_under_load", kill_and_restart, |_, service| service.tells),
    // Where a driver's call blocks a thread nothing ends it but the driver's own time-outs.
    ("a_stop_and_a_resume_under_load", stop_and_resume, |variant, service| {
        service.tells && (variant.parks() || service.times_out)
    }),
];

/// Clients that ask for the service all the time.
const CLIENTS: usize = 8;
/// Answers in a row after which the service counts as back: more than the pool can have had dead connections.
const ANSWERS_IN_A_ROW: usize = 3 * CONNECTIONS_MAX;

/// What the clients have seen.
#[derive(Default)]
struct Seen {
    answers_in_a_row: AtomicUsize,
    errors: AtomicUsize,
    /// What was neither an answer nor a typed error.
    wrong: Mutex<Vec<String>>,
    slowest_ms: AtomicUsize,
    /// Answers of the route that needs no service.
    others: AtomicUsize,
}

impl Seen {
    /// As many as there are clients: one after another takes the driver's time-out each, where one is served at a time.
    fn wait_for_errors(&self, variant: &Variant) {
        let before = self.errors.load(Ordering::Relaxed);
        wait_until("the clients see errors", || {
            (self.errors.load(Ordering::Relaxed) >= before + clients(variant)).then_some(())
        });
    }

    fn wait_for_answers(&self) {
        self.answers_in_a_row.store(0, Ordering::Relaxed);
        wait_until("the service answers again", || {
            (self.answers_in_a_row.load(Ordering::Relaxed) >= ANSWERS_IN_A_ROW).then_some(())
        });
    }

    /// The other route goes on meanwhile. Where all handlers can be in the service's route it comes in between them.
    fn wait_for_others(&self, variant: &Variant) {
        let before = self.others.load(Ordering::Relaxed);
        let wanted = if variant.at_once() > CLIENTS { 20 } else { 1 };
        wait_until("the other route answers", || {
            (self.others.load(Ordering::Relaxed) >= before + wanted).then_some(())
        });
    }
}

/// A line of two, where one is served at a time: each waits for the time-outs of those before it.
fn clients(variant: &Variant) -> usize {
    CLIENTS.min(2 * variant.at_once())
}

/// Runs `act` under load and looks at what is left afterwards.
fn under_load(variant: &'static Variant, service: &'static Service, act: impl FnOnce(&Seen)) {
    // Another variant's case may have killed what is in this one's pool.
    wait_until("the pool has a connection that works", || {
        let answer = variant.server().client().get(&format!("/{}/21", service.name));
        (answer.status == 200).then_some(())
    });
    let before = variant.status();
    let (seen, stop) = (Seen::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (seen, stop) = (&seen, &stop);
        for client in 0..clients(variant) {
            scope.spawn(move || {
                let mut number = client;
                while !stop.load(Ordering::Relaxed) {
                    number += CLIENTS;
                    ask(variant, service, number, seen);
                }
            });
        }
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                close_after(variant, "/hello").read_response().expect_text(200, "Hello, world!");
                seen.others.fetch_add(1, Ordering::Relaxed);
            }
        });
        let _stop = Stop(stop);
        act(seen);
    });
    let wrong = seen.wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} such answers, the first: {}", wrong.len(), wrong[0]);
    // A request has its own limit; a busy machine gets as much again.
    let slowest = Duration::from_millis(seen.slowest_ms.into_inner() as u64);
    assert!(slowest < 4 * REQUEST_TIMEOUT, "the slowest took {slowest:?}");
    let descriptors_max = before.descriptors + CONNECTIONS_MAX + variant.threads_max();
    wait_until("nothing is left", || is_clean(&before, &variant.status(), descriptors_max).then_some(()));
}

/// Stops the load also when an expectation fails: the scope waits for its threads.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A thread keeps the descriptor that it is woken by.
fn is_clean(before: &Status, after: &Status, descriptors_max: usize) -> bool {
    assert_eq!(before.pid, after.pid, "the worker has died");
    after.connections_open == 1
        && after.borrowed == 0
        && after.fibers_in_use <= before.fibers_in_use
        && after.descriptors <= descriptors_max
}

/// A connection for each request: the model `serial` serves one at a time.
fn close_after(variant: &'static Variant, target: &str) -> Client {
    let mut client = variant.server().client();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"));
    client
}

fn ask(variant: &'static Variant, service: &'static Service, number: usize, seen: &Seen) {
    let started = Instant::now();
    let answer = close_after(variant, &format!("/{}/{number}", service.name)).read_response();
    seen.slowest_ms.fetch_max(started.elapsed().as_millis() as usize, Ordering::Relaxed);
    match answer.status {
        200 if answer.text() == (2 * number).to_string() => {
            seen.answers_in_a_row.fetch_add(1, Ordering::Relaxed);
        }
        502..=504 => {
            seen.answers_in_a_row.store(0, Ordering::Relaxed);
            seen.errors.fetch_add(1, Ordering::Relaxed);
        }
        _ => seen.wrong.lock().unwrap().push(format!("{number}: {answer}")),
    }
}

fn kill_and_restart(variant: &'static Variant, service: &'static Service) {
    under_load(variant, service, |seen| {
        seen.wait_for_answers();
        service.instance().kill();
        seen.wait_for_errors(variant);
        seen.wait_for_others(variant);
        service.instance().restart();
        seen.wait_for_answers();
    });
}

fn stop_and_resume(variant: &'static Variant, service: &'static Service) {
    under_load(variant, service, |seen| {
        seen.wait_for_answers();
        service.instance().pause();
        let resume = Resume(service);
        seen.wait_for_others(variant);
        seen.wait_for_errors(variant);
        seen.wait_for_others(variant);
        drop(resume);
        seen.wait_for_answers();
    });
}

/// Lets the service go on, also when an expectation fails: others use it.
struct Resume(&'static Service);

impl Drop for Resume {
    fn drop(&mut self) {
        self.0.instance().resume();
    }
}
