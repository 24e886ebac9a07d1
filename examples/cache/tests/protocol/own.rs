//! Cases of this cache alone: what its command line says.

use tenfold_testkit::{Case, Client, Exit, PATIENCE, Signal};

use crate::cache;

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    let cases: [(&str, fn()); 4] = [
        ("own::memory is bounded and what is used stays", memory_is_bounded),
        ("own::the largest value is what the command line says", largest_value),
        ("own::more connections than there may be wait", connections_wait),
        ("own::term ends it", term_ends_it),
    ];
    cases.into_iter().map(|(name, case)| Case::new(name, case)).collect()
}

fn memory_is_bounded() {
    let server = cache(&["-m", "1", "-I", "16k", "-t", "1"]);
    let mut client = Client::connect(server.address());
    client.send("set kept 0 0 4\r\nkept\r\n").read_exactly("STORED\r\n");
    for number in 0..3000 {
        client.send(format!("set filler{number} 0 0 1000\r\n{}\r\nget kept\r\n", "x".repeat(1000)));
        client.read_exactly("STORED\r\nVALUE kept 0 4\r\nkept\r\nEND\r\n");
    }
    client.send("get filler0\r\n").read_exactly("END\r\n");
    client.send("get filler2999\r\n").read_exactly("VALUE filler2999 0 1000\r\n");
}

fn largest_value() {
    let server = cache(&["-I", "2k"]);
    let mut client = Client::connect(server.address());
    client.send(format!("set a 0 0 2048\r\n{}\r\n", "x".repeat(2048))).read_exactly("STORED\r\n");
    client.send(format!("set a 0 0 2049\r\n{}\r\nget a\r\n", "x".repeat(2049)));
    client.read_exactly("SERVER_ERROR object too large for cache\r\nEND\r\n");
}

fn connections_wait() {
    let server = cache(&["-c", "2"]);
    let mut first: Vec<Client> = (0..2).map(|_| Client::connect(server.address())).collect();
    for client in &mut first {
        client.send("mn\r\n").read_exactly("MN\r\n");
    }
    let mut third = Client::connect(server.address());
    third.send("mn\r\n");
    first[0].send("mn\r\n").read_exactly("MN\r\n");
    assert!(third.is_quiet());
    drop(first);
    third.read_exactly("MN\r\n");
}

fn term_ends_it() {
    let mut server = cache(&[]);
    let mut client = Client::connect(server.address());
    client.send("mn\r\n").read_exactly("MN\r\n");
    server.signal(Signal::TERM);
    client.expect_end();
    assert_eq!(server.wait(PATIENCE), Exit::Code(0), "{}", server.log());
}
