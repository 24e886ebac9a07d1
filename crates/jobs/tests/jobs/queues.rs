//! What a queue promises: bounds and what happens at them, order, keys, unique jobs, pause and drain.

use serde_json::json;
use tenfold_testkit::{Case, wait_until};

use crate::fixture::Note;
use crate::on::{On, each, in_each_model};
use crate::site::Site;

const SETTINGS: &str = "model = 'fiber'\nworkers = 1";

pub(crate) fn cases() -> Vec<Case> {
    in_each_model("a_job_runs_in_the_model", |model| a_job_runs(On::File, &format!("model = '{model}'")))
        .into_iter()
        .chain(
            [
                each("a_job_runs", |on| a_job_runs(on, SETTINGS)),
                each("a_full_queue_answers_its_page_and_never_grows", full),
                each("a_producer_waits_for_room", waits),
                each("the_oldest_is_dropped_where_that_is_the_rule", drops),
                each("the_same_id_is_the_same_job", same_id),
                each("a_unique_word_holds_off_a_second_job", unique),
                each("higher_priorities_run_first_and_a_pause_holds_all", priorities),
                each("a_delayed_job_is_never_early", delayed),
                each("jobs_of_one_key_run_one_after_another_in_their_order", ordered),
                each("one_key_does_not_hold_up_another", keyed),
                each("a_rate_is_kept", rated),
                each("a_batch_ends_with_its_last_job", batch),
                each("a_job_is_cancelled_while_it_waits_and_while_it_runs", cancelled),
                each("a_queue_that_drains_takes_nothing_in", drained),
                each("a_payload_has_its_bound", payload),
                each("the_page_shows_jobs_and_steps_in", page),
            ]
            .into_iter()
            .flatten(),
        )
        .collect()
}

fn a_job_runs(on: On, settings: &str) {
    let site = on.start(settings);
    let id = site.note("note", "a");
    site.note("compute", "b");
    site.wait_for("end a");
    site.wait_for("end b");
    site.wait_until_empty();
    let job = site.job(&id);
    assert_eq!((&job["state"], &job["attempt"]), (&json!("done"), &json!(0)));
    let many = site.client().post("/many/1000", "").expect(200).text();
    assert_eq!(many, "1000");
    site.wait_until_empty();
    assert_eq!(site.texts().iter().filter(|line| line.starts_with("end many-")).count(), 1000);
}

fn pause(site: &Site, queue: &str, on: bool) {
    site.ask(json!({ "Pause": { "queue": queue, "on": on } }));
}

fn full(on: On) {
    let site = on.start(SETTINGS);
    pause(&site, "small", true);
    for number in 0..3 {
        site.note("note?queue=small", &number.to_string());
    }
    for _ in 0..5 {
        let refused = site.ask_to_enqueue("note?queue=small", &Note::default()).expect(503);
        assert_eq!(
            (refused.header("retry-after"), refused.text().as_str()),
            (Some("7"), "<h1>sold out</h1>")
        );
        assert_eq!(refused.header("content-type"), Some("text/html; charset=utf-8"));
    }
    let queue = site.queue("small");
    assert_eq!((&queue["live"], &queue["refused"]), (&json!(3), &json!(5)));
    pause(&site, "small", false);
    site.wait_until_empty();
    site.note("note?queue=small", "later");
}

fn waits(on: On) {
    let site = on.start(SETTINGS);
    pause(&site, "waits", true);
    site.note("note?queue=waits", "first");
    std::thread::scope(|scope| {
        let second = scope.spawn(|| site.note("note?queue=waits", "second"));
        wait_until("the second one was refused at least once", || {
            (site.queue("waits")["refused"].as_u64() > Some(0)).then_some(())
        });
        assert!(!second.is_finished());
        pause(&site, "waits", false);
        second.join().unwrap();
    });
    site.wait_for("end second");
}

fn drops(on: On) {
    let site = on.start(SETTINGS);
    pause(&site, "drops", true);
    let ids: Vec<String> = (0..5).map(|n| site.note("note?queue=drops", &n.to_string())).collect();
    let queue = site.queue("drops");
    assert_eq!((&queue["live"], &queue["dropped"]), (&json!(3), &json!(2)));
    assert_eq!(site.job(&ids[0])["state"], "cancelled");
    pause(&site, "drops", false);
    site.wait_until_empty();
    assert_eq!(site.texts().iter().filter(|line| line.starts_with("end")).count(), 3);
}

fn same_id(on: On) {
    let site = on.start(SETTINGS);
    for _ in 0..3 {
        assert_eq!(site.note("note?id=order-42", "a"), "order-42");
        site.wait_until_empty();
    }
    assert_eq!(site.texts(), ["begin a", "end a"]);
}

fn unique(on: On) {
    let site = on.start(SETTINGS);
    pause(&site, "default", true);
    let first = site.note("note?unique=u", "a");
    assert_eq!(site.note("note?unique=u", "b"), first);
    let other = site.note("note?unique=v&unique_ms=3600000", "c");
    pause(&site, "default", false);
    site.wait_until_empty();
    assert_ne!(site.note("note?unique=u", "d"), first, "the first one is done");
    assert_eq!(site.note("note?unique=v", "e"), other, "it is done, but its hour is not over");
    site.wait_for("end d");
    site.wait_until_empty();
    assert_eq!(site.texts().iter().filter(|line| line.starts_with("end")).count(), 3);
}

fn priorities(on: On) {
    let site = on.start(SETTINGS);
    pause(&site, "one", true);
    for (priority, text) in [(0, "a"), (0, "b"), (9, "c"), (-1, "d")] {
        site.note(&format!("note?queue=one&priority={priority}"), text);
    }
    assert!(site.queue("one")["oldest_ms"].as_u64().is_some());
    assert_eq!(site.queue("one")["running"], 0);
    pause(&site, "one", false);
    site.wait_until_empty();
    let ends: Vec<String> = site.texts().into_iter().filter(|line| line.starts_with("end")).collect();
    assert_eq!(ends, ["end c", "end a", "end b", "end d"]);
}

fn delayed(on: On) {
    let site = on.start(SETTINGS);
    let begun = crate::fixture::now_us();
    site.note("note?after_ms=300", "late");
    site.note("note", "soon");
    site.wait_for("end late");
    let lines = site.lines();
    assert_eq!(lines[0].what, "begin soon");
    let late = lines.iter().find(|line| line.what == "begin late").unwrap();
    assert!(late.at_us - begun >= 300_000, "{} µs", late.at_us - begun);
}

fn ordered(on: On) {
    let site = on.start("model = 'fiber'\nworkers = 2");
    for number in 0..30 {
        // Every third fails twice, and nobody of its key overtakes it.
        let fail = if number % 3 == 0 { 2 } else { 0 };
        let note = Note { text: format!("{number}"), fail, wait_ms: 1, ..Note::default() };
        site.enqueue(&format!("note?queue=ordered&key={}", number % 2), &note);
    }
    site.wait_until_empty();
    for key in 0..2 {
        let numbers = site.texts().into_iter().filter_map(|line| line.split(' ').nth(1)?.parse::<u32>().ok());
        let numbers: Vec<u32> = numbers.filter(|number| number % 2 == key).collect();
        let expected: Vec<u32> = (0..30).filter(|n| n % 2 == key).flat_map(|n| [n, n]).collect();
        assert_eq!(numbers, expected, "begin and end of each, and nothing in between");
    }
}

fn keyed(on: On) {
    let site = on.start(SETTINGS);
    let slow = Note { text: "slow".into(), wait_ms: 60_000, ..Note::default() };
    site.enqueue("note?queue=keyed&key=a", &slow);
    site.wait_for("begin slow");
    site.note("note?queue=keyed&key=a", "behind");
    site.note("note?queue=keyed&key=b", "beside");
    site.wait_for("end beside");
    assert_eq!(site.queue("keyed")["blocked"], 1);
    assert!(!site.texts().contains(&"begin behind".to_owned()));
}

fn rated(on: On) {
    let site = on.start(SETTINGS);
    for number in 0..40 {
        site.note("note?queue=rated", &number.to_string());
    }
    site.wait_until_empty();
    let mut begins: Vec<u64> =
        site.lines().iter().filter(|line| line.what.starts_with("begin")).map(|line| line.at_us).collect();
    begins.sort_unstable();
    // A second's worth at once, and 20 a second from there: the last of 40 comes a second after the first. The file's clock
    // and the keeper's are two readings of one clock.
    assert!(begins[39] - begins[0] >= 900_000, "{} µs", begins[39] - begins[0]);
}

fn batch(on: On) {
    let site = on.start(SETTINGS);
    site.client().post("/batch/20", "").expect(200).expect_text(200, "20");
    site.wait_for("end last");
    let texts = site.texts();
    let last = texts.iter().position(|line| line == "begin last").unwrap();
    assert_eq!(texts[..last].iter().filter(|line| line.starts_with("end member-")).count(), 20);
}

fn cancelled(on: On) {
    let site = on.start(SETTINGS);
    let waiting = site.note("note?after_ms=3600000", "never");
    site.ask(json!({ "Cancel": waiting }));
    assert_eq!(site.job(&waiting)["state"], "cancelled");
    let note = Note { text: "long".into(), wait_ms: 3_600_000, ..Note::default() };
    let running = site.enqueue("note", &note);
    site.wait_for("begin long");
    wait_until("its progress is known", || (site.job(&running)["progress"] == 50).then_some(()));
    assert_eq!(site.job(&running)["phase"], "running");
    site.ask(json!({ "Cancel": running }));
    assert_eq!(site.job(&running)["state"], "cancelled");
    // Its wait has ended: the only place of this queue is free again.
    site.wait_until_empty();
    assert!(!site.texts().contains(&"end long".to_owned()));
}

fn drained(on: On) {
    let site = on.start(SETTINGS);
    site.note("note", "before");
    site.ask(json!({ "Drain": { "queue": "default", "on": true } }));
    site.ask_to_enqueue("note", &Note::default()).expect(503);
    site.wait_until_empty();
    site.ask(json!({ "Drain": { "queue": "default", "on": false } }));
    site.note("note", "after");
    site.wait_for("end after");
    assert!(site.texts().contains(&"end before".to_owned()));
}

fn page(on: On) {
    let site = on.start(SETTINGS);
    let mut client = site.client();
    assert!(client.get("/jobs").expect(200).text().contains(">default</a>"));
    client.post("/jobs/step?what=pause&queue=default", "").expect(303);
    let id = site.note("note?id=%3Cb%3E", "a");
    assert_eq!(id, "<b>");
    let list = client.get("/jobs/list?queue=default").expect(200).text();
    assert!(list.contains("/jobs/job/%3Cb%3E\">&lt;b&gt;</a>") && list.contains("waiting"), "{list}");
    let shown = client.get("/jobs/job/%3Cb%3E").expect(200).text();
    assert!(shown.contains("<button>cancel</button>") && shown.contains("taken in"), "{shown}");
    assert!(shown.contains("&quot;text&quot;: &quot;a&quot;"), "the payload: {shown}");
    let failed = site.enqueue("note?queue=one&id=failed", &Note { fail: 1, ..Note::default() });
    wait_until("it has run", || (site.job(&failed)["state"] == "done").then_some(()));
    let shown = client.get("/jobs/job/failed").expect(200).text();
    let history = ["taken in", "on purpose", ">done</div>"].map(|what| shown.rfind(what).expect(what));
    assert!(history.is_sorted(), "{shown}");
    client.get("/jobs/list?state=odd").expect(400);
    client.get("/jobs/job/nobody").expect(404);
    let foreign = "POST /jobs/step?what=cancel&id=%3Cb%3E HTTP/1.1\r\nHost: t\r\nSec-Fetch-Site: cross-site\r\nContent-Length: 0\r\n\r\n";
    client.send(foreign).read_response().expect(403);
    client.post("/jobs/step?what=explode&queue=default", "").expect(400);
    client.post("/jobs/step?what=retry", "").expect(400);
    client.post("/jobs/step?what=cancel&id=%3Cb%3E", "").expect(303);
    client.post("/jobs/step?what=cancel&id=%3Cb%3E", "").expect(409);
    client.post("/jobs/step?what=resume&queue=default", "").expect(303);
    site.note("note", "after");
    site.wait_for("end after");
    assert!(!site.texts().contains(&"end a".to_owned()));
}

fn payload(on: On) {
    let site = on.start(SETTINGS);
    site.note("note", &"x".repeat(60_000));
    site.ask_to_enqueue("note", &Note { text: "x".repeat(70_000), ..Note::default() }).expect(500);
    site.wait_until_empty();
    assert_eq!(site.queue("default")["taken"], 1);
}
