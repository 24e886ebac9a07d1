//! What becomes of a job that fails: again, later, and in the end dead; and how a dead one is run again.

use serde_json::{Value, json};
use tenfold_testkit::{Case, Signal, signal_process, wait_until};

use crate::fixture::Note;
use crate::on::{On, each};
use crate::site::{try_enqueue, try_get};

const SETTINGS: &str = "model = 'fiber'\nworkers = 2";

pub(crate) fn cases() -> Vec<Case> {
    [
        each("a_job_that_fails_is_tried_again", again),
        each("a_job_that_keeps_failing_is_dead_and_can_be_run_again", dead),
        each("a_panic_is_a_failure_and_nothing_more", panics),
        each("a_run_that_takes_too_long_fails", too_long),
        each("a_job_whose_worker_dies_runs_elsewhere_at_once", worker_dies),
        each("a_job_that_kills_its_workers_is_dead_in_the_end", poison),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn again(on: On) {
    let site = on.start(SETTINGS);
    let id = site.enqueue("note", &Note { text: "a".into(), fail: 3, ..Note::default() });
    site.wait_for("end a");
    site.wait_until_empty();
    let job = site.job(&id);
    assert_eq!(
        (&job["state"], &job["attempt"], &job["error"]),
        (&json!("done"), &json!(3), &json!("on purpose"))
    );
    assert_eq!(site.queue("default")["retried"], 3);
}

fn dead(on: On) {
    let site = on.start(SETTINGS);
    let id = site.enqueue("fragile", &Note { text: "a".into(), fail: 2, ..Note::default() });
    wait_until("it is dead", || (site.job(&id)["state"] == "dead").then_some(()));
    let queue = site.queue("fragile");
    assert_eq!((&queue["dead"], &queue["live"], &queue["died"]), (&json!(1), &json!(0), &json!(1)));
    let list = site.ask(json!({ "List": { "queue": "fragile", "state": "dead", "limit": 10 } }));
    assert_eq!(list[0]["id"], id.as_str());
    assert_eq!(site.ask(json!({ "Retry": { "id": id, "queue": "" } })), json!({ "retried": 1 }));
    wait_until("it has failed again", || (site.queue("fragile")["died"] == 2).then_some(()));
    let again = "was dead, and runs again: somebody asked for it";
    let failed = "on purpose";
    assert_eq!(history(&site.job(&id)), [failed, failed, again, failed, failed]);
    assert_eq!(site.ask(json!({ "Delete": id })), json!({ "deleted": 1 }));
    assert_eq!(site.queue("fragile")["dead"], 0);
}

/// What a job's history says, whose times must not go back.
fn history(job: &Value) -> Vec<&str> {
    let entries = job["history"].as_array().unwrap();
    assert!(entries.is_sorted_by_key(|entry| entry["at_ms"].as_u64().unwrap()), "{job}");
    entries.iter().map(|entry| entry["what"].as_str().unwrap()).collect()
}

fn panics(on: On) {
    let site = on.start(SETTINGS);
    let workers = site.children("worker");
    let id = site.note("panics", "a");
    wait_until("it is dead", || (site.job(&id)["state"] == "dead").then_some(()));
    assert_eq!(site.job(&id)["error"], "it panicked: on purpose");
    assert_eq!(site.children("worker"), workers, "no process has died of it");
}

fn too_long(on: On) {
    let site = on.start(SETTINGS);
    let id = site.enqueue("slow", &Note { text: "a".into(), wait_ms: 3_600_000, ..Note::default() });
    wait_until("it is dead", || (site.job(&id)["state"] == "dead").then_some(()));
    assert!(site.job(&id)["error"].as_str().unwrap().contains("timed out"), "{}", site.job(&id));
}

fn worker_dies(on: On) {
    let site = on.start(SETTINGS);
    let id = site.enqueue("note", &Note { text: "a".into(), wait_ms: 2_000, ..Note::default() });
    site.wait_for("begin a");
    let victim = site.lines()[0].pid;
    signal_process(victim, Signal::KILL);
    site.wait_for("end a");
    site.wait_until_empty();
    let lines = site.lines();
    assert_ne!(lines[1].pid, victim);
    let job = site.job(&id);
    assert_eq!(history(&job), ["its worker died"]);
    assert_eq!(
        (&job["attempt"], &job["crashes"]),
        (&json!(0), &json!(1)),
        "its attempts are its own failures"
    );
}

fn poison(on: On) {
    let site = on.start(SETTINGS);
    let address = site.address();
    let id = "poison";
    // The worker that takes it in may be the first one that it kills.
    let _ =
        try_enqueue(&address, "note?id=poison", &Note { text: "a".into(), crash: 1_000, ..Note::default() });
    wait_until("it is dead", || {
        try_get(&address, &format!("/job/{id}")).filter(|job| job.contains("\"dead\""))
    });
    assert!(site.job(id)["error"].as_str().unwrap().contains("died 5 times"));
    site.note("note", "b");
    site.wait_for("end b");
}
