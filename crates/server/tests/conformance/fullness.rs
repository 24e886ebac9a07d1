//! How full what is bounded is, and who is in it, as the status and the metrics show it: lanes with their lines, the number at
//! once that is found by measuring, what was refused and why, and the ids of the requests in flight.
//!
//! The status comes from a process of its own, so it is read while everything that it tells of is held.

use serde_json::{Value, json};
use tenfold_scoreboard::Stage;
use tenfold_testkit::{Client, wait_until};

use crate::held::Held;
use crate::sight::Watched;
use crate::variant::Variant;

behaviours![
    a_lane_shows_who_is_inside_and_its_bounds,
    a_lane_shows_who_waits_for_how_long_and_how_many_were_refused only |variant| variant.serves_many(),
    the_number_at_once_that_was_found_is_shown_beside_its_bound,
    a_request_in_flight_shows_its_id,
    connections_are_told_apart_by_whether_they_have_a_request only |variant| variant.serves_many(),
    refusals_and_time_outs_are_counted_by_reason only |variant| variant.serves_many(),
];

/// What the status says of a lane's door.
#[track_caller]
fn lane(watched: &Watched, name: &str, door: &str) -> Value {
    let status = watched.status();
    let lanes = status["lanes"].as_array().unwrap_or_else(|| panic!("no lanes in {status:#}"));
    let is_it = |lane: &&Value| lane["lane"] == name && lane["door"] == door;
    lanes.iter().find(is_it).unwrap_or_else(|| panic!("no {door} of {name} in {status:#}")).clone()
}

/// These fields of it.
#[track_caller]
fn numbers<const N: usize>(lane: &Value, fields: [&str; N]) -> [u64; N] {
    fields.map(|field| lane[field].as_u64().unwrap_or_else(|| panic!("no {field} in {lane}")))
}

/// Waits until the field of the lane's door has the value.
#[track_caller]
fn wait_for(watched: &Watched, name: &str, field: &str, value: u64) -> Value {
    wait_until(&format!("{field} of {name} is {value}"), || {
        Some(lane(watched, name, "places")).filter(|lane| lane[field] == value)
    })
}

fn a_lane_shows_who_is_inside_and_its_bounds(variant: &'static Variant) {
    let watched = Watched::start(variant, "on");
    let fields = ["in_use", "at_once", "at_once_max", "queued", "queue_max", "oldest_ms", "shed"];
    assert_eq!(numbers(&lane(&watched, "shared", "places"), fields), [0, 4, 4, 0, 1024, 0, 0]);
    let held = Held::begin(&watched.server, "/shared/hold");
    assert_eq!(numbers(&lane(&watched, "shared", "places"), fields), [1, 4, 4, 0, 1024, 0, 0]);
    // Its body is still to come.
    assert_eq!(numbers(&lane(&watched, "shared", "uploads"), fields), [1, 2, 2, 0, 1024, 0, 0]);
    held.release();
    wait_for(&watched, "shared", "in_use", 0);
}

fn a_lane_shows_who_waits_for_how_long_and_how_many_were_refused(variant: &'static Variant) {
    let watched = Watched::start(variant, "on");
    let running = Held::begin(&watched.server, "/narrow/hold");
    let mut waiting = ask(&watched, "/narrow/hello", "the-one-in-the-line");
    let fields = ["in_use", "at_once_max", "queued", "queue_max", "shed"];
    assert_eq!(numbers(&wait_for(&watched, "narrow", "queued", 1), fields), [1, 1, 1, 1, 0]);
    let queued = watched.in_flight("/narrow/hello", |reading| reading.stage == Stage::Queue);
    assert_eq!(queued.id, "the-one-in-the-line");
    watched.server.client().get("/narrow/hello").expect(503);
    let seen = wait_until("it has waited for 20 ms", || {
        Some(lane(&watched, "narrow", "places")).filter(|lane| lane["oldest_ms"].as_u64() >= Some(20))
    });
    assert_eq!(numbers(&seen, fields), [1, 1, 1, 1, 1]);
    assert!(lane(&watched, "narrow", "places")["oldest_ms"].as_u64() >= seen["oldest_ms"].as_u64());
    let metrics = watched.page("/metrics");
    for (name, value) in [("in_use", "1"), ("queued", "1"), ("queue_max", "1"), ("shed_total", "1")] {
        let sample = format!("tenfold_lane_{name}{{lane=\"narrow\",door=\"places\"}} {value}");
        assert!(metrics.lines().any(|line| line == sample), "no {sample} in {metrics}");
    }
    let text = watched.page("/status.txt");
    let line = text.lines().find(|line| line.starts_with("narrow ")).unwrap_or_else(|| panic!("{text}"));
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!((&words[..7], words.last()), (&["narrow", "places", "1", "1", "1", "1", "1"][..], Some(&"1")));
    running.release();
    waiting.read_response().expect_text(200, "narrow");
    let empty = wait_for(&watched, "narrow", "in_use", 0);
    assert_eq!(numbers(&empty, ["queued", "oldest_ms", "shed"]), [0, 0, 1]);
}

/// As many as nobody is slowed by: at first it is the least, for a measurement, and then it grows.
fn the_number_at_once_that_was_found_is_shown_beside_its_bound(variant: &'static Variant) {
    let watched = Watched::start(variant, "on");
    let mut client = watched.server.client();
    let fields = ["at_once", "at_once_max"];
    let most = lane(&watched, "found", "places")["at_once_max"].as_u64().expect("a number");
    assert_eq!(numbers(&lane(&watched, "found", "places"), fields), [1, most]);
    assert!(most > 1, "{most}");
    wait_until("it has grown", || {
        (0..25).for_each(|_| drop(client.get("/found/hello").expect(200)));
        let [at_once, at_once_max] = numbers(&lane(&watched, "found", "places"), fields);
        assert_eq!(at_once_max, most);
        (at_once > 1).then_some(())
    });
}

/// The client's, from the moment when its head is read; or one that was made.
fn a_request_in_flight_shows_its_id(variant: &'static Variant) {
    let watched = Watched::start(variant, "on");
    let mut client = ask(&watched, "/sleep/600000", "f7a1e3c0-94b6-4c59-a52c-6d0a4a3cf1e7");
    let reading = watched.in_flight("/sleep/600000", |reading| reading.stage == Stage::Wait);
    assert_eq!(reading.id, "f7a1e3c0-94b6-4c59-a52c-6d0a4a3cf1e7");
    assert_eq!(watched.status()["requests"][0]["id"], reading.id);
    let text = watched.page("/status.txt");
    assert!(text.contains(" for sleep · id f7a1e3c0-94b6-4c59-a52c-6d0a4a3cf1e7\n"), "{text}");
    assert!(client.is_quiet());

    let watched = Watched::start(variant, "on");
    let mut client = Held::begin(&watched.server, "/named").into_client();
    let reading = watched.in_flight("/named", |reading| reading.stage == Stage::Wait);
    assert_eq!(reading.id.len(), 32, "{reading:?}");
    client.send("go").read_response().expect_text(200, &reading.id);
    // The next one of the connection has none, and not the one before it.
    client.send_get("/sleep/600000");
    let reading = watched.in_flight("/sleep/600000", |reading| reading.stage == Stage::Wait);
    assert_eq!(reading.id, "");
    assert_eq!(watched.status()["requests"][0]["id"], Value::Null);
}

fn connections_are_told_apart_by_whether_they_have_a_request(variant: &'static Variant) {
    let watched = Watched::start(variant, "on");
    let mut idle = watched.server.client();
    idle.get("/hello").expect(200);
    let held = Held::begin(&watched.server, "/shared/hold");
    let until = |busy: u64, idle: u64| {
        wait_until(&format!("{busy} are busy and {idle} idle"), || {
            let status = watched.status();
            (status["connections"] == json!({ "busy": busy, "idle": idle })).then_some(())
        });
    };
    until(1, 1);
    let metrics = watched.page("/metrics");
    for sample in ["tenfold_connections{state=\"busy\"} 1", "tenfold_connections{state=\"idle\"} 1"] {
        assert!(metrics.lines().any(|line| line == sample), "no {sample} in {metrics}");
    }
    let (client, _) = held.release();
    until(0, 2);
    drop((client, idle));
}

/// Sends a request with an id.
fn ask(watched: &Watched, target: &str, id: &str) -> Client {
    let mut client = watched.server.client();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\nX-Request-Id: {id}\r\n\r\n"));
    client
}

fn refusals_and_time_outs_are_counted_by_reason(variant: &'static Variant) {
    let watched =
        Watched::start_with(variant, "on", "address_requests_per_sec = 1\naddress_requests_burst = 3");
    let running = Held::begin(&watched.server, "/narrow/hold");
    watched.server.client().get("/narrow/hasty").expect(503);
    running.release();
    watched.server.client().get("/slow-limit").expect(504);
    wait_until("the stock of this address is used up", || {
        (watched.server.client().get("/hello").status == 429).then_some(())
    });
    let count =
        |kind: &str, reason: &str| watched.status()["counters"][format!("{kind}_by")][reason].as_u64();
    for (kind, reason) in [("rejections", "wait"), ("rejections", "address"), ("timeouts", "request")] {
        wait_until("it is counted", || (count(kind, reason) == Some(1)).then_some(()));
    }
    assert_eq!(count("rejections", "memory"), Some(0));
    let metrics = watched.page("/metrics");
    for sample in
        ["tenfold_rejections_total{reason=\"address\"} 1", "tenfold_timeouts_total{phase=\"request\"} 1"]
    {
        assert!(metrics.lines().any(|line| line == sample), "no {sample} in {metrics}");
    }
    let text = watched.page("/status.txt");
    assert!(text.contains("shed 2 (address 1, wait 1) · timed out 1 (request 1)"), "{text}");
}
