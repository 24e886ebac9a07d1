//! The crate `ureq`, against a small server whose threads wait as they are told.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::LazyLock;
use std::time::Duration;

use crate::{Driver, WAIT_MS, show};

static SERVER: LazyLock<SocketAddr> = LazyLock::new(|| {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(&stream));
        }
    });
    address
});

/// Answers `GET /TEXT` with the text, and `GET /wait` after a while.
fn serve(stream: &TcpStream) -> Option<()> {
    let mut lines = BufReader::new(stream).lines();
    loop {
        let first = lines.next()?.ok()?;
        let text = first.split(' ').nth(1)?.strip_prefix('/')?.to_owned();
        while !lines.next()?.ok()?.is_empty() {}
        if text == "wait" {
            std::thread::sleep(Duration::from_millis(WAIT_MS));
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", text.len());
        let mut stream = stream;
        stream.write_all((head + &text).as_bytes()).ok()?;
    }
}

fn get(agent: &ureq::Agent, path: &str) -> String {
    // By name, so that the resolver is a part of it.
    let url = format!("http://localhost:{}/{path}", SERVER.port());
    agent.get(&url).call().unwrap().body_mut().read_to_string().unwrap()
}

#[test]
fn ureq() {
    show(&DRIVER);
}

static DRIVER: Driver<ureq::Agent> = Driver {
    connect: || ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(60))).build().into(),
    ask: |agent, number| {
        let text = format!("number-{number}");
        assert_eq!(get(agent, &text), text);
    },
    wait: Some(|agent| assert_eq!(get(agent, "wait"), "wait")),
};
