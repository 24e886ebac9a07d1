//! `Site`: a server of the fixture in a directory of its own, and what its jobs have written there.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use tenfold_testkit::{Client, PATIENCE, ServerProcess, Signal, TestResponse, wait_until};

use crate::fixture::{self, DIRECTORY, FIXTURE, Note, SCHEDULES, SETTINGS};
use crate::on::On;

pub(crate) struct Site {
    pub(crate) directory: PathBuf,
    /// Where its jobs are.
    pub(crate) jobs: String,
    settings: String,
    /// What else its processes have in their environment.
    environment: Vec<(&'static str, OsString)>,
    server: Option<ServerProcess>,
}

/// One line of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) at_us: u64,
    pub(crate) pid: u32,
    pub(crate) id: String,
    pub(crate) what: String,
}

impl Site {
    pub(crate) fn new(on: On, settings: &str, schedules: bool) -> Site {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // Short: a socket's path has 108 bytes.
        let directory = std::env::temp_dir().join(format!("tfj-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let directory = directory.canonicalize().unwrap();
        fixture::prepare(&directory);
        let jobs = on.jobs(&directory);
        let environment = if schedules { vec![(SCHEDULES, "1".into())] } else { Vec::new() };
        Site { directory, jobs, settings: settings.into(), environment, server: None }
    }

    /// With one more word in the environment of its processes, from the next start on.
    pub(crate) fn with(&mut self, name: &'static str, value: impl Into<OsString>) {
        self.environment.push((name, value.into()));
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(FIXTURE, self.settings()).env(DIRECTORY, &self.directory);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn settings(&self) -> String {
        format!("listen = ['127.0.0.1:0']\njobs = '{}'\n{}", self.jobs, self.settings)
    }

    /// Reloads with other settings.
    pub(crate) fn reload_with(&mut self, settings: &str) {
        self.settings = settings.into();
        fs::write(self.directory.join(SETTINGS), self.settings()).unwrap();
        self.server().signal(Signal::HUP);
    }

    pub(crate) fn serve(&mut self) {
        self.kill();
        self.server = Some(ServerProcess::start(&mut self.command()));
    }

    /// Kills all of its processes at once.
    pub(crate) fn kill(&mut self) {
        self.server = None;
    }

    pub(crate) fn server(&mut self) -> &mut ServerProcess {
        self.server.as_mut().unwrap()
    }

    #[track_caller]
    pub(crate) fn wait_for_log(&self, text: &str) {
        self.server.as_ref().unwrap().wait_for_log(text);
    }

    pub(crate) fn address(&self) -> String {
        self.server.as_ref().unwrap().address().to_owned()
    }

    pub(crate) fn client(&self) -> Client {
        self.server.as_ref().unwrap().client()
    }

    /// Enqueues; the answer as it is.
    pub(crate) fn ask_to_enqueue(&self, target: &str, note: &Note) -> TestResponse {
        post_json(&mut self.client(), &format!("/enqueue/{target}"), &json!(note))
    }

    /// Enqueues, and returns the id.
    pub(crate) fn enqueue(&self, target: &str, note: &Note) -> String {
        self.ask_to_enqueue(target, note).expect(200).text()
    }

    pub(crate) fn note(&self, target: &str, text: &str) -> String {
        self.enqueue(target, &Note { text: text.into(), ..Note::default() })
    }

    pub(crate) fn ask(&self, ask: Value) -> Value {
        let text = post_json(&mut self.client(), "/ask", &ask).expect(200).text();
        serde_json::from_str(&text).unwrap()
    }

    pub(crate) fn job(&self, id: &str) -> Value {
        serde_json::from_str(&self.client().get(&format!("/job/{id}")).expect(200).text()).unwrap()
    }

    /// The numbers of a queue.
    pub(crate) fn queue(&self, name: &str) -> Value {
        let all = self.ask(json!("Queues"));
        let found = all["queues"].as_array().unwrap().iter().find(|queue| queue["name"] == name);
        found.unwrap_or_else(|| panic!("no queue {name} in {all}")).clone()
    }

    /// The numbers of a queue, if the store answers now.
    pub(crate) fn try_queue(&self, name: &str) -> Option<Value> {
        let response = post_json(&mut self.client(), "/ask", &json!("Queues"));
        if response.status != 200 {
            return None;
        }
        let all: Value = serde_json::from_str(&response.text()).ok()?;
        all["queues"].as_array()?.iter().find(|queue| queue["name"] == name).cloned()
    }

    /// Waits until nothing is live in any queue. There may be a lot, so only the time without progress is bounded.
    #[track_caller]
    pub(crate) fn wait_until_empty(&self) {
        let live = || {
            let all = self.ask(json!("Queues"));
            let queues = all["queues"].as_array().unwrap();
            queues.iter().map(|queue| queue["live"].as_u64().unwrap()).sum::<u64>()
        };
        let mut left = live();
        while left > 0 {
            left = wait_until("more jobs have ended", || Some(live()).filter(|now| *now < left));
        }
    }

    pub(crate) fn lines(&self) -> Vec<Line> {
        let text = fs::read_to_string(self.directory.join("runs")).unwrap_or_default();
        text.lines()
            .map(|line| {
                let mut words = line.splitn(4, ' ');
                let mut next = || words.next().unwrap_or_default().to_owned();
                Line {
                    at_us: next().parse().unwrap_or(0),
                    pid: next().parse().unwrap_or(0),
                    id: next(),
                    what: next(),
                }
            })
            .collect()
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        self.lines().into_iter().map(|line| line.what).collect()
    }

    pub(crate) fn wait_for(&self, what: &str) {
        wait_until(what, || self.texts().iter().any(|line| line == what).then_some(()));
    }

    /// The keeper's process.
    pub(crate) fn keeper(&self) -> u32 {
        wait_until("there is a keeper", || self.child("keeper"))
    }

    /// A process whose title begins with this.
    pub(crate) fn child(&self, title: &str) -> Option<u32> {
        self.children(title).into_iter().next()
    }

    pub(crate) fn children(&self, title: &str) -> Vec<u32> {
        let is_it = |pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.starts_with(title.as_bytes())
        };
        self.server.as_ref().unwrap().children().into_iter().filter(is_it).collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.server = None;
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// Asks a server whose workers may die of something else meanwhile.
pub(crate) fn try_get(address: &str, target: &str) -> Option<String> {
    try_ask(address, &format!("GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"))
}

/// Enqueues at a server whose worker may die of the job before it can answer.
pub(crate) fn try_enqueue(address: &str, target: &str, note: &Note) -> Option<String> {
    let body = json!(note).to_string();
    let head = format!(
        "POST /enqueue/{target} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    try_ask(address, &format!("{head}{body}"))
}

fn try_ask(address: &str, request: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
}

pub(crate) fn post_json(client: &mut Client, target: &str, body: &Value) -> TestResponse {
    let body = body.to_string();
    client
        .send(format!(
            "POST {target} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .read_response()
}
