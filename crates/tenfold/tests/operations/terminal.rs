//! A terminal with `top` on it. script(1) has it: a pseudo-terminal of our own would be unsafe code or a dependency.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use super::site::Site;

/// What `top` draws on a terminal until it is told to end, without control sequences and blanks.
pub fn screen(site: &Site) -> String {
    let control = site.directory.join("control.sock");
    let top = format!(
        "stty rows 40 cols 150; {} top --control {}",
        env!("CARGO_BIN_EXE_tenfold"),
        control.display()
    );
    let mut script = Command::new("script")
        .args(["-q", "-c", &top, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = script.stdout.take().unwrap();
    let (mut drawn, mut chunk) = (Vec::new(), [0; 4096]);
    // Its last line: then everything is drawn.
    while !without_sequences(&drawn).contains("qquit") {
        let count = output.read(&mut chunk).unwrap();
        assert!(count > 0, "it ended with {:?}", String::from_utf8_lossy(&drawn));
        drawn.extend_from_slice(&chunk[..count]);
    }
    script.stdin.take().unwrap().write_all(b"q").unwrap();
    output.read_to_end(&mut drawn).unwrap();
    assert!(script.wait().unwrap().success());
    without_sequences(&drawn)
}

/// The text alone: a control sequence is ESC, `[`, parameters and a letter (ECMA-48 section 5.4).
fn without_sequences(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut pieces = text.split('\u{1b}');
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let is_end = |character: char| ('@'..='~').contains(&character) && character != '[';
        plain.push_str(piece.split_once(is_end).map_or("", |(_, rest)| rest));
    }
    plain.retain(|character| !character.is_whitespace());
    plain
}
