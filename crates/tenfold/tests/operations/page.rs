//! The commands of docs/operations.md, run in their order: what the page shows is what they print, numbers aside.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;

use tenfold_testkit::wait_until;

use super::site::Site;

const PAGE: &str = include_str!("../../../../docs/operations.md");

const SETTINGS: &str = "model = 'fiber'\nstatus = '127.0.0.1:0'";

#[test]
fn the_page_shows_what_the_commands_print() {
    let site = Site::start("page", SETTINGS);
    visit(&site);
    for (command, shown) in commands() {
        if command.contains("mistake") {
            site.configure("model = 'fiber'\nmodel = 'fiber'");
        }
        let printed = print(&site, &command);
        if command.contains("mistake") {
            site.configure(SETTINGS);
        }
        let (printed, shown) = (printed.trim_end(), shown.trim_end());
        let is_same = match shown.split_once('…') {
            // What a person need not read is left out; words after the sign say what it is.
            Some((start, end)) => {
                let end = if end.starts_with(' ') { "" } else { end };
                masked(printed).starts_with(masked(start).trim_end())
                    && masked(printed).ends_with(&masked(end))
            }
            None => masked(printed) == masked(shown),
        };
        assert!(is_same, "{command}\n— printed:\n{printed}\n— on the page:\n{shown}");
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

/// Runs one command of the page; its socket is the site's.
fn print(site: &Site, command: &str) -> String {
    if command.contains("socat") {
        let mut stream = UnixStream::connect(site.directory.join("control.sock")).unwrap();
        stream.write_all(b"status\n").unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        return line;
    }
    let words = command.split('#').next().unwrap_or_default().split("--control").next().unwrap_or_default();
    let words: Vec<&str> = words.split_whitespace().skip(1).collect();
    let output = match words[0] {
        "check" => {
            let file = site.directory.join("site.toml");
            Command::new(env!("CARGO_BIN_EXE_tenfold")).arg("check").arg(file).output().unwrap()
        }
        _ => site.run(&words),
    };
    let bytes = if output.status.success() { output.stdout } else { output.stderr };
    String::from_utf8(bytes).unwrap()
}

/// Without numbers, paths, the width of columns, and the stages that only some requests have.
fn masked(text: &str) -> String {
    let lines =
        text.lines().filter(|line| !line.starts_with("queue ") && !line.starts_with("read ")).map(|line| {
            let words = line.split_whitespace().map(|word| {
                let is_file = word.contains(".toml");
                if is_file {
                    "FILE".to_owned() + word.split_once(".toml").unwrap_or_default().1
                } else {
                    word.into()
                }
            });
            let line = words.collect::<Vec<String>>().join(" ");
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
