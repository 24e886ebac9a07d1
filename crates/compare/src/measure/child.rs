//! A process of a comparison, seen from the one that has started it.

use std::io::{BufRead, BufReader, Read};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::Error;
use crate::part::{Part, WORD};

/// Longest time until a part listens: a machine that is busy with eight of them included.
const READY_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a process may take to end before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// A running part; it ends with this value.
#[derive(Debug)]
pub(crate) struct Child {
    process: std::process::Child,
    /// Where it listens.
    pub(crate) address: String,
    // Kept open: a closed pipe would be an error to a part that says something later.
    _stdout: Option<ChildStdout>,
}

impl Child {
    /// Starts a part and waits until it listens.
    pub(crate) fn start(part: &Part) -> Result<Child, Error> {
        let failed = |reason: String| Error::Part { part: part.title().into(), reason };
        let mut command = this_program()?;
        command.arg(WORD).arg(serde_json::to_string(part)?);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().map_err(|error| failed(error.to_string()))?;
        let stdout = process.stdout.take();
        let mut child = Child { process, address: String::new(), _stdout: None };
        let (said, heard) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            let mut stdout = BufReader::new(stdout?);
            let mut line = String::new();
            let _ = stdout.read_line(&mut line);
            let _ = said.send(line);
            Some(stdout.into_inner())
        });
        let line = heard.recv_timeout(READY_TIMEOUT).unwrap_or_default();
        child.address = line.trim().to_owned();
        if child.address.is_empty() {
            child.stop();
            return Err(failed(child.last_words()));
        }
        child._stdout = reader.join().ok().flatten();
        Ok(child)
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it has written to standard error, in one line; only once it has ended.
    fn last_words(&mut self) -> String {
        let mut text = String::new();
        if let Some(stderr) = self.process.stderr.take() {
            let _ = stderr.take(4 << 10).read_to_string(&mut text);
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.is_empty() { "it did not start, and does not say why".into() } else { words.join(" ") }
    }

    /// Ends it: at once, since nobody waits for an answer any more.
    fn stop(&mut self) {
        let pid = Pid::from_child(&self.process);
        let until = Instant::now() + STOP_TIMEOUT;
        let _ = kill_process(pid, Signal::INT);
        while let Ok(None) = self.process.try_wait() {
            if Instant::now() > until {
                let _ = self.process.kill();
                let _ = self.process.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.stop();
    }
}

/// This very program: what is measured is what the user has started.
pub(crate) fn this_program() -> Result<Command, Error> {
    let path = std::env::current_exe()
        .map_err(|source| Error::System { what: "find this program's file", source })?;
    Ok(Command::new(path))
}
