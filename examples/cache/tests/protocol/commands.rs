//! Cases that need more than a dialogue: unique numbers, limits, times, connections.

use std::time::Duration;

use tenfold_testkit::{Client, wait_until};

use crate::{Named, Plain, Target};

/// The cases.
pub(crate) fn cases() -> impl Iterator<Item = Named> {
    let cases: [(&'static str, Plain); 11] = [
        ("cas stores what has not changed since", cas_stores_what_has_not_changed),
        ("a key has 250 bytes at most", a_key_has_250_bytes),
        ("a value that is too large is refused and the connection goes on", too_large),
        ("a large value comes back whole", a_large_value),
        ("a thousand commands at once are answered in their order", pipelined),
        ("a command may come byte by byte", byte_by_byte),
        ("quit ends the connection after the answers before it", quit),
        ("an item ends when its time is over", an_item_ends),
        ("a flush may be due later", a_flush_later),
        ("stats count", stats_count),
        ("connections share the items", connections_share),
    ];
    cases.into_iter().map(|(name, case)| -> Named { (name, Box::new(case)) })
}

/// The unique number of an item.
fn cas_of(client: &mut Client, key: &str) -> u64 {
    client.send(format!("mg {key} c\r\n"));
    line(client).strip_prefix("HD c").and_then(|number| number.parse().ok()).expect("a number")
}

/// One line that the server sends, without its end.
fn line(client: &mut Client) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        client.read_into(&mut byte);
        line.push(byte[0]);
    }
    String::from_utf8_lossy(&line).trim_end().to_owned()
}

fn cas_stores_what_has_not_changed(target: &'static Target) {
    let mut client = target.client();
    client.send("set z1 1 0 1\r\na\r\n").read_exactly("STORED\r\n");
    let cas = cas_of(&mut client, "z1");
    client.send("gets z1\r\n").read_exactly(format!("VALUE z1 1 1 {cas}\r\na\r\nEND\r\n"));
    client.send(format!("cas z1 2 0 1 {cas}\r\nb\r\n")).read_exactly("STORED\r\n");
    client.send(format!("cas z1 2 0 1 {cas}\r\nc\r\n")).read_exactly("EXISTS\r\n");
    let next = cas_of(&mut client, "z1");
    assert!(next != cas);
    client.send("gats 100 z1\r\n").read_exactly(format!("VALUE z1 2 1 {next}\r\nb\r\nEND\r\n"));
    client.send("incr z1 1\r\n").read_exactly("CLIENT_ERROR cannot increment");
}

fn a_key_has_250_bytes(target: &'static Target) {
    let (fits, not) = ("k".repeat(250), "k".repeat(251));
    let mut client = target.client();
    client.send(format!("set {fits} 0 0 1\r\n1\r\nget {fits}\r\n"));
    client.read_exactly(format!("STORED\r\nVALUE {fits} 0 1\r\n1\r\nEND\r\n"));
    let refused = "CLIENT_ERROR bad command line format\r\n";
    client.send(format!("get {not}\r\n")).read_exactly(refused);
    client.send(format!("get {fits} {not}\r\n")).read_exactly(refused);
    client.send(format!("incr {not} 1\r\n")).read_exactly(refused);
    client.send(format!("delete {not}\r\n")).read_exactly(refused);
}

fn too_large(target: &'static Target) {
    let mut client = target.client();
    client.send("set big 0 0 1\r\n1\r\n").read_exactly("STORED\r\n");
    let value = "x".repeat((1 << 20) + 1);
    client.send(format!("set big 0 0 {}\r\n{value}\r\n", value.len()));
    client.read_exactly("SERVER_ERROR object too large for cache\r\n");
    client.send("get big\r\n").read_exactly("END\r\n");
}

fn a_large_value(target: &'static Target) {
    let value: String = (0..100_000).map(|number| format!("{number:05}")).collect();
    let mut client = target.client();
    client.send(format!("set large 1 0 {}\r\n{value}\r\n", value.len())).read_exactly("STORED\r\n");
    client.send("append large 0 0 3\r\nend\r\nget large\r\n");
    client.read_exactly(format!("STORED\r\nVALUE large 1 {}\r\n{value}end\r\nEND\r\n", value.len() + 3));
}

fn pipelined(target: &'static Target) {
    let mut client = target.client();
    let (mut sent, mut expected) = (String::new(), String::new());
    for number in 0..1000 {
        sent += &format!("set p{number} 0 0 5\r\n{number:05}\r\nget p{number} nothing\r\n");
        expected += &format!("STORED\r\nVALUE p{number} 0 5\r\n{number:05}\r\nEND\r\n");
    }
    client.send(sent).read_exactly(expected);
}

fn byte_by_byte(target: &'static Target) {
    let mut client = target.client();
    client.trickle(b"set slow 0 0 4\r\na\r\nb\r\nget slow\r\n", Duration::from_millis(1));
    client.read_exactly("STORED\r\nVALUE slow 0 4\r\na\r\nb\r\nEND\r\n");
}

fn quit(target: &'static Target) {
    let mut client = target.client();
    client.send("get y1\r\nquit\r\nget y1\r\n").read_exactly("END\r\n").expect_end();
}

fn an_item_ends(target: &'static Target) {
    let mut client = target.client();
    client.send("set short 0 1 1\r\n1\r\n").read_exactly("STORED\r\n");
    client.send("set long 0 100 1\r\n1\r\n").read_exactly("STORED\r\n");
    wait_until("it is over", || {
        let mut client = target.client();
        client.send("mg short\r\n");
        (line(&mut client) == "EN").then_some(())
    });
    client.send("get long\r\n").read_exactly("VALUE long 0 1\r\n1\r\nEND\r\n");
}

fn a_flush_later(target: &'static Target) {
    let mut client = target.client();
    client.send("set later 0 0 1\r\n1\r\nflush_all 2\r\nget later\r\n");
    client.read_exactly("STORED\r\nOK\r\nVALUE later 0 1\r\n1\r\nEND\r\n");
    wait_until("it is flushed", || {
        client.send("mg later\r\n");
        (line(&mut client) == "EN").then_some(())
    });
    // Memcached counts whole seconds: what is stored in the rest of this one is flushed as well.
    wait_until("what is stored stays", || {
        client.send("set later 0 0 1\r\n1\r\nmg later\r\n").read_exactly("STORED\r\n");
        (line(&mut client) == "HD").then_some(())
    });
}

fn stats_count(target: &'static Target) {
    let mut client = target.client();
    let before = stats(&mut client);
    client.send("set st 0 0 1\r\n1\r\nget st nothing\r\ndelete st\r\ndelete st\r\n");
    client.read_exactly("STORED\r\nVALUE st 0 1\r\n1\r\nEND\r\nDELETED\r\nNOT_FOUND\r\n");
    let after = stats(&mut client);
    let grown = |name: &str| after(name) - before(name);
    let names =
        ["cmd_set", "cmd_get", "get_hits", "get_misses", "delete_hits", "delete_misses", "total_items"];
    assert_eq!(names.map(grown), [1, 2, 1, 1, 1, 1, 1]);
    assert!(after("curr_connections") >= 1 && after("pid") > 1 && after("limit_maxbytes") == 64 << 20);
}

fn stats(client: &mut Client) -> impl Fn(&str) -> u64 + use<> {
    client.send("stats\r\n");
    let mut lines = Vec::new();
    loop {
        match line(client) {
            end if end == "END" => break,
            stat => lines.push(stat),
        }
    }
    move |name| {
        let prefix = format!("STAT {name} ");
        let value = lines.iter().find_map(|line| line.strip_prefix(&prefix)?.parse().ok());
        value.unwrap_or_else(|| panic!("there is no number {name}: {lines:?}"))
    }
}

fn connections_share(target: &'static Target) {
    let mut clients: Vec<Client> = (0..20).map(|_| target.client()).collect();
    clients[0].send("set shared 0 0 1\r\n0\r\n").read_exactly("STORED\r\n");
    for (number, client) in clients.iter_mut().enumerate() {
        client.send("incr shared 1\r\n");
        assert_eq!(line(client), (number + 1).to_string());
    }
}
