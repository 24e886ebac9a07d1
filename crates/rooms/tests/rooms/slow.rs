//! Clients that do not read: what the rules say becomes of them, and what it costs the others.

use std::time::{Duration, Instant};

use serde_json::Value;
use tenfold_http::websocket::Event;
use tenfold_testkit::{Case, WsClient, memory_of_tree, wait_until};

use crate::site::Site;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for model in ["thread", "event", "fiber"] {
        cases
            .push(Case::new(format!("{model}::a_stalled_client_is_reset_and_goes_on"), move || reset(model)));
        cases.push(Case::new(format!("{model}::a_stalled_client_of_a_strict_room_is_let_go"), move || {
            strict(model)
        }));
        cases.push(Case::new(
            format!("{model}::of_values_that_replace_each_other_the_newest_comes"),
            move || latest(model),
        ));
    }
    cases.push(Case::new("stalled_clients_cost_no_more_than_their_room", memory));
    cases
}

const BYTES: usize = 60_000;

/// Publishes until the stalled client's sockets are full, and then as much again.
fn flood(site: &Site, room: &str, key: &str) -> u64 {
    let count = 300;
    site.publish(&format!("{room}?count={count}&bytes={BYTES}{key}"));
    count
}

fn reset(model: &str) {
    let site = Site::start(model, "");
    let (mut stalled, mut quick) = (site.rooms(), site.rooms());
    stalled.join("lossy", None);
    quick.join("lossy", None);
    let reader = std::thread::spawn(move || {
        let mut offsets = Vec::new();
        while offsets.last() != Some(&300) {
            let json = quick.json();
            assert_ne!(json["reset"], true, "who reads loses nothing");
            offsets.push(offset(&json));
        }
        offsets
    });
    flood(&site, "lossy", "");
    assert_eq!(reader.join().unwrap(), (1..=300).collect::<Vec<_>>());
    // It reads again: first what was on its way, then the reset, then the newest.
    let (mut expected, mut resets) = (1, 0);
    while expected <= 300 {
        let json = stalled.json();
        if json["reset"] == true {
            resets += 1;
            expected = offset(&json) + 1;
        } else {
            assert_eq!(offset(&json), expected, "a loss is said");
            expected += 1;
        }
    }
    assert!(resets > 0, "18 MB are more than its sockets hold");
    site.publish("lossy");
    assert_eq!(offset(&stalled.json()), 301, "and it is a member as before");
}

fn offset(json: &Value) -> u64 {
    json["pos"].as_str().unwrap().split_once(':').unwrap().1.parse().unwrap()
}

fn strict(model: &str) {
    let site = Site::start(model, "");
    let mut stalled = site.rooms();
    stalled.join("strict", None);
    flood(&site, "strict", "");
    site.server.wait_for_log("too slow for this room");
    let code = loop {
        match stalled.try_event() {
            Some(Event::Close(close)) => break close.map(|close| close.code.0),
            Some(_) => {}
            None => break None,
        }
    };
    assert_eq!(code, Some(1013));
}

fn latest(model: &str) {
    let site = Site::start(model, "");
    let mut stalled = site.rooms();
    stalled.join("latest", None);
    site.publish(&format!("latest?count=400&bytes={BYTES}&key=price"));
    let mut seen = 0;
    loop {
        let json = stalled.json();
        if json.get("data").is_some() {
            seen += 1;
        }
        if offset(&json) == 400 {
            break;
        }
    }
    assert!(seen < 350, "most of the 400 were replaced, and {seen} came");
    assert!(stalled.is_quiet());
}

fn memory() {
    let site = Site::with("model = 'fiber'\nworkers = 1");
    let mut clients: Vec<WsClient> = (0..50).map(|_| site.rooms()).collect();
    clients.iter_mut().for_each(|one| drop(one.join("lossy", None)));
    let before = memory_of_tree(site.server.pid()).pss_kib * 1024;
    flood(&site, "lossy", "");
    flood(&site, "lossy", "");
    let grown = memory_of_tree(site.server.pid()).pss_kib.saturating_mul(1024).saturating_sub(before);
    // The history of a room is at most 1 MiB in the keeper and in the worker, encoded once more; each client may hold the rest
    // of one batch.
    let bound = (8 << 20) + 50 * (64 + 60 + 8) * 1024;
    println!("50 stalled clients, 36 MB published to each: {} KiB", grown / 1024);
    assert!(grown < bound, "{} KiB", grown / 1024);
    let begun = Instant::now();
    drop(clients);
    wait_until("all are gone", || (site.client().get("/connections").text() == "0").then_some(()));
    assert!(begun.elapsed() < Duration::from_secs(15));
}
