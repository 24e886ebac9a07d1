//! The wall clock jumps under a server that is busy: libfaketime tells it another time, and only of that clock.

use std::path::{Path, PathBuf};

use tenfold_testkit::{Client, Traffic, wait_until};

use super::site::Site;

const LIBRARY: &str = "libfaketime.so.1";

#[test]
fn a_jump_of_the_clock_is_served_through() {
    let Some(library) = library() else {
        println!("left out: {LIBRARY} is not installed (Debian package faketime)");
        return;
    };
    for model in [
        "model = 'pool'\nthreads = 8",
        "model = 'event'",
        "model = 'event-pool'\nthreads = 8",
        "model = 'fiber'\nbackend = 'epoll'",
        "model = 'fiber'",
    ] {
        jumps(&library, model);
    }
}

fn jumps(library: &Path, model: &str) {
    let clock = std::env::temp_dir().join(format!("tenfold-clock-{}", std::process::id()));
    set(&clock, "+0");
    let settings = format!(
        "{model}\naccess_log = 'text'\naccess_log_file = '{{dir}}/access.log'\n[limits]\nkeepalive_timeout_secs = 60"
    );
    let site = Site::start_with("clock", &settings, |command| {
        command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", &clock);
        // Both names of one switch: old and new versions of the library.
        command
            .env("FAKETIME_NO_CACHE", "1")
            .env("DONT_FAKE_MONOTONIC", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    });
    // As `Fri, 27 Nov 2026 20:00:00 GMT`.
    let year = date(&site)[12..16].to_owned();
    let traffic = Traffic::start(&site.address, "/hello");
    let mut idle = Client::connect(&site.address);
    idle.get("/hello").expect(200);
    // A thousand days from one another; the second jump is from one end to the other.
    let jumps = [("+1000d", "forward", 1000.0), ("-1000d", "back", 2000.0), ("+0", "forward", 1000.0)];
    for (number, (offset, direction, days)) in jumps.into_iter().enumerate() {
        let mut waiting = Client::connect(&site.address);
        waiting.send_get("/sleep/300");
        set(&clock, offset);
        let is_other = offset != "+0";
        wait_until("the access log's clock has jumped", || {
            (last_logged(&site).contains(&year) != is_other).then_some(())
        });
        wait_until("the header's clock has jumped", || {
            (date(&site).contains(&year) != is_other).then_some(())
        });
        let said = wait_until("the master has noticed", || jumps_said(&site).get(number).cloned());
        let (said_direction, secs) = said.split_once(" by ").expect("by how much");
        assert_eq!(said_direction, direction, "{}", site.log());
        assert!((secs.parse::<f64>().unwrap() - days * 86_400.0).abs() < 1.0, "{said}");
        waiting.read_response().expect(200);
        traffic.wait_for(20);
    }
    // A jump is neither the end of the keep-alive time nor of a deadline.
    idle.get("/hello").expect(200);
    let counted = traffic.stop();
    assert_eq!(counted.failed, 0, "{model}: {counted:?}\n{}", site.log());
    let status = site.status();
    assert_eq!(status["counters"]["timeouts"], 0, "{status}");
    assert_eq!(site.ok(&["reload"]), "generation 2 serves\n");
    // Once each, however often the master looked.
    assert_eq!(jumps_said(&site).len(), jumps.len(), "{}", site.log());
    let _ = std::fs::remove_file(clock);
}

/// The `Date` of an answer.
fn date(site: &Site) -> String {
    site.get("/hello").header("date").expect("every answer has one").to_owned()
}

/// What the log has about jumps, as `forward by 86400.000`.
fn jumps_said(site: &Site) -> Vec<String> {
    let log = site.log();
    let said = log.lines().filter_map(|line| line.split_once("the wall clock jumped ")?.1.strip_suffix(" s"));
    said.map(str::to_owned).collect()
}

/// The access log's last line, which tells the time as std reads it.
fn last_logged(site: &Site) -> String {
    site.get("/hello").expect(200);
    let log = std::fs::read_to_string(site.directory.join("access.log")).unwrap_or_default();
    log.lines().last().unwrap_or_default().to_owned()
}

/// libfaketime looks into the file at every call.
fn set(clock: &Path, offset: &str) {
    let new = clock.with_extension("new");
    std::fs::write(&new, offset).unwrap();
    std::fs::rename(new, clock).unwrap();
}

fn library() -> Option<PathBuf> {
    let directories = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from);
    let deeper = directories.iter().filter_map(|directory| std::fs::read_dir(directory).ok()).flatten();
    let deeper: Vec<PathBuf> = deeper.filter_map(Result::ok).map(|entry| entry.path()).collect();
    let places = directories.iter().chain(&deeper);
    places.map(|place| place.join("faketime").join(LIBRARY)).find(|path| path.exists())
}
