//! Settings that cannot be are refused before anything is started: one line, exit code 2.

use tenfold_testkit::{Case, Exit};

use crate::variant::refusal;

/// What is refused, and what the line has to name.
const REFUSED: &[(&str, &[&str])] = &[
    ("model = 'prefork'", &["unknown model", "prefork", "fiber", "event-worker"]),
    ("modell = 'fiber'", &["modell"]),
    ("model = 'serial'\nthreads = 2", &["serial", "threads"]),
    ("model = 'serial'\nbackend = 'epoll'", &["serial", "backend"]),
    ("model = 'thread'\nbackend = 'epoll'", &["thread", "backend"]),
    ("model = 'pool'\nstack_bytes = 65536", &["pool", "stack_bytes"]),
    ("model = 'pool'\nfibers_max = 10", &["pool", "fibers_max"]),
    ("model = 'fiber'\npool_threads = 4", &["fiber", "pool_threads"]),
    ("model = 'event'\nhandlers = 4", &["event", "handlers"]),
    ("model = 'event-worker'\npool_threads = 4", &["event-worker", "pool_threads"]),
    ("model = 'fiber'\nbackend = 'kqueue'", &["kqueue"]),
    ("workers = 0", &["workers", "1 to"]),
    ("stack_bytes = 1", &["stack_bytes"]),
    ("graceful_timeout_secs = -1.0", &["graceful_timeout_secs"]),
    ("listen = []", &["listen"]),
    ("listen = ['127.0.0.1']", &["127.0.0.1", "ADDRESS:PORT"]),
    ("listen = ['web=127.0.0.1:0']", &["listen", "web"]),
    ("services = { nobody = '127.0.0.1:0' }", &["services.nobody"]),
    ("services = { echo = '127.0.0.1' }", &["echo", "ADDRESS:PORT"]),
    ("services = { echo = 'udp:127.0.0.1:0' }", &["echo", "no connections"]),
    ("services = { ping = 'unix:/tmp/ping' }", &["ping", "no datagrams"]),
    ("access_log = 'loud'", &["access_log", "loud"]),
    ("[limits]\nhead_bytes_max = 1", &["head_bytes_max"]),
    ("[limits]\nkeepalive_timeout_secs = -0.5", &["keepalive_timeout_secs"]),
    ("[limits]\nconnections_max = 100000000", &["connections_max", "descriptors"]),
];

/// These need no variant.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (settings, words) in REFUSED {
        let name = format!("settings::{} is refused", settings.replace('\n', ", "));
        cases.push(Case::new(name, move || is_refused(settings, words)).group("settings"));
    }
    cases
}

#[track_caller]
fn is_refused(settings: &str, words: &[&str]) {
    let listen = if settings.contains("listen") { "" } else { "listen = ['127.0.0.1:0']\n" };
    let (exit, log) = refusal(&format!("{listen}{settings}"));
    assert_eq!(exit, Exit::Code(2), "{log}");
    for word in words {
        assert!(log.contains(word), "{word:?} is not named: {log}");
    }
}
