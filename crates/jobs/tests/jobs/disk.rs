//! A disk that is full: nothing is said to be kept that is not.
//!
//! The method: `prlimit` bounds the size of the files that the keeper may write (RLIMIT_FSIZE, setrlimit(2)), which makes
//! write(2) fail in the middle of SQLite's log as a full disk would; then the bound is lifted.

use std::process::Command;
use std::time::Duration;

use tenfold_testkit::{Case, Client, wait_until};

use crate::engines::{Kind, Service};
use crate::fixture::Note;
use crate::on::On;
use crate::site::{Site, post_json, try_get};

const SETTINGS: &str = "model = 'fiber'\nworkers = 1";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("a_full_disk_acknowledges_nothing_and_the_service_recovers", || {
            full_disk(&On::File.start(SETTINGS), || ());
        }),
        Case::new("a_full_disk_under_the_spool_acknowledges_nothing_and_the_service_recovers", || {
            let Some(service) = Service::start(Kind::Redis) else { return };
            let site = service.site(SETTINGS, "", false);
            service.engine().kill();
            full_disk(&site, || service.engine().restart());
        }),
    ]
}

/// `then` is done when the disk has room again.
fn full_disk(site: &Site, then: impl FnOnce()) {
    let kept: Vec<String> = (0..20).map(|n| site.note("note?after_ms=1500", &n.to_string())).collect();
    limit(site.keeper(), "1000");
    let note = Note { text: "x".repeat(20_000), ..Note::default() };
    let mut client = Client::connect(&site.address()).patience(Duration::from_secs(60));
    let refused = post_json(&mut client, "/enqueue/note?id=refused", &serde_json::json!(note)).expect(503);
    assert!(refused.header("retry-after").is_some());
    limit(site.keeper(), "unlimited");
    // Everything that was said to be kept is, and runs; the other one can come again. It may be there as it was, if the keeper came
    // to the last try when there was room again: then that counts, since it has the same id.
    assert_eq!(site.enqueue("note?id=refused", &Note { text: "again".into(), ..Note::default() }), "refused");
    then();
    for id in kept.iter().map(String::as_str).chain(["refused"]) {
        wait_until("it is done", || {
            // An engine that was away may not know it yet.
            let job = try_get(&site.address(), &format!("/job/{id}"))?;
            job.contains("\"state\":\"done\"").then_some(())
        });
        let runs = site.lines().into_iter().filter(|line| line.id == id && line.what.starts_with("begin"));
        assert_eq!(runs.count(), 1, "{id}");
    }
}

fn limit(pid: u32, bytes: &str) {
    let status = Command::new("prlimit")
        .arg(format!("--pid={pid}"))
        .arg(format!("--fsize={bytes}:unlimited"))
        .status();
    assert!(status.expect("prlimit is part of util-linux").success());
}
