//! Reload, upgrade, recycling and scaling under a client that counts: nothing is lost.

use tenfold_testkit::{Signal, Traffic, wait_until};

use super::site::{Site, times};
use super::wrk::Wrk;

const MODELS: [&str; 4] =
    ["model = 'serial'", "model = 'pool'\nthreads = 8", "model = 'fiber'", "model = 'event-pool'"];

fn for_every_model(name: &str, more: &str, change: impl Fn(&Site, &Traffic)) {
    for model in MODELS {
        for reuseport in [false, true] {
            let settings = format!("{model}\nreuseport = {reuseport}\n{more}");
            let site = Site::start(name, &settings);
            let traffic = Traffic::start(&site.address, "/hello");
            traffic.wait_for(10);
            let wrk = Wrk::start(&site.address);
            change(&site, &traffic);
            traffic.wait_for(10);
            let by_wrk = wrk.map_or(0, Wrk::stop);
            let counted = traffic.stop();
            assert_eq!(counted.failed, 0, "{name}, {settings}: {counted:?}\n{}", site.log());
            println!(
                "{name}, {model:?}, reuseport {reuseport}: {} answered on {} connections and {by_wrk} by wrk, 0 failed",
                counted.answered, counted.connections
            );
        }
    }
}

#[test]
fn reloads_lose_nothing() {
    for_every_model("reloads", "", |site, traffic| {
        for round in 0..times(4, 50) {
            let said = site.ok(&["reload"]);
            assert_eq!(said, format!("generation {} serves\n", round + 2));
            traffic.wait_for(2);
        }
        assert_eq!(site.status()["last_reload"]["ok"], true);
    });
}

#[test]
fn upgrades_lose_nothing() {
    for_every_model("upgrades", "", |site, traffic| {
        let mut master = site.status()["pid"].clone();
        for _ in 0..times(2, 20) {
            let said = site.ok(&["upgrade"]);
            assert!(said.ends_with("is the master\n"), "{said}");
            let now = site.status()["pid"].clone();
            assert_ne!(now, master);
            master = now;
            traffic.wait_for(2);
        }
    });
}

#[test]
fn recycled_workers_lose_nothing_and_are_replaced_first() {
    for_every_model("recycles", "recycle_requests = 30", |site, traffic| {
        // One a second at most: two workers allow one replacement at a time.
        for count in 1..=times(3, 50) as u64 {
            wait_until("one more worker was recycled", || {
                traffic.wait_for(5);
                (site.status()["restarts"]["requests"].as_u64()? >= count).then_some(())
            });
        }
        // Never fewer than there should be.
        assert!(site.workers().len() >= 2, "{}", site.status());
    });
}

#[test]
fn fewer_and_more_workers_lose_nothing() {
    for_every_model("scale", "workers = 3", |site, traffic| {
        for count in ["1", "4", "2"] {
            site.ok(&["scale", count]);
            wait_until("as many serve", || (site.workers().len().to_string() == count).then_some(()));
            traffic.wait_for(4);
        }
        assert!(site.refused(&["scale", "0"]).contains("expected 1"));
    });
}

#[test]
fn a_reload_serves_the_new_configuration() {
    let site = Site::start("new-configuration", "model = 'fiber'");
    assert_eq!(site.get("/hello").header("server"), Some("tenfold"));
    site.configure("model = 'pool'\nworkers = 3\nserver_header = 'other'");
    site.signal(Signal::HUP);
    site.wait_for_log("reloaded");
    assert_eq!((site.status()["model"].as_str(), site.workers().len()), (Some("pool"), 3));
    assert_eq!(site.get("/hello").header("server"), Some("other"));
}

#[test]
fn addresses_come_and_go_with_reloads() {
    let site = Site::start("addresses", "listen = ['127.0.0.1:0']");
    site.configure("listen = ['127.0.0.1:0', 'unix:{dir}/site.sock']");
    site.ok(&["reload"]);
    let file = site.directory.join("site.sock");
    assert!(std::os::unix::net::UnixStream::connect(&file).is_ok());
    site.configure("listen = ['127.0.0.1:0']");
    site.ok(&["reload"]);
    assert!(!file.exists());
    site.get("/hello").expect(200);
}

#[test]
fn what_does_not_come_up_changes_nothing() {
    let site = Site::start("broken", "model = 'fiber'");
    let workers = site.workers();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for (settings, word) in [
        ("model = 'nope'".to_owned(), "nope"),
        ("modell = 'fiber'".to_owned(), "modell"),
        (format!("listen = ['127.0.0.1:0', '{}']", taken.local_addr().unwrap()), "in use"),
        ("access_log = 'text'\naccess_log_file = '/nonexistent/log'".to_owned(), "access log"),
    ] {
        site.configure(&settings);
        let reason = site.refused(&["reload"]);
        assert!(reason.contains(word), "{settings}: {reason}");
        let status = site.status();
        assert_eq!(status["last_reload"]["ok"], false);
        assert!(status["last_reload"]["reason"].as_str().unwrap().contains(word), "{status}");
        assert!(site.log().contains(reason.trim().trim_start_matches("tenfold: ")), "{reason}");
        wait_until("only the old workers are there", || (site.workers() == workers).then_some(()));
        site.get("/hello").expect(200);
    }
}

#[test]
fn a_program_that_exits_or_hangs_is_rolled_back() {
    let site = Site::start("bad-program", "ready_timeout_secs = 0.2");
    let (workers, master) = (site.workers(), site.status()["pid"].clone());
    let replace = |text: &str| {
        // Replaced and not written to: the old file is being executed (ETXTBSY).
        std::fs::remove_file(&site.program).unwrap();
        std::fs::write(&site.program, text).unwrap();
        std::fs::set_permissions(&site.program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    };
    // Another test that forks at the moment may have the file open for writing; and the last new master may not be gone.
    let refused = || {
        wait_until("the file can be executed", || {
            Some(site.refused(&["upgrade"]))
                .filter(|reason| !reason.contains("busy") && !reason.contains("under way"))
        })
    };
    replace("#!/bin/sh\nexit 3\n");
    let reason = refused();
    assert!(reason.contains("exit code 3"), "{reason}");
    // The bound is the workers' time and 5 s more.
    replace("#!/bin/sh\nexec sleep 60\n");
    let reason = refused();
    assert!(reason.contains("not ready in time"), "{reason}");
    std::fs::remove_file(&site.program).unwrap();
    let reason = refused();
    assert!(reason.contains("cannot execute"), "{reason}");
    let status = site.status();
    assert_eq!((&status["pid"], status["last_upgrade"]["ok"].as_bool()), (&master, Some(false)));
    assert_eq!(site.workers(), workers);
    assert!(site.log().contains("upgrade failed"));
    site.get("/hello").expect(200);
}

#[test]
fn an_upgrade_can_be_held_undone_and_committed() {
    let mut site = Site::start("held", "pid_file = '{dir}/pid'");
    let pid = || std::fs::read_to_string(site.directory.join("pid")).unwrap().trim().to_owned();
    let master = pid();
    assert!(site.ok(&["upgrade", "--hold"]).contains("serves as well"));
    assert_eq!((site.status()["state"].as_str(), pid()), (Some("held"), master.clone()));
    site.ok(&["rollback"]);
    wait_until("it is over", || (site.status()["state"] == "serving").then_some(()));
    assert!(site.refused(&["commit"]).contains("no upgrade"));
    site.ok(&["upgrade", "--hold"]);
    site.ok(&["commit"]);
    assert_ne!(pid(), master);
    assert_eq!(site.status()["pid"].to_string(), pid());
    assert_eq!(site.wait(), Some(0));
    site.get("/hello").expect(200);
}
