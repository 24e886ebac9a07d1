//! A process with all its descendants, as /proc shows them (proc(5)).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// Processor time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct CpuTime {
    pub(crate) user_ms: f64,
    pub(crate) system_ms: f64,
}

/// Context switches of every thread that was ever seen: a thread that has ended keeps its last numbers.
#[derive(Debug, Default)]
pub(crate) struct Switches {
    by_thread: BTreeMap<u32, u64>,
}

/// Processes of a tree, its root among them.
pub(crate) fn processes(root: u32) -> Vec<u32> {
    let mut all = BTreeSet::from([root]);
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for task in tasks(parent) {
            let children = fs::read_to_string(format!("/proc/{parent}/task/{task}/children"));
            for child in children.unwrap_or_default().split_whitespace().filter_map(|pid| pid.parse().ok()) {
                if all.insert(child) {
                    parents.push(child);
                }
            }
        }
    }
    all.into_iter().collect()
}

/// Processor time of the processes, with that of their threads and children that have ended.
pub(crate) fn cpu_time(processes: &[u32]) -> CpuTime {
    let tick_ms = 1_000.0 / rustix::param::clock_ticks_per_second() as f64;
    let mut sum = CpuTime::default();
    for pid in processes {
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        // After the name, which may hold anything: fields 14 to 17 are utime, stime, cutime, cstime.
        let Some((_, rest)) = stat.rsplit_once(')') else { continue };
        let ticks: Vec<f64> =
            rest.split_whitespace().skip(11).take(4).filter_map(|field| field.parse().ok()).collect();
        if let [user, system, child_user, child_system] = ticks[..] {
            sum.user_ms += (user + child_user) * tick_ms;
            sum.system_ms += (system + child_system) * tick_ms;
        }
    }
    sum
}

/// Threads of the processes.
pub(crate) fn threads(processes: &[u32]) -> usize {
    processes.iter().map(|pid| number(&status(*pid), "Threads:") as usize).sum()
}

/// Memory of the processes in KiB: what they have to themselves and share with each other, once, and the pages of files that
/// the largest of them has in memory.
///
/// That is the proportional set size as it would be if nothing else on the machine ran the same program. The plain sum of
/// `Pss` would credit the server with every load generator that maps the same executable.
pub(crate) fn memory_kib(processes: &[u32]) -> u64 {
    let (mut own, mut files) = (0, 0);
    for pid in processes {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        own += number(&rollup, "Pss_Anon:") + number(&rollup, "Pss_Shmem:");
        files = files.max(number(&status(*pid), "RssFile:"));
    }
    own + files
}

/// Open descriptors of the processes. The kernel says their number as the size of the directory since 6.2 (proc(5)); before
/// it is 0.
pub(crate) fn descriptors(processes: &[u32]) -> u64 {
    let of = |pid: &u32| fs::metadata(format!("/proc/{pid}/fd")).map_or(0, |directory| directory.len());
    processes.iter().map(of).sum()
}

impl Switches {
    /// Looks at all threads of the processes. Costs some ten microseconds for each.
    pub(crate) fn look(&mut self, processes: &[u32]) -> u64 {
        for pid in processes {
            for task in tasks(*pid) {
                let Ok(status) = fs::read_to_string(format!("/proc/{pid}/task/{task}/status")) else {
                    continue;
                };
                let count = number(&status, "voluntary_ctxt_switches:")
                    + number(&status, "nonvoluntary_ctxt_switches:");
                self.by_thread.insert(task, count);
            }
        }
        self.by_thread.values().sum()
    }
}

fn tasks(pid: u32) -> Vec<u32> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn status(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default()
}

/// The number behind a name at the beginning of a line; 0 where there is none.
fn number(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn this_process_is_its_own_tree_and_takes_memory() {
        let own = processes(std::process::id());
        assert!(own.contains(&std::process::id()));
        let before = memory_kib(&own);
        let block = vec![1_u8; 16 << 20];
        let after = memory_kib(&own);
        assert!(after >= before + (15 << 10), "{before} {after}");
        assert!(threads(&own) >= 1);
        drop(block);
    }

    #[test]
    fn computing_shows_as_user_time_and_waiting_as_switches() {
        let own = [std::process::id()];
        let mut switches = Switches::default();
        let (cpu, seen) = (cpu_time(&own), switches.look(&own));
        let end = Instant::now() + Duration::from_secs(20);
        while cpu_time(&own).user_ms < cpu.user_ms + 30.0 {
            assert!(Instant::now() < end, "no user time in 20 s of computing");
        }
        (0..20).for_each(|_| std::thread::sleep(Duration::from_micros(100)));
        assert!(switches.look(&own) >= seen + 20);
    }
}
