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
    for model in ["model = 'pool'\nthreads = 8", "model = 'fiber'\nbackend = 'epoll'", "model = 'fiber'"] {
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
    let today = site.get("/hello").header("date").expect("every answer has one").to_owned();
    // As `Fri, 27 Nov 2026 20:00:00 GMT`, by the kernel's own clock.
    let year = &today[12..16];
    let traffic = Traffic::start(&site.address, "/hello");
    let mut idle = Client::connect(&site.address);
    idle.get("/hello").expect(200);
    for (offset, is_other) in [("+1000d", true), ("-1000d", true), ("+0", false)] {
        let mut waiting = Client::connect(&site.address);
        waiting.send_get("/sleep/300");
        set(&clock, offset);
        wait_until("its clock has jumped", || (last_logged(&site).contains(year) != is_other).then_some(()));
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
    let _ = std::fs::remove_file(clock);
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
