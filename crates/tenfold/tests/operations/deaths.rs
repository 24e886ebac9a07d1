//! Workers that are killed, a master that is killed, and who is left.

use tenfold_testkit::{Signal, Traffic, descendants, signal_process, wait_until};

use super::site::{Site, times};

#[test]
fn a_killed_worker_costs_only_what_it_had_in_flight() {
    for model in ["model = 'serial'", "model = 'fiber'"] {
        let site = Site::start("kill", model);
        let open = || std::fs::read_dir(format!("/proc/{}/fd", site.child.id())).unwrap().count();
        site.signal(Signal::CHILD);
        let traffic = Traffic::start(&site.address, "/hello");
        let before = open();
        let rounds = times(4, 120) as u64;
        for round in 0..rounds {
            traffic.wait_for(20);
            let workers = site.workers();
            signal_process(workers[round as usize % workers.len()], Signal::KILL);
            if rounds > 100 {
                // One a second, as the contract has it: workers that die faster are started slower and slower.
                std::thread::sleep(std::time::Duration::from_secs(1));
            }
            wait_until("there are two again", || (site.workers().len() == 2).then_some(()));
        }
        traffic.wait_for(20);
        let counted = traffic.stop();
        // The client has one kept connection and one request at a time: a death can cost it both.
        assert!(counted.failed <= 2 * rounds, "{counted:?}\n{}", site.log());
        assert_eq!(site.status()["pid"].as_u64(), Some(site.child.id().into()));
        wait_until("the master has as many descriptors as before", || (open() <= before).then_some(()));
        println!(
            "kill -9, {model}: {} answered, {} failed of {rounds} kills",
            counted.answered, counted.failed
        );
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
