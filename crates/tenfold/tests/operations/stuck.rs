//! Every worker is stuck, and whoever asks is answered as if none were: the control socket, the status page and `top`.
//!
//! Stuck in two ways: stopped by a signal, where nothing of a worker runs, and in handlers that compute, where everything that
//! the machine has runs in workers.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::Value;
use tenfold::MODELS;
use tenfold_testkit::{Client, Signal, is_frozen, signal_process, wait_until};

use super::site::{Site, times};
use super::terminal::{Screen, screen};

/// The contract's bound for an answer.
const ANSWER_MAX: Duration = Duration::from_millis(50);
/// No longer than half of what the handlers compute, unless there are too few answers to say anything.
const MEASURE_MAX: Duration = Duration::from_secs(5);
const TRIES_MIN: usize = 20;
/// The least that it can pause.
const TOP_EVERY: Duration = Duration::from_millis(100);
const SETTINGS: &str = "status = 'unix:{dir}/status.sock'\n";

#[test]
fn status_answers_within_the_bound_while_every_worker_is_stuck() {
    for model in MODELS.map(|model| model.name()) {
        let (settings, at_once) = narrow(model);
        let site = start_with("stuck", model, settings);
        let idle = Answers::measure(&site);
        let frozen = freeze(&site);
        let stopped = Answers::measure(&site);
        assert!(frozen.iter().all(|pid| is_frozen(*pid)), "they are stopped still");
        frozen.iter().for_each(|pid| signal_process(*pid, Signal::CONT));
        let busy = while_busy(&site, model, at_once, Answers::measure);
        // Who waits, who computes, and for what.
        let words =
            ["requestsinflight,theoldestfirst", "/sleep/60000", "waitsforsleep", "/cpu/10000", "runs"];
        for words in words {
            assert!(busy.screen.contains(words), "{model}: no {words:?} in {}", busy.screen);
        }
        for (how, answers) in [("idle", idle), ("stopped", stopped), ("computing", busy)] {
            let kinds =
                [("control socket", answers.control), ("status page", answers.page), ("top", answers.top)];
            for (who, mut took) in kinds {
                took.sort_unstable();
                let (median, p99) = (took[took.len() / 2], took[took.len() * 99 / 100]);
                println!(
                    "{model}, workers {how}, {who}: median {median:?}, p99 {p99:?}, of {} tries",
                    took.len()
                );
                // A single answer may find the test's own machine busy with other tests; half of them may not. The long run
                // is alone, and holds the server to all but one in a hundred.
                let judged = if times(0, 1) == 1 { p99 } else { median };
                assert!(judged < ANSWER_MAX, "{model}, {how}, {who}: {took:?}");
            }
        }
    }
}

#[test]
fn top_shows_what_a_stopped_worker_was_waiting_for() {
    let site = start("top", "fiber");
    let mut stuck = Client::connect(&site.address);
    stuck.send_get("/sleep/60000");
    wait_until("the request is in flight", || {
        site.status()["requests"].as_array()?.iter().any(|it| it["state"] == "wait").then_some(())
    });
    let frozen = freeze(&site);
    let page = site.ok(&["top", "--once"]);
    let line = page.lines().find(|line| line.contains("/sleep/60000")).unwrap_or_else(|| panic!("{page}"));
    assert!(line.contains("waits") && line.ends_with("for sleep"), "{page}");
    // The screen draws what has changed only, and skips what is blank: its words come without what is between them.
    let screen = screen(&site);
    for words in ["requestsinflight,theoldestfirst", "/sleep/60000", "waitsforsleep", "workers"] {
        assert!(screen.contains(words), "no {words:?} in {screen}");
    }
    assert!(frozen.iter().all(|pid| is_frozen(*pid)) && stuck.is_quiet(), "they are stopped still");
    frozen.iter().for_each(|pid| signal_process(*pid, Signal::CONT));
}

#[test]
fn the_listeners_queues_are_shown_while_nobody_takes_from_them() {
    for reuseport in [false, true] {
        let listen = "listen = ['127.0.0.1:0', 'unix:{dir}/http.sock']";
        let settings = format!("{SETTINGS}{listen}\nmodel = 'pool'\nthreads = 4\nreuseport = {reuseport}");
        let site = Site::start("queue", &settings);
        site.get("/hello").expect(200);
        let frozen = freeze(&site);
        let clients: Vec<Client> = (0..5).map(|_| Client::connect(&site.address)).collect();
        let file = site.directory.join("http.sock");
        let near: Vec<UnixStream> = (0..3).map(|_| UnixStream::connect(&file).unwrap()).collect();
        let status = site.status();
        let queues = status["accept_queues"].as_array().unwrap();
        let is_file = |queue: &&Value| queue["address"].as_str().unwrap().starts_with("unix:");
        let (files, sockets): (Vec<&Value>, Vec<&Value>) = queues.iter().partition(is_file);
        let waiting =
            |queues: &[&Value]| queues.iter().map(|it| it["waiting"].as_u64().unwrap()).sum::<u64>();
        // A socket for each worker, or one for all; a file is always one.
        assert_eq!((sockets.len(), files.len()), (if reuseport { 2 } else { 1 }, 1), "{status}");
        assert_eq!(
            (waiting(&sockets), waiting(&files)),
            (clients.len() as u64, near.len() as u64),
            "{status}"
        );
        assert!(queues.iter().all(|queue| queue["max"].as_u64() > Some(0)), "{status}");
        frozen.iter().for_each(|pid| signal_process(*pid, Signal::CONT));
        wait_until("they are accepted", || {
            let status = site.status();
            let queues = status["accept_queues"].as_array()?;
            queues.iter().all(|queue| queue["waiting"] == 0).then_some(())
        });
    }
}

/// Few enough that all of a worker can be busy, and how many that is: its threads, its handler processes, or its loop.
fn narrow(model: &str) -> (&'static str, usize) {
    match model {
        "thread" | "pool" => ("threads = 2", 2),
        "event-pool" => ("pool_threads = 2", 2),
        "event-worker" => ("handlers = 2", 2),
        _ => ("", 1),
    }
}

fn start(name: &str, model: &str) -> Site {
    start_with(name, model, "")
}

fn start_with(name: &str, model: &str, settings: &str) -> Site {
    let settings = format!("{SETTINGS}model = '{model}'\n{settings}");
    let site = Site::start(&format!("{name}-{model}"), &settings);
    site.get("/hello").expect(200);
    wait_until("the status page answers", || ask_page(&site).ok());
    site
}

/// Stops all processes that serve, and says which they are.
fn freeze(site: &Site) -> Vec<u32> {
    let status = site.status();
    let workers = status["workers"].as_array().unwrap().iter().filter(|worker| worker["group"] != "status");
    let pids: Vec<u32> = workers.map(|worker| worker["pid"].as_u64().unwrap() as u32).collect();
    assert!(pids.len() >= 2, "{status}");
    pids.iter().for_each(|pid| signal_process(*pid, Signal::STOP));
    pids.iter().for_each(|pid| wait_until("it is stopped", || is_frozen(*pid).then_some(())));
    pids
}

/// Runs `f` while all that each worker has is taken: one request waits, and `at_once` of each worker compute, or one less
/// where who waits holds a place as well.
fn while_busy<R>(site: &Site, model: &str, at_once: usize, f: impl FnOnce(&Site) -> R) -> R {
    let count = |path: &str, state: &str| {
        let status = site.status();
        let requests = status["requests"].as_array().unwrap().iter();
        requests.filter(|it| it["path"] == path && it["state"] == state).count()
    };
    let mut sleeper = Client::connect(&site.address);
    sleeper.send_get("/sleep/60000");
    wait_until("one waits", || (count("/sleep/60000", "wait") == 1).then_some(()));
    let waits_on_a_fiber = matches!(model, "fiber" | "steal");
    let all = site.workers().len() * at_once - usize::from(!waits_on_a_fiber);
    let is_busy = || count("/cpu/10000", "run") >= all && count("/sleep/60000", "wait") == 1;
    // Those that come to a worker that has no thread left for them wait there, and the next ones come to others.
    let mut clients = Vec::new();
    wait_until("every worker computes with all that it has", || {
        if clients.len() < all * 8 {
            let mut client = Client::connect(&site.address);
            client.send_get("/cpu/10000");
            clients.push(client);
        }
        is_busy().then_some(())
    });
    let result = f(site);
    assert!(is_busy(), "they compute still");
    result
}

/// How long answers took, and what `top` showed.
#[derive(Default)]
struct Answers {
    control: Vec<Duration>,
    page: Vec<Duration>,
    top: Vec<Duration>,
    screen: String,
}

impl Answers {
    fn measure(site: &Site) -> Answers {
        let mut answers = Answers::default();
        let begun = Instant::now();
        for _ in 0..times(40, 500) {
            if begun.elapsed() > MEASURE_MAX && answers.page.len() >= TRIES_MIN {
                break;
            }
            let started = Instant::now();
            ask_control(site);
            answers.control.push(started.elapsed());
            let started = Instant::now();
            let page = ask_page(site).unwrap();
            answers.page.push(started.elapsed());
            assert!(page["workers"].as_array().is_some_and(|workers| workers.len() >= 2), "{page}");
        }
        answers.watch(site);
        answers
    }

    /// A look of `top`, with all that it draws, is what is between two frames beyond its pause.
    fn watch(&mut self, site: &Site) {
        let mut screen = Screen::open(site, TOP_EVERY);
        let mut last = screen.frame();
        for _ in 0..times(10, 100) {
            let next = screen.frame();
            self.top.push((next - last).saturating_sub(TOP_EVERY));
            last = next;
        }
        self.screen = screen.close();
    }
}

/// What `top` asks, and nothing else.
fn ask_control(site: &Site) -> Value {
    let mut stream = UnixStream::connect(site.directory.join("control.sock")).unwrap();
    stream.write_all(b"status\n").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

fn ask_page(site: &Site) -> std::io::Result<Value> {
    let mut stream = UnixStream::connect(site.directory.join("status.sock"))?;
    stream.write_all(b"GET /status HTTP/1.1\r\nHost: test\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    Ok(serde_json::from_str(body)?)
}
