//! Reload, stop and upgrade: long connections are told to come again, spread over a window, and go on where they were.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tenfold_http::websocket::Event;
use tenfold_testkit::{Case, Exit, Signal, WsClient, descendants, is_frozen, signal_process, wait_until};

use crate::recovery::Heard;
use crate::site::{Controlled, Site, in_all_models, in_models_of_many};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = in_all_models("a_stop_tells_every_client_to_come_again", stop);
    cases.extend(in_all_models("an_upgrade_hands_the_rooms_over_and_loses_no_message", upgrade));
    cases.push(Case::new("an_upgrade_that_is_taken_back_is_a_reset_and_the_rooms_go_on", rollback));
    cases.push(Case::new("a_reload_loses_no_message", reload));
    cases.push(Case::new("scaling_down_loses_no_message", scale));
    cases.push(Case::new("recycling_loses_no_message", recycle));
    cases.extend(in_models_of_many("the_word_is_spread_over_a_window", spread));
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

/// Listens on a thread of its own, comes again whenever it is told to, and ends behind `last`. When it was told to go.
fn follow(
    address: &str,
    room: &str,
    mut ws: WsClient,
    mut heard: Heard,
    last: &Arc<AtomicU64>,
) -> JoinHandle<(Heard, Vec<Instant>)> {
    let (address, room, last) = (address.to_owned(), room.to_owned(), last.clone());
    std::thread::spawn(move || {
        let mut told_to_go = Vec::new();
        while heard.last <= last.load(Ordering::Acquire) {
            match ws.try_event() {
                Some(Event::Message(message)) => {
                    let json: serde_json::Value = serde_json::from_str(message.as_text().unwrap()).unwrap();
                    assert!(json["joined"] != true || json["recovered"] == true, "{json}");
                    heard.take(&json);
                }
                // Who comes again may find an older worker once more, and be told to go before the answer to its join.
                Some(Event::Close(close)) => {
                    assert_eq!(close.map(|close| close.code.0), Some(1012));
                    told_to_go.push(Instant::now());
                    ws = WsClient::open(&address, "/rooms/ws");
                    ws.send_json(&serde_json::json!({ "join": room, "since": heard.position() }));
                }
                Some(_) => {}
                None => panic!("a connection ends with a word"),
            }
        }
        (heard, told_to_go)
    })
}

/// Workers end and the server goes on: their clients are told to come again, spread over the window, and go on where they were.
fn goes_on(name: &str, settings: &str, end: impl Fn(&Controlled)) {
    let server = Controlled::start(name, "fiber", &format!("graceful_timeout_secs = 4.0\n{settings}"));
    let window = Duration::from_secs(2);
    let last = Arc::new(AtomicU64::new(u64::MAX));
    let mut listeners = Vec::new();
    wait_until("each worker has three clients", || {
        let (mut ws, mut heard) = (server.site.rooms(), Heard::default());
        heard.take(&ws.join("quiet:g", None));
        listeners.push(follow(server.site.server.address(), "quiet:g", ws, heard, &last));
        let status = server.ask("status");
        let workers = status["workers"].as_array().unwrap().iter().filter(|it| it["group"] == "worker");
        workers.map(|it| it["connections_open"].as_u64().unwrap_or(0)).min().filter(|least| *least >= 3)
    });
    server.site.publish("quiet:g?count=5");
    end(&server);
    let position = server.site.publish("quiet:g?count=5");
    let offset: u64 = position.split_once(':').unwrap().1.parse().unwrap();
    last.store(offset, Ordering::Release);
    server.site.publish("quiet:g");
    let (mut told, clients) = (Vec::new(), listeners.len());
    for listener in listeners {
        let (heard, times) = listener.join().unwrap_or_else(|reason| std::panic::resume_unwind(reason));
        assert_eq!((heard.resets, heard.last), (0, offset + 1));
        told.extend(times);
    }
    told.sort_unstable();
    assert!(told.len() >= 3, "{} of {clients} were told to go", told.len());
    let spread = *told.last().unwrap() - told[0];
    assert!(spread > window / 4, "{} were told within {spread:?}, of a window of {window:?}", told.len());
}

fn scale() {
    goes_on("scale", "", |server| {
        assert_eq!(server.ask("scale 1")["ok"], true);
        wait_until("one worker is left", || {
            server.site.publish("quiet:g");
            (workers(server).len() == 1).then_some(())
        });
    });
}

fn recycle() {
    goes_on("recycle", "recycle_requests = 60", |server| {
        let before = workers(server);
        // The kernel may give all new connections to one worker, and then the other one never has enough of them.
        wait_until("one that was there at first is gone", || {
            server.site.publish("quiet:g");
            let now = workers(server);
            before.iter().any(|pid| !now.contains(pid)).then_some(())
        });
    });
}

/// The process numbers of all workers that are there.
fn workers(server: &Controlled) -> Vec<u64> {
    let status = server.ask("status");
    let workers = status["workers"].as_array().unwrap().iter().filter(|it| it["group"] == "worker");
    workers.filter_map(|it| it["pid"].as_u64()).collect()
}

/// The older master's keeper gives all rooms to the newer one's, and sends its workers there, while somebody publishes all the
/// time. A listener that comes again where it is told to hears every message that has a place, once, in one epoch.
fn upgrade(model: &str) {
    let mut site = Site::start(model, "graceful_timeout_secs = 2.0");
    let older = site.server.pid();
    let mut heard = Heard::default();
    let last = Arc::new(AtomicU64::new(u64::MAX));
    let mut ws = site.rooms();
    heard.take(&ws.join("quiet:u", None));
    let listener = follow(site.server.address(), "quiet:u", ws, heard, &last);
    // Who publishes while the keepers change waits for the newer one: nobody is left without knowing whether it has a place.
    let mut offsets = Vec::new();
    let mut publish = |site: &Site| {
        let answer = site.client().post("/publish/quiet:u", "").expect(200).text();
        offsets.push(answer.split_once(':').unwrap().1.parse::<u64>().unwrap());
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
    let all: Vec<u64> = (1..=offsets.len() as u64).collect();
    assert_eq!(
        offsets, all,
        "each has one place, and nothing else has any: none was lost, none was taken twice"
    );
    last.store(*offsets.last().unwrap(), Ordering::Release);
    // The listener ends with one that is behind it.
    site.publish("quiet:u");
    let (heard, told_to_go) = listener.join().unwrap_or_else(|reason| std::panic::resume_unwind(reason));
    assert_eq!(heard.resets, 0, "the rooms were handed over with their epochs");
    assert!(!told_to_go.is_empty(), "the older workers' clients are told to come again");
    println!("{model}: {} published over an upgrade, told to go {} times", offsets.len(), told_to_go.len());
    drop(successor);
}

/// The newer keeper had everything, and is gone with what it has added: the older one's rooms begin anew, and everybody is told.
fn rollback() {
    let server = Controlled::start("rollback", "fiber", "graceful_timeout_secs = 2.0");
    let mut ws = server.site.rooms();
    ws.join("quiet:b", None);
    server.site.publish("quiet:b?count=2");
    (0..2).for_each(|_| drop(ws.json()));
    assert_eq!(server.ask("upgrade hold")["ok"], true);
    // The older worker's client hears what has its place in the newer keeper.
    server.site.publish("quiet:b");
    let next = ws.json();
    assert!(next["pos"].as_str().unwrap().ends_with(":3"), "the count goes on: {next}");
    assert_eq!(server.ask("rollback")["ok"], true);
    let reset = ws.json_with("reset");
    let epoch =
        |json: &serde_json::Value| json["pos"].as_str().unwrap().split(':').next().unwrap().to_owned();
    assert_ne!(epoch(&reset), epoch(&next), "{reset}");
    server.site.publish("quiet:b?count=2");
    assert_eq!(epoch(&ws.json_with("data")), epoch(&reset));
}

/// The parent of a worker that answers; none of one that is gone meanwhile.
fn master(site: &Site) -> Option<u32> {
    let pid = site.client().get("/pid").expect(200).text();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// Each worker spreads over its own connections, which models hold in different ways.
fn spread(model: &str) {
    let site = Site::start(model, "graceful_timeout_secs = 4.0");
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
