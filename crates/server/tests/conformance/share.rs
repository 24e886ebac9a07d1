//! What all workers have together (the connections that a database allows, say) is divided among those that there are: also
//! after a reload, and when they become more or fewer.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use tenfold_testkit::{ServerProcess, wait_until};

use crate::variant::Variant;

behaviours![
    what_workers_share_is_divided_anew_when_they_are_scaled only only_whole_workers,
    what_workers_share_is_divided_anew_by_a_reload only only_whole_workers,
];

/// Where handlers are processes of their own, those have parts as well, which the test does not see.
fn only_whole_workers(variant: &Variant) -> bool {
    !variant.has_handler_processes()
}

fn what_workers_share_is_divided_anew_when_they_are_scaled(variant: &'static Variant) {
    let site = Shared::start(variant, 2);
    assert_eq!(site.parts(2), [6, 6]);
    for (workers, parts) in [(3, vec![4, 4, 4]), (5, vec![3, 3, 2, 2, 2]), (1, vec![12])] {
        assert_eq!(ask(&site.control, &format!("scale {workers}"))["ok"], true);
        assert_eq!(site.parts(workers), parts);
    }
}

fn what_workers_share_is_divided_anew_by_a_reload(variant: &'static Variant) {
    let site = Shared::start(variant, 3);
    assert_eq!(site.parts(3), [4, 4, 4]);
    assert_eq!(ask(&site.control, "reload")["ok"], true);
    assert_eq!(site.parts(3), [4, 4, 4]);
}

/// A server with its control socket.
struct Shared {
    server: ServerProcess,
    control: PathBuf,
}

impl Shared {
    #[track_caller]
    fn start(variant: &Variant, workers: usize) -> Shared {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let control = std::env::temp_dir().join(format!("tenfold-share-{}-{number}", std::process::id()));
        let settings =
            format!("workers = {workers}\nkeepalive_min_grace_secs = 0.1\ncontrol = '{}'", control.display());
        Shared { server: variant.start(&settings, ""), control }
    }

    /// What each worker has of twelve, the most first, once `workers` of them serve and no others.
    #[track_caller]
    fn parts(&self, workers: usize) -> Vec<usize> {
        wait_until("only those serve", || {
            let status = ask(&self.control, "status");
            let serving = status["workers"].as_array()?.iter();
            let serving = serving.filter(|worker| worker["group"] == "worker");
            (serving.count() == workers && status["draining_generations"] == 0).then_some(())
        });
        let mut parts = BTreeMap::new();
        // Kept open: who has one connection leaves the next one to others.
        let mut clients = Vec::new();
        wait_until("each of them has said what it has", || {
            let mut client = self.server.client();
            let said = client.get("/share/12").expect(200).text();
            clients.push(client);
            let (pid, part) = said.split_once(' ').expect("a process and its part");
            parts.insert(pid.to_owned(), part.parse::<usize>().expect("a number"));
            (parts.len() >= workers).then_some(())
        });
        let mut parts: Vec<usize> = parts.into_values().collect();
        parts.sort_unstable_by(|one, other| other.cmp(one));
        parts
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.control);
    }
}

/// What the master answers over the control socket.
#[track_caller]
pub(crate) fn ask(control: &Path, request: &str) -> Value {
    let mut stream = UnixStream::connect(control).expect("the master listens");
    stream.write_all(format!("{request}\n").as_bytes()).expect("the master reads");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("the master answers");
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line}"))
}
