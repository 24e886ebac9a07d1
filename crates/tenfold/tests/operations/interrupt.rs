//! ^C on a terminal: the first one ends gracefully, the second one at once.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use tenfold_testkit::{Client, wait_until};

use super::site::Site;

#[test]
fn on_a_terminal_the_first_interrupt_lets_requests_finish() {
    let mut site = Site::start_with("interrupt", "", on_a_terminal);
    let mut waiting = begin(&site, "/sleep/1000");
    press_interrupt(&mut site);
    site.wait_for_log("stopping gracefully");
    waiting.read_response().expect_text(200, "slept 1000 ms\n");
    assert_eq!(site.wait(), Some(0), "{}", site.log());
}

#[test]
fn on_a_terminal_the_second_interrupt_does_not_wait() {
    let mut site = Site::start_with("interrupts", "", on_a_terminal);
    let mut waiting = begin(&site, "/sleep/60000");
    press_interrupt(&mut site);
    site.wait_for_log("stopping gracefully");
    press_interrupt(&mut site);
    site.wait_for_log("stopping fast");
    site.wait();
    assert_eq!(waiting.read_to_end_or_reset(), 0, "it was not answered");
}

/// The same command with a terminal of its own (script(1)), and its log where it would be.
fn on_a_terminal(command: &mut Command) {
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    let words: Vec<_> = words.iter().map(|word| word.to_str().unwrap().to_owned()).collect();
    let directory = Path::new(words.last().unwrap()).parent().unwrap().to_owned();
    let line = format!("exec {} 2>{}/log", words.join(" "), directory.display());
    *command = Command::new("script");
    command.args(["-q", "-e", "-c", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
}

fn press_interrupt(site: &mut Site) {
    // ETX, which the terminal turns into SIGINT for all processes in its foreground (termios(3), ISIG): the workers as well.
    site.child.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
}

fn begin(site: &Site, target: &str) -> Client {
    let mut client = Client::connect(&site.address);
    client.send_get(target);
    wait_until("the request is in flight", || {
        site.status()["requests"].as_array()?.iter().any(|it| it["path"] == target).then_some(())
    });
    client
}
