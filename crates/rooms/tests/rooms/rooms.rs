//! Rooms over all their ways: who hears what, in which order, on which worker.

use serde_json::{Value, json};
use tenfold_testkit::{Case, Client, WsClient, inflate_within, wait_until};

use crate::site::{Site, asking_for_window, echo_of_itself, in_all_models};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(in_all_models("a_message_reaches_every_member_on_every_worker", members));
    cases.extend(in_all_models("members_of_all_windows_hear_the_same", all_windows));
    cases.extend(in_all_models("an_event_stream_goes_on_behind_its_last_id", events));
    cases.extend(in_all_models("a_long_poll_waits_for_the_next_message", polls));
    cases.push(Case::new("presence_is_known_on_all_workers", presence));
    cases.push(Case::new("rules_decide_who_may_do_what", rules));
    cases.push(Case::new("bounds_are_kept", bounds));
    cases.push(Case::new("history_is_given_to_who_asks", history));
    cases
}

fn members(model: &str) {
    let site = Site::start(model, "");
    let mut clients: Vec<WsClient> = (0..4).map(|_| site.open("/chat/quiet:a")).collect();
    let mut by_rooms = site.rooms();
    clients.iter_mut().for_each(|client| assert_eq!(client.json()["joined"], true));
    assert_eq!(by_rooms.join("quiet:a", None)["joined"], true);
    clients[0].send("one");
    // The handler's answer is the message itself.
    let mut all: Vec<&mut WsClient> = clients.iter_mut().chain([&mut by_rooms]).collect();
    let first: Vec<Value> = all.iter_mut().map(|client| client.json()).collect();
    assert!(first.iter().all(|message| message == &first[0]), "{first:?}");
    assert_eq!((&first[0]["room"], &first[0]["data"]), (&json!("quiet:a"), &json!("one")));
    for number in 0..50 {
        all[number % 4].send(&number.to_string());
    }
    let rest: Vec<Vec<Value>> =
        all.iter_mut().map(|client| (0..50).map(|_| client.json()).collect()).collect();
    assert!(rest.iter().all(|messages| messages == &rest[0]), "all have the same order");
    let offset =
        |message: &Value| message["pos"].as_str().unwrap().split_once(':').unwrap().1.parse::<u64>().unwrap();
    assert_eq!(rest[0].iter().map(offset).collect::<Vec<_>>(), (2..=51).collect::<Vec<_>>());
}

fn all_windows(model: &str) {
    let site = Site::start(model, "");
    let mut plain = site.open("/chat/quiet:w");
    assert_eq!(plain.json()["joined"], true);
    let mut members: Vec<(u8, WsClient)> = [15, 12, 9, 8]
        .map(|bits| {
            let mut member =
                WsClient::open_with(site.server.address(), "/rooms/ws", &asking_for_window(bits));
            assert_eq!(member.join("quiet:w", None)["joined"], true);
            (bits, member)
        })
        .into();
    let text = echo_of_itself();
    for number in 0..3 {
        plain.send(&format!("{number}{text}"));
        let message = plain.json();
        assert_eq!(message["data"], format!("{number}{text}"));
        let mut lengths = Vec::new();
        for (bits, member) in &mut members {
            let payload = member.compressed_payload();
            let received = inflate_within(&payload, *bits).unwrap_or_else(|| panic!("more than {bits} bits"));
            assert_eq!(serde_json::from_slice::<Value>(&received).unwrap(), message, "{bits} bits");
            lengths.push(payload.len());
        }
        assert!(lengths[0] < lengths[1], "the largest window has the repeat: {lengths:?}");
    }
}

/// The next event with data: its id, if it has one, and the data.
fn next_event(client: &mut Client, text: &mut String) -> (Option<String>, Value) {
    loop {
        if let Some((event, rest)) = text.split_once("\n\n") {
            let field =
                |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            let (id, data) = (field("id: "), field("data: "));
            *text = rest.to_owned();
            match data {
                Some(data) => return (id, serde_json::from_str(&data).unwrap()),
                None => continue,
            }
        }
        client.wait_for_bytes(1);
        text.push_str(&String::from_utf8(client.take_received()).unwrap());
    }
}

fn events(model: &str) {
    let site = Site::start(model, "");
    let mut client = site.client();
    client.send_get("/rooms/quiet:e/events");
    let head = client.read_head();
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    let mut text = String::new();
    assert_eq!(next_event(&mut client, &mut text).1["joined"], true);
    site.publish("quiet:e?count=3");
    let events: Vec<(Option<String>, Value)> = (0..3).map(|_| next_event(&mut client, &mut text)).collect();
    assert_eq!(
        events.iter().map(|(_, data)| data["data"]["n"].as_u64()).collect::<Vec<_>>(),
        [Some(0), Some(1), Some(2)]
    );
    drop(client);
    site.publish("quiet:e?count=2");
    let mut again = site.client();
    let last = events[1].0.as_ref().unwrap();
    again.send(format!("GET /rooms/quiet:e/events HTTP/1.1\r\nHost: x\r\nLast-Event-ID: {last}\r\n\r\n"));
    again.read_head();
    let mut text = String::new();
    assert_eq!(next_event(&mut again, &mut text).1["recovered"], true);
    assert_eq!(
        next_event(&mut again, &mut text).1["data"]["n"],
        2,
        "what came behind the id, and nothing twice"
    );
    assert_eq!(next_event(&mut again, &mut text).1["data"]["n"], 0);
    assert_eq!(next_event(&mut again, &mut text).1["data"]["n"], 1);
}

fn polls(model: &str) {
    let site = Site::start(model, "");
    let now = site.get_json("/rooms/quiet:p/poll");
    let position = now["pos"].as_str().unwrap().to_owned();
    assert_eq!(now["messages"], json!([]));
    let mut waiting = site.client();
    waiting.send_get(&format!("/rooms/quiet:p/poll?since={position}"));
    assert!(waiting.is_quiet(), "there is nothing yet");
    site.publish("quiet:p?count=2");
    let news: Value = serde_json::from_str(&waiting.read_response().expect(200).text()).unwrap();
    assert_eq!((&news["reset"], &news["messages"][0]["data"]["n"]), (&json!(false), &json!(0)));
    let since = news["pos"].as_str().unwrap();
    site.publish("quiet:p?count=3");
    wait_until("the rest has come", || {
        let news = site.get_json(&format!("/rooms/quiet:p/poll?since={position}"));
        (news["messages"].as_array().unwrap().len() == 5).then_some(())
    });
    assert_ne!(since, position);
    let reset = site.get_json("/rooms/quiet:p/poll?since=1:1");
    assert_eq!(reset["reset"], true, "another epoch");
}

fn presence() {
    let site = Site::start("fiber", "");
    let mut watcher = site.rooms();
    watcher.join("open:p", None);
    let mut people: Vec<WsClient> = (0..4).map(|_| site.rooms()).collect();
    for (number, person) in people.iter_mut().enumerate() {
        person.send_json(&json!({ "id": 7, "join": "open:p", "as": { "name": number } }));
        assert_eq!(person.json_with("id")["id"], 7);
        assert_eq!(watcher.json_with("join")["join"]["name"], number);
    }
    let names = |site: &Site| {
        let all = site.get_json("/rooms/open:p/presence");
        let mut names: Vec<u64> =
            all.as_array().unwrap().iter().map(|one| one["name"].as_u64().unwrap()).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(names(&site), [0, 1, 2, 3]);
    people[1].send_json(&json!({ "leave": "open:p" }));
    assert_eq!(watcher.json_with("leave")["leave"]["name"], 1);
    drop(people.pop());
    assert_eq!(watcher.json_with("leave")["leave"]["name"], 3);
    assert_eq!(names(&site), [0, 2]);
    watcher.send_json(&json!({ "id": 9, "presence": "open:p" }));
    assert_eq!(watcher.json_with("id")["presence"].as_array().unwrap().len(), 2);
}

fn rules() {
    let site = Site::start("fiber", "");
    let mut ws = site.rooms();
    for room in ["nobody-has-named-it", "user:eve"] {
        assert!(ws.join(room, None)["error"].is_string(), "{room}");
        site.client().get(&format!("/rooms/{room}/poll")).expect(403);
        site.client().get(&format!("/rooms/{room}/events")).expect(403);
    }
    let mut eve = WsClient::open_with(site.server.address(), "/rooms/ws", "X-User: eve\r\n");
    assert_eq!(eve.join("user:eve", None)["joined"], true);
    assert!(eve.join("user:adam", None)["error"].is_string());
    ws.send_json(&json!({ "id": 1, "publish": "quiet:x", "data": 1 }));
    assert!(ws.json_with("id")["error"].is_string(), "clients may not publish there");
    ws.send_json(&json!({ "id": 2, "publish": "open:x", "data": 1 }));
    assert!(ws.json_with("id")["pos"].is_string());
    ws.send("{nonsense");
    assert!(ws.json()["error"].is_string());
    ws.send_json(&json!({ "id": 3 }));
    assert!(ws.json_with("id")["error"].is_string());
    assert!(
        site.client()
            .get("/rooms/client.js")
            .expect(200)
            .header("content-type")
            .unwrap()
            .starts_with("text/javascript")
    );
}

fn bounds() {
    let site = Site::with("model = 'fiber'\nworkers = 1");
    let mut clients: Vec<WsClient> = (0..3).map(|_| site.rooms()).collect();
    assert_eq!(clients[0].join("few", None)["joined"], true);
    assert_eq!(clients[1].join("few", None)["joined"], true);
    assert!(clients[2].join("few", None)["error"].as_str().unwrap().contains("2 members"));
    clients[2].send_json(&json!({ "id": 1, "publish": "open:big", "data": "x".repeat(64 << 10) }));
    // The message itself is longer than the socket takes.
    assert_eq!(clients[2].expect_close().0, 1009);
    drop(clients.remove(0));
    let mut late = site.rooms();
    wait_until("there is a place again", || (late.join("few", None)["joined"] == true).then_some(()));
    let long = "r".repeat(201);
    assert!(site.rooms().join(&format!("open:{long}"), None)["error"].is_string());
}

fn history() {
    let site = Site::start("fiber", "");
    site.publish("quiet:h?count=5");
    let mut ws = site.rooms();
    ws.send_json(&json!({ "join": "quiet:h", "history": 2 }));
    assert_eq!(ws.json()["joined"], true);
    assert_eq!((ws.json()["data"]["n"].clone(), ws.json()["data"]["n"].clone()), (json!(3), json!(4)));
    assert!(ws.is_quiet());
    let list = site.get_json("/list");
    let room = list.as_array().unwrap().iter().find(|room| room["room"] == "quiet:h").unwrap();
    assert_eq!((&room["kept"], &room["workers"]), (&json!(5), &json!(1)));
}
