//! How a server ends, and what it does when one of its processes does. Every case has a server of its own.

use std::time::{Duration, Instant};

use tenfold_testkit::{Client, Exit, PATIENCE, ServerProcess, Signal, signal_process, wait_until};

use crate::held::Held;
use crate::variant::{Variant, status};

behaviours![
    term_ends_an_idle_server,
    requests_in_flight_are_answered_after_term,
    idle_connections_are_closed_after_term only |variant| variant.serves_many(),
    a_request_that_is_on_its_way_finds_its_connection_open only |variant| variant.serves_many(),
    who_waits_in_the_kernels_queue_is_served_before_the_end only |variant| !variant.facts().evented,
    clients_that_do_not_close_are_waited_for_together only |variant| !variant.facts().evented,
    who_comes_after_the_queue_is_empty_is_refused only |variant| !variant.accepts_when_free(),
    nobody_is_served_after_the_end,
    term_with_a_request_that_never_ends_is_bounded,
    int_does_not_wait_for_requests,
    several_loops_stop_as_one only |variant| variant.facts().evented,
    a_killed_worker_is_replaced,
    two_workers_share_the_listener,
    connections_that_come_at_once_are_spread_over_the_workers only |variant| variant.facts().evented,
    a_handler_process_that_dies_takes_one_request_with_it only |variant| variant.has_handler_processes(),
];

fn term_ends_an_idle_server(variant: &'static Variant) {
    let mut server = variant.start("", "");
    server.client().get("/hello").expect(200);
    server.signal(Signal::TERM);
    assert_eq!(server.wait(PATIENCE), Exit::Code(0), "{}", server.log());
}

fn requests_in_flight_are_answered_after_term(variant: &'static Variant) {
    let mut server = variant.start("", "");
    let count = variant.handlers_at_once().min(10);
    let mut held: Vec<Held> = (0..count).map(|_| Held::send(&server, "/hold")).collect();
    held.iter_mut().for_each(Held::wait_until_it_runs);
    server.signal(Signal::TERM);
    wait_until_stopping(&server);
    for held in held {
        let (mut client, response) = held.release();
        // A handler process hears of the end after its front does, which closes the connection in any case.
        assert!(
            response.closes() || variant.has_handler_processes(),
            "it ends, and should say so: {response}"
        );
        client.expect_end();
    }
    assert_eq!(server.wait(PATIENCE), Exit::Code(0), "{}", server.log());
}

fn idle_connections_are_closed_after_term(variant: &'static Variant) {
    let mut server = variant.start("", "");
    let mut idle: Vec<Client> = (0..20).map(|_| server.client()).collect();
    idle.iter_mut().for_each(|client| drop(client.get("/hello").expect(200)));
    let held = Held::begin(&server, "/hold");
    server.signal(Signal::TERM);
    // They need not wait for the one that is busy.
    idle.iter_mut().for_each(Client::expect_end);
    held.release();
    assert_eq!(server.wait(PATIENCE), Exit::Code(0), "{}", server.log());
}

/// The race of keep-alive: a client sends just when the server closes, and may not repeat what is no GET. So idle connections
/// have a grace, and a client that uses it does not keep the server up: its answer is the last one.
fn a_request_that_is_on_its_way_finds_its_connection_open(variant: &'static Variant) {
    let mut server = variant.start("keepalive_min_grace_secs = 10.0", "");
    let mut kept = server.client();
    kept.get("/hello").expect(200);
    let mut unused = server.client();
    let mut other = server.client();
    // It came last, so the others are accepted: who comes after the word is refused, or waits until the end.
    other.get("/hello").expect(200);
    let held = Held::begin(&server, "/hold");
    server.signal(Signal::TERM);
    // An answer that closes is the sign that the worker has heard of it.
    wait_until("answers are the last ones", || {
        let response = other.get("/hello").expect(200);
        if response.closes() { Some(()) } else { None }
    });
    assert!(kept.post("/collect", "abc").expect_text(200, "3").closes());
    kept.expect_end();
    assert!(unused.post("/collect", "abcd").expect_text(200, "4").closes());
    unused.expect_end();
    held.release();
    assert_eq!(server.wait(PATIENCE), Exit::Code(0), "{}", server.log());
}

fn who_waits_in_the_kernels_queue_is_served_before_the_end(variant: &'static Variant) {
    let threads = if variant.name() == "serial" { "" } else { "threads = 1" };
    let mut server = variant.start(&format!("keepalive_min_grace_secs = 10.0\n{threads}"), "");
    let held = Held::begin(&server, "/hold");
    let mut waiting: Vec<Client> = (0..10).map(|_| server.client()).collect();
    waiting.iter_mut().for_each(|client| drop_ref(client.send_get("/users/1")));
    server.signal(Signal::TERM);
    server.wait_for_log("stopping");
    held.release();
    // Each closes when it has its answer: a thread waits for that for a while, and there is only one.
    waiting.into_iter().for_each(|mut client| drop(client.read_response().expect_text(200, "user 1")));
    assert_eq!(server.wait(PATIENCE), Exit::Code(0), "{}", server.log());
}

/// There is one thread, and each of those who were answered has as long to close as the server waits for one.
fn clients_that_do_not_close_are_waited_for_together(variant: &'static Variant) {
    let linger = Duration::from_secs(1);
    let threads = if variant.name() == "serial" { "" } else { "threads = 1" };
    let mut server =
        variant.start(&format!("keepalive_min_grace_secs = 10.0\n{threads}"), "linger_timeout_secs = 1.0");
    let held = Held::begin(&server, "/hold");
    let mut waiting: Vec<Client> = (0..8).map(|_| server.client()).collect();
    waiting.iter_mut().for_each(|client| drop_ref(client.send_get("/users/1")));
    server.signal(Signal::TERM);
    server.wait_for_log("stopping");
    // The master says that before its worker hears it, and an answer from before leaves its connection open. A worker whose only
    // thread is busy hears it when that is done.
    if variant.serves_many() {
        wait_until_heard(&server);
    }
    let started = Instant::now();
    held.release();
    waiting.iter_mut().for_each(|client| drop(client.read_response().expect_text(200, "user 1")));
    assert_eq!(server.wait(PATIENCE), Exit::Code(0), "{}", server.log());
    let took = started.elapsed();
    assert!(took >= linger, "it waits for them: {took:?}");
    assert!(took < linger * (waiting.len() as u32) / 2, "not one after another: {took:?}");
}

/// Who would wait until the last request is answered, and be reset then.
fn who_comes_after_the_queue_is_empty_is_refused(variant: &'static Variant) {
    for top in ["", "reuseport = true\nworkers = 2"] {
        let mut server = variant.start(top, "");
        let held = Held::begin(&server, "/hold");
        server.signal(Signal::TERM);
        wait_until("connections are refused", || match Client::try_connect(server.address()) {
            Err(error) => (error.kind() == std::io::ErrorKind::ConnectionRefused).then_some(()),
            Ok(_) => None,
        });
        let (_, response) = held.release();
        response.expect(200);
        assert_eq!(server.wait(PATIENCE), Exit::Code(0), "{}", server.log());
    }
}

fn nobody_is_served_after_the_end(variant: &'static Variant) {
    let mut server = variant.start("", "");
    server.signal(Signal::TERM);
    server.wait(PATIENCE);
    assert!(Client::try_connect(server.address()).is_err());
}

fn term_with_a_request_that_never_ends_is_bounded(variant: &'static Variant) {
    let mut server = variant.start("graceful_timeout_secs = 0.3", "");
    let mut held = Held::begin(&server, "/hold");
    server.signal(Signal::TERM);
    let exit = server.wait(PATIENCE / 2);
    assert!(matches!(exit, Exit::Code(_)), "{exit:?}\n{}", server.log());
    let said = held.client().try_read_to_end().unwrap_or_default();
    // A front that outlives its handler process for a moment still says so.
    let is_told = variant.has_handler_processes() && said.starts_with(b"HTTP/1.1 502 ");
    assert!(said.is_empty() || is_told, "an answer to a request that never ended: {}", said.escape_ascii());
}

fn int_does_not_wait_for_requests(variant: &'static Variant) {
    let mut server = variant.start("graceful_timeout_secs = 600.0", "");
    let mut held = Held::begin(&server, "/hold");
    let started = Instant::now();
    server.signal(Signal::INT);
    let exit = server.wait(PATIENCE / 2);
    assert!(matches!(exit, Exit::Code(_)), "{exit:?}\n{}", server.log());
    // The fast stop's own bound is two seconds.
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    held.client().expect_end();
}

fn several_loops_stop_as_one(variant: &'static Variant) {
    let mut server = variant.start("threads = 3", "");
    let mut clients: Vec<Client> = (0..30).map(|_| server.client()).collect();
    for round in 0..3 {
        clients.iter_mut().for_each(|client| drop_ref(client.send_get(&format!("/users/{round}"))));
        clients
            .iter_mut()
            .for_each(|client| drop(client.read_response().expect_text(200, &format!("user {round}"))));
    }
    let count = variant.handlers_at_once().min(10);
    let mut held: Vec<Held> = (0..count).map(|_| Held::send(&server, "/hold")).collect();
    held.iter_mut().for_each(Held::wait_until_it_runs);
    server.signal(Signal::TERM);
    clients.iter_mut().for_each(Client::expect_end);
    held.into_iter().for_each(|held| drop(held.release()));
    assert_eq!(server.wait(PATIENCE), Exit::Code(0), "{}", server.log());
}

fn drop_ref<T>(_: &mut T) {}

fn a_killed_worker_is_replaced(variant: &'static Variant) {
    let mut server = variant.start("", "");
    let first = status(&server).pid;
    signal_process(first, Signal::KILL);
    // The listener is the master's, so who comes meanwhile waits; who was being served is not.
    let second = wait_until("another worker answers", || {
        let mut client = Client::try_connect(server.address()).ok()?;
        client.try_send("GET /status HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").ok()?;
        let answer = client.try_read_to_end().ok().filter(|answer| !answer.is_empty())?;
        let text = String::from_utf8_lossy(&answer).into_owned();
        let status: crate::fixture::Status = serde_json::from_str(text.split_once("\r\n\r\n")?.1).ok()?;
        (status.pid != first).then_some(status)
    });
    assert!(second.connections_open <= 1, "{second:?}");
    server.client().get("/hello").expect(200);
    server.signal(Signal::TERM);
    assert_eq!(server.wait(PATIENCE), Exit::Code(0), "{}", server.log());
}

fn two_workers_share_the_listener(variant: &'static Variant) {
    let mut server = variant.start("workers = 2", "");
    // While one worker has as many as it can, the others of this batch can only be with the second.
    let pids = wait_until("both workers have answered", || {
        let mut clients: Vec<Client> = (0..20).map(|_| server.client()).collect();
        clients.iter_mut().for_each(|client| {
            client.send("GET /status HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        });
        let mut pids: Vec<u32> = clients
            .iter_mut()
            .map(|client| serde_json::from_slice::<crate::fixture::Status>(&client.read_response().body))
            .map(|status| status.expect("a status is JSON").pid)
            .collect();
        pids.sort_unstable();
        pids.dedup();
        (pids.len() == 2).then_some(pids)
    });
    let children = server.children();
    assert!(pids.iter().all(|pid| children.contains(pid)), "{pids:?} {children:?}");
    server.signal(Signal::TERM);
    assert_eq!(server.wait(PATIENCE), Exit::Code(0), "{}", server.log());
}

/// Without `drive::balance` the worker that is awake takes nearly all of them.
fn connections_that_come_at_once_are_spread_over_the_workers(variant: &'static Variant) {
    let server = variant.start("workers = 2", "");
    let mut smaller = Vec::new();
    // An even share is 20. A worker that a busy machine does not run for a while is not waited for, so not each time.
    let is_even = |share: &&usize| **share >= 12;
    while smaller.len() < 30 && smaller.iter().filter(is_even).count() < 3 {
        smaller.push(smaller_share(&server));
    }
    assert!(smaller.iter().filter(is_even).count() >= 3, "{smaller:?}");
}

/// Of 40 connections, those of the worker that has fewer.
fn smaller_share(server: &ServerProcess) -> usize {
    let mut clients: Vec<Client> = (0..40).map(|_| server.client()).collect();
    let mut shares = std::collections::BTreeMap::<u32, usize>::new();
    for client in &mut clients {
        let status = client.get("/status").expect(200);
        let status: crate::fixture::Status = serde_json::from_slice(&status.body).expect("a status is JSON");
        *shares.entry(status.pid).or_default() += 1;
    }
    40 - shares.values().max().expect("somebody has answered")
}

fn a_handler_process_that_dies_takes_one_request_with_it(variant: &'static Variant) {
    let server = variant.start("handlers = 1", "");
    let mut other = server.client();
    let handler: u32 = other.get("/pid").expect(200).text().parse().expect("a pid is a number");
    let front = status(&server).pid;
    assert_ne!(handler, front);
    let mut held = Held::begin(&server, "/hold");
    signal_process(handler, Signal::KILL);
    // The 100 is no answer yet (RFC 9110 section 15.2), so there can still be one.
    held.client().read_response().expect(502);
    let next: u32 = other.get("/pid").expect(200).text().parse().expect("a pid is a number");
    assert_ne!(next, handler);
    assert_eq!(status(&server).pid, front, "the process with the connections goes on");
}

/// Waits until a worker knows that it ends, as its title shows.
#[track_caller]
fn wait_until_heard(server: &ServerProcess) {
    let has_heard = |pid: u32| {
        std::fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|title| String::from_utf8_lossy(&title).contains(": draining"))
    };
    wait_until("the worker has heard it", || server.children().into_iter().any(has_heard).then_some(()));
}

/// Waits until a new client is not served any more: it is refused, closed, or never answered.
#[track_caller]
fn wait_until_stopping(server: &ServerProcess) {
    wait_until("new connections are not served", || {
        let Ok(mut client) = Client::try_connect(server.address()) else { return Some(()) };
        client = client.patience(Duration::from_millis(200));
        let sent = client.try_send("GET /health HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        let answer = sent.and_then(|()| client.try_read_to_end()).unwrap_or_default();
        (!answer.starts_with(b"HTTP/1.1 200")).then_some(())
    });
}
