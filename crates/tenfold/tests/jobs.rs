//! Jobs as a person meets them: the demo's sale and orders, and `tenfold jobs`.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use tenfold_testkit::{Client, ServerProcess, TestResponse, wait_until};

const BINARY: &str = env!("CARGO_BIN_EXE_tenfold");

struct Demo {
    directory: PathBuf,
    server: Option<ServerProcess>,
}

impl Demo {
    fn start(name: &str, arguments: &[&str]) -> Demo {
        let directory = std::env::temp_dir().join(format!("tfd-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let server = ServerProcess::start(
            Command::new(BINARY)
                .args(["serve", "--listen", "127.0.0.1:0", "--log", "warn", "--control"])
                .arg(directory.join("c"))
                .args(arguments)
                .env("TMPDIR", &directory),
        );
        Demo { directory, server: Some(server) }
    }

    fn client(&self) -> Client {
        self.server.as_ref().unwrap().client()
    }

    fn jobs(&self, words: &[&str]) -> (bool, String) {
        let control = self.directory.join("c");
        let output =
            Command::new(BINARY).arg("jobs").args(words).arg("--control").arg(control).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    }

    fn queue(&self, name: &str) -> Value {
        let (ok, text) = self.jobs(&["list", "--json"]);
        assert!(ok, "{text}");
        let all: Value = serde_json::from_str(&text).unwrap();
        all["queues"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.server = None;
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The number in an element of a page.
fn number(page: &TestResponse, id: &str) -> u64 {
    let text = page.text();
    let rest = text.split_once(&format!("id=\"{id}\">")).unwrap_or_else(|| panic!("no {id} in {text}")).1;
    rest.split('<').next().unwrap().parse().unwrap()
}

#[test]
fn a_flash_sale_sells_each_item_once_and_turns_away_who_has_no_place() {
    for model in ["fiber", "pool"] {
        let demo = Demo::start(&format!("sale-{model}"), &["--model", model, "--workers", "2"]);
        let (ok, said) = demo.jobs(&["pause", "sale"]);
        assert!(ok, "{said}");
        let (taken, refused) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    let mut client = demo.client();
                    for _ in 0..700 {
                        let answer = client.post("/sale", "");
                        match answer.status {
                            303 => taken.fetch_add(1, Ordering::Relaxed),
                            503 => {
                                assert_eq!(answer.header("retry-after"), Some("2"));
                                assert!(answer.text().contains("The line is full"));
                                refused.fetch_add(1, Ordering::Relaxed)
                            }
                            other => panic!("{other}: {}", answer.text()),
                        };
                    }
                });
            }
        });
        assert_eq!((taken.into_inner(), refused.into_inner()), (10_000, 1_200));
        assert_eq!(demo.queue("sale")["live"], 10_000);
        demo.jobs(&["resume", "sale"]);
        wait_until("everybody had his turn", || (demo.queue("sale")["live"] == 0).then_some(()));
        let page = demo.client().get("/sale").expect(200);
        assert_eq!((number(&page, "left"), number(&page, "sold")), (0, 1_000));
    }
}

#[test]
fn orders_survive_that_the_stock_service_is_down_and_keep_their_order() {
    let demo = Demo::start("orders", &["--workers", "2"]);
    let form = |target: &str, body: &str| {
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: t\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        demo.client().send(head).read_response().expect(303)
    };
    form("/registrations", "name=Ada");
    form("/stock/down", "");
    for item in ["first", "second", "third"] {
        form("/orders", &format!("item={item}"));
    }
    wait_until("the first one was tried", || {
        (demo.queue("orders")["retried"].as_u64() > Some(0)).then_some(())
    });
    let page = demo.client().get("/orders").expect(200);
    assert_eq!(number(&page, "waiting"), 3);
    form("/stock/up", "");
    wait_until("all are delivered", || (demo.queue("orders")["live"] == 0).then_some(()));
    let text = demo.client().get("/orders").expect(200).text();
    // The latest is the first on the page.
    let place = |word: &str| text.find(word).unwrap_or_else(|| panic!("no {word} in {text}"));
    assert!(place("third") < place("second") && place("second") < place("first"));
    assert!(text.contains("Welcome, Ada!") && text.contains("Ada: hello"));
}

#[test]
fn the_command_line_shows_jobs_and_steps_in() {
    let demo = Demo::start("words", &["--workers", "1"]);
    let (ok, text) = demo.jobs(&["list"]);
    assert!(ok && text.contains("queue") && text.contains("sale"), "{text}");
    let (_, text) = demo.jobs(&["pause", "sale"]);
    assert_eq!(text, "the queue sale is paused: jobs come in, and none starts\n");
    let ticket = demo.client().post("/sale", "").expect(303);
    let id = ticket.header("location").unwrap().strip_prefix("/sale/").unwrap().to_owned();
    let (_, text) = demo.jobs(&["list", "sale"]);
    assert!(text.contains(&id) && text.contains("waiting"), "{text}");
    let (_, text) = demo.jobs(&["show", &id]);
    assert!(text.starts_with(&format!("sell {id} in sale: waiting")) && text.contains("taken in"), "{text}");
    let (_, text) = demo.jobs(&["show", &id, "--json"]);
    assert!(text.contains("\"name\": \"sell\""), "{text}");
    assert!(demo.jobs(&["list"]).1.contains("paused"));
    let (ok, text) = demo.jobs(&["cancel", &id]);
    assert!(ok && text.contains("cancelled: 1"), "{text}");
    let (ok, text) = demo.jobs(&["cancel", "nobody"]);
    assert!(!ok && text.contains("there is no job nobody"), "{text}");
    let (ok, text) = demo.jobs(&["drain", "nowhere"]);
    assert!(!ok && text.contains("no queue"), "{text}");
    assert!(demo.jobs(&["dead"]).1.contains("no jobs"));
    assert!(demo.jobs(&["retry", "--queue", "all"]).1.contains("retried: 0"));
    let status = || {
        let output =
            Command::new(BINARY).args(["status", "--control"]).arg(demo.directory.join("c")).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    wait_until("the status shows the queues", || status().contains("orders").then_some(()));
}
