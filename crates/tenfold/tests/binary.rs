//! The binary as a person uses it: its words, its mistakes, and the site that it serves.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use tenfold::client::http::Client;

const BINARY: &str = env!("CARGO_BIN_EXE_tenfold");

fn run(arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).output().unwrap()
}

/// A running server that is killed with its test.
struct Server {
    child: Child,
    banner: String,
    url: String,
    /// The place of its temporary data, which nobody else uses.
    directory: PathBuf,
}

impl Server {
    fn start(name: &str, arguments: &[&str]) -> Server {
        let directory = std::env::temp_dir().join(format!("tenfold-binary-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let mut child = Command::new(BINARY)
            .args(["serve", "--listen", "127.0.0.1:0", "--workers", "1", "--log", "warn", "--control", "off"])
            .args(arguments)
            .env("TMPDIR", &directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut banner = String::new();
        // The banner comes once everything serves: this is the wait.
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut banner).unwrap();
        let url = banner.trim().rsplit(" · ").next().unwrap().to_owned();
        Server { child, banner, url, directory }
    }

    fn get(&self, path: &str) -> (u16, String) {
        let response = Client::new().get(&format!("{}{path}", self.url)).unwrap().send().unwrap();
        (response.status().as_u16(), response.text().unwrap())
    }

    /// Stops it with the signal, and says its exit code.
    fn stop(&mut self, signal: &str) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn a_mistake_is_one_line_on_stderr_and_exit_code_2() {
    let mistakes: [(&[&str], &str); 9] = [
        (&["serve", "--model", "nope"], "nope"),
        (&["serve", "--model", "thread", "--backend", "epoll"], "cannot honour backend"),
        (&["serve", "--model", "fiber", "--handlers", "2"], "cannot honour handlers"),
        (&["serve", "--backend", "kqueue"], "kqueue"),
        (&["serve", "--threads", "many"], "--threads"),
        (&["serve", "--workers", "0"], "workers = 0"),
        (&["serve", "--listen", "nowhere"], "nowhere"),
        (&["serve", "--config", "/nonexistent.toml"], "/nonexistent.toml"),
        (&["fly"], "fly"),
    ];
    for (arguments, word) in mistakes {
        let output = run(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{arguments:?}: {said}");
        assert!(said.contains(word) && output.stdout.is_empty(), "{arguments:?}: {said}");
    }
}

#[test]
fn an_address_that_is_taken_is_exit_code_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let output = run(&["serve", "--listen", &taken.local_addr().unwrap().to_string()]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("the address is in use"), "{said}");
}

#[test]
fn the_table_of_models_and_a_check_go_to_stdout() {
    let table = String::from_utf8(run(&["models"]).stdout).unwrap();
    let rows = |table: &str| table.lines().filter(|line| line.contains("  ")).count();
    let (models, deadlines) = table.split_once("\nDeadlines").expect("two parts");
    assert_eq!((rows(models), rows(deadlines)), (9, 8), "{table}");
    assert!(deadlines.contains("its process is killed") && deadlines.contains("its worker is replaced"));
    let file = std::env::temp_dir().join(format!("tenfold-check-{}.toml", std::process::id()));
    std::fs::write(&file, "model = 'event-pool'\npool_threads = 8\n").unwrap();
    let checked = run(&["check", file.to_str().unwrap()]);
    // Nobody connects: the servers that these name need not be there.
    for engine in ["redis://127.0.0.1:1", "nats://127.0.0.1:1?prefix=shop&stream_mib=64"] {
        std::fs::write(&file, format!("rooms = '{engine}'\njobs = '{engine}'\n")).unwrap();
        let checked = run(&["check", file.to_str().unwrap()]);
        assert!(checked.status.success(), "{engine}: {checked:?}");
    }
    for (setting, word) in [
        ("listen = ['127.0.0.1:8080', 'nowhere']", "nowhere"),
        ("rooms = 'nats://127.0.0.1:1?prefix=a.b'", "prefix"),
        ("rooms = 'nats://127.0.0.1:1?colour=red'", "colour"),
        ("rooms = 'kafka://127.0.0.1:1'", "expected redis://host:port or nats://host:port"),
        ("jobs = 'nats://127.0.0.1:1?replicas=9'", "replicas"),
    ] {
        std::fs::write(&file, format!("{setting}\n")).unwrap();
        let refused = run(&["check", file.to_str().unwrap()]);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(refused.status.code() == Some(2) && said.contains(word), "{setting}: {said}");
    }
    std::fs::remove_file(&file).unwrap();
    assert!(checked.status.success() && checked.stdout.ends_with(b"ok (model event-pool)\n"), "{checked:?}");
}

#[test]
fn the_site_serves_stops_and_leaves_nothing_behind() {
    for (model, signal) in [("fiber", "-TERM"), ("serial", "-INT")] {
        let mut server = Server::start(model, &["--model", model]);
        assert!(server.banner.contains(&format!("model {model}")), "{}", server.banner);
        assert_eq!(server.get("/hello"), (200, "Hello, world!".into()));
        assert!(server.get("/").1.contains("<h1>"));
        assert_eq!(server.get("/nothing").0, 404);
        let made = std::fs::read_dir(&server.directory).unwrap().count();
        assert_eq!((made, server.stop(signal)), (1, Some(0)));
        assert_eq!(std::fs::read_dir(&server.directory).unwrap().count(), 0, "data is left behind");
    }
}

#[test]
fn all_suppliers_are_asked_at_once_and_slow_ones_are_not_waited_for() {
    let server = Server::start("ads", &[]);
    let ads = |query: &str| -> serde_json::Value {
        Client::new().get(&format!("{}/api/ads{query}", server.url)).unwrap().send().unwrap().json().unwrap()
    };
    let page = ads("");
    // One after another would take six seconds. A busy machine may miss the deadline with a few, and never with most.
    assert!(page["took_ms"].as_f64().unwrap() < 1_000.0, "{page}");
    assert!(page["answered"].as_u64().unwrap() > 30, "{page}");
    let page = ads("?slow=20");
    assert_eq!((page["answered"].as_u64(), page["partial"].as_bool()), (Some(0), Some(true)), "{page}");
    assert!(page["slots"].as_array().unwrap().iter().all(|slot| slot["winner"].is_null()));
}

#[test]
fn a_comment_is_written_and_comes_back_escaped() {
    let server = Server::start("comment", &["--model", "event-worker", "--handlers", "2"]);
    let post = |body: &'static str| {
        let request = Client::new().post(&format!("{}/articles/1", server.url)).unwrap();
        request.header("Content-Type", "application/x-www-form-urlencoded").body(body).send().unwrap()
    };
    let written = post("name=Ada&text=1+%3C+2");
    assert_eq!((written.status().as_u16(), written.header("location")), (303, Some("/articles/1#comments")));
    assert!(server.get("/articles/1").1.contains("1 &lt; 2"));
    assert_eq!(post("name=&text=x").status(), 422);
}

#[test]
fn load_measures_a_server_and_its_exit_code_says_whether_anything_came_back() {
    let server = Server::start("load", &["--model", "fiber"]);
    let url = format!("{}/hello", server.url);
    let short = ["--seconds", "200ms", "--warm-up", "0"];
    let json = server.directory.join("outcome.json");
    let file = json.to_str().unwrap();
    let output = run(&[&["load", url.as_str(), "--connections", "4", "--json", file], &short[..]].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    for word in ["requests/s", "p99.9", "The generator used"] {
        assert!(text.contains(word), "{word} in {text}");
    }
    let outcome: serde_json::Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    let target = &outcome["targets"][0];
    assert_eq!(target["latency"]["count"], target["successes"]);
    assert_eq!(target["connections_opened"], 4);

    let missing = format!("{}/nothing-here", server.url);
    let output = run(&[&["load", missing.as_str(), "--rate", "100"], &short[..]].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("status 404"), "{text}");
    let output = run(&[&["load", missing.as_str(), "--expect-status", "404"], &short[..]].concat());
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn load_does_what_a_specification_says_and_answers_in_json() {
    let server = Server::start("spec", &["--model", "fiber"]);
    let spec = format!(
        r#"{{ "targets": [{{ "url": "{}/hello", "shape": {{ "at_once": {{ "requests": 5 }} }} }}] }}"#,
        server.url
    );
    let mut child = Command::new(BINARY)
        .args(["load", "--spec", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), spec.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let outcome: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(outcome["targets"][0]["timeline"].as_array().unwrap().len(), 5);
}

#[test]
fn an_interrupted_load_tells_what_it_has_measured() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let child = Command::new(BINARY)
        .args(["load", &url, "--connections", "1", "--seconds", "60", "--warm-up", "0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.is_empty()));
    std::io::Write::write_all(&mut stream, answer).unwrap();
    // The second request says that the answer to the first one was counted.
    assert!(lines.any(|line| line.is_empty()));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("Interrupted"), "{text}");
}

#[test]
fn a_wrong_option_of_load_or_plan_is_one_line() {
    for wrong in [
        &["load"][..],
        &["load", "https://127.0.0.1/"],
        &["load", "http://127.0.0.1/", "--seconds", "soon"],
        &["load", "http://127.0.0.1/", "--connections", "0"],
        &["load", "http://127.0.0.1/", "--rate", "-1"],
        &["load", "http://127.0.0.1/", "--header", "nothing"],
        &["load", "http://127.0.0.1/", "--cpu", "1000"],
        &["load", "http://127.0.0.1/", "--close", "--pipeline", "2"],
        &["load", "--spec", "/nonexistent"],
        &["plan"],
        &["plan", "--latency", "soon"],
        &["plan", "--latency", "1ms", "--cpu-per-request", "2ms"],
        &["plan", "--from", "/nonexistent"],
    ] {
        let output = run(wrong);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), error.lines().count()), (Some(2), 1), "{wrong:?}: {error}");
        assert!(output.stdout.is_empty(), "{wrong:?}");
    }
}

#[test]
fn plan_knows_littles_law() {
    let output = run(&["plan", "--latency", "200ms", "--workers", "40"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("= 200 requests/s") && text.contains("17,280,000 requests"), "{text}");
}
