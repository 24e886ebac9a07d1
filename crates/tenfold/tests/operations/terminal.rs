//! A terminal with `top` on it. script(1) has it: a pseudo-terminal of our own would be unsafe code or a dependency.

use std::io::{Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::site::Site;

/// What ends a frame: the cursor is hidden in each, also where nothing else has changed (DECTCEM).
const FRAME_END: &[u8] = b"\x1b[?25l";

/// What `top` draws on a terminal until it is told to end, without control sequences and blanks.
pub fn screen(site: &Site) -> String {
    Screen::open(site, Duration::from_secs(1)).close()
}

/// `top`, which looks again and again.
pub struct Screen {
    script: Child,
    output: ChildStdout,
    drawn: Vec<u8>,
    frames: usize,
}

impl Screen {
    /// Returns when its first frame is drawn.
    pub fn open(site: &Site, every: Duration) -> Screen {
        let control = site.directory.join("control.sock");
        let top = format!(
            "stty rows 40 cols 150; {} top --every {} --control {}",
            env!("CARGO_BIN_EXE_tenfold"),
            every.as_secs_f64(),
            control.display()
        );
        let mut script = Command::new("script")
            .args(["-q", "-c", &top, "/dev/null"])
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = script.stdout.take().unwrap();
        let mut screen = Screen { script, output, drawn: Vec::new(), frames: 0 };
        screen.frame();
        screen
    }

    /// When the next frame was drawn.
    pub fn frame(&mut self) -> Instant {
        let mut chunk = [0; 4096];
        loop {
            let frames = self.drawn.windows(FRAME_END.len()).filter(|bytes| *bytes == FRAME_END).count();
            if frames > self.frames {
                self.frames = frames;
                return Instant::now();
            }
            let count = self.output.read(&mut chunk).unwrap();
            assert!(count > 0, "it ended with {:?}", String::from_utf8_lossy(&self.drawn));
            self.drawn.extend_from_slice(&chunk[..count]);
        }
    }

    /// All that was drawn, one frame's changes after another, without control sequences and blanks.
    pub fn close(mut self) -> String {
        self.script.stdin.take().unwrap().write_all(b"q").unwrap();
        self.output.read_to_end(&mut self.drawn).unwrap();
        assert!(self.script.wait().unwrap().success());
        without_sequences(&self.drawn)
    }
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
