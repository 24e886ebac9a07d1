//! Signals and the control socket's words, one by one.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use tenfold_testkit::{Signal, wait_until};

use super::site::Site;

#[test]
fn one_more_and_one_less_by_signal() {
    let site = Site::start("ttin", "");
    site.signal(Signal::TTIN);
    wait_until("there are three", || (site.workers().len() == 3).then_some(()));
    site.signal(Signal::TTOU);
    wait_until("there are two", || (site.workers().len() == 2).then_some(()));
    assert_eq!(site.status()["workers_wanted"], 2);
}

#[test]
fn drained_workers_leave_the_listeners_and_a_reload_brings_new_ones() {
    let site = Site::start("winch", "");
    site.signal(Signal::WINCH);
    wait_until("no worker is left", || site.workers().is_empty().then_some(()));
    assert_eq!(site.status()["state"], "drained");
    // It is accepted by the kernel and waits for somebody to serve it.
    let mut client = tenfold_testkit::Client::connect(&site.address);
    client.send_get("/hello");
    site.signal(Signal::HUP);
    client.read_response().expect_text(200, "Hello, world!");
    site.wait_for_log("reloaded");
    assert!(site.ok(&["drain"]).contains("draining"));
    assert!(site.refused(&["drain"]).contains("already"));
    site.ok(&["reload"]);
    site.get("/hello").expect(200);
}

#[test]
fn logs_are_opened_again() {
    let settings = "access_log = 'text'\naccess_log_file = '{dir}/access'\nerror_log_file = '{dir}/error'";
    let site = Site::start("logs", settings);
    let file = |name: &str| site.directory.join(name);
    site.get("/hello?first").expect(200);
    wait_until("it is written", || {
        std::fs::read_to_string(file("access")).ok()?.contains("first").then_some(())
    });
    std::fs::rename(file("access"), file("access.1")).unwrap();
    std::fs::rename(file("error"), file("error.1")).unwrap();
    // The answer comes when every worker has said that it is done.
    assert!(site.ok(&["reopen-logs"]).contains("all processes"));
    site.get("/hello?second").expect(200);
    wait_until("it is written", || {
        std::fs::read_to_string(file("access")).ok()?.contains("second").then_some(())
    });
    assert!(!std::fs::read_to_string(file("access.1")).unwrap().contains("second"));
    assert!(std::fs::read_to_string(file("error")).unwrap().contains("opened again"));
    std::fs::remove_file(file("error")).unwrap();
    site.signal(Signal::USR1);
    wait_until("the file is there again", || file("error").exists().then_some(()));
}

#[test]
fn a_worker_is_killed_and_dumped_by_its_slot() {
    let site = Site::start("worker", "model = 'fiber'");
    let slot = |pid: u32| {
        let status = site.status();
        let workers = status["workers"].as_array().unwrap();
        workers.iter().find(|worker| worker["pid"] == pid).unwrap()["slot"].to_string()
    };
    let victim = site.workers()[0];
    assert!(site.ok(&["worker", "dump", &slot(victim)]).contains(&format!("process {victim}:")));
    site.ok(&["worker", "kill", &slot(victim)]);
    wait_until("it is replaced", || {
        let workers = site.workers();
        (workers.len() == 2 && !workers.contains(&victim)).then_some(())
    });
    for words in [["worker", "kill", "99"], ["worker", "dump", "99"]] {
        assert!(site.refused(&words).contains("no worker in slot 99"));
    }
}

#[test]
fn the_log_level_changes_in_all_processes() {
    let site = Site::start("level", "");
    site.ok(&["log", "debug"]);
    site.ok(&["status"]);
    site.wait_for_log("DEBUG");
}

#[test]
fn a_stop_waits_for_load_balancers_first() {
    let mut site = Site::start("delay", "drain_delay_secs = 60.0");
    site.get("/health").expect(200);
    site.signal(Signal::TERM);
    wait_until("readiness is denied", || (site.get("/health").status == 503).then_some(()));
    // Everything else goes on.
    site.get("/hello").expect(200);
    assert_eq!(site.status()["state"], "stopping");
    site.signal(Signal::TERM);
    assert_eq!(site.wait(), Some(0));
}

#[test]
fn workers_come_on_demand_and_go_when_idle() {
    let site = Site::start(
        "ondemand",
        "model = 'serial'\nworkers = 3\nspawning = 'ondemand'\nidle_timeout_secs = 0.5",
    );
    assert!(site.workers().is_empty());
    site.get("/hello").expect(200);
    assert!(!site.workers().is_empty());
    wait_until("they are gone", || site.workers().is_empty().then_some(()));
    site.get("/hello").expect(200);
}

#[test]
fn spare_workers_are_started_before_they_are_needed() {
    let site = Site::start(
        "dynamic",
        "model = 'serial'\nworkers = 6\nspawning = 'dynamic'\nspare_min = 1\nspare_max = 2",
    );
    let mut held: Vec<_> = (0..3).map(|_| tenfold_testkit::Client::connect(&site.address)).collect();
    held.iter_mut().for_each(|client| drop(client.send_get("/hello").read_response().expect(200)));
    wait_until("there is one to spare", || (site.workers().len() >= 4).then_some(()));
    drop(held);
    wait_until("not more than two are left", || (site.workers().len() <= 2).then_some(()));
}

#[test]
fn nonsense_on_the_control_socket_is_answered_and_holds_nobody_up() {
    let site = Site::start("nonsense", "");
    let path = site.directory.join("control.sock");
    let mut silent = UnixStream::connect(&path).unwrap();
    silent.write_all(b"stat").unwrap();
    let mut other = UnixStream::connect(&path).unwrap();
    other.write_all(b"fly away\n").unwrap();
    other.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    other.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("{\"error\":\"unknown command") && answer.ends_with("\"ok\":false}\n"),
        "{answer}"
    );
    site.ok(&["status"]);
}
