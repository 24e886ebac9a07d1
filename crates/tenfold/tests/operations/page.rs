//! What docs/operations.md, docs/sight.md and docs/overload.md show is what the commands print and the log says, numbers aside.

use std::process::Command;

use tenfold_testkit::{Client, Signal, is_frozen, signal_process, wait_until};

use super::site::Site;
use super::terminal::screen;

const PAGE: &str = include_str!("../../../../docs/operations.md");
const SIGHT: &str = include_str!("../../../../docs/sight.md");
const OVERLOAD: &str = include_str!("../../../../docs/overload.md");

/// What the advice wants to have seen.
const ADVICE_REQUESTS: usize = 100;

const SETTINGS: &str = "model = 'fiber'\nstatus = '127.0.0.1:0'";

#[test]
fn the_page_shows_what_the_commands_print() {
    let site = Site::start("page", SETTINGS);
    visit(&site);
    for (command, shown) in commands() {
        if command.contains("mistake") {
            site.configure("model = 'fiber'\nmodel = 'fiber'");
        }
        let printed = run(&site, &command);
        if command.contains("mistake") {
            site.configure(SETTINGS);
        }
        let Some(printed) = printed else { continue };
        assert_shown(&command, &printed, &shown);
        if command.contains("upgrade") && !command.contains("hold") || command.contains("rollback") {
            wait_until("it serves, alone", || (site.status()["state"] == "serving").then_some(()));
        }
        if command.contains("scale") {
            wait_until("three workers serve", || (site.workers().len() == 3).then_some(()));
            wait_until("the old ones are gone", || {
                (site.status()["draining_generations"] == 0).then_some(())
            });
            visit(&site);
        }
    }
}

#[test]
fn every_command_of_the_table_is_shown() {
    let rows = PAGE.lines().filter(|line| line.starts_with("| "));
    let named =
        rows.flat_map(|row| row.split("`tenfold ").skip(1)).filter_map(|rest| rest.split(['`', ' ']).next());
    let commands = commands();
    let mut count = 0;
    for name in named {
        let is_shown = commands.iter().any(|(command, _)| command.split(' ').nth(1) == Some(name));
        assert!(is_shown, "`tenfold {name}` has no example");
        count += 1;
    }
    assert!(count >= 10, "the table was found");
}

/// The table of failures names tests; one that was renamed or is gone would guard nothing.
#[test]
fn every_test_that_the_page_names_is_there() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let folders = [format!("{root}/server/tests/conformance"), format!("{root}/tenfold/tests/operations")];
    let section = PAGE.split("## Known failures").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let named: Vec<(&str, &str)> = section
        .split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|quoted| quoted.rsplit(' ').next()?.split_once("::"))
        .collect();
    assert!(named.len() >= 20, "{named:?}");
    for (module, name) in named {
        let is_there = folders.iter().any(|folder| {
            let source = std::fs::read_to_string(format!("{folder}/{module}.rs")).unwrap_or_default();
            source.contains(&format!("fn {name}("))
        });
        assert!(is_there, "the page names {module}::{name}, which is no test");
    }
}

/// The page's two pictures: the text of `top --once`, and the screen.
#[test]
fn the_page_about_sight_shows_what_top_prints_while_workers_are_stopped() {
    let mut blocks = SIGHT.split("```text\n").skip(1).filter_map(|part| part.split("```").next());
    let (once, drawn) = (blocks.next().unwrap(), blocks.next().unwrap());
    let site = Site::start("sight-page", SETTINGS);
    // Enough for an advice, of which nearly all waited.
    let mut client = Client::connect(&site.address);
    for _ in 0..ADVICE_REQUESTS {
        client.get("/sleep/5").expect(200);
    }
    drop(client);
    let mut stuck = Client::connect(&site.address);
    stuck.send_get("/sleep/20000");
    wait_until("it is the only one in flight, and waits", || {
        let status = site.status();
        (status["in_flight"] == 1 && status["requests"][0]["state"] == "wait").then_some(())
    });
    let workers = site.workers();
    workers.iter().for_each(|pid| signal_process(*pid, Signal::STOP));
    workers.iter().for_each(|pid| wait_until("it is stopped", || is_frozen(*pid).then_some(())));
    let printed = site.ok(&["top", "--once"]);
    assert_shown("tenfold top --once", &printed, once);
    let screen = bare(&screen(&site));
    for line in drawn.lines().map(bare) {
        // Headings and keys; figures and requests are others at each look.
        if !line.is_empty() && !line.contains(char::is_numeric) {
            assert!(screen.contains(&line), "{line:?} is on the page, and not in {screen}");
        }
    }
    workers.iter().for_each(|pid| signal_process(*pid, Signal::CONT));
}

/// Without blanks, borders and bars.
fn bare(text: &str) -> String {
    text.chars().filter(|it| !it.is_whitespace() && !('\u{2500}'..='\u{259f}').contains(it)).collect()
}

/// Each line of the page's example is in the log, in this order; between them are frames of the stack that say less.
#[test]
fn the_page_about_overload_shows_the_slow_log_as_it_is() {
    let shown = OVERLOAD.split("```text\n").nth(1).and_then(|part| part.split("```").next()).unwrap();
    let site = Site::start("slow-log", "model = 'fiber'\n[limits]\nrequest_timeout_secs = 0.2");
    site.get("/sleep/60000").expect(504);
    site.wait_for_log("waited_for=");
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/").replace("crates/tenfold/", "");
    let log = masked(&site.log().replace(&root, ""));
    let mut said = log.lines();
    for line in masked(shown).lines().filter(|line| *line != "…") {
        assert!(said.any(|said| said == line), "{line:?} is on the page, and not, or not there, in\n{log}");
    }
}

/// A request that is known to be counted when this returns.
fn visit(site: &Site) {
    let requests = || site.status()["counters"]["requests"].as_u64();
    let before = requests();
    site.get("/hello").expect(200);
    wait_until("the request is over", || {
        let status = site.status();
        (requests() > before && status["in_flight"] == 0 && status["counters"]["connections_open"] == 0)
            .then_some(())
    });
}

/// Each line of the page's listing that begins with `$`, and the lines up to the next one.
fn commands() -> Vec<(String, String)> {
    let listing =
        PAGE.split("```text\n").find(|part| part.starts_with("$ ")).expect("the page has a listing");
    let listing = listing.split("```").next().unwrap_or_default();
    let mut commands: Vec<(String, String)> = Vec::new();
    for line in listing.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command.to_owned(), String::new())),
            (None, Some((_, shown))) => *shown += &format!("{line}\n"),
            (None, None) => panic!("output without a command: {line}"),
        }
    }
    assert!(commands.len() >= 6, "{commands:?}");
    commands
}

/// Runs one command of the page as a shell does that finds `tenfold` and one server: as it stands there, but for the two places
/// that are the site's own. `None`, and a word about it, where a program is missing that is not ours.
fn run(site: &Site, command: &str) -> Option<String> {
    let program = site.directory.join("bin");
    if !program.exists() {
        std::fs::create_dir(&program).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_tenfold"), program.join("tenfold")).unwrap();
    }
    let places = [
        ("/etc/tenfold.toml", site.directory.join("site.toml")),
        ("/run/tenfold/site.sock", site.directory.join("control.sock")),
    ];
    let places = places.map(|(there, here)| (there, here.display().to_string()));
    let here = places.iter().fold(command.to_owned(), |text, (there, here)| text.replace(there, here));
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    let output = Command::new("sh")
        .args(["-c", &format!("{{ {here}\n}} 2>&1")])
        .env("PATH", path)
        .env("RUNTIME_DIRECTORY", &site.directory)
        .output()
        .unwrap();
    // What a shell says about a word that is no command (POSIX.1-2017, Shell Command Language, 2.8.2).
    if output.status.code() == Some(127) {
        println!("left out: {command}: {}", String::from_utf8_lossy(&output.stdout).trim());
        return None;
    }
    let printed = String::from_utf8(output.stdout).unwrap();
    Some(places.iter().fold(printed, |text, (there, here)| text.replace(here, there)))
}

/// Numbers aside, the page has to show all of it. Only of a line of JSON something may be left out, for its length.
#[track_caller]
fn assert_shown(command: &str, printed: &str, shown: &str) {
    let (printed, shown) = (printed.trim_end(), shown.trim_end());
    let (printed, shown) = match command.contains("dump") {
        true => (without_states(printed), without_states(shown)),
        false => (printed.to_owned(), shown.to_owned()),
    };
    let is_same = match shown.split_once('…') {
        Some((start, end)) => {
            let is_json =
                serde_json::from_str::<serde_json::Value>(&printed).is_ok_and(|json| json.is_object());
            is_json
                && masked(&printed).starts_with(masked(start).trim_end())
                && masked(&printed).ends_with(&masked(end))
        }
        None => masked(&printed) == masked(&shown),
    };
    assert!(is_same, "{command}\n— printed:\n{printed}\n— on the page:\n{shown}");
}

/// Threads and loops of a dump, in no order, without what each of them is doing at the moment.
fn without_states(dump: &str) -> String {
    let who = dump.lines().map(|line| line.split(": state ").next().unwrap_or_default());
    let who = who.map(|line| line.split(": runs ").next().unwrap_or_default());
    let mut who: Vec<String> = who.map(masked).collect();
    who.sort_unstable();
    who.join("\n")
}

/// Without numbers, the width of columns, and the stages that only some requests have.
fn masked(text: &str) -> String {
    let lines =
        text.lines().filter(|line| !line.starts_with("queue ") && !line.starts_with("read ")).map(|line| {
            let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
            let mut masked = String::new();
            for character in line.chars() {
                match character {
                    '0'..='9' | '.' if masked.ends_with('0') => {}
                    '0'..='9' => masked.push('0'),
                    other => masked.push(other),
                }
            }
            masked
        });
    lines.collect::<Vec<String>>().join("\n")
}
