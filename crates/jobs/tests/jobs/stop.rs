//! How jobs and the server's end go together: stop, restart, the keeper's death, a second server.

use std::time::Duration;

use serde_json::json;
use tenfold_testkit::{Case, Exit, ServerProcess, Signal, signal_process, wait_until};

use crate::fixture::Note;
use crate::on::{On, each, in_each_model};
use crate::site::Site;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = in_each_model("a_job_goes_back_although_a_request_takes_most_of_the_stop", shares);
    cases.extend(on_each_store());
    cases
}

fn on_each_store() -> impl Iterator<Item = Case> {
    [
        each("a_stop_waits_for_running_jobs", waits),
        each("a_job_that_outlives_the_stop_goes_back_without_a_mark", goes_back),
        each("the_keepers_death_is_not_noticed", keeper_dies),
        each("a_second_server_cannot_have_the_same_file", second),
        each("a_reload_keeps_everything", reload),
    ]
    .into_iter()
    .flatten()
}

fn waits(on: On) {
    let mut site = on.start("model = 'fiber'\nworkers = 2");
    site.enqueue("note", &Note { text: "a".into(), wait_ms: 300, ..Note::default() });
    site.wait_for("begin a");
    site.server().signal(Signal::TERM);
    assert_eq!(site.server().wait(Duration::from_secs(20)), Exit::Code(0));
    assert_eq!(site.texts(), ["begin a", "end a"]);
    site.serve();
    site.wait_until_empty();
    assert_eq!(site.texts(), ["begin a", "end a"], "its end was written");
}

/// The time of a stop is the worker's, for its requests and its jobs together: also where the request holds the thread that
/// hears the order.
fn shares(model: &str) {
    let settings = format!("model = '{model}'\nworkers = 1\ngraceful_timeout_secs = 6.0");
    let mut site = On::File.start(&settings);
    let id = site.enqueue("note", &Note { text: "a".into(), wait_ms: 20_000, ..Note::default() });
    site.wait_for("begin a");
    let mut client = site.client();
    client.send("GET /busy/3000 HTTP/1.1\r\nHost: test\r\n\r\n");
    site.wait_for("busy");
    site.server().signal(Signal::TERM);
    client.read_response().expect(200);
    assert_eq!(site.server().wait(Duration::from_secs(20)), Exit::Code(0));
    site.serve();
    wait_until("it runs again", || (site.texts() == ["begin a", "busy", "begin a"]).then_some(()));
    let job = site.job(&id);
    assert_eq!((&job["attempt"], &job["crashes"]), (&json!(0), &json!(0)));
}

fn goes_back(on: On) {
    outlives_a_stop(on, "model = 'pool'\nworkers = 1", "note");
}

/// A job of this kind that runs when the server stops runs again when it starts. Its site, and the job.
pub(crate) fn outlives_a_stop(on: On, settings: &str, kind: &str) -> (Site, String) {
    let mut site = on.start(&format!("{settings}\ngraceful_timeout_secs = 3.0"));
    let id = site.enqueue(kind, &Note { text: "a".into(), wait_ms: 20_000, ..Note::default() });
    site.wait_for("begin a");
    site.server().signal(Signal::TERM);
    assert_eq!(site.server().wait(Duration::from_secs(20)), Exit::Code(0));
    site.serve();
    wait_until("it runs again", || (site.texts() == ["begin a", "begin a"]).then_some(()));
    let job = site.job(&id);
    assert_eq!((&job["attempt"], &job["crashes"]), (&json!(0), &json!(0)));
    (site, id)
}

fn keeper_dies(on: On) {
    let site = on.start("model = 'fiber'\nworkers = 2");
    site.enqueue("note", &Note { text: "long".into(), wait_ms: 1_500, ..Note::default() });
    site.wait_for("begin long");
    // It has lived long enough to be replaced at once.
    std::thread::sleep(Duration::from_millis(1_000));
    let old = site.keeper();
    signal_process(old, Signal::KILL);
    for number in 0..20 {
        site.note("note", &number.to_string());
    }
    wait_until("there is another keeper", || site.child("keeper").filter(|pid| *pid != old));
    site.wait_for("end long");
    site.wait_until_empty();
    let texts = site.texts();
    assert_eq!(
        texts.iter().filter(|line| *line == "begin long").count(),
        1,
        "its worker had it all the time"
    );
    assert_eq!(texts.len(), 42);
}

fn second(on: On) {
    let site =
        on.start("model = 'fiber'\nworkers = 1\ngraceful_timeout_secs = 1.0\nready_timeout_secs = 1.0");
    let outcome = ServerProcess::try_start(&mut site.command());
    let (exit, log) = outcome.expect_err("it does not start");
    assert_eq!(exit, Exit::Code(1), "{log}");
    site.note("note", "a");
    site.wait_for("end a");
}

fn reload(on: On) {
    let mut site = on.start("model = 'fiber'\nworkers = 2");
    let keeper = site.keeper();
    for round in 0..3 {
        let workers = site.children("worker");
        let note = Note { text: format!("over-{round}"), wait_ms: 300, ..Note::default() };
        site.enqueue("note", &note);
        site.server().signal(Signal::HUP);
        site.note("note", &format!("during-{round}"));
        wait_until("all workers are new", || {
            let now = site.children("worker");
            (now.len() == 2 && now.iter().all(|pid| !workers.contains(pid))).then_some(())
        });
    }
    site.wait_until_empty();
    assert_eq!(site.keeper(), keeper);
    assert_eq!(site.texts().len(), 12, "each has begun and ended once");
}
