//! The machine that figures belong to, and how its processors are divided.

use std::fs;

use rustix::thread::{CpuSet, sched_getaffinity};
use serde::{Deserialize, Serialize};

/// The machine, for the head of a report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Processors that this process may use.
    pub processors: Vec<usize>,
    /// The kernel's release.
    pub kernel: String,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// The processors of the server.
    pub server_cpus: Vec<usize>,
    /// The processors of the load generator and the simulators.
    pub load_cpus: Vec<usize>,
}

impl Machine {
    /// This machine, with a processor for each of the server's workers and the others for the load.
    ///
    /// Where there are not enough, the load shares the last one with the server; see [`Machine::is_shared`].
    pub fn this(workers: usize) -> Machine {
        let processors = allowed();
        let (server_cpus, load_cpus) = divide(&processors, workers);
        Machine {
            processor: processor_name(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            memory_mib: memory_mib(),
            processors,
            server_cpus,
            load_cpus,
        }
    }

    /// Whether server and load share a processor: then throughput is of both together.
    pub fn is_shared(&self) -> bool {
        self.load_cpus.iter().any(|cpu| self.server_cpus.contains(cpu))
    }
}

fn divide(processors: &[usize], workers: usize) -> (Vec<usize>, Vec<usize>) {
    let (server, rest) = processors.split_at(workers.min(processors.len()));
    let load = if rest.is_empty() { server.last().into_iter().copied().collect() } else { rest.to_vec() };
    (server.to_vec(), load)
}

fn allowed() -> Vec<usize> {
    match sched_getaffinity(None) {
        Ok(set) => (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect(),
        Err(_) => vec![0],
    }
}

fn processor_name() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or_else(|| std::env::consts::ARCH.into(), |(_, name)| name.trim().to_owned())
}

fn memory_mib() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    total.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) >> 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_stays_away_from_the_server_where_it_can() {
        assert_eq!(divide(&[0, 1], 1), (vec![0], vec![1]));
        assert_eq!(divide(&[2, 3, 4, 5], 2), (vec![2, 3], vec![4, 5]));
        assert_eq!(divide(&[0, 1], 2), (vec![0, 1], vec![1]));
        assert_eq!(divide(&[7], 1), (vec![7], vec![7]));
    }

    #[test]
    fn this_machine_has_a_name_and_processors() {
        let machine = Machine::this(1);
        assert!(!machine.processor.is_empty() && !machine.kernel.is_empty());
        assert!(!machine.processors.is_empty() && machine.memory_mib > 0);
    }
}
