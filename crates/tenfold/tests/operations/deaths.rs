//! Workers that are killed, a master that is killed, and who is left.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use tenfold_testkit::{
    Counted, Memory, Signal, Traffic, descendants, is_frozen, memory_of_tree, signal_process, wait_until,
};

use super::site::{Site, times};

/// Clients that ask at the same time, each on one connection.
const CLIENTS: usize = 4;
/// What they ask for: it waits, so that a client has a request in flight nearly always, and leaves the machine to others.
const IN_FLIGHT: &str = "/sleep/5";
/// Answers after which memory is compared.
const EQUAL_LOAD: u64 = 400;

#[test]
fn a_killed_worker_costs_only_what_it_had_in_flight() {
    let seed = seed();
    std::thread::scope(|scope| {
        // At the same time: the long run is one kill a second for two minutes.
        let models =
            ["model = 'serial'", "model = 'pool'\nthreads = 8", "model = 'fiber'", "model = 'event-pool'"];
        for (number, model) in models.into_iter().enumerate() {
            scope.spawn(move || {
                kill_workers(
                    &format!("kill-{number}"),
                    model,
                    &mut Random(seed ^ ((number as u64 + 1) << 32) | 1),
                );
            });
        }
    });
}

fn kill_workers(name: &str, model: &str, random: &mut Random) {
    let site = Site::start(name, model);
    // A stray one does no harm.
    site.signal(Signal::CHILD);
    let before = Footprint::after_equal_load(&site);
    let clients: Vec<Traffic> = (0..CLIENTS).map(|_| Traffic::start(&site.address, IN_FLIGHT)).collect();
    let rounds = times(4, 120) as u64;
    let mut connections = 0;
    for _ in 0..rounds {
        clients.iter().for_each(|client| client.wait_for(10));
        let workers = site.workers();
        connections += kill(workers[random.below(workers.len())], &site);
        if rounds > 100 {
            // One a second, as the contract has it: workers that die faster are started slower and slower.
            std::thread::sleep(Duration::from_secs(1));
        }
        wait_until("there are two again", || (site.workers().len() == 2).then_some(()));
    }
    clients.iter().for_each(|client| client.wait_for(10));
    let counted: Vec<Counted> = clients.into_iter().map(Traffic::stop).collect();
    let (answered, failed) = (sum(&counted, |one| one.answered), sum(&counted, |one| one.failed));
    // A client never retries, and has one connection with at most one request on it. So a worker's death costs at most one
    // request for each connection that it held: the one that was under way, or the next one that is sent to nobody.
    assert!(failed <= connections, "{failed} of {connections}: {counted:?}\n{}", site.log());
    assert_eq!(site.status()["pid"].as_u64(), Some(site.child.id().into()));
    // All workers are as young as those of the first measurement.
    let old = site.workers();
    for pid in &old {
        kill(*pid, &site);
    }
    wait_until("there are two new ones", || {
        let new = site.workers();
        (new.len() == 2 && !new.iter().any(|pid| old.contains(pid))).then_some(())
    });
    let after = Footprint::after_equal_load(&site);
    println!(
        "kill -9, {model:?}: {answered} answered, {failed} failed of {connections} connections that {rounds} killed \
         workers had; {before:?}, then {after:?}"
    );
    after.assert_not_above(&before);
}

/// Kills a worker; how many connections it had. It is stopped first, so that the number is of the moment of its death.
fn kill(pid: u32, site: &Site) -> u64 {
    signal_process(pid, Signal::STOP);
    wait_until("it is stopped", || is_frozen(pid).then_some(()));
    let connections = connections(pid, site);
    signal_process(pid, Signal::KILL);
    connections
}

/// A process's sockets that are connections to the site (proc(5), `/proc/net/tcp`), as the kernel counts them: the server's own
/// counter does not have what was accepted a moment ago.
fn connections(pid: u32, site: &Site) -> u64 {
    let port: u16 = site.address.rsplit(':').next().unwrap().parse().unwrap();
    let local = format!(":{port:04X}");
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    // Columns: number, local address, remote address, state, queues, timer, retransmits, user, time-out, inode.
    let sockets: Vec<String> = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|columns| columns.len() > 9 && columns[1].ends_with(&local) && columns[3] != "0A")
        .map(|columns| format!("socket:[{}]", columns[9]))
        .collect();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let open = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    open.filter(|link| sockets.iter().any(|socket| link.as_os_str() == socket.as_str())).count() as u64
}

/// What a site takes of the machine when nobody asks it for anything.
#[derive(Debug)]
struct Footprint {
    tree: Memory,
    master_kib: u64,
    master_descriptors: usize,
    worker_descriptors: usize,
}

/// What pages that are shared with other processes, and the allocator, move to and fro.
const MEMORY_NOISE_KIB: u64 = 1024;

impl Footprint {
    fn after_equal_load(site: &Site) -> Footprint {
        let traffic = Traffic::start(&site.address, "/hello");
        traffic.wait_for(EQUAL_LOAD);
        let counted = traffic.stop();
        assert_eq!(counted.failed, 0, "{counted:?}\n{}", site.log());
        wait_until("no connection is open", || {
            (site.status()["counters"]["connections_open"] == 0).then_some(())
        });
        let descriptors = |pid: u32| std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        let master = site.child.id();
        // The master has a client of its control socket as long as that takes to go.
        let master_descriptors = wait_until("the master has the same number twice", || {
            let count = descriptors(master);
            std::thread::sleep(Duration::from_millis(20));
            (descriptors(master) == count).then_some(count)
        });
        Footprint {
            tree: memory_of_tree(master),
            master_kib: resident_kib(master),
            master_descriptors,
            worker_descriptors: site.workers().into_iter().map(descriptors).sum(),
        }
    }

    #[track_caller]
    fn assert_not_above(&self, before: &Footprint) {
        assert!(self.tree.pss_kib <= before.tree.pss_kib + MEMORY_NOISE_KIB, "{self:?}, before {before:?}");
        assert!(self.master_kib <= before.master_kib + MEMORY_NOISE_KIB, "{self:?}, before {before:?}");
        assert!(self.master_descriptors <= before.master_descriptors, "{self:?}, before {before:?}");
        assert!(self.worker_descriptors <= before.worker_descriptors, "{self:?}, before {before:?}");
    }
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn sum(counted: &[Counted], of: impl Fn(&Counted) -> u64) -> u64 {
    counted.iter().map(of).sum()
}

/// Which victims are chosen: `TENFOLD_SEED`, or another one each time. It is printed, to do it again.
fn seed() -> u64 {
    let given = std::env::var("TENFOLD_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| RandomState::new().build_hasher().finish());
    println!("TENFOLD_SEED={seed}");
    seed
}

/// Marsaglia's xorshift64; its state is never zero.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }
}

#[test]
fn workers_end_with_their_master() {
    let site = Site::start("orphans", "");
    let workers = descendants(site.child.id());
    assert!(workers.len() >= 2);
    site.signal(Signal::KILL);
    wait_until("all workers are gone", || {
        let alive =
            |pid: &u32| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty());
        (!workers.iter().any(alive)).then_some(())
    });
}

#[test]
fn workers_run_as_another_user() {
    let is_root = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0;
    if !is_root {
        println!("left out: only root can give its rights up");
        return;
    }
    let site = Site::start(
        "user",
        "user = 'nobody'\naccess_log = 'text'\naccess_log_file = '/tmp/tenfold-operations-user.log'",
    );
    for pid in site.workers() {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        assert!(!line("Uid:").contains("\t0\t") && !line("Gid:").contains("\t0\t"), "{status}");
    }
    site.get("/hello").expect(200);
    let _ = std::fs::remove_file("/tmp/tenfold-operations-user.log");
    // It dies with its master nevertheless: a change of the user takes the kernel's promise back.
    let workers = site.workers();
    site.signal(Signal::KILL);
    wait_until("all workers are gone", || {
        let alive =
            |pid: &u32| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty());
        (!workers.iter().any(alive)).then_some(())
    });
}
