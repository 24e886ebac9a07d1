//! `Site`: a scenario that runs in a process of its own, and what it says.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

/// Nothing here takes a tenth of it, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running scenario. Dropping it kills its master, and the workers follow.
pub struct Site {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    /// All lines so far, and how many of them were awaited.
    seen: Vec<String>,
    awaited: Vec<bool>,
}

impl Site {
    pub fn start(scenario: &str) -> Self {
        let mut child = Command::new(env::current_exe().expect("this program has a path"))
            .args(["--scenario", scenario])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("this program runs again");
        let (sender, lines) = mpsc::channel();
        let stdin = child.stdin.take().expect("piped");
        let outputs: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().expect("piped")), Box::new(child.stderr.take().expect("piped"))];
        for output in outputs {
            let sender = sender.clone();
            thread::spawn(move || {
                let read = BufReader::new(output).lines().map_while(Result::ok);
                read.map(|line| sender.send(line)).take_while(Result::is_ok).for_each(drop);
            });
        }
        Self { child, stdin, lines, seen: Vec::new(), awaited: Vec::new() }
    }

    /// The next line that contains `text` and was not awaited before.
    pub fn await_line(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = (0..self.seen.len()).find(|&i| !self.awaited[i] && self.seen[i].contains(text));
            if let Some(number) = found {
                self.awaited[number] = true;
                return self.seen[number].clone();
            }
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.push(line),
                Err(error) => panic!("no line with \"{text}\" ({error}); seen: {:#?}", self.seen),
            }
        }
    }

    /// The process id at the end of the next line that contains `text`.
    pub fn await_pid(&mut self, text: &str) -> u32 {
        let line = self.await_line(text);
        line.rsplit(' ').next().and_then(|pid| pid.parse().ok()).unwrap_or_else(|| panic!("no pid in {line}"))
    }

    /// Whether a line contained `text`, of those that have arrived.
    pub fn seen(&mut self, text: &str) -> bool {
        while let Ok(line) = self.lines.try_recv() {
            self.push(line);
        }
        self.seen.iter().any(|line| line.contains(text))
    }

    /// Number of the first line that contained `text`.
    pub fn position(&mut self, text: &str) -> usize {
        assert!(self.seen(text), "no line with \"{text}\"; seen: {:#?}", self.seen);
        self.seen.iter().position(|line| line.contains(text)).expect("it was seen")
    }

    /// Gives the workers a line to read.
    pub fn say(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").expect("the site reads");
    }

    /// The master's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }

    /// Waits until the master has ended and everything it and its workers said
    /// was read; answers the exit code, `None` after a signal.
    pub fn await_exit(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.push(line),
                // Both pipes are closed, by the master and by every worker.
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end; seen: {:#?}", self.seen),
            }
        }
        self.child.wait().expect("it is our child").code()
    }

    fn push(&mut self, line: String) {
        self.seen.push(line);
        self.awaited.push(false);
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal by name.
pub fn signal(pid: u32, name: &str) {
    let status =
        Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().expect("kill runs");
    assert!(status.success(), "kill -{name} {pid}");
}

/// Waits until a process has ended. A zombie has: its new parent is slow, not it.
pub fn await_gone(pid: u32) {
    let deadline = Instant::now() + PATIENCE;
    let alive = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ").map(|(_, rest)| !rest.starts_with(['Z', 'X']))
    };
    while alive() == Some(true) {
        assert!(Instant::now() < deadline, "process {pid} is still there");
        thread::yield_now();
    }
}
