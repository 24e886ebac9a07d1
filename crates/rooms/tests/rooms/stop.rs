//! Reload, stop and upgrade: long connections are told to come again, spread over a window, and go on where they were.

use std::time::{Duration, Instant};

use tenfold_testkit::{Case, Exit, Signal, WsClient, wait_until};

use crate::site::{Site, in_all_models};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = in_all_models("a_stop_tells_every_client_to_come_again", stop);
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
