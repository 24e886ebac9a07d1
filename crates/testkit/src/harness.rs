//! A runner for cases that are made at run time, for tests with `harness = false`.
//!
//! It speaks libtest's language as far as `cargo test` and people use it: a filter, `--exact`, `--skip`, `--list`,
//! `--test-threads`, and its lines of output. Unlike libtest it gives every case a time-out, and it never runs two cases of
//! one group at the same time: they may share a server.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// How long a case may take unless it says otherwise.
const CASE_TIMEOUT: Duration = Duration::from_secs(60);

/// One test.
pub struct Case {
    name: String,
    group: String,
    timeout: Duration,
    run: Arc<dyn Fn() + Send + Sync>,
}

impl Case {
    /// A test that fails by panicking.
    pub fn new(name: impl Into<String>, run: impl Fn() + Send + Sync + 'static) -> Case {
        let name = name.into();
        Case { group: name.clone(), name, timeout: CASE_TIMEOUT, run: Arc::new(run) }
    }

    /// The same test in a group, of which one runs at a time.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Case {
        self.group = group.into();
        self
    }

    /// The same test with another time-out.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Case {
        self.timeout = timeout;
        self
    }
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Case").field("name", &self.name).field("group", &self.group).finish_non_exhaustive()
    }
}

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Cases whose name contains one of these; all if there is none.
    pub filters: Vec<String>,
    /// Filters are whole names.
    pub exact: bool,
    /// Cases whose name contains one of these are left out.
    pub skip: Vec<String>,
    /// Only print the names.
    pub list: bool,
    /// Only ignored cases are asked for, of which there are none.
    pub ignored: bool,
    /// Cases at a time.
    pub threads: usize,
    /// Print the slowest cases at the end.
    pub slowest: bool,
}

impl Options {
    /// Reads libtest's arguments; `threads` is the default of `--test-threads`.
    ///
    /// # Errors
    /// One line for an argument that is not known.
    pub fn parse(arguments: impl IntoIterator<Item = String>, threads: usize) -> Result<Options, String> {
        let mut options = Options {
            filters: Vec::new(),
            exact: false,
            skip: Vec::new(),
            list: false,
            ignored: false,
            threads,
            slowest: false,
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name.to_owned(), Some(value.to_owned())),
                _ => (argument, None),
            };
            let mut value =
                || value.clone().or_else(|| arguments.next()).ok_or(format!("{name} needs a value"));
            match name.as_str() {
                "--list" => options.list = true,
                "--exact" => options.exact = true,
                "--ignored" => options.ignored = true,
                "--report-time" => options.slowest = true,
                "--include-ignored" | "--nocapture" | "--no-capture" | "--show-output" | "-q" | "--quiet"
                | "--bench" | "--test" => {}
                "--skip" => options.skip.push(value()?),
                "--test-threads" => {
                    let count = value()?;
                    options.threads = count
                        .parse()
                        .ok()
                        .filter(|count| *count > 0)
                        .ok_or(format!("--test-threads {count}"))?;
                }
                "--format" | "--color" | "--logfile" | "-Z" => drop(value()?),
                filter if !filter.starts_with('-') => options.filters.push(name),
                _ => return Err(format!("unknown argument {name}")),
            }
        }
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        let hit = |filter: &String| if self.exact { name == filter } else { name.contains(filter.as_str()) };
        !self.ignored
            && (self.filters.is_empty() || self.filters.iter().any(hit))
            && !self.skip.iter().any(hit)
    }
}

/// Runs the cases and prints what libtest would. The exit code is 101 if one has failed.
///
/// `before_exit` runs when all is over, also when a case hangs: then nothing is dropped.
pub fn run(options: &Options, cases: Vec<Case>, before_exit: impl FnOnce()) -> ExitCode {
    let all = cases.len();
    let cases: Vec<Case> = cases.into_iter().filter(|case| options.wants(&case.name)).collect();
    if options.list {
        cases.iter().for_each(|case| println!("{}: test", case.name));
        println!("\n{} tests, 0 benchmarks", cases.len());
        return ExitCode::SUCCESS;
    }
    install_hook();
    let started = Instant::now();
    let filtered = all - cases.len();
    println!("\nrunning {} tests", cases.len());
    let done = Runner::new(cases, |line| println!("{line}")).run(options.threads);
    let failed: Vec<&Done> = done.iter().filter(|done| done.failure.is_some()).collect();
    if !failed.is_empty() {
        println!("\nfailures:\n");
        for Done { name, failure, .. } in &failed {
            println!("---- {name} ----\n{}\n", failure.as_deref().unwrap_or_default());
        }
        println!("\nfailures:");
        failed.iter().for_each(|done| println!("    {}", done.name));
    }
    if options.slowest {
        let mut slowest: Vec<&Done> = done.iter().collect();
        slowest.sort_by_key(|done| std::cmp::Reverse(done.took));
        slowest.iter().take(30).for_each(|done| println!("{:8.3}s {}", done.took.as_secs_f64(), done.name));
    }
    println!(
        "\ntest result: {}. {} passed; {} failed; 0 ignored; 0 measured; {filtered} filtered out; finished in {:.2}s\n",
        if failed.is_empty() { "ok" } else { "FAILED" },
        done.len() - failed.len(),
        failed.len(),
        started.elapsed().as_secs_f64(),
    );
    before_exit();
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(101) }
}

struct Done {
    name: String,
    failure: Option<String>,
    took: Duration,
}

/// Cases that wait and groups that are busy.
struct Runner {
    board: Mutex<Board>,
    changed: Condvar,
    /// Gets the line of each case.
    print: fn(&str),
}

#[derive(Default)]
struct Board {
    /// In reverse, so that the next one is at the end.
    waiting: Vec<Case>,
    busy: Vec<String>,
    done: Vec<Done>,
}

impl Runner {
    fn new(mut cases: Vec<Case>, print: fn(&str)) -> Runner {
        cases.reverse();
        let board = Mutex::new(Board { waiting: cases, ..Board::default() });
        Runner { board, changed: Condvar::new(), print }
    }

    fn run(self, threads: usize) -> Vec<Done> {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| self.work());
            }
        });
        self.board.into_inner().unwrap_or_else(PoisonError::into_inner).done
    }

    fn work(&self) {
        while let Some(case) = self.next() {
            let started = Instant::now();
            let failure = run_one(&case).err();
            let word = if failure.is_none() { "ok" } else { "FAILED" };
            (self.print)(&format!("test {} ... {word}", case.name));
            let mut board = self.lock();
            board.busy.retain(|group| *group != case.group);
            board.done.push(Done { name: case.name, failure, took: started.elapsed() });
            self.changed.notify_all();
        }
    }

    /// The next case whose group is not busy; `None` when none is left.
    fn next(&self) -> Option<Case> {
        let mut board = self.lock();
        loop {
            if board.waiting.is_empty() {
                return None;
            }
            let free = board.waiting.iter().rposition(|case| !board.busy.contains(&case.group));
            if let Some(index) = free {
                let case = board.waiting.remove(index);
                board.busy.push(case.group.clone());
                return Some(case);
            }
            board = self.changed.wait(board).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a case on a thread of its own, which is given up when its time is over.
fn run_one(case: &Case) -> Result<(), String> {
    let (over, is_over) = mpsc::channel();
    let run = case.run.clone();
    let thread = std::thread::Builder::new().name(case.name.clone());
    let thread = thread.spawn(move || {
        let outcome = catch_unwind(AssertUnwindSafe(|| run())).map_err(|payload| said(&*payload));
        let _ = over.send(outcome);
    });
    let thread = thread.map_err(|error| format!("no thread for the case: {error}"))?;
    match is_over.recv_timeout(case.timeout) {
        Ok(outcome) => {
            let _ = thread.join();
            outcome
        }
        Err(_) => Err(format!("still running after {:?}", case.timeout)),
    }
}

thread_local! {
    /// Where this thread's last panic was, with its message.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps panics for the list of failures instead of printing them among the other cases' lines. Those of threads that a case has
/// started, which have no name, are printed: the case's own thread says only that there was one.
fn install_hook() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(String::new, ToString::to_string);
        let message = format!("{}\n    at {place}", text_of(info.payload()));
        if std::thread::current().name().is_none() {
            eprintln!("in a thread of a case: {message}");
        }
        let _ = PANIC.try_with(|panic| *panic.borrow_mut() = Some(message));
    }));
}

fn said(payload: &(dyn Any + Send)) -> String {
    PANIC.with_borrow_mut(Option::take).unwrap_or_else(|| text_of(payload))
}

fn text_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "(not a text)".into())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn options(arguments: &[&str]) -> Result<Options, String> {
        Options::parse(arguments.iter().map(ToString::to_string), 4)
    }

    #[test]
    fn arguments_of_libtest_are_understood() {
        let read = options(&["one", "--skip", "two", "--test-threads=3", "--nocapture"]).unwrap();
        assert_eq!((read.filters.as_slice(), read.threads), (&["one".to_owned()][..], 3));
        assert!(read.wants("has one in it") && !read.wants("one two") && !read.wants("three"));
        let exact = options(&["--exact", "one"]).unwrap();
        assert!(exact.wants("one") && !exact.wants("one more"));
        assert!(!options(&["--ignored"]).unwrap().wants("one"));
        for wrong in [&["--unknown"][..], &["--test-threads", "0"], &["--skip"]] {
            assert!(options(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_failure_and_a_hang_are_told_and_the_others_go_on() {
        let cases = vec![
            Case::new("fails", || panic!("on purpose")),
            Case::new("hangs", std::thread::park).timeout(Duration::from_millis(20)),
            Case::new("passes", || {}),
        ];
        let mut done = Runner::new(cases, |_| {}).run(2);
        done.sort_by(|a, b| a.name.cmp(&b.name));
        let failures: Vec<_> = done.iter().map(|done| done.failure.as_deref().unwrap_or("none")).collect();
        assert!(
            failures[0].contains("on purpose") && failures[1].starts_with("still running"),
            "{failures:?}"
        );
        assert_eq!(failures[2], "none");
    }

    #[test]
    fn of_a_group_one_case_runs_at_a_time() {
        let inside = Arc::new(AtomicUsize::new(0));
        let cases = (0..8).map(|index| {
            let inside = inside.clone();
            let run = move || {
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at a time");
                std::thread::yield_now();
                inside.fetch_sub(1, Ordering::SeqCst);
            };
            Case::new(format!("case {index}"), run).group("one")
        });
        let done = Runner::new(cases.collect(), |_| {}).run(8);
        assert!(done.len() == 8 && done.iter().all(|done| done.failure.is_none()));
    }
}
