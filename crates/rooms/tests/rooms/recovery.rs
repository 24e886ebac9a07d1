//! Clients that drop and come back, workers and keepers that are killed: every message arrives, or a reset says that one has not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tenfold_client::nats::{Connection, Login};
use tenfold_testkit::services::{Nats, Redis};
use tenfold_testkit::{Case, Signal, WsClient, signal_process, wait_until};

use crate::site::Site;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("a_client_that_comes_back_gets_what_it_has_missed", comes_back),
        Case::new("a_loss_is_said", losses),
        Case::new("what_is_too_old_is_forgotten", || forgets(&Site::start("fiber", ""))),
        Case::new("redis::what_is_too_old_is_forgotten", || {
            let Some(redis) = Redis::start() else { return };
            forgets(&Site::start("fiber", &format!("rooms = '{}'", redis.url())));
        }),
        Case::new("nats::what_is_too_old_is_forgotten", || {
            let Some(nats) = Nats::start() else { return };
            forgets(&Site::start("fiber", &format!("rooms = '{}'", nats.url())));
        }),
        Case::new("fiber::no_message_is_lost_silently_while_clients_drop_and_workers_die", || {
            drops("fiber", vec![three("fiber", "")])
        }),
        Case::new("thread::no_message_is_lost_silently_while_clients_drop_and_workers_die", || {
            drops("thread", vec![three("thread", "")])
        }),
        Case::new("redis::no_message_is_lost_silently_over_three_instances", over_redis),
        Case::new("nats::no_message_is_lost_silently_over_three_instances", over_nats),
        Case::new("redis::instances_know_each_others_members", || {
            let Some(redis) = Redis::start() else { return };
            presence_over(&redis.url());
        }),
        Case::new("nats::instances_know_each_others_members", || {
            let Some(nats) = Nats::start() else { return };
            presence_over(&nats.url());
        }),
        Case::new("nats::a_pause_a_restart_and_a_lost_stream_are_no_silent_loss", paused_nats),
        Case::new("redis::a_pause_of_the_engine_loses_nothing", paused_engine),
        Case::new("a_killed_workers_members_are_gone_at_once", killed),
        Case::new("a_keepers_death_is_a_reset_for_everybody", keeper_dies),
    ]
}

fn comes_back() {
    let site = Site::start("fiber", "");
    let mut ws = site.rooms();
    ws.join("quiet:c", None);
    site.publish("quiet:c?count=3");
    let position = (0..3).map(|_| ws.json()).last().unwrap()["pos"].as_str().unwrap().to_owned();
    drop(ws);
    site.publish("quiet:c?count=4");
    let mut again = site.rooms();
    let word = again.join("quiet:c", Some(&position));
    assert_eq!((&word["joined"], &word["recovered"]), (&json!(true), &json!(true)));
    let missed: Vec<_> = (0..4).map(|_| again.json()["data"]["n"].as_u64().unwrap()).collect();
    assert_eq!(missed, [0, 1, 2, 3]);
    assert!(again.is_quiet());
}

fn losses() {
    let site = Site::start("fiber", "");
    let first = site.publish("tiny:l");
    site.publish("tiny:l?count=5");
    let mut ws = site.rooms();
    let word = ws.join("tiny:l", Some(&first));
    assert_eq!(word["reset"], true, "three messages are kept, and five were missed: {word}");
    let mut other = site.rooms();
    assert_eq!(other.join("tiny:l", Some("abc:1"))["reset"], true, "of another epoch");
    other.send_json(&json!({ "join": "tiny:m", "since": "nonsense" }));
    assert!(other.json()["error"].is_string());
}

/// By age, in a room that somebody is in, so that its messages are in the keeper and in a worker, and in one that nobody is in.
fn forgets(site: &Site) {
    let mut stays = site.rooms();
    stays.join("brief:busy", None);
    for room in ["brief:busy", "brief:empty"] {
        let begun = Instant::now();
        let first = site.publish(room);
        site.publish(room);
        // Two seconds are the rule's: either it still has the second message, or it says that it has not.
        let recovers = || site.rooms().join(room, Some(&first))["recovered"] == true;
        assert!(recovers() || begun.elapsed() > Duration::from_secs(1), "{room}: forgotten too early");
        wait_until("it is forgotten", || (!recovers()).then_some(()));
        let mut late = site.rooms();
        assert_eq!(late.join(room, Some(&first))["reset"], true, "{room}: the loss is said");
        site.publish(room);
        assert_eq!(late.json()["pos"].as_str().unwrap().split_once(':').unwrap().1, "3", "the count goes on");
    }
}

/// What one client has heard: the offsets, in their order, with the resets in between.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) last: u64,
    epoch: String,
    pub(crate) resets: usize,
    messages: usize,
}

impl Heard {
    /// The newest position.
    pub(crate) fn position(&self) -> String {
        format!("{}:{}", self.epoch, self.last)
    }

    pub(crate) fn take(&mut self, json: &serde_json::Value) {
        let Some((epoch, offset)) = json["pos"].as_str().and_then(|pos| pos.split_once(':')) else { return };
        let offset: u64 = offset.parse().unwrap();
        if json["reset"] == true {
            self.resets += 1;
            (self.last, self.epoch) = (offset, epoch.to_owned());
        } else if json.get("data").is_some() {
            assert_eq!(epoch, self.epoch, "an epoch changes by a reset only");
            assert_eq!(offset, self.last + 1, "nothing is missing, nothing comes twice");
            self.last = offset;
            self.messages += 1;
        } else if json["joined"] == true && self.epoch.is_empty() {
            (self.last, self.epoch) = (offset, epoch.to_owned());
        }
    }
}

/// A server with three workers.
fn three(model: &str, settings: &str) -> Site {
    Site::with(&format!("model = '{model}'\nworkers = 3\n{settings}"))
}

/// Clients come, stay a moment, and drop without a word, each time at another instance; workers are killed meanwhile; somebody
/// publishes all the time.
fn drops(name: &str, sites: Vec<Site>) {
    let long = std::env::var_os("TENFOLD_LONG").is_some();
    let (clients, lasts) = if long { (20, Duration::from_secs(60)) } else { (6, Duration::from_secs(5)) };
    let stays = if long { Duration::from_secs(2) } else { Duration::from_millis(400) };
    let addresses: Vec<String> = sites.iter().map(|site| site.server.address().to_owned()).collect();
    let stop = AtomicBool::new(false);
    let until = Instant::now() + lasts;
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut published = 0u64;
            while !stop.load(Ordering::Acquire) {
                let address = &addresses[published as usize % addresses.len()];
                // A worker that is killed answers nothing: then nobody knows, and the order of the rest says it.
                let mut client = match tenfold_testkit::Client::try_connect(address) {
                    Ok(client) => client,
                    Err(_) => continue,
                };
                let sent = client.try_send("POST /publish/quiet:d HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                if sent.is_ok() && client.try_read_to_end().is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200")) {
                    published += 1;
                }
            }
            published
        });
        let listeners: Vec<_> = (0..clients)
            .map(|number| {
                let addresses = &addresses;
                scope.spawn(move || {
                    let mut heard = Heard::default();
                    for turn in number as usize.. {
                        if Instant::now() >= until {
                            break;
                        }
                        let address = &addresses[turn % addresses.len()];
                        listen_a_while(address, &mut heard, stays + Duration::from_millis(13 * number));
                    }
                    heard
                })
            })
            .collect();
        let mut kills = 0;
        while Instant::now() < until {
            std::thread::sleep(Duration::from_millis(700));
            let site = &sites[kills % sites.len()];
            let pid: u32 = site.client().get("/pid").expect(200).text().parse().unwrap();
            signal_process(pid, Signal::KILL);
            kills += 1;
        }
        let heard: Vec<Heard> = listeners.into_iter().map(|one| one.join().unwrap()).collect();
        stop.store(true, Ordering::Release);
        let published = publisher.join().unwrap();
        let messages: usize = heard.iter().map(|one| one.messages).sum();
        let resets: usize = heard.iter().map(|one| one.resets).sum();
        println!(
            "{name}: {kills} kills, {published} published, {messages} heard by {clients} clients, {resets} resets"
        );
        assert!(kills >= 3 && published > 50 && messages > 50);
        assert_eq!(resets, 0, "the history is long enough, and its keeper lives");
    });
}

/// Joins where it was, listens, and drops without a word.
fn listen_a_while(address: &str, heard: &mut Heard, stays: Duration) {
    let Ok(stream) = std::net::TcpStream::connect(address) else { return };
    drop(stream);
    let opened = std::panic::catch_unwind(|| WsClient::try_open(address, "/rooms/ws", ""));
    let Ok((_, Some(mut ws))) = opened else { return };
    let since = (!heard.epoch.is_empty()).then(|| heard.position());
    let leaves = Instant::now() + stays;
    let mut request = Vec::new();
    let join = json!({ "join": "quiet:d", "since": since }).to_string();
    request.extend(tenfold_testkit::frame(tenfold_http::websocket::Opcode::Text, join.as_bytes()));
    use std::io::Write;
    if ws.stream.write_all(&request).is_err() {
        return;
    }
    while Instant::now() < leaves {
        let event = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ws.try_event()));
        match event {
            Ok(Some(tenfold_http::websocket::Event::Message(message))) => {
                heard.take(&serde_json::from_str(message.as_text().unwrap()).unwrap());
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return,
        }
    }
}

fn over_redis() {
    let Some(redis) = Redis::start() else { return };
    let settings = format!("rooms = '{}'", redis.url());
    drops("redis", (0..3).map(|_| three("fiber", &settings)).collect());
}

fn over_nats() {
    let Some(nats) = Nats::start() else { return };
    let settings = format!("rooms = '{}'", nats.url());
    drops("nats", (0..3).map(|_| three("fiber", &settings)).collect());
}

fn presence_over(url: &str) {
    let settings = format!("rooms = '{url}'");
    let mut sites: Vec<Site> = (0..3).map(|_| Site::start("fiber", &settings)).collect();
    let mut watcher = sites[0].rooms();
    watcher.join("open:p", None);
    let mut people: Vec<WsClient> = sites.iter().map(Site::rooms).collect();
    for (number, person) in people.iter_mut().enumerate() {
        person.send_json(&json!({ "id": 7, "join": "open:p", "as": { "name": number } }));
        person.json_with("id");
        assert_eq!(watcher.json_with("join")["join"]["name"], number);
    }
    let present = |site: &Site| site.get_json("/rooms/open:p/presence").as_array().unwrap().len();
    assert!(sites.iter().all(|site| present(site) == 3));
    drop(people.remove(1));
    assert_eq!(watcher.json_with("leave")["leave"]["name"], 1);
    assert_eq!(present(&sites[1]), 2);
    // A whole instance dies, and nobody is left there who could say so.
    let last = sites.pop().unwrap();
    for pid in last.server.children().into_iter().chain([last.server.pid()]) {
        signal_process(pid, Signal::KILL);
    }
    assert_eq!(watcher.json_with("leave")["leave"]["name"], 2);
    assert_eq!(present(&sites[1]), 1);
}

fn paused_engine() {
    let Some(redis) = Redis::start() else { return };
    let site = Site::start("fiber", &format!("rooms = '{}'", redis.url()));
    let mut ws = site.rooms();
    assert_eq!(ws.join("quiet:z", None)["joined"], true);
    site.publish("quiet:z?count=2");
    redis.pause();
    refuses(&site);
    redis.resume();
    works_again(&site, 2);
    assert_eq!(hear(&mut ws, 4).resets, 0);
    // One that was restarted, without a word on disk, counts anew: everybody is told.
    redis.kill();
    redis.restart();
    works_again(&site, 1);
    assert!(ws.json_with("reset")["pos"].is_string());
}

/// NATS keeps histories on disk: a restart is like a pause.
fn paused_nats() {
    let Some(nats) = Nats::start() else { return };
    let site = Site::start("fiber", &format!("rooms = '{}'", nats.url()));
    let mut ws = site.rooms();
    assert_eq!(ws.join("quiet:z", None)["joined"], true);
    site.publish("quiet:z?count=2");
    nats.pause();
    refuses(&site);
    nats.resume();
    works_again(&site, 2);
    let heard = hear(&mut ws, 4);
    assert_eq!(heard.resets, 0);
    let position = format!("{}:{}", heard.epoch, heard.last);
    nats.kill();
    refuses(&site);
    nats.restart();
    works_again(&site, 1);
    let mut again = site.rooms();
    assert_eq!(again.join("quiet:z", Some(&position))["recovered"], true, "the epoch is the same");
    // All of it is lost: everybody is told.
    let login = Login::parse(&nats.url()).unwrap();
    let mut admin = Connection::open(&login, Duration::from_secs(5)).unwrap();
    admin.api("STREAM.DELETE.TENFOLD_ROOMS_main", &json!({})).unwrap();
    works_again(&site, 1);
    for client in [&mut ws, &mut again] {
        assert!(client.json_with("reset")["pos"].is_string());
    }
}

/// Nobody knows whether this one has a place, and the publisher is told so.
fn refuses(site: &Site) {
    assert_eq!(site.client().post("/publish/quiet:z", "").status, 503);
}

fn works_again(site: &Site, count: u32) {
    wait_until("the engine answers again", || {
        (site.client().post(&format!("/publish/quiet:z?count={count}"), "").status == 200).then_some(())
    });
}

/// Hears so many messages.
fn hear(ws: &mut WsClient, messages: usize) -> Heard {
    let mut heard = Heard::default();
    while heard.messages < messages {
        let json = ws.json();
        if heard.epoch.is_empty() {
            heard.epoch = json["pos"].as_str().unwrap().split_once(':').unwrap().0.to_owned();
        }
        heard.take(&json);
    }
    heard
}

fn killed() {
    let site = Site::start("fiber", "");
    let mut watcher = site.rooms();
    watcher.join("open:k", None);
    let mut others: Vec<WsClient> = (0..6).map(|_| site.rooms()).collect();
    for (number, one) in others.iter_mut().enumerate() {
        one.send_json(&json!({ "id": 1, "join": "open:k", "as": number }));
        one.json_with("id");
    }
    // What a worker says of its members and what another one asks reach the keeper in no order.
    wait_until("all six are present", || {
        let present = site.try_get_json("/rooms/open:k/presence")?.as_array()?.len();
        (present == 6).then_some(())
    });
    let pid: u32 = site.client().get("/pid").expect(200).text().parse().unwrap();
    signal_process(pid, Signal::KILL);
    let begun = Instant::now();
    let left = wait_until("those of the dead worker are gone", || {
        let alive = others.iter_mut().map(|one| usize::from(one.is_open())).sum::<usize>();
        let present = site.try_get_json("/rooms/open:k/presence")?.as_array()?.len();
        (present == alive && alive < 6).then_some(alive)
    });
    println!("presence was right after {} ms; {left} of 6 lived elsewhere", begun.elapsed().as_millis());
}

fn keeper_dies() {
    let site = Site::start("fiber", "");
    let mut ws = site.rooms();
    ws.join("quiet:k", None);
    site.publish("quiet:k?count=2");
    (0..2).for_each(|_| drop(ws.json()));
    // It has lived long enough to be replaced at once.
    std::thread::sleep(Duration::from_millis(1_000));
    let keeper = site.keeper();
    signal_process(keeper, Signal::KILL);
    let reset = ws.json();
    assert_eq!(reset["reset"], true, "{reset}");
    site.publish("quiet:k");
    let next = ws.json();
    assert_eq!(next["data"]["n"], 0);
    let epoch =
        |json: &serde_json::Value| json["pos"].as_str().unwrap().split_once(':').unwrap().0.to_owned();
    assert_eq!(epoch(&next), epoch(&reset));
}
