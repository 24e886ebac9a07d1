//! Failures that other servers are known for, as far as no other test has them; docs/operations.md has the list.

use tenfold_testkit::{Client, Signal, Traffic, signal_process, wait_until};

use super::site::Site;

/// Another process that opens the address with SO_REUSEPORT gets connections, and resets them when it goes: a configuration
/// test must not.
#[test]
fn a_check_touches_no_socket_of_a_running_server() {
    for reuseport in [false, true] {
        let site = Site::start("check", &format!("reuseport = {reuseport}"));
        site.configure(&format!("listen = ['{}']\nreuseport = {reuseport}", site.address));
        let traffic = Traffic::start(&site.address, "/hello");
        traffic.wait_for(10);
        let file = site.directory.join("site.toml");
        for _ in 0..10 {
            let checked =
                std::process::Command::new(env!("CARGO_BIN_EXE_tenfold")).arg("check").arg(&file).output();
            let checked = checked.unwrap();
            assert!(checked.status.success(), "{checked:?}");
            traffic.wait_for(2);
        }
        let counted = traffic.stop();
        assert_eq!(counted.failed, 0, "reuseport {reuseport}: {counted:?}\n{}", site.log());
    }
}

/// A request that does not end keeps its generation; reload after reload they would pile up, each with all its memory.
#[test]
fn generations_that_do_not_end_are_cut_beyond_the_second() {
    let site = Site::start(
        "pile",
        "workers = 1\ngraceful_timeout_secs = 600\nkeepalive_min_grace_secs = 0.1\n[limits]\nrequest_timeout_secs = 0",
    );
    let mut stuck: Vec<Client> = Vec::new();
    for generation in 1..=4 {
        let mut client = Client::connect(&site.address);
        client.send_get("/sleep/60000");
        stuck.push(client);
        wait_until("it is in flight", || (site.status()["in_flight"].as_u64()? >= 1).then_some(()));
        let in_newest = || {
            let status = site.status();
            let serving = |slot: &serde_json::Value| {
                let workers = status["workers"].as_array().unwrap().iter();
                workers.clone().any(|worker| worker["slot"] == *slot && worker["generation"] == generation)
            };
            let requests = status["requests"].as_array()?.iter();
            requests.clone().any(|request| serving(&request["slot"])).then_some(())
        };
        wait_until("the newest generation has one", in_newest);
        site.ok(&["reload"]);
        let draining = site.status()["draining_generations"].as_u64().unwrap();
        assert!(draining <= 2, "{draining} generations drain after reload {generation}");
    }
    // Whoever is lost is said, and it is the oldest that goes.
    stuck[0].expect_end();
    stuck[1].expect_end();
    assert!(stuck[2].is_quiet() && stuck[3].is_quiet());
    site.get("/hello").expect(200);
}

/// Workers that were started together are due together, and would all be missing at once.
#[test]
fn workers_are_recycled_a_tenth_at_a_time_and_the_replacement_comes_first() {
    let site = Site::start("tenth", "model = 'fiber'\nworkers = 4\nrecycle_age_secs = 1");
    wait_until("three were replaced", || {
        let status = site.status();
        let workers: Vec<_> =
            status["workers"].as_array()?.iter().filter(|it| it["group"] == "worker").collect();
        let ready = workers.iter().filter(|worker| worker["state"] == "ready").count();
        assert!(ready >= 4, "fewer serve than there should be: {status}");
        assert!(workers.len() <= 5, "more than one is replaced at a time: {status}");
        (status["restarts"]["age"].as_u64() >= Some(3)).then_some(())
    });
}

/// One that is replaced at once would fail for ever, fast, and nobody would know.
#[test]
fn workers_that_keep_dying_make_the_server_degraded_until_they_serve() {
    let site = Site::start("degraded", "model = 'fiber'\nworkers = 1");
    wait_until("it says so", || {
        let status = site.status();
        if status["state"] == "degraded" {
            let down = status["workers"].as_array()?.iter().find(|worker| worker["state"] == "down")?;
            assert!(down["failures"].as_u64() >= Some(5), "{status}");
            assert!(down["reason"].as_str().is_some_and(|reason| reason.contains("KILL")), "{status}");
            return Some(());
        }
        site.workers().iter().for_each(|pid| signal_process(*pid, Signal::KILL));
        None
    });
    wait_until("it has recovered", || (site.status()["state"] == "serving").then_some(()));
    site.get("/hello").expect(200);
}
