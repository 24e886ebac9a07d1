//! Where a request's time goes, and what it waits for, as another process reads it from the scoreboard's file.
//!
//! The test is that process. Times are compared with one another and with what the test itself has waited, never with a
//! clock's reading that a busy machine could change.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::{Value, json};
use tenfold_scoreboard::{AccountReading, Cause, Scoreboard, Slot, Stage, TimesReading};
use tenfold_testkit::{Client, ServerProcess, is_frozen, signal_process, wait_until};

use crate::held::Held;
use crate::share::ask;
use crate::variant::Variant;

behaviours![
    a_sleep_is_waiting_and_a_computation_is_running,
    the_wait_for_a_place_in_a_lane_is_queueing only |variant| variant.serves_many(),
    the_time_in_a_trusted_proxy_is_queueing,
    connections_that_the_kernel_turned_away_are_counted,
    a_request_in_flight_shows_what_it_waits_for,
    a_body_that_does_not_come_is_a_wait_for_the_client,
    requests_of_a_killed_worker_are_in_flight_no_more,
    every_request_of_a_pipeline_is_counted,
    switched_off_it_counts_nothing,
    status_answers_while_every_worker_is_stuck_and_says_what_in,
    a_dump_lists_requests_of_a_worker_that_does_not_answer,
];

/// A server and its board.
pub(crate) struct Watched {
    pub(crate) server: ServerProcess,
    board: Scoreboard,
    file: PathBuf,
}

impl Watched {
    #[track_caller]
    pub(crate) fn start(variant: &'static Variant, sight: &str) -> Watched {
        Watched::start_with(variant, sight, "")
    }

    #[track_caller]
    pub(crate) fn start_with(variant: &'static Variant, sight: &str, limits: &str) -> Watched {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let file = std::env::temp_dir().join(format!("tenfold-sight-{}-{number}", std::process::id()));
        let settings = format!(
            "sight = '{sight}'\nscoreboard_file = '{0}'\nstatus = 'unix:{0}.status'\ncontrol = '{0}.control'",
            file.display()
        );
        let server = variant.start(&settings, limits);
        let board = Scoreboard::open(&file).expect("the server has made its board");
        Watched { server, board, file }
    }

    /// What has passed since `before`, once so many requests are finished. A client has its answer a moment earlier.
    #[track_caller]
    fn passed(&self, before: &TimesReading, requests: u64) -> TimesReading {
        let passed = wait_until("the requests are counted", || {
            let passed = self.board.times().since(before);
            (passed.finished() >= requests).then_some(passed)
        });
        assert_eq!(passed.finished(), requests, "each is counted once");
        passed
    }

    /// What the status listener answers, which may still be about to listen.
    #[track_caller]
    pub(crate) fn page(&self, path: &str) -> String {
        let socket = self.file.with_extension("status");
        let bytes = wait_until("the status listener answers", || {
            let mut stream = UnixStream::connect(&socket).ok()?;
            stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).ok()?;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).ok().map(|_| bytes)
        });
        let answer = String::from_utf8(bytes).expect("an answer of text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        body.to_owned()
    }

    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        let body = self.page("/status");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error} in {body}"))
    }

    /// What the master answers over the control socket.
    #[track_caller]
    fn ask(&self, request: &str) -> Value {
        ask(&self.file.with_extension("control"), request)
    }

    /// Stops all processes that serve; only a signal can make them go on.
    #[track_caller]
    fn freeze(&self) -> Vec<u32> {
        let status = self.status();
        let workers = status["workers"].as_array().expect("a list");
        let serving = workers.iter().filter(|worker| worker["group"] != "status");
        let pids: Vec<u32> =
            serving.filter_map(|worker| worker["pid"].as_u64()).map(|pid| pid as u32).collect();
        assert!(!pids.is_empty(), "{status:#}");
        pids.iter().for_each(|pid| signal_process(*pid, Signal::STOP));
        pids.iter().for_each(|pid| wait_until("it is stopped", || is_frozen(*pid).then_some(())));
        pids
    }

    /// The request in flight for that path, once `is_it` says so.
    #[track_caller]
    pub(crate) fn in_flight(&self, path: &str, is_it: impl Fn(&AccountReading) -> bool) -> AccountReading {
        wait_until("the request is seen in flight", || {
            let mut all = self.board.slots().iter().flat_map(|slot| slot.in_flight());
            all.find(|reading| reading.path == path && is_it(reading))
        })
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        for extension in ["", "status", "control"] {
            let _ = std::fs::remove_file(self.file.with_extension(extension));
        }
    }
}

fn a_sleep_is_waiting_and_a_computation_is_running(variant: &'static Variant) {
    let watched = Watched::start(variant, "on");
    let mut client = watched.server.client();
    let before = watched.board.times();
    let started = Instant::now();
    client.get("/sleep/50").expect(200);
    let took = started.elapsed().as_nanos() as u64;
    let slept = watched.passed(&before, 1);
    let wait = slept.wait_ns(Cause::Sleep);
    // It begins when the fiber has parked, which is a little after the handler has asked for it: what passes meanwhile, and
    // on a busy machine that is more, belongs to the handler.
    assert!((40_000_000..=took).contains(&wait), "{wait} ns of {took}");
    assert!(wait + slept.stage_ns(Stage::Run) >= 50_000_000, "{slept:?}");
    assert_eq!(slept.stage_ns(Stage::Wait), wait, "it waits for nothing else: {slept:?}");
    assert!(slept.wait(Cause::Sleep).quantile(0.5) >= Some(wait), "{slept:?}");

    let before = watched.board.times();
    client.get("/spin/50").expect(200);
    let spun = watched.passed(&before, 1);
    assert!(spun.stage_ns(Stage::Run) >= 50_000_000, "{spun:?}");
    assert_eq!(spun.wait_ns(Cause::Sleep), 0, "{spun:?}");
}

fn the_wait_for_a_place_in_a_lane_is_queueing(variant: &'static Variant) {
    let watched = Watched::start(variant, "on");
    let before = watched.board.times();
    let running = Held::begin(&watched.server, "/narrow/hold");
    // It has its place before it waits for its client.
    watched.in_flight("/narrow/hold", |reading| reading.stage == Stage::Wait);
    let mut waiting = watched.server.client();
    waiting.send_get("/narrow/hello");
    let reading = watched.in_flight("/narrow/hello", |reading| reading.stage == Stage::Queue);
    assert_eq!((reading.method.as_str(), reading.cause), ("GET", None));
    let seen = Instant::now();
    // What is seen to wait is not seen to do anything else; a while of it, so that it is more than any other time.
    while seen.elapsed().as_millis() < 50 {
        watched.in_flight("/narrow/hello", |reading| reading.stage == Stage::Queue);
    }
    let at_least = seen.elapsed().as_nanos() as u64;
    running.release();
    waiting.read_response().expect_text(200, "narrow");
    let passed = watched.passed(&before, 2);
    assert!(passed.stage_ns(Stage::Queue) >= at_least, "{passed:?}");
    assert!(passed.wait_ns(Cause::Client) >= at_least, "{passed:?}");
    assert!(passed.queue().quantile(1.0) >= Some(at_least), "{passed:?}");
}

/// `X-Request-Start` of a request that began elsewhere so many milliseconds ago, or is to begin.
fn begun(ago_ms: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis() as i64;
    let at = now - ago_ms;
    format!(
        "GET /sleep/1 HTTP/1.1\r\nHost: test\r\nX-Request-Start: t={}.{:03}\r\n\r\n",
        at / 1000,
        at % 1000
    )
}

fn the_time_in_a_trusted_proxy_is_queueing(variant: &'static Variant) {
    let limits = "request_start_from = ['10.0.0.0/8', '127.0.0.1']\nrequest_timeout_secs = 20";
    let watched = Watched::start_with(variant, "on", limits);
    let mut client = watched.server.client();
    let before = watched.board.times();
    client.send(begun(5_000)).read_response().expect(200);
    let passed = watched.passed(&before, 1);
    let queued = passed.stage_ns(Stage::Queue);
    assert!(queued >= 5_000_000_000 && passed.total_ns() >= queued, "{passed:?}");
    assert!(passed.queue().quantile(0.5) >= Some(5_000_000_000), "{passed:?}");
    // What cannot be is no time at all.
    let before = watched.board.times();
    for ago_ms in [-5_000, 300_000] {
        client.send(begun(ago_ms)).read_response().expect(200);
    }
    let passed = watched.passed(&before, 2);
    assert!(passed.stage_ns(Stage::Queue) < 5_000_000_000, "{passed:?}");
    // The request's time-outs have begun with it, too: it is late for this one's, and would be killed for the hard one's.
    client.send(begun(30_000)).read_response().expect(504);
    client.send(begun(0)).read_response().expect(200);

    let stranger = Watched::start_with(variant, "on", "request_start_from = ['10.0.0.0/8', 'unix']");
    let before = stranger.board.times();
    stranger.server.client().send(begun(5_000)).read_response().expect(200);
    assert!(stranger.passed(&before, 1).stage_ns(Stage::Queue) < 5_000_000_000);
}

fn connections_that_the_kernel_turned_away_are_counted(variant: &'static Variant) {
    let watched = Watched::start(variant, "on");
    let count = |status: &Value| status["accept_overflows"].as_u64().expect("this kernel tells");
    let before = count(&watched.status());
    // They are counted for the whole machine, so any full queue will do: this one has room for two.
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let full =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&full, &address).unwrap();
    rustix::net::listen(&full, 1).unwrap();
    let full = std::net::TcpListener::from(full);
    let target = full.local_addr().unwrap();
    let clients: Vec<_> =
        (0..8).map(|_| std::net::TcpStream::connect_timeout(&target, Duration::from_millis(50))).collect();
    assert!(clients.iter().any(Result::is_err), "none was turned away");
    let status = watched.status();
    assert!(count(&status) > before, "{status}");
    assert!(status["accept_drops"].as_u64() >= Some(count(&status)), "{status}");
    let metrics = watched.page("/metrics");
    let shown = metrics.lines().find_map(|line| line.strip_prefix("tenfold_accept_overflows_total "));
    assert!(shown.and_then(|count| count.parse().ok()) >= Some(count(&status)), "{metrics}");
}

fn a_request_in_flight_shows_what_it_waits_for(variant: &'static Variant) {
    let watched = Watched::start(variant, "on");
    let mut client = watched.server.client();
    client.send_get("/sleep/600000?secret");
    let reading = watched.in_flight("/sleep/600000", |reading| reading.stage == Stage::Wait);
    assert_eq!((reading.method.as_str(), reading.cause), ("GET", Some(Cause::Sleep)));
    let now = tenfold_scoreboard::now_ns();
    assert!(reading.arrived_ns <= reading.since_ns && reading.since_ns <= now, "{reading:?} at {now}");
    let again = watched.in_flight("/sleep/600000", |reading| reading.stage == Stage::Wait);
    assert_eq!(again, reading, "nothing has happened to it");
    let has_it = |slot: &&Slot| slot.in_flight().iter().any(|reading| reading.stage == Stage::Wait);
    let slot = watched.board.slots().iter().find(has_it).expect("it was seen a moment ago");
    let title = std::fs::read(format!("/proc/{}/cmdline", slot.pid())).expect("the worker lives");
    let title = String::from_utf8_lossy(&title);
    assert!(title.contains(" slot ") && title.contains(": GET /sleep/600000\0"), "{title}");
}

fn a_body_that_does_not_come_is_a_wait_for_the_client(variant: &'static Variant) {
    let watched = Watched::start(variant, "on");
    let before = watched.board.times();
    let held = Held::begin(&watched.server, "/hold");
    let reading = watched.in_flight("/hold", |reading| reading.stage == Stage::Wait);
    assert_eq!((reading.method.as_str(), reading.cause), ("POST", Some(Cause::Client)));
    held.release();
    let passed = watched.passed(&before, 1);
    assert_eq!(passed.stage_ns(Stage::Wait), passed.wait_ns(Cause::Client), "{passed:?}");
    assert!(watched.board.slots().iter().all(|slot| slot.in_flight().is_empty()), "it is answered");
}

fn requests_of_a_killed_worker_are_in_flight_no_more(variant: &'static Variant) {
    let watched = Watched::start(variant, "on");
    let mut client = watched.server.client();
    client.send_get("/sleep/600000");
    watched.in_flight("/sleep/600000", |reading| reading.stage == Stage::Wait);
    let has_it = |slot: &&Slot| {
        slot.in_flight().iter().any(|reading| reading.stage == Stage::Wait && reading.path == "/sleep/600000")
    };
    let slot = watched.board.slots().iter().find(has_it).expect("it was seen a moment ago");
    signal_process(slot.pid(), Signal::KILL);
    wait_until("the table is empty", || (!has_it(&slot)).then_some(()));
    wait_until("the slot has a new worker", || (slot.starts() > 1).then_some(()));
    let before = watched.board.times();
    let served = wait_until("the new worker serves", || {
        let mut client = Client::try_connect(watched.server.address()).ok()?;
        client.try_send("GET /hello HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").ok()?;
        client.try_read_to_end().ok().filter(|bytes| bytes.starts_with(b"HTTP/1.1 200"))
    });
    assert!(!served.is_empty());
    wait_until("the new worker counts", || {
        (watched.board.times().since(&before).finished() > 0).then_some(())
    });
}

fn every_request_of_a_pipeline_is_counted(variant: &'static Variant) {
    let watched = Watched::start(variant, "on");
    let before = watched.board.times();
    let mut client = watched.server.client();
    client.send("GET /hello HTTP/1.1\r\nHost: test\r\n\r\n".repeat(16));
    (0..16).for_each(|_| drop(client.read_response().expect(200)));
    let passed = watched.passed(&before, 16);
    assert_eq!((passed.total().count(), passed.queue().count(), passed.run().count()), (16, 16, 16));
}

fn switched_off_it_counts_nothing(variant: &'static Variant) {
    let watched = Watched::start(variant, "off");
    let held = Held::begin(&watched.server, "/hold");
    assert!(watched.board.slots().iter().all(|slot| slot.in_flight().is_empty()));
    held.release();
    assert_eq!(watched.board.times(), TimesReading::default());
}

fn status_answers_while_every_worker_is_stuck_and_says_what_in(variant: &'static Variant) {
    let watched = Watched::start(variant, "on");
    watched.server.client().get("/hello").expect(200);
    let mut stuck = watched.server.client();
    stuck.send_get("/sleep/600000");
    watched.in_flight("/sleep/600000", |reading| reading.stage == Stage::Wait);
    let frozen = watched.freeze();
    let mut nobody = Client::connect(watched.server.address());
    nobody.send_get("/hello");

    let status = watched.status();
    let requests = status["requests"].as_array().expect("a list");
    let found = requests.iter().find(|request| request["path"] == "/sleep/600000");
    let found = found.unwrap_or_else(|| panic!("it is in flight: {status:#}"));
    assert_eq!((&found["method"], &found["waits_for"]), (&json!("GET"), &json!("sleep")), "{found}");
    assert!(found["age_ms"].as_u64() >= found["since_ms"].as_u64(), "{found}");
    assert!(status["limits"]["connections_max"].as_u64() > Some(0), "{status:#}");
    let page = watched.page("/status.txt");
    assert!(page.lines().any(|line| line.contains("/sleep/600000") && line.contains(" for sleep")), "{page}");
    expect_metrics(&watched.page("/metrics"));

    assert!(frozen.iter().all(|pid| is_frozen(*pid)), "they are stuck still");
    assert!(stuck.is_quiet() && nobody.is_quiet(), "so nobody has answered");
    frozen.iter().for_each(|pid| signal_process(*pid, Signal::CONT));
}

/// Every line is a comment or a sample with a number, every sample belongs to a family that was announced, and histograms
/// only grow.
#[track_caller]
fn expect_metrics(page: &str) {
    let mut families = Vec::new();
    let mut bucket: Option<(String, f64)> = None;
    let mut samples = 0;
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a kind");
            assert!(matches!(kind, "counter" | "gauge" | "histogram"), "{line}");
            families.push((name.to_owned(), kind.to_owned()));
            continue;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line:?}"));
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line:?}"));
        let (bare, labels) = name.split_once('{').map_or((name, ""), |(bare, labels)| (bare, labels));
        assert!(labels.is_empty() || labels.ends_with('}'), "{line:?}");
        let (family, kind) = families.last().expect("a family comes first");
        let fits = match kind.as_str() {
            "histogram" => ["_bucket", "_sum", "_count"].iter().any(|end| format!("{family}{end}") == bare),
            _ => family == bare,
        };
        assert!(fits, "{line:?} in family {family}");
        if bare.ends_with("_bucket") {
            let series = format!("{bare}{}", labels.split("le=").next().unwrap_or_default());
            if let Some((before, count)) = &bucket
                && *before == series
            {
                assert!(value >= *count, "{line:?} after {count}");
            }
            bucket = Some((series, value));
        }
        samples += 1;
    }
    assert!(samples > 50 && page.contains("tenfold_worker_requests_total{"), "{page}");
}

fn a_dump_lists_requests_of_a_worker_that_does_not_answer(variant: &'static Variant) {
    let watched = Watched::start(variant, "on");
    let mut stuck = watched.server.client();
    stuck.send_get("/sleep/600000");
    watched.in_flight("/sleep/600000", |reading| reading.stage == Stage::Wait);
    let frozen = watched.freeze();
    let status = watched.status();
    let slot = status["requests"][0]["slot"].as_u64().unwrap_or_else(|| panic!("a slot in {status:#}"));
    let answer = watched.ask(&format!("worker dump {slot}"));
    let said = answer["said"].as_str().unwrap_or_else(|| panic!("words in {answer}"));
    assert!(said.contains("GET /sleep/600000") && said.contains("for sleep"), "{said}");
    assert!(said.contains("the worker itself does not answer"), "{said}");
    frozen.iter().for_each(|pid| signal_process(*pid, Signal::CONT));
}
