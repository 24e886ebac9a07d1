//! Reload, stop and upgrade: long connections are told to come again, spread over a window, and go on where they were.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use tenfold_http::websocket::Event;
use tenfold_testkit::{Case, Exit, Signal, WsClient, descendants, is_frozen, signal_process, wait_until};

use crate::recovery::Heard;
use crate::site::{Site, in_all_models};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = in_all_models("a_stop_tells_every_client_to_come_again", stop);
    cases.extend(in_all_models("an_upgrade_hands_the_rooms_over_and_loses_no_message", upgrade));
    cases.push(Case::new("a_reload_loses_no_message", reload));
    cases.push(Case::new("the_word_is_spread_over_a_window", spread));
    cases
}

fn stop(model: &str) {
    let mut site = Site::start(model, "graceful_timeout_secs = 5.0");
    let mut clients = [site.open("/stays"), site.open("/rests"), site.rooms()];
    for client in &mut clients[..2] {
        client.send("ready");
        client.text();
    }
    clients[2].join("quiet:s", None);
    let mut events = site.client();
    events.send_get("/rooms/quiet:s/events");
    events.read_head();
    site.server.signal(Signal::TERM);
    for client in &mut clients {
        assert_eq!(client.expect_close(), (1012, "the server restarts: come again".into()));
    }
    events.read_to_end();
    assert_eq!(site.server.wait(Duration::from_secs(20)), Exit::Code(0));
}

fn reload() {
    let site = Site::start("fiber", "graceful_timeout_secs = 4.0");
    let mut ws = site.rooms();
    ws.join("quiet:r", None);
    site.publish("quiet:r?count=3");
    let position = (0..3).map(|_| ws.json()).last().unwrap()["pos"].as_str().unwrap().to_owned();
    let old: String = site.client().get("/pid").text();
    site.server.signal(Signal::HUP);
    wait_until("there are new workers", || (site.client().get("/pid").text() != old).then_some(()));
    assert_eq!(ws.expect_close().0, 1012);
    site.publish("quiet:r?count=2");
    let mut again = site.rooms();
    let word = again.join("quiet:r", Some(&position));
    assert_eq!(word["recovered"], true, "{word}");
    assert_eq!((again.json()["data"]["n"].clone(), again.json()["data"]["n"].clone()), (0.into(), 1.into()));
}

/// A master that has taken over: nobody's child any more, once the older one is gone.
struct Successor(u32);

impl Drop for Successor {
    fn drop(&mut self) {
        for pid in descendants(self.0).into_iter().chain([self.0]) {
            signal_process(pid, Signal::KILL);
        }
    }
}

/// The older master's keeper gives all rooms to the newer one's, and sends its workers there, while somebody publishes all the
/// time. A listener that comes again where it is told to hears every message that has a place, once, in one epoch.
fn upgrade(model: &str) {
    let mut site = Site::start(model, "graceful_timeout_secs = 2.0");
    let older = site.server.pid();
    let mut heard = Heard::default();
    let (told, last) = channel::<u64>();
    let address = site.server.address().to_owned();
    let mut ws = site.rooms();
    heard.take(&ws.join("quiet:u", None));
    let listener = std::thread::spawn(move || {
        let (mut end, mut told_to_go) = (u64::MAX, 0);
        while heard.last <= end {
            match ws.try_event() {
                Some(Event::Message(message)) => {
                    let json: serde_json::Value = serde_json::from_str(message.as_text().unwrap()).unwrap();
                    assert!(json["joined"] != true || json["recovered"] == true, "{json}");
                    heard.take(&json);
                }
                // Who comes again may find the older master's workers once more, and be told to go before the answer to its join.
                Some(Event::Close(close)) => {
                    assert_eq!(close.map(|close| close.code.0), Some(1012));
                    told_to_go += 1;
                    ws = WsClient::open(&address, "/rooms/ws");
                    ws.send_json(&serde_json::json!({ "join": "quiet:u", "since": heard.position() }));
                }
                Some(_) => {}
                None => panic!("a connection ends with a word"),
            }
            end = last.try_recv().unwrap_or(end);
        }
        (heard, told_to_go)
    });
    // A publish that the change of keepers cuts off is a 503: nobody says that it has a place.
    let (mut offsets, mut unsure) = (Vec::new(), 0);
    let mut publish = |site: &Site| {
        let answer = site.client().post("/publish/quiet:u", "");
        match answer.status {
            200 => offsets.push(answer.text().split_once(':').unwrap().1.parse::<u64>().unwrap()),
            503 => unsure += 1,
            status => panic!("{status}: {}", answer.text()),
        }
    };
    (0..20).for_each(|_| publish(&site));
    site.server.signal(Signal::USR2);
    let successor = wait_until("a newer master serves", || {
        publish(&site);
        master(&site).filter(|pid| *pid != older).map(Successor)
    });
    wait_until("the older master is gone", || {
        publish(&site);
        is_frozen(older).then_some(())
    });
    (0..20).for_each(|_| publish(&site));
    assert_eq!(site.server.wait(Duration::from_secs(20)), Exit::Code(0));
    assert!(offsets.is_sorted_by(|one, next| one < next), "each has a place of its own: {offsets:?}");
    // One that has failed says why where it is joined.
    let _ = told.send(*offsets.last().unwrap());
    // The listener ends with one that is behind it.
    site.publish("quiet:u");
    let (heard, told_to_go) = listener.join().unwrap_or_else(|reason| std::panic::resume_unwind(reason));
    assert_eq!(heard.resets, 0, "the rooms were handed over with their epochs");
    assert!(told_to_go > 0, "the older workers' clients are told to come again");
    println!(
        "{model}: {} published over an upgrade, {unsure} unsure, told to go {told_to_go} times",
        offsets.len()
    );
    drop(successor);
}

/// The parent of a worker that answers; none of one that is gone meanwhile.
fn master(site: &Site) -> Option<u32> {
    let pid = site.client().get("/pid").expect(200).text();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

fn spread() {
    let site = Site::with("model = 'fiber'\nworkers = 1\ngraceful_timeout_secs = 4.0");
    let mut clients: Vec<WsClient> = (0..20).map(|_| site.open("/rests")).collect();
    for client in &mut clients {
        client.send("ready");
        client.text();
    }
    site.server.signal(Signal::HUP);
    let readers: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            std::thread::spawn(move || {
                assert_eq!(client.expect_close().0, 1012);
                Instant::now()
            })
        })
        .collect();
    let mut times: Vec<Instant> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    times.sort_unstable();
    let window = times[19] - times[0];
    let first_half = times[9] - times[0];
    assert!(first_half > window / 5 && first_half < window * 4 / 5, "{first_half:?} of {window:?}");
}
