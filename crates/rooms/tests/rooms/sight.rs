//! What the status says of the rooms: who is there, what was said, where its time went, and how the hub is.

use serde_json::Value;
use tenfold_testkit::Case;
use tenfold_testkit::services::{Nats, Redis};

use crate::site::{Controlled, in_all_models};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = in_all_models("the_status_counts_members_and_messages", counts);
    cases.push(Case::new("the_status_says_what_became_of_slow_clients", slow));
    cases.push(Case::new("redis::the_status_says_that_the_hub_is_down", || {
        let Some(redis) = Redis::start() else { return };
        hub(&redis.url(), "redis", || redis.kill(), || redis.restart());
    }));
    cases.push(Case::new("nats::the_status_says_that_the_hub_is_down", || {
        let Some(nats) = Nats::start() else { return };
        hub(&nats.url(), "nats", || nats.kill(), || nats.restart());
    }));
    cases
}

fn counts(model: &str) {
    let seen = Controlled::start(model, model, "");
    let first = seen.rooms();
    assert_eq!(
        (&first["hub"], &first["state"], &first["published"]),
        (&"local".into(), &"up".into(), &0.into())
    );
    let mut clients = [seen.site.rooms(), seen.site.rooms(), seen.site.rooms()];
    for client in &mut clients {
        client.join("quiet:a", None);
    }
    clients[0].join("quiet:b", None);
    seen.site.publish("quiet:a?count=5&bytes=1000");
    for client in &mut clients {
        (0..5).for_each(|_| drop(client.json()));
    }
    let now = seen.until("all is counted", |it| it["delivered"] == 15 && it["rooms"] == 2);
    let number = |name: &str| now[name].as_u64().unwrap();
    assert_eq!((number("members"), number("connections"), number("published")), (4, 3, 5), "{now}");
    assert_eq!((number("resets"), number("coalesced"), number("disconnected")), (0, 0, 0), "{now}");
    // In the keeper, and in each of the workers that the three clients are on.
    let held = number("bytes_held");
    assert!((10_000..=5 * 1_200 * 4).contains(&held), "{held}");
    let stages: Vec<(&str, u64)> = now["stages"].as_array().unwrap().iter().map(stage).collect();
    assert_eq!(stages.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["place", "carry", "deliver"]);
    assert_eq!(stages[0].1, 5, "{stages:?}");
    // Each worker with members has carried all five, and delivered them in at most as many turns.
    assert!(stages[1].1 >= 5 && stages[1].1.is_multiple_of(5) && stages[2].1 <= stages[1].1, "{stages:?}");
    drop(clients);
    seen.until("nobody is there", |it| it["members"] == 0 && it["connections"] == 0);
}

fn stage(value: &Value) -> (&str, u64) {
    assert!(value["p50_ms"].as_f64() > Some(0.0) && value["p99_ms"].as_f64() >= value["p50_ms"].as_f64());
    (value["name"].as_str().unwrap(), value["count"].as_u64().unwrap())
}

fn slow() {
    let seen = Controlled::start("slow", "fiber", "");
    let (mut strict, mut lossy, mut latest) = (seen.site.rooms(), seen.site.rooms(), seen.site.rooms());
    strict.join("strict", None);
    lossy.join("lossy", None);
    latest.join("latest", None);
    for target in ["strict?", "lossy?", "latest?key=price&"] {
        seen.site.publish(&format!("{target}count=300&bytes=60000"));
    }
    // It reads again, and is told.
    while lossy.json()["reset"] != true {}
    while latest.json()["pos"].as_str().is_none_or(|pos| !pos.ends_with(":300")) {}
    let now = seen.until("the strict one is let go", |it| it["disconnected"] == 1);
    let number = |name: &str| now[name].as_u64().unwrap();
    assert!(number("resets") >= 1 && number("coalesced") >= 1, "{now}");
    assert_eq!(number("published"), 900);
    assert!(number("delivered") < 900 - number("coalesced"), "nobody has got all: {now}");
}

fn hub(url: &str, kind: &str, kill: impl Fn(), restart: impl Fn()) {
    let seen = Controlled::start(kind, "fiber", &format!("rooms = '{url}'"));
    seen.until("the hub is heard", |it| it["hub"] == kind && it["state"] == "up");
    let mut ws = seen.site.rooms();
    ws.join("quiet:h", None);
    seen.site.publish("quiet:h?count=3");
    (0..3).for_each(|_| drop(ws.json()));
    seen.until("all is counted", |it| it["published"] == 3 && it["delivered"] == 3);
    kill();
    seen.until("the hub is not heard", |it| it["state"] == "down");
    restart();
    seen.until("the hub is heard again", |it| it["state"] == "up");
}
