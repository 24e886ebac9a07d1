//! Applications whose making fails: a panic, an exit, a hang, a thread, an error, in the master's trial or in a new worker.
//! Whatever it is, the old workers serve on, and the reason is in the answer of the reload, in the log and in the status.
//!
//! This program is the server as well: `constructors serve …`. How its application behaves is in the file `$MOOD`, read each
//! time that one is made.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use serde_json::Value;
use tenfold::cli::{self, Program};
use tenfold::prelude::*;

use tenfold_testkit::{Case, Exit, Options, ServerProcess, Signal, wait_until};

/// The mood, and what the refusal says.
const MOODS: [(&str, &str); 10] = [
    ("error", "bad mood"),
    ("panic", "panics"),
    ("exit", "exit code 7"),
    ("hang", "too long"),
    ("thread", "starts threads"),
    ("kill", "SIGKILL"),
    ("worker error", "bad mood"),
    ("worker panic", "panic"),
    ("worker exit", "exit code 7"),
    ("worker hang", "ready in time"),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|word| word == "serve") {
        return cli::run(|_| application());
    }
    let options = match Options::parse(arguments, 4) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let cases = MOODS.iter().map(|&(mood, word)| {
        Case::new(format!("{}_changes_nothing", mood.replace(' ', "_")), move || changes_nothing(mood, word))
    });
    tenfold_testkit::run(&options, cases.collect(), tenfold_testkit::kill_remaining)
}

fn mood() -> String {
    std::env::var("MOOD").map(|file| std::fs::read_to_string(file).unwrap_or_default()).unwrap_or_default()
}

fn application() -> Result<Program, cli::Error> {
    act("", &mood()).map_err(cli::Error::System)?;
    let worker = || act("worker ", &mood()).map_err(tenfold::Error::internal);
    Ok(Program::new(App::new().state_with(worker).get("/hello", || "Hello, world!")))
}

fn act(place: &str, mood: &str) -> Result<(), String> {
    match mood.strip_prefix(place) {
        Some("error") => Err("bad mood".into()),
        Some("panic") => panic!("bad mood"),
        Some("exit") => std::process::exit(7),
        Some("kill") => {
            tenfold_testkit::signal_process(std::process::id(), Signal::KILL);
            Ok(())
        }
        Some("hang") => loop {
            std::thread::park();
        },
        Some("thread") => {
            std::thread::spawn(|| std::thread::sleep(Duration::from_secs(60)));
            Ok(())
        }
        _ => Ok(()),
    }
}

fn changes_nothing(mood: &str, word: &str) {
    let name = format!("tenfold-constructors-{}-{}", std::process::id(), mood.replace(' ', "-"));
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&directory).expect("a directory");
    let (file, control) = (directory.join("mood"), directory.join("control.sock"));
    std::fs::write(&file, "well").expect("a mood");
    let config = directory.join("site.toml");
    // A panic's trace takes its time on a busy machine; a hang is to be waited for.
    let timeout = if mood.contains("hang") { 0.5 } else { 15.0 };
    let text = format!(
        "listen = ['127.0.0.1:0']\nworkers = 2\nready_timeout_secs = {timeout}\ncontrol = '{}'\n",
        control.display()
    );
    std::fs::write(&config, text).expect("a configuration");
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    let mut server =
        ServerProcess::start(command.args(["serve", "--config"]).arg(&config).env("MOOD", &file));
    let pids = workers(&control);
    assert_eq!(pids.len(), 2);

    std::fs::write(&file, mood).expect("a mood");
    let answer = ask(&control, "reload");
    let reason = answer["error"].as_str().unwrap_or_else(|| panic!("{mood}: {answer}"));
    assert!(answer["ok"] == false && reason.contains(word), "{mood}: {answer}");
    let last = ask(&control, "status")["last_reload"].clone();
    assert!(
        last["ok"] == false && last["reason"].as_str().is_some_and(|text| text.contains(word)),
        "{mood}: {last}"
    );
    server.wait_for_log(word);
    wait_until("only the old workers are there", || (workers(&control) == pids).then_some(()));
    server.client().get("/hello").expect(200);

    std::fs::write(&file, "well").expect("a mood");
    assert_eq!(ask(&control, "reload")["ok"], true, "{mood}");
    server.client().get("/hello").expect(200);
    server.signal(Signal::TERM);
    assert_eq!(server.wait(Duration::from_secs(20)), Exit::Code(0), "{}", server.log());
    let _ = std::fs::remove_dir_all(&directory);
}

fn ask(control: &Path, line: &str) -> Value {
    let mut stream = UnixStream::connect(control).expect("the control socket is there");
    writeln!(stream, "{line}").expect("it takes a line");
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).expect("it answers");
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{answer:?}: {error}"))
}

fn workers(control: &Path) -> Vec<u64> {
    let status = ask(control, "status");
    let workers = status["workers"].as_array().expect("a list").iter();
    workers.filter(|worker| worker["state"] == "ready").filter_map(|worker| worker["pid"].as_u64()).collect()
}
