//! The memory of a process and its children, from /proc (proc(5)).

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Memory of a tree of processes, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// Proportional set size: a page that n processes share counts 1/n in each, so the sum over a tree of forked processes
    /// counts it once.
    pub pss_kib: u64,
    /// Resident set size, where shared pages count in each process.
    pub rss_kib: u64,
}

/// The memory of `pid` and all its descendants. Processes that end meanwhile count as nothing.
pub fn memory_of_tree(pid: u32) -> Memory {
    let mut sum = Memory::default();
    for pid in std::iter::once(pid).chain(descendants(pid)) {
        let Ok(rollup) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { continue };
        sum.pss_kib += number(&rollup, "Pss:");
        sum.rss_kib += number(&rollup, "Rss:");
    }
    sum
}

/// All processes that `pid` has started, directly or not, at this moment.
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut all = BTreeSet::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        let Ok(tasks) = fs::read_dir(format!("/proc/{parent}/task")) else { continue };
        for task in tasks.flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
                if all.insert(child) {
                    parents.push(child);
                }
            }
        }
    }
    all.into_iter().collect()
}

fn number(rollup: &str, name: &str) -> u64 {
    let line = rollup.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Looks at a tree of processes every few milliseconds, on a thread of its own, and remembers the most it took.
#[derive(Debug)]
pub struct PeakWatch {
    peak_pss_kib: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// A look costs the server some hundred microseconds of its mmap lock.
const LOOK: Duration = Duration::from_millis(20);

impl PeakWatch {
    /// Begins to look at `pid` and its descendants.
    pub fn start(pid: u32) -> PeakWatch {
        let (peak, over) =
            (Arc::new(AtomicU64::new(memory_of_tree(pid).pss_kib)), Arc::<AtomicBool>::default());
        let (seen, is_over) = (peak.clone(), over.clone());
        let thread = std::thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                seen.fetch_max(memory_of_tree(pid).pss_kib, Ordering::Relaxed);
                std::thread::sleep(LOOK);
            }
        });
        PeakWatch { peak_pss_kib: peak, over, thread: Some(thread) }
    }

    /// The most proportional memory that was seen, in KiB; looks a last time.
    pub fn finish(mut self, pid: u32) -> u64 {
        self.end();
        self.peak_pss_kib.load(Ordering::Relaxed).max(memory_of_tree(pid).pss_kib)
    }

    fn end(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for PeakWatch {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn memory_that_is_touched_counts() {
        let own = std::process::id();
        let watch = PeakWatch::start(own);
        let before = memory_of_tree(own);
        let block = vec![1_u8; 32 << 20];
        let after = memory_of_tree(own);
        assert!(after.pss_kib >= before.pss_kib + (30 << 10), "{before:?} {after:?}");
        assert!(after.rss_kib >= before.rss_kib + (30 << 10), "{before:?} {after:?}");
        // A page that is shared counts by parts, so pages of the program count less when another process has them too.
        assert!(watch.finish(own) + (1 << 10) >= after.pss_kib, "{after:?}");
        drop(block);
    }

    #[test]
    fn children_of_children_are_found() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "sleep 60 & echo $!; read line; kill $!"]);
        let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(shell.stdout.take().unwrap()), &mut line)
            .unwrap();
        let found = descendants(std::process::id());
        drop(shell.stdin.take());
        shell.wait().unwrap();
        assert!(
            found.contains(&shell.id()) && found.contains(&line.trim().parse().unwrap()),
            "{found:?} {line}"
        );
    }
}
