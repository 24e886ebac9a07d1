//! The generator against small servers that do exactly one thing each, right or wrong.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tenfold_compare::load::{
    self, Arrivals, Expect, LoadOutcome, LoadSpec, Shape, TargetOutcome, TargetSpec,
};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// A server with a thread for each connection; `answer` gets the number of the request and says whether to go on.
fn serve(answer: impl Fn(u64, &mut TcpStream) -> bool + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    let requests = Arc::new(AtomicU64::new(0));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (answer, requests) = (answer.clone(), requests.clone());
            std::thread::spawn(move || {
                let mut received = Vec::new();
                let mut piece = [0; 4096];
                loop {
                    while let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") {
                        received.drain(..end + 4);
                        if !answer(requests.fetch_add(1, Ordering::SeqCst), &mut stream) {
                            return;
                        }
                    }
                    match stream.read(&mut piece) {
                        Ok(count) if count > 0 => received.extend_from_slice(&piece[..count]),
                        _ => return,
                    }
                }
            });
        }
    });
    url
}

fn serve_ok() -> String {
    serve(|_, stream| stream.write_all(OK).is_ok())
}

fn closed(connections: usize) -> Shape {
    Shape::Closed { connections, pipeline: 1, close: false }
}

fn open(rate: f64, connections_max: usize) -> Shape {
    Shape::Open { rate, connections_max, arrivals: Arrivals::Uniform }
}

fn spec(url: &str, shape: Shape, duration_ms: u64) -> LoadSpec {
    let target = TargetSpec {
        expect: Expect { body: Some("hello".into()), ..Expect::default() },
        ..TargetSpec::get(url, shape)
    };
    LoadSpec { duration_ms, ..LoadSpec::new(vec![target]) }
}

fn run(spec: &LoadSpec) -> LoadOutcome {
    load::run(spec, &Arc::new(AtomicBool::new(false))).unwrap()
}

fn run_one(spec: &LoadSpec) -> TargetOutcome {
    run(spec).targets.remove(0)
}

/// Everything that is counted agrees with everything else.
fn assert_consistent(outcome: &TargetOutcome) {
    assert_eq!(outcome.latency.count(), outcome.successes, "{outcome:?}");
    let counted: u64 = outcome.intervals.iter().map(|interval| interval.count).sum();
    let failed: u64 = outcome.intervals.iter().map(|interval| interval.errors).sum();
    assert_eq!((counted, failed), (outcome.successes, outcome.errors.total()), "{outcome:?}");
}

#[test]
fn a_closed_loop_keeps_its_connections_and_verifies_every_answer_on_both_backends() {
    for backend in ["io_uring", "epoll", "auto"] {
        let mut spec = spec(&serve_ok(), closed(4), 200);
        backend.clone_into(&mut spec.backend);
        let outcome = match load::run(&spec, &Arc::default()) {
            Ok(mut outcome) => outcome.targets.remove(0),
            // This kernel or its policy does not have it.
            Err(tenfold_compare::Error::Runtime(_)) if backend == "io_uring" => continue,
            Err(error) => panic!("{error}"),
        };
        assert!(outcome.successes > 4, "{outcome:?}");
        assert_eq!((outcome.errors.total(), outcome.connections_opened), (0, 4), "{outcome:?}");
        assert_eq!(outcome.in_flight_max, 4);
        assert!(outcome.bytes_in >= outcome.successes * OK.len() as u64);
        assert_consistent(&outcome);
    }
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let shape = Shape::Closed { connections: 2, pipeline: 8, close: false };
    let outcome = run_one(&spec(&serve_ok(), shape, 200));
    assert!(outcome.successes > 16 && outcome.errors.total() == 0, "{outcome:?}");
    assert_eq!(outcome.in_flight_max, 16);
    assert_consistent(&outcome);
}

#[test]
fn a_closing_loop_opens_a_connection_for_each_request() {
    let shape = Shape::Closed { connections: 2, pipeline: 1, close: true };
    let outcome = run_one(&spec(&serve_ok(), shape, 100));
    assert!(outcome.successes > 2 && outcome.errors.total() == 0, "{outcome:?}");
    assert_eq!(outcome.connections_opened, outcome.successes);
}

#[test]
fn a_connection_that_the_server_ends_properly_is_no_error() {
    let last = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";
    // One after another: this server does not linger, so what a pipeline has sent beyond the last answer would reset it.
    let url = serve(move |number, stream| match number % 5 {
        4 => stream.write_all(last).is_err(),
        _ => stream.write_all(OK).is_ok(),
    });
    let shape = Shape::Closed { connections: 1, pipeline: 1, close: false };
    let outcome = run_one(&spec(&url, shape, 200));
    assert_eq!(outcome.errors.total(), 0, "{outcome:?}");
    assert!(outcome.connections_opened > 1 && outcome.successes > 5, "{outcome:?}");
}

#[test]
fn chunked_answers_and_those_that_end_with_the_connection_are_whole() {
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n";
    let url = serve(move |_, stream| chunked.chunks(7).all(|piece| stream.write_all(piece).is_ok()));
    let outcome = run_one(&spec(&url, closed(2), 100));
    assert!(outcome.successes > 0 && outcome.errors.total() == 0, "{outcome:?}");
    let url = serve(|_, stream| stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello").is_err());
    let outcome = run_one(&spec(&url, closed(2), 100));
    assert!(outcome.successes > 0 && outcome.errors.total() == 0, "{outcome:?}");
}

#[test]
fn each_kind_of_error_is_counted_apart() {
    fn kinds(url: &str, timeout_ms: u64) -> Vec<&'static str> {
        let outcome = run_one(&LoadSpec { timeout_ms, ..spec(url, closed(2), 60) });
        assert_eq!(outcome.successes, 0, "{outcome:?}");
        assert!(!outcome.error_examples.is_empty());
        assert_consistent(&outcome);
        let counted = outcome.errors.by_kind();
        counted.iter().filter(|(_, count)| *count > 0).map(|(kind, _)| *kind).collect()
    }
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/", listener.local_addr().unwrap())
    };
    assert_eq!(kinds(&gone, 10_000), ["connect"]);
    assert_eq!(kinds(&serve(|_, _| false), 10_000), ["closed"]);
    let half = serve(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel");
        false
    });
    assert_eq!(kinds(&half, 10_000), ["closed"]);
    assert_eq!(kinds(&serve(|_, _| true), 40), ["timeout"]);
    let noise = serve(|_, stream| stream.write_all(b"220 mail ready\r\n\r\n").is_err());
    assert_eq!(kinds(&noise, 10_000), ["protocol"]);
    let broken = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(kinds(&serve(|_, stream| stream.write_all(broken).is_ok()), 10_000), ["status"]);
    let wrong = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhallo";
    assert_eq!(kinds(&serve(|_, stream| stream.write_all(wrong).is_ok()), 10_000), ["body"]);
    let long = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello!";
    assert_eq!(kinds(&serve(|_, stream| stream.write_all(long).is_ok()), 10_000), ["body"]);
}

/// The coordinated omission test: a server that stops once for a while. The closed loop sees it once on each connection; the open
/// loop's requests that were due meanwhile all see it.
#[test]
fn an_open_loop_shows_a_stall_to_all_requests_that_were_due_meanwhile() {
    const STALL: Duration = Duration::from_millis(300);
    fn stalling() -> String {
        let stall: Arc<std::sync::Mutex<Option<Instant>>> = Arc::default();
        serve(move |number, stream| {
            let until = {
                let mut stall = stall.lock().unwrap();
                if number == 20 {
                    *stall = Some(Instant::now() + STALL);
                }
                *stall
            };
            if let Some(until) = until {
                std::thread::sleep(until.saturating_duration_since(Instant::now()));
            }
            stream.write_all(OK).is_ok()
        })
    }
    let slow = |outcome: &TargetOutcome| -> u64 {
        let long = outcome.latency.buckets().filter(|(nanos, _)| u128::from(*nanos) > STALL.as_nanos() / 3);
        long.map(|(_, count)| count).sum()
    };
    let open = run_one(&spec(&stalling(), open(200.0, 1_000), 900));
    assert_eq!(open.successes + open.errors.total(), 180, "{open:?}");
    // 60 are due within the stall, and two thirds of them wait for more than a third of it.
    assert!(slow(&open) >= 38, "{} of {open:?}", slow(&open));
    assert!(open.latency.p90() > STALL / 3, "{open:?}");
    let closed = run_one(&spec(&stalling(), closed(2), 900));
    assert!(closed.successes > 20, "{closed:?}");
    assert!(slow(&closed) * 4 < slow(&open), "{} and {}", slow(&closed), slow(&open));
}

#[test]
fn an_open_loop_does_not_wait_and_counts_what_exceeds_its_connections() {
    let spec = LoadSpec { timeout_ms: 600, ..spec(&serve(|_, _| true), open(100.0, 5), 500) };
    let outcome = run_one(&spec);
    assert_eq!((outcome.errors.timeout, outcome.errors.overflow), (5, 45), "{outcome:?}");
    assert_eq!((outcome.in_flight_max, outcome.connections_opened), (5, 5), "{outcome:?}");
}

#[test]
fn requests_at_once_have_their_own_times() {
    let seat = std::sync::Mutex::new(());
    let url = serve(move |_, stream| {
        let _seat = seat.lock();
        std::thread::sleep(Duration::from_millis(20));
        stream.write_all(OK).is_ok()
    });
    let outcome = run_one(&spec(&url, Shape::AtOnce { requests: 6 }, 10_000));
    assert_eq!((outcome.successes, outcome.timeline.len()), (6, 6), "{outcome:?}");
    // One after another: each ends at least one turn after the last one.
    for pair in outcome.timeline.windows(2) {
        assert!(pair[1].end_us - pair[0].end_us > 15_000.0, "{:?}", outcome.timeline);
    }
    assert!(outcome.timeline.iter().all(|span| span.success && span.sent_us <= span.first_byte_us));
    assert!(outcome.seconds < 9.0, "it ends with the last answer");
}

#[test]
fn idle_connections_are_asked_in_turn() {
    let outcome = run_one(&spec(&serve_ok(), Shape::Idle { connections: 50, active_per_second: 100.0 }, 500));
    assert_eq!((outcome.successes, outcome.connections_opened), (50, 50), "{outcome:?}");
    assert_consistent(&outcome);
}

#[test]
fn slow_clients_are_measured_from_their_last_byte() {
    let shape = Shape::Trickle { connections: 2, bytes_per_step: 8, every_ms: 10 };
    let outcome = run_one(&spec(&serve_ok(), shape, 400));
    // About 50 bytes of request in pieces of 8: at least 50 ms each.
    assert!((1..=16).contains(&outcome.successes), "{outcome:?}");
    assert!(outcome.latency.min() < Duration::from_millis(50), "{outcome:?}");
    assert_eq!(outcome.errors.total(), 0);
}

#[test]
fn events_are_counted_on_each_connection() {
    let url = serve(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
        while stream.write_all(b"data: x\n\n").is_ok() {
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    });
    let mut spec = spec(&url, Shape::Stream { connections: 3 }, 400);
    spec.targets[0].expect = Expect::default();
    let outcome = run_one(&spec);
    let events = outcome.events.as_ref().unwrap();
    assert_eq!((outcome.successes, outcome.errors.total()), (3, 0), "{outcome:?}");
    assert!(events.per_connection_min > 0 && events.per_connection_max <= 41, "{events:?}");
    assert!(events.events >= 3 * events.per_connection_min && events.gaps.count() > 0);
    assert!(events.gaps.p50() >= Duration::from_millis(5), "{events:?}");
    // A stream that ends is an error.
    let ending = serve(|_, stream| stream.write_all(b"HTTP/1.1 200 OK\r\n\r\ndata: x\n\n").is_err());
    spec.targets[0].url = ending;
    assert_eq!(run_one(&spec).errors.closed, 3);
}

#[test]
fn targets_of_a_mix_have_rates_and_results_of_their_own() {
    let mut spec = spec(&serve_ok(), open(100.0, 100), 500);
    let slow = serve(|_, stream| {
        std::thread::sleep(Duration::from_millis(60));
        stream.write_all(OK).is_ok()
    });
    spec.targets.push(TargetSpec { name: "slow".into(), url: slow, ..spec.targets[0].clone() });
    spec.targets[1].shape = open(20.0, 100);
    let outcome = run(&spec);
    let [quick, slow] = &outcome.targets[..] else { panic!("{outcome:?}") };
    assert_eq!((quick.successes, slow.successes, slow.name.as_str()), (50, 10, "slow"), "{outcome:?}");
    assert!(slow.latency.min() > quick.latency.p50(), "{outcome:?}");
    assert_eq!(outcome.generator.lateness.count(), 60);
}

#[test]
fn threads_divide_the_load_and_the_warm_up_is_left_out() {
    let requests = Arc::new(AtomicU64::new(0));
    let seen = requests.clone();
    let url = serve(move |_, stream| {
        seen.fetch_add(1, Ordering::SeqCst);
        stream.write_all(OK).is_ok()
    });
    let spec = LoadSpec { threads: 2, warm_up_ms: 200, ..spec(&url, open(100.0, 10), 300) };
    let outcome = run(&spec);
    assert_eq!((outcome.targets[0].successes, outcome.generator.threads), (30, 2), "{outcome:?}");
    assert_eq!(requests.load(Ordering::SeqCst), 50);
    // Fewer connections than threads.
    let one = run_one(&LoadSpec { threads: 3, ..self::spec(&serve_ok(), closed(1), 50) });
    assert!(one.successes > 0 && one.connections_opened == 1, "{one:?}");
}

#[test]
fn a_run_that_is_stopped_gives_what_it_has() {
    // One answer for each connection, then silence.
    let (silent, is_silent) = std::sync::mpsc::channel();
    let url = serve(move |number, stream| match number >= 2 {
        true => silent.send(()).is_ok(),
        false => stream.write_all(OK).is_ok(),
    });
    let stop = Arc::new(AtomicBool::new(false));
    let spec = spec(&url, closed(2), 60_000);
    let told = stop.clone();
    let started = Instant::now();
    let thread = std::thread::spawn(move || load::run(&spec, &told).unwrap());
    // Both connections wait for their second answer.
    (0..2).for_each(|_| is_silent.recv().unwrap());
    stop.store(true, Ordering::Relaxed);
    let mut outcome = thread.join().unwrap();
    assert!(outcome.interrupted && started.elapsed() < Duration::from_secs(30));
    let target = outcome.targets.remove(0);
    assert_eq!((target.successes, target.unfinished, target.errors.total()), (2, 2, 0), "{target:?}");
}

#[test]
fn a_unix_socket_is_a_target_like_any_other() {
    let path = std::env::temp_dir().join(format!("tenfold-load-{}.sock", std::process::id()));
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                while matches!(stream.read(&mut [0; 4096]), Ok(count) if count > 0) {
                    let _ = stream.write_all(OK);
                }
            });
        }
    });
    let outcome = run_one(&spec(&format!("unix:{}:/x", path.display()), closed(2), 100));
    std::fs::remove_file(&path).unwrap();
    assert!(outcome.successes > 2 && outcome.errors.total() == 0, "{outcome:?}");
}

#[test]
fn an_outcome_goes_to_json_and_back() {
    let outcome = run(&spec(&serve_ok(), Shape::AtOnce { requests: 3 }, 1_000));
    let text = serde_json::to_string(&outcome).unwrap();
    let back: LoadOutcome = serde_json::from_str(&text).unwrap();
    assert_eq!(back.targets[0].latency, outcome.targets[0].latency);
    assert_eq!(back.targets[0].timeline.len(), 3);
    assert!(outcome.text().contains("latency") && outcome.text().contains("━"), "{}", outcome.text());
}
