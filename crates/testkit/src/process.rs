//! A server in a process of its own: started, waited for, signalled, and gone when the test is.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::client::{Client, PATIENCE};
use crate::memory::descendants;

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(2);
/// Bytes of log that are kept of a process; a server that writes more than this is broken, or its log is not read.
const LOG_BYTES_MAX: usize = 16 << 20;

/// All servers that are alive, for [`kill_remaining`].
static ALIVE: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// A running server.
///
/// It has to print a line when it serves: `ready ADDRESS`, or one with `http://ADDRESS` in it. Dropping it kills it and all
/// its children at once.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    address: String,
    output: Arc<Output>,
}

/// How a process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// Killed by this signal's number.
    Killed(i32),
}

impl ServerProcess {
    /// Starts a command and waits until it is ready.
    ///
    /// # Panics
    /// With the log, when it ends before or is not ready in time.
    #[track_caller]
    pub fn start(command: &mut Command) -> ServerProcess {
        ServerProcess::try_start(command)
            .unwrap_or_else(|(exit, log)| panic!("the server is not ready ({exit:?}):\n{log}"))
    }

    /// Starts a command that may end instead of serving.
    ///
    /// # Errors
    /// How it has ended, and its log.
    ///
    /// # Panics
    /// When it can neither be started nor is ready in time.
    #[track_caller]
    pub fn try_start(command: &mut Command) -> Result<ServerProcess, (Exit, String)> {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        lock(&ALIVE).push(child.id());
        let output = Arc::<Output>::default();
        let mut server = ServerProcess { child, address: String::new(), output };
        if let Some(stdout) = server.child.stdout.take() {
            server.output.follow(stdout);
        }
        if let Some(stderr) = server.child.stderr.take() {
            server.output.follow(stderr);
        }
        let until = Instant::now() + PATIENCE;
        loop {
            let ready = |log: &str| log.lines().find_map(announced).map(str::to_owned);
            if let Some(address) = server.output.wait(LOOK * 5, ready) {
                server.address = address;
                return Ok(server);
            }
            if let Some(exit) = server.ended() {
                server.output.wait_for_end(LOOK * 50);
                return Err((exit, server.log()));
            }
            assert!(Instant::now() < until, "the server is not ready after {PATIENCE:?}:\n{}", server.log());
        }
    }

    /// Where it serves, as it has said itself.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The process that was started: the master.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The processes that it has started.
    pub fn children(&self) -> Vec<u32> {
        descendants(self.pid())
    }

    /// A new connection to it.
    #[track_caller]
    pub fn client(&self) -> Client {
        Client::connect(&self.address)
    }

    /// What it has written so far, to standard output and error.
    pub fn log(&self) -> String {
        lock(&self.output.text).log.clone()
    }

    /// Prints the log when the calling thread panics before this is dropped.
    pub fn tell_log_on_panic(&self) -> impl Drop + '_ {
        struct Tell<'a>(&'a ServerProcess);
        impl Drop for Tell<'_> {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    eprintln!("the server's log:\n{}", self.0.log());
                }
            }
        }
        Tell(self)
    }

    /// Waits until the log says something.
    ///
    /// # Panics
    /// With the log, when it does not in time.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) {
        let found = self.output.wait(PATIENCE, |log| log.contains(text).then_some(()));
        assert!(found.is_some(), "{text:?} is not in the log:\n{}", self.log());
    }

    /// Sends a signal to the master.
    pub fn signal(&self, signal: Signal) {
        signal_process(self.pid(), signal);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// With the log, when it takes longer than `within`.
    #[track_caller]
    pub fn wait(&mut self, within: Duration) -> Exit {
        let until = Instant::now() + within;
        loop {
            if let Some(exit) = self.ended() {
                return exit;
            }
            assert!(Instant::now() < until, "the server has not ended after {within:?}:\n{}", self.log());
            std::thread::sleep(LOOK);
        }
    }

    fn ended(&mut self) -> Option<Exit> {
        let status = self.child.try_wait().expect("a child can be waited for")?;
        lock(&ALIVE).retain(|pid| *pid != self.child.id());
        Some(exit_of(status))
    }
}

/// The address in a line that says that a server serves.
fn announced(line: &str) -> Option<&str> {
    let in_url = || line.split_once("http://").map(|(_, rest)| rest.split([' ', '/']).next().unwrap_or(rest));
    line.strip_prefix("ready ").or_else(in_url)
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        if self.ended().is_none() {
            kill_tree(self.pid());
            let _ = self.child.wait();
            lock(&ALIVE).retain(|pid| *pid != self.child.id());
        }
    }
}

/// Sends a signal to one process; one that has ended is left alone.
pub fn signal_process(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process has a positive number");
    let _ = rustix::process::kill_process(pid, signal);
}

/// Whether all threads of a process are stopped by a signal (proc(5), `stat`), or it has ended.
pub fn is_frozen(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().filter_map(Result::ok);
    threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok()).all(|stat| {
        // After the name, which may hold anything.
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['T', 'Z', 'X']))
    })
}

/// Kills every server that this process has started and that is still alive: for the end of a run in which a test hangs,
/// because nothing is dropped then.
pub fn kill_remaining() {
    for pid in std::mem::take(&mut *lock(&ALIVE)) {
        kill_tree(pid);
    }
}

/// Waits until `condition` gives something.
///
/// # Panics
/// With `what`, when it does not within [`PATIENCE`].
#[track_caller]
pub fn wait_until<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    wait_within(PATIENCE, what, condition)
}

/// Waits until `condition` gives something, for what may by its own rules take longer than [`PATIENCE`].
///
/// # Panics
/// With `what`, when it does not within `patience`.
#[track_caller]
pub fn wait_within<T>(patience: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + patience;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < until, "after {patience:?} still not: {what}");
        std::thread::sleep(LOOK);
    }
}

/// The master first: it would replace its children.
fn kill_tree(pid: u32) {
    let children = descendants(pid);
    signal_process(pid, Signal::KILL);
    for child in children {
        signal_process(child, Signal::KILL);
    }
}

fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Killed(signal.unwrap_or(0)),
    }
}

/// What a process writes.
#[derive(Debug, Default)]
struct Output {
    text: Mutex<Text>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Text {
    log: String,
    /// Streams that are still open.
    open: usize,
}

impl Output {
    /// Reads a stream to its end, on a thread of its own.
    fn follow(self: &Arc<Self>, stream: impl Read + Send + 'static) {
        let output = self.clone();
        lock(&self.text).open += 1;
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                let mut text = lock(&output.text);
                if text.log.len() < LOG_BYTES_MAX {
                    text.log.push_str(&String::from_utf8_lossy(&line));
                }
                line.clear();
                output.more.notify_all();
            }
            lock(&output.text).open -= 1;
            output.more.notify_all();
        });
    }

    fn wait<T>(&self, within: Duration, mut find: impl FnMut(&str) -> Option<T>) -> Option<T> {
        let until = Instant::now() + within;
        let mut text = lock(&self.text);
        loop {
            if let Some(found) = find(&text.log) {
                return Some(found);
            }
            let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            text = self.more.wait_timeout(text, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn wait_for_end(&self, within: Duration) {
        let until = Instant::now() + within;
        let mut text = lock(&self.text);
        while text.open > 0 && Instant::now() < until {
            text = self.more.wait_timeout(text, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_address_is_what_follows_ready() {
        let server =
            ServerProcess::start(&mut shell("echo hello; echo ready 127.0.0.1:7; echo more >&2; sleep 60"));
        assert_eq!(server.address(), "127.0.0.1:7");
        server.wait_for_log("more\n");
    }

    #[test]
    fn a_server_that_ends_at_once_tells_how_and_why() {
        let (exit, log) = ServerProcess::try_start(&mut shell("echo wrong option >&2; exit 2")).unwrap_err();
        assert_eq!((exit, log.as_str()), (Exit::Code(2), "wrong option\n"));
    }

    #[test]
    fn signals_arrive_and_the_end_is_told() {
        let mut server = ServerProcess::start(&mut shell(
            "trap 'exit 7' TERM; echo ready -; while :; do sleep 0.01; done",
        ));
        server.signal(Signal::TERM);
        assert_eq!(server.wait(PATIENCE), Exit::Code(7));
        let mut server = ServerProcess::start(&mut shell("echo ready -; exec sleep 60"));
        server.signal(Signal::KILL);
        assert_eq!(server.wait(PATIENCE), Exit::Killed(9));
    }

    #[test]
    fn a_dropped_server_takes_its_children_with_it() {
        let server = ServerProcess::start(&mut shell("sleep 60 & echo ready $!; wait"));
        let child: u32 = server.address().parse().unwrap();
        assert!(server.children().contains(&child));
        drop(server);
        // What nobody waits for stays as a zombie until init does; it has no command line any more.
        wait_until("the child is gone", || {
            let line = std::fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
            line.is_empty().then_some(())
        });
    }
}
