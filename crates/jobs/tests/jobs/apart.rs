//! Jobs in processes of their own: those of the settings, and those of a queue. They serve nothing, come with a reload, and give
//! back at a stop what they have not ended.

use std::collections::BTreeSet;

use serde_json::json;
use tenfold_testkit::{Case, Signal, signal_process, wait_until};

use crate::fixture::Note;
use crate::on::{On, each};
use crate::stop::outlives_a_stop;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = [
        each("jobs_run_in_job_workers_and_not_in_the_others", job_workers),
        each("a_reload_changes_the_number_of_job_workers", reload),
        each("a_reload_cannot_change_where_jobs_are", elsewhere),
        each("a_queue_with_processes_runs_one_job_in_each", processes),
        each("a_crash_in_a_process_of_its_own_takes_no_other_job_with_it", crash),
    ]
    .into_iter()
    .flatten()
    .collect();
    for kind in ["note", "compute", "crashy"] {
        cases.extend(each(
            &format!("a_stopped_process_gives_back_what_it_runs_without_a_mark_{kind}"),
            match kind {
                "note" => |on| goes_back(on, "note"),
                "compute" => |on| goes_back(on, "compute"),
                _ => |on| goes_back(on, "crashy"),
            },
        ));
    }
    cases
}

fn job_workers(on: On) {
    let mut site = on.start("model = 'fiber'\nworkers = 2\njob_workers = 2");
    let pids = |site: &crate::site::Site| site.lines().iter().map(|line| line.pid).collect::<BTreeSet<u32>>();
    let workers: BTreeSet<u32> = site.children("worker").into_iter().collect();
    let mut runners: BTreeSet<u32> = site.children("jobs ").into_iter().collect();
    assert_eq!((workers.len(), runners.len()), (2, 2));
    // More than one process may have at a time.
    for number in 0..40 {
        site.enqueue("note", &Note { text: number.to_string(), wait_ms: 200, ..Note::default() });
    }
    site.wait_until_empty();
    assert_eq!(pids(&site), runners, "both have run some, and nobody else has");
    site.server().signal(Signal::HUP);
    wait_until("they are replaced", || {
        let now: BTreeSet<u32> = site.children("jobs ").into_iter().collect();
        let new = now.len() == 2 && now.is_disjoint(&runners);
        new.then(|| runners.extend(now))
    });
    site.note("note", "after");
    site.wait_for("end after");
    assert!(pids(&site).is_subset(&runners));
}

/// The app stays the same: what it needs is decided by each generation's settings.
fn reload(on: On) {
    let mut site = on.start("model = 'fiber'\nworkers = 1");
    for (round, count) in [2_usize, 1, 0, 1].into_iter().enumerate() {
        let workers = site.children("worker");
        site.reload_with(&format!("model = 'fiber'\nworkers = 1\njob_workers = {count}"));
        wait_until("there are as many", || {
            let now = site.children("worker");
            (now.len() == 1 && now != workers && site.children("jobs ").len() == count).then_some(())
        });
        let runners = site.children(if count == 0 { "worker" } else { "jobs " });
        let id = site.note("note", &round.to_string());
        site.wait_until_empty();
        let ran = site.lines().into_iter().find(|line| line.id == id).expect("it has run");
        assert!(runners.contains(&ran.pid), "{count} job workers: {runners:?}, and it ran in {}", ran.pid);
    }
}

fn elsewhere(on: On) {
    let mut site = on.start("model = 'fiber'\nworkers = 1");
    let workers = site.children("worker");
    let jobs = site.jobs.clone();
    site.jobs = site.directory.join("other.db").display().to_string();
    site.reload_with("model = 'fiber'\nworkers = 1");
    site.wait_for_log("jobs: a reload cannot change it");
    assert_eq!(site.children("worker"), workers);
    site.note("note", "a");
    site.jobs = jobs;
    site.wait_until_empty();
}

fn processes(on: On) {
    let site = on.start("model = 'pool'\nworkers = 1");
    let apart: BTreeSet<u32> = site.children("jobs-apart").into_iter().collect();
    assert_eq!(apart.len(), 2);
    for number in 0..6 {
        site.enqueue("crashy", &Note { text: number.to_string(), wait_ms: 20, ..Note::default() });
    }
    site.note("note", "other");
    site.wait_until_empty();
    let lines = site.lines();
    let mut at_once = BTreeSet::new();
    for line in &lines {
        if line.what.ends_with("other") {
            assert!(!apart.contains(&line.pid), "they run nothing else");
            continue;
        }
        assert!(apart.contains(&line.pid));
        match line.what.starts_with("begin") {
            true => assert!(at_once.insert(line.pid), "one at a time"),
            false => assert!(at_once.remove(&line.pid)),
        }
    }
    assert_eq!(lines.len(), 14);
}

fn crash(on: On) {
    let site = on.start("model = 'fiber'\nworkers = 1");
    site.enqueue("note", &Note { text: "bystander".into(), wait_ms: 500, ..Note::default() });
    site.wait_for("begin bystander");
    site.enqueue("crashy", &Note { text: "bad".into(), crash: 1, ..Note::default() });
    site.wait_for("end bad");
    site.wait_until_empty();
    let began = |text: &str| site.texts().iter().filter(|line| *line == &format!("begin {text}")).count();
    assert_eq!((began("bystander"), began("bad")), (1, 2));
}

/// On fibers and threads of job workers, and in a queue's own process.
fn goes_back(on: On, kind: &str) {
    let settings = "model = 'fiber'\nworkers = 1\njob_workers = 1";
    let (site, id) = outlives_a_stop(on, settings, kind);
    // A process that dies is another matter, and is seen at once.
    let pid = site.lines().last().unwrap().pid;
    signal_process(pid, Signal::KILL);
    wait_until("it runs once more", || (site.texts().len() == 3).then_some(()));
    assert_eq!(site.job(&id)["crashes"], json!(1));
}
