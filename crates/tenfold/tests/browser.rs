//! Real clients of others: Chromium with the demo's pages, Python's `websockets` and node's `ws`.
//!
//! Chromium is driven over its debugging protocol, which is a WebSocket as well. A client that is not installed is left out, and
//! the test command says so.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tenfold_testkit::{Client, ServerProcess, Signal, WsClient, wait_until};

const BINARY: &str = env!("CARGO_BIN_EXE_tenfold");

fn serve(directory: &Path, model: &str) -> ServerProcess {
    std::fs::create_dir_all(directory).unwrap();
    ServerProcess::start(
        Command::new(BINARY)
            .args(["serve", "--listen", "127.0.0.1:0", "--log", "warn", "--workers", "2", "--model", model])
            .env("TMPDIR", directory),
    )
}

/// A directory that goes away with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("tfb-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn is_there(command: &str) -> bool {
    let found =
        Command::new("sh").args(["-c", &format!("command -v {command}")]).stdout(Stdio::null()).status();
    found.is_ok_and(|status| status.success())
}

/// A browser without a window.
struct Browser {
    process: Child,
    address: String,
}

impl Browser {
    fn start(directory: &Path) -> Browser {
        let process = Command::new("chromium")
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
            ])
            .args(["--remote-debugging-port=0", "--remote-allow-origins=*"])
            .arg(format!("--user-data-dir={}", directory.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let file = directory.join("DevToolsActivePort");
        let port = wait_until("the browser listens", || {
            let text = std::fs::read_to_string(&file).ok()?;
            text.lines().next().map(str::to_owned)
        });
        Browser { process, address: format!("127.0.0.1:{port}") }
    }

    fn open(&self, url: &str) -> Page {
        let mut client = Client::connect(&self.address);
        client.send(format!("PUT /json/new?{url} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address));
        let target: Value = serde_json::from_str(&client.read_response().expect(200).text()).unwrap();
        let socket = target["webSocketDebuggerUrl"].as_str().unwrap();
        let path = socket.split_once(&self.address).unwrap().1;
        Page { socket: WsClient::open(&self.address, path), next: 1 }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Page {
    socket: WsClient,
    next: u64,
}

impl Page {
    /// Evaluates an expression in the page.
    fn evaluate(&mut self, expression: &str) -> Value {
        let id = self.next;
        self.next += 1;
        let parameters = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        self.socket.send_json(&json!({ "id": id, "method": "Runtime.evaluate", "params": parameters }));
        loop {
            let answer = self.socket.json();
            if answer["id"] == id {
                return answer["result"]["result"]["value"].clone();
            }
        }
    }

    fn text(&mut self, id: &str) -> String {
        let element = self.evaluate(&format!("document.getElementById('{id}')?.textContent"));
        element.as_str().unwrap_or_default().to_owned()
    }

    fn wait_for(&mut self, id: &str, text: &str) {
        wait_until(&format!("{id} has {text:?}"), || self.text(id).contains(text).then_some(()));
    }

    fn say(&mut self, text: &str) {
        self.evaluate(&format!(
            "document.getElementById('text').value = '{text}'; document.querySelector('#say button').click()"
        ));
    }
}

#[test]
fn a_browser_chats_and_comes_back_after_a_reload() {
    if !is_there("chromium") {
        println!("left out: chromium is not installed");
        return;
    }
    let directory = Directory::new("chat");
    let server = serve(&directory.0, "fiber");
    let browser = Browser::start(&directory.0.join("profile"));
    let url = format!("http://{}/chat/lobby", server.address());
    let (mut ada, mut bob) = (browser.open(&url), browser.open(&url));
    ada.wait_for("state", "open");
    bob.wait_for("state", "open");
    bob.wait_for("people", ", ");
    ada.say("hello from Ada");
    bob.wait_for("messages", "hello from Ada");
    ada.wait_for("messages", "hello from Ada");

    let old: Vec<u32> =
        server.children().into_iter().filter(|pid| title(*pid).starts_with("worker ")).collect();
    assert_eq!(old.len(), 2);
    server.signal(Signal::HUP);
    // The app is made anew for the new workers; the keeper of the rooms is the one that it was.
    wait_until("the old workers are gone", || {
        old.iter().all(|pid| !title(*pid).starts_with("worker ")).then_some(())
    });
    ada.wait_for("state", "open");
    bob.wait_for("state", "open");
    bob.say("hello from Bob");
    wait_until("Bob's words are with Ada, and Ada is connected", || {
        if !ada.text("messages").contains("hello from Bob") && bob.text("messages").contains("not sent") {
            bob.say("hello from Bob");
        }
        (ada.text("messages").contains("hello from Bob") && ada.text("state") == "open").then_some(())
    });
    let count = ada.evaluate("[...document.querySelectorAll('#messages li')].filter(one => one.textContent.includes('hello from Ada')).length");
    assert_eq!(count, 1, "nothing comes twice");
}

/// What a process calls itself; empty when it is gone.
fn title(pid: u32) -> String {
    std::fs::read(format!("/proc/{pid}/cmdline"))
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        .unwrap_or_default()
}

#[test]
fn a_browser_counts_orders_by_events_and_by_long_poll() {
    if !is_there("chromium") {
        println!("left out: chromium is not installed");
        return;
    }
    let directory = Directory::new("live");
    let server = serve(&directory.0, "fiber");
    let browser = Browser::start(&directory.0.join("profile"));
    for path in ["/live", "/live/poll"] {
        let mut page = browser.open(&format!("http://{}{path}", server.address()));
        page.wait_for("state", "open");
        let mut client = server.client();
        for item in ["tea", "cake"] {
            let body = format!("item={item}");
            client.send(format!(
                "POST /orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ));
            client.read_response().expect(303);
        }
        page.wait_for("last", "cake");
        assert_eq!(page.text("count"), "2", "{path}");
    }
}

/// Opens two connections, joins a room with both, publishes by one and prints what the other one hears.
const PYTHON: &str = r#"
import asyncio, json, sys, websockets
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

async def heard(ws):
    while True:
        message = json.loads(await ws.recv())
        if "data" in message:
            return message["data"]

async def main(url):
    # The second one asks for a window of 512 bytes.
    small = [ClientPerMessageDeflateFactory(server_max_window_bits=9)]
    async with websockets.connect(url) as one, websockets.connect(url, extensions=small) as two:
        for ws, bits in ((one, 15), (two, 9)):
            extensions = getattr(ws, "protocol", ws).extensions
            assert [extension.remote_max_window_bits for extension in extensions] == [bits], extensions
            await ws.send(json.dumps({"join": "chat:python"}))
            while "joined" not in json.loads(await ws.recv()):
                pass
        await one.send(json.dumps({"publish": "chat:python", "data": {"text": "κόσμε" * 150}}))
        both = await heard(one), await heard(two)
        assert both[0] == both[1] == {"text": "κόσμε" * 150}, both
        pong = await two.ping()
        await asyncio.wait_for(pong, 10)
    print("heard", one.close_code, two.close_code)

asyncio.run(asyncio.wait_for(main(sys.argv[1]), 20))
"#;

const NODE: &str = r#"
const { WebSocket } = require("ws");
const open = (url) => new Promise((resolve, reject) => {
  const ws = new WebSocket(url);
  ws.on("error", reject);
  ws.on("open", () => ws.send(JSON.stringify({ join: "chat:node" })));
  const heard = new Promise((hear) => ws.on("message", (text) => {
    const message = JSON.parse(text);
    if (message.joined) resolve({ ws, heard });
    if ("data" in message) hear(message.data);
  }));
});
(async () => {
  const url = process.argv[2];
  const [one, two] = [await open(url), await open(url)];
  const data = { text: "hello ".repeat(300) };
  one.ws.send(JSON.stringify({ publish: "chat:node", data }));
  for (const side of [one, two]) {
    if (JSON.stringify(await side.heard) !== JSON.stringify(data)) throw new Error("something else was heard");
  }
  await new Promise((pong) => { two.ws.on("pong", pong); two.ws.ping("there?"); });
  const codes = [];
  for (const { ws } of [one, two]) {
    await new Promise((closed) => { ws.on("close", (code) => { codes.push(code); closed(); }); ws.close(1000); });
  }
  console.log("heard", ...codes);
})().catch((error) => { console.error(error); process.exit(1); });
"#;

/// Runs a program from its standard input against a server; `url` is its argument.
fn run_client(command: impl Fn() -> Command, program: &str) {
    for model in ["thread", "fiber"] {
        let directory = Directory::new(&format!("client-{model}-{}", program.len()));
        let server = serve(&directory.0, model);
        let url = format!("ws://{}/rooms/ws", server.address());
        let mut child = command()
            .args(["-", &url])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(program.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said.trim(), "heard 1000 1000", "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn pythons_websockets_is_a_client() {
    // Debian's package is for Debian's Python.
    let python = ["/usr/bin/python3", "python3"].into_iter().find(|python| {
        let has = Command::new(python).args(["-c", "import websockets"]).stderr(Stdio::null()).status();
        has.is_ok_and(|status| status.success())
    });
    match python {
        Some(python) => run_client(|| Command::new(python), PYTHON),
        None => println!("left out: Python's websockets is not installed"),
    }
}

#[test]
fn nodes_ws_is_a_client() {
    let modules = "/usr/share/nodejs";
    let node = || {
        let mut node = Command::new("node");
        node.env("NODE_PATH", modules);
        node
    };
    if is_there("node") && Path::new(modules).join("ws").exists() {
        run_client(node, NODE);
    } else {
        println!("left out: node's ws is not installed");
    }
}
