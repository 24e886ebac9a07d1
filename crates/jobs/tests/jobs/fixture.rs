//! The application of these tests. It runs in the server process, never in the one that tests.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tenfold_jobs::topic::{Lines, Topic, Topics};
use tenfold_jobs::{
    AppJobs, Ask, Backoff, Durability, JobCx, JobError, JobHandler, JobResult, Jobs, Misfire, OnFull, Queue,
    outbox,
};
use tenfold_server::runtime::try_sleep;
use tenfold_server::{App, Json, Path, Query, Result, Serving, Settings, State, serve_with};

/// Set in the environment of a server process; its value is the settings in TOML.
pub(crate) const FIXTURE: &str = "TENFOLD_JOBS_FIXTURE";
/// The directory that jobs write to.
pub(crate) const DIRECTORY: &str = "TENFOLD_JOBS_DIRECTORY";
/// A file there: settings for a reload.
pub(crate) const SETTINGS: &str = "settings.toml";
/// Schedules are on.
pub(crate) const SCHEDULES: &str = "TENFOLD_JOBS_SCHEDULES";

/// Where jobs say what they do.
#[derive(Clone)]
struct Directory(PathBuf);

/// What a job is told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Note {
    /// Goes into the file.
    pub(crate) text: String,
    /// A wait in the middle.
    pub(crate) wait_ms: u64,
    /// Fails so often first.
    pub(crate) fail: u32,
    /// Dies with its process, so often.
    pub(crate) crash: u32,
}

/// How a job is to be taken in.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct How {
    id: Option<String>,
    queue: Option<String>,
    key: Option<String>,
    unique: Option<String>,
    unique_ms: u64,
    after_ms: u64,
    priority: i8,
    process: bool,
}

/// Serves; called before the process has a second thread.
pub(crate) fn main(settings: &str) -> ExitCode {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).init();
    let settings: Settings = match toml::from_str(settings) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let ready = |serving: &Serving| println!("ready {}", serving.addresses[0]);
    let same = settings.clone();
    let again = move || match std::fs::read_to_string(directory().0.join(SETTINGS)) {
        Ok(text) => Ok((toml::from_str(&text).map_err(|error| error.to_string())?, None)),
        Err(_) => Ok((same.clone(), None)),
    };
    serve_with(app(), &settings, Box::new(again), Vec::new(), ready).unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::from(2)
    })
}

fn directory() -> Directory {
    Directory(std::env::var_os(DIRECTORY).expect("the test sets it").into())
}

fn app() -> App {
    let directory = directory();
    let soon = Backoff::new(Duration::from_millis(1), Duration::from_millis(20));
    let page = OnFull::Page { html: "<h1>sold out</h1>".into(), retry_after: Duration::from_secs(7) };
    let visits = Topic::new("visits").directory(directory.0.join("visits"));
    let lines = Lines::to(directory.0.join("visits.log"));
    let app = App::new()
        .topic_to(visits, lines)
        .topic(late(&directory.0))
        .post("/visit/{text}", |Path(text): Path<String>, topics: Topics| -> Result<()> {
            Ok(topics.append("visits", text.as_bytes())?)
        })
        .post("/late/{text}", |Path(text): Path<String>, topics: Topics| -> Result<()> {
            Ok(topics.append("late", text.as_bytes())?)
        })
        .get("/busy/{ms}", busy)
        .state(directory)
        .job("note", note.backoff(soon))
        .job("fragile", note.queue("fragile").retries(1).backoff(soon))
        .job("late", append_late)
        .job("once", once.backoff(soon))
        .job("panics", (|_: Note| -> JobResult { panic!("on purpose") }).retries(1).backoff(soon))
        .job("slow", note.queue("slow").retries(0).timeout(Duration::from_millis(50)))
        .job("compute", note.queue("threads"))
        .job("crashy", note.queue("apart").backoff(soon))
        .queue(Queue::new("threads").threads(4))
        .queue(Queue::new("apart").processes(2))
        .queue(Queue::new("one").fibers(1))
        .queue(Queue::new("small").capacity(3).on_full(page))
        .queue(Queue::new("waits").capacity(1).on_full(OnFull::Wait { at_most: Duration::from_secs(60) }))
        .queue(Queue::new("drops").capacity(3).on_full(OnFull::DropOldest))
        .queue(Queue::new("keyed").per_key(1))
        .queue(Queue::new("ordered").ordered().fibers(8))
        .queue(Queue::new("rated").rate(20.0))
        .queue(Queue::new("hardy").crashes_max(u32::MAX))
        .post("/enqueue/{name}", enqueue)
        .post("/many/{count}", many)
        .post("/batch/{count}", batch)
        .post("/order/{item}/{end}", order)
        .jobs_page("/jobs")
        .get("/job/{id}", |Path(id): Path<String>, jobs: Jobs| -> Result<_> { Ok(Json(jobs.look_up(&id)?)) })
        .post("/ask", |jobs: Jobs, Json(ask): Json<Ask>| -> Result<_> { Ok(Json(jobs.ask(&ask)?)) })
        .get("/pid", || std::process::id().to_string());
    match std::env::var_os(SCHEDULES) {
        Some(_) => app
            .every(Duration::from_millis(100), tick)
            .every(Duration::from_millis(50), forward.queue("outbox"))
            .cron("* * * * * *", Misfire::Once, |cx: &JobCx, (): ()| write(cx, "cron")),
        None => app,
    }
}

fn enqueue(
    Path(name): Path<String>,
    Query(how): Query<How>,
    jobs: Jobs,
    Json(note): Json<Note>,
) -> Result<String> {
    let mut draft = jobs.with(&name, &note)?.priority(how.priority);
    if how.process {
        draft = draft.durability(Durability::Process);
    }
    if let Some(queue) = how.queue {
        draft = draft.queue(queue);
    }
    if let Some(id) = how.id {
        draft = draft.id(id);
    }
    if let Some(key) = how.key {
        draft = draft.key(key);
    }
    if let Some(word) = how.unique {
        draft = draft.unique(word, Duration::from_millis(how.unique_ms));
    }
    Ok(draft.after(Duration::from_millis(how.after_ms)).send()?)
}

fn many(Path(count): Path<usize>, jobs: Jobs) -> Result<String> {
    let notes: Vec<Note> =
        (0..count).map(|n| Note { text: format!("many-{n}"), ..Note::default() }).collect();
    Ok(jobs.enqueue_many("note", &notes)?.len().to_string())
}

fn batch(Path(count): Path<u32>, jobs: Jobs) -> Result<String> {
    let mut batch = jobs.batch();
    for number in 0..count {
        batch = batch.add("note", &Note { text: format!("member-{number}"), ..Note::default() })?;
    }
    let last = Note { text: "last".into(), ..Note::default() };
    Ok(batch.then("note", &last)?.send()?.len().to_string())
}

/// An order and its job, in one transaction that is committed or not.
fn order(
    Path((item, end)): Path<(String, String)>,
    State(Directory(directory)): State<Directory>,
    jobs: Jobs,
) -> Result<String> {
    let mut database = rusqlite::Connection::open(directory.join("effects.db"))?;
    let mut tx = database.transaction()?;
    tx.execute("insert into effect (text) values (?)", [&item])?;
    let id = jobs.enqueue_tx(&mut tx, "note", &Note { text: item, ..Note::default() })?;
    if end == "commit" {
        tx.commit()?;
    }
    Ok(id)
}

fn forward(cx: &JobCx, (): ()) -> JobResult {
    let mut database = rusqlite::Connection::open(cx.state::<Directory>()?.0.join("effects.db"))?;
    outbox::forward(cx.jobs(), &mut database)?;
    Ok(())
}

fn note(cx: &JobCx, note: Note) -> JobResult {
    if cx.attempt() < note.fail {
        return Err(JobError::retry("on purpose"));
    }
    write(cx, &format!("begin {}", note.text))?;
    if note.crash > 0 && count_of(cx, &format!("begin {}", note.text))? <= note.crash as usize {
        // What a bug in a C library does.
        std::process::abort();
    }
    cx.progress(50);
    try_sleep(Duration::from_millis(note.wait_ms))?;
    write(cx, &format!("end {}", note.text))
}

/// A row in the user's own database, once for each job.
fn once(cx: &JobCx, note: Note) -> JobResult {
    let file = cx.state::<Directory>()?.0.join("effects.db");
    let mut database = rusqlite::Connection::open(file)?;
    database.busy_timeout(Duration::from_secs(20))?;
    let mut tx = database.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    cx.once(&mut tx)?;
    tx.execute("insert into effect (text) values (?)", [&note.text])?;
    tx.commit()?;
    Ok(())
}

/// A topic whose records are only written when a process has a reason of its own to.
pub(crate) fn late(directory: &std::path::Path) -> Topic {
    Topic::new("late").directory(directory.join("late")).flush_after(Duration::from_secs(3_600))
}

/// Appends as the last thing that it does.
fn append_late(cx: &JobCx, note: Note) -> JobResult {
    write(cx, &format!("begin {}", note.text))?;
    try_sleep(Duration::from_millis(note.wait_ms))?;
    Ok(cx.state::<Topics>()?.append("late", note.text.as_bytes())?)
}

/// A request that takes its time.
fn busy(Path(ms): Path<u64>, State(Directory(directory)): State<Directory>) -> Result<&'static str> {
    write_line(&directory, "-", "busy")?;
    try_sleep(Duration::from_millis(ms))?;
    Ok("done")
}

fn tick(cx: &JobCx, (): ()) -> JobResult {
    write(cx, "tick")
}

fn write(cx: &JobCx, what: &str) -> JobResult {
    Ok(write_line(&cx.state::<Directory>()?.0, cx.id(), what)?)
}

/// One line, written by one call to a file that all processes append to.
fn write_line(directory: &std::path::Path, id: &str, what: &str) -> io::Result<()> {
    let line = format!("{} {} {id} {what}\n", now_us(), std::process::id());
    OpenOptions::new().create(true).append(true).open(directory.join("runs"))?.write_all(line.as_bytes())
}

fn count_of(cx: &JobCx, what: &str) -> Result<usize, JobError> {
    let text = std::fs::read_to_string(cx.state::<Directory>()?.0.join("runs"))?;
    Ok(text.lines().filter(|line| line.ends_with(what)).count())
}

/// Microseconds since 1970: the same in all processes.
pub(crate) fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// Whether this is a directory that a fixture could serve from.
pub(crate) fn prepare(directory: &std::path::Path) {
    let database = rusqlite::Connection::open(directory.join("effects.db")).expect("a database");
    let (once, outbox) = (tenfold_jobs::once::SQL, tenfold_jobs::outbox::SQL);
    let sql = format!("pragma journal_mode = wal; create table effect (text text); {once}; {outbox};");
    database.execute_batch(&sql).expect("tables");
}
