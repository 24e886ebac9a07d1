//! What a worker is doing, as text, for `worker dump`: its loops with what runs on them, and its threads with where they wait.
//!
//! Made by the worker itself, so no other process needs the right to trace it.

use std::fmt::Write;
use std::fs;

use tenfold_runtime::watched_loops;
use tenfold_scoreboard as scoreboard;

/// Most threads that are listed.
const THREADS_MAX: usize = 512;

pub(crate) fn text() -> String {
    let slot = scoreboard::current();
    let mut text = format!(
        "process {}: {} connections, {} fibers, {} requests so far\n",
        std::process::id(),
        slot.connections_open.get(),
        slot.fibers_in_use.get(),
        slot.requests.get(),
    );
    for watched in watched_loops() {
        let running = watched.beat.sample().name.unwrap_or("nothing");
        let _ = writeln!(text, "loop of thread {}: runs {running}", watched.thread.tid());
    }
    let mut threads: Vec<u32> = fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    threads.sort_unstable();
    for thread in threads.iter().take(THREADS_MAX) {
        let read =
            |name: &str| fs::read_to_string(format!("/proc/self/task/{thread}/{name}")).unwrap_or_default();
        let (name, stat, wait) = (read("comm"), read("stat"), read("wchan"));
        // The name in parentheses may hold anything, so the state is looked for behind the last one (proc(5)).
        let state =
            stat.rsplit(')').next().unwrap_or_default().split_whitespace().next().unwrap_or("?").to_owned();
        let wait = if wait.is_empty() || wait == "0" { "-" } else { wait.trim() };
        let _ = writeln!(text, "thread {thread} {}: state {state}, waits in {wait}", name.trim());
    }
    text
}
