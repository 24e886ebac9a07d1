//! `Site`: a server of the fixture.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tenfold_testkit::{Case, Client, ServerProcess, WsClient, wait_until};

use crate::fixture::FIXTURE;

/// All models; the serial one, which comes first, has a worker for each of its clients.
pub(crate) const MODELS: [&str; 8] =
    ["serial", "thread", "pool", "event", "event-pool", "event-worker", "fiber", "steal"];

pub(crate) struct Site {
    pub(crate) server: ServerProcess,
}

impl Site {
    /// Serves with two workers, in the serial model four, and these further settings.
    pub(crate) fn start(model: &str, settings: &str) -> Site {
        let workers = if model == "serial" { 6 } else { 2 };
        Site::with(&format!("model = '{model}'\nworkers = {workers}\n{settings}"))
    }

    pub(crate) fn with(settings: &str) -> Site {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(FIXTURE, format!("listen = ['127.0.0.1:0']\n{settings}"));
        Site { server: ServerProcess::start(&mut command) }
    }

    pub(crate) fn client(&self) -> Client {
        self.server.client()
    }

    pub(crate) fn open(&self, path: &str) -> WsClient {
        WsClient::open(self.server.address(), path)
    }

    /// A client of the rooms endpoint.
    pub(crate) fn rooms(&self) -> WsClient {
        self.open("/rooms/ws")
    }

    /// Publishes; `target` is the room with further arguments. Gives the last position.
    pub(crate) fn publish(&self, target: &str) -> String {
        self.client().post(&format!("/publish/{target}"), "").expect(200).text()
    }

    /// The process that keeps the rooms.
    pub(crate) fn keeper(&self) -> u32 {
        let is_keeper = |pid: &u32| {
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains("keeper of rooms"))
        };
        wait_until("there is a keeper", || self.server.children().into_iter().find(is_keeper))
    }

    /// A JSON answer; none from a worker that dies over it.
    pub(crate) fn try_get_json(&self, target: &str) -> Option<Value> {
        let mut client = Client::try_connect(self.server.address()).ok()?;
        client.try_send(format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).ok()?;
        let answer = client.try_read_to_end().ok()?;
        let body = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        serde_json::from_slice(&answer[body..]).ok()
    }

    pub(crate) fn get_json(&self, target: &str) -> Value {
        serde_json::from_str(&self.client().get(target).expect(200).text()).unwrap()
    }
}

/// A server whose master can be asked.
pub(crate) struct Controlled {
    pub(crate) site: Site,
    control: PathBuf,
}

impl Controlled {
    pub(crate) fn start(name: &str, model: &str, settings: &str) -> Controlled {
        let file = format!("tenfold-rooms-{}-{name}.sock", std::process::id());
        let control = std::env::temp_dir().join(file);
        let site = Site::start(model, &format!("control = '{}'\n{settings}", control.display()));
        Controlled { site, control }
    }

    /// What the master answers.
    pub(crate) fn ask(&self, words: &str) -> Value {
        let mut stream = UnixStream::connect(&self.control).unwrap();
        stream.write_all(format!("{words}\n").as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// What its status says of the rooms.
    pub(crate) fn rooms(&self) -> Value {
        self.ask("status")["rooms"].clone()
    }

    pub(crate) fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        wait_until(what, || Some(self.rooms()).filter(&holds))
    }
}

/// A header line that offers permessage-deflate, for a client that keeps so much of each message.
pub(crate) fn asking_for_window(bits: u8) -> String {
    format!("Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits={bits}\r\n")
}

/// A text whose only repeat is 5,000 bytes back, further than a window of 12 bits.
pub(crate) fn echo_of_itself() -> String {
    let mut state = 1_u64;
    let letter = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'0' + (state >> 58) as u8)
    };
    (0..5_000).map(letter).collect::<String>().repeat(2)
}

/// One case for each model.
pub(crate) fn in_all_models(name: &str, run: fn(&str)) -> Vec<Case> {
    MODELS.map(|model| Case::new(format!("{model}::{name}"), move || run(model))).into()
}

/// One case for each model whose workers have more than one connection.
pub(crate) fn in_models_of_many(name: &str, run: fn(&str)) -> Vec<Case> {
    in_all_models(name, run).split_off(1)
}
