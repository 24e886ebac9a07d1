//! The application that all cases talk to. It runs in the server process, never in the one that tests.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::task::{self, Poll, Waker};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tenfold_runtime::ProcessShare;
use tenfold_scoreboard::{Table, TableConfig};
use tenfold_server::{
    App, Body, Bytes, Error, Form, Handler, HeaderMap, Json, Lane, Path, Priority, Query, RequestId, Result,
    Settings, StatusCode, serve, upgrade_to,
};

use crate::service_apps;

/// Set in the environment of a server process; its value is the settings in TOML.
pub(crate) const FIXTURE: &str = "TENFOLD_FIXTURE";

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
    let ready = |serving: &tenfold_server::Serving| {
        serving.services.iter().for_each(|(name, address)| println!("service {name} {address}"));
        println!("ready {}", serving.addresses[0]);
    };
    serve(service_apps::add(app(), &settings), &settings, Vec::new(), ready).unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::from(2)
    })
}

fn app() -> App {
    // A thousand requests at once are a burst, however long this machine takes for them; the lane `overload` has the
    // defaults.
    let patient = Lane::default()
        .wait(Duration::from_secs(60))
        .target(Duration::from_secs(6))
        .interval(Duration::from_secs(60))
        // Cases hold as many handlers as there are by bodies that do not come.
        .uploads(usize::MAX);
    // Made here, before any process is forked, so all of them have the same one.
    let table = Table::new(TableConfig { rows: 100, ..TableConfig::default() }).expect("there is memory");
    let app = App::new()
        .default_lane(patient)
        .post("/visits", move || table.add("visits", 1).expect("there is room").to_string())
        .get("/hello", || "Hello, world!")
        .get("/empty", || ())
        .get("/no-content", || StatusCode::NO_CONTENT)
        .get("/not-modified", || StatusCode::NOT_MODIFIED)
        .get("/pid", || std::process::id().to_string())
        .get("/share/{total}", |Path(total): Path<usize>| {
            format!("{} {}", std::process::id(), ProcessShare::current().of(total))
        })
        .get("/header/{name}", header)
        .get("/users/{id}", |Path(id): Path<u64>| format!("user {id}"))
        .get("/sleep/{ms}", sleep)
        .post("/named", named)
        .get("/async/{ms}", async_sleep)
        .get("/spin/{ms}", spin)
        .get("/block/{ms}", block)
        .get("/peer-that-is-silent", wait_for_a_peer.timeout(Duration::from_millis(100)))
        .get("/tree/{port}", silent_tree.timeout(Duration::MAX))
        .get("/tree-behind-a-head/{port}", tree_behind_a_head.timeout(Duration::MAX))
        .post("/patient-hold", hold.timeout(Duration::MAX))
        .post("/async-hold", async |body: Body| hold(body));
    health(bodies(lanes(failures(app))))
}

fn bodies(app: App) -> App {
    app.post("/echo", (|body: Body| body).body_bytes_max(1 << 30))
        .post("/collect", |body: Bytes| body.len().to_string())
        .post("/count", (|body: Body| count(body)).body_bytes_max(1 << 30))
        .post("/first/{bytes}", first)
        .post("/trailers", trailers)
        .post("/ignore", || "ignored")
        .post("/hold", hold)
        .post("/hold-once", hold)
        .post("/read-once", hold)
        .get("/produced/{bytes}", |Path(bytes): Path<u64>| Body::producer(move |out| produce(out, bytes)))
        .get("/sized/{bytes}", |Path(bytes): Path<u64>| Body::from_sized_reader(Letters(u64::MAX), bytes))
        .get("/read/{bytes}", |Path(bytes): Path<u64>| Body::from_reader(Letters(bytes)))
        .get("/memory/{bytes}", |Path(bytes): Path<usize>| vec![b'x'; bytes])
        .get("/pieces", || Body::from_iter(["one ", "", "two ", "three"]))
        .post("/json", |Json(sum): Json<Numbers>| Json(Sum { sum: sum.numbers.iter().sum() }))
        .post("/form", |Form(person): Form<Person>| person.name)
        .get("/query", |Query(person): Query<Person>| person.name)
        .get("/upgrade", || upgrade_to("echo", echo))
}

fn failures(app: App) -> App {
    app.get("/panic", || -> &'static str { panic!("on purpose") })
        .get("/panic-late", || {
            Body::producer(|out| {
                out.write_all(b"so far")?;
                out.flush()?;
                panic!("too late")
            })
        })
        .get("/fail", || -> Result<&'static str> { Err(io::Error::other("a secret"))? })
        .get("/teapot", || -> Result<&'static str> {
            Err(Error::new(StatusCode::IM_A_TEAPOT, "short and stout"))
        })
        .get("/short", || Body::from_sized_reader(Letters(10), 20))
        .get(
            "/slow-limit",
            (|| -> Result<&'static str> {
                tenfold_runtime::try_sleep(Duration::from_secs(60))?;
                Ok("slept")
            })
            .timeout(Duration::from_millis(100)),
        )
}

fn lanes(app: App) -> App {
    app.lane("narrow", Lane::pool(1).queue(1).wait(Duration::from_secs(60)), |routes| {
        routes
            .post("/narrow/hold", hold)
            .post("/narrow/collect", |body: Bytes| body.len().to_string())
            .get("/narrow/hello", || "narrow")
            .get("/narrow/hasty", (|| "narrow").timeout(Duration::from_millis(100)))
    })
    .lane("brief", Lane::pool(1).queue(8).wait(Duration::from_millis(150)), |routes| {
        routes.post("/brief/hold", hold).get("/brief/hello", || "brief")
    })
    .lane("shared", Lane::pool(4).wait(Duration::from_secs(60)), |routes| {
        routes
            .post("/shared/hold", hold)
            .post("/shared/count", |body: Body| count(body))
            .post("/shared/ahead", (|body: Body| count(body)).body_ahead_bytes_max(100))
            .get("/shared/hello", || "shared")
    })
    .lane("classes", Lane::pool(4).queue(8).wait(Duration::from_secs(60)).uploads(4), |routes| {
        routes
            .post("/classes/hold", hold)
            .get("/classes/hello", || "normal")
            .post("/classes/background/hold", hold.priority(Priority::Background))
            .get("/classes/background/hello", (|| "background").priority(Priority::Background))
            .post("/classes/critical/hold", hold.priority(Priority::Critical))
    })
    .lane("overload", Lane::default().at_once(2).queue(512).wait(Duration::from_millis(400)), |routes| {
        routes.get("/overload/work", async || {
            tenfold_runtime::delay(Duration::from_millis(20)).await;
            "done"
        })
    })
    .lane("found", Lane::default().adaptive(1, 64), |routes| routes.get("/found/hello", || "found"))
    .lane("hasty", Lane::default().timeout(Duration::from_secs(1)), |routes| {
        routes.get("/hasty/sleep/{ms}", try_sleep)
    })
}

fn health(app: App) -> App {
    app.health("/health", || "up")
        .health("/status", status)
        .health("/without-descriptors/{ms}", without_descriptors)
}

/// Has the process with the connections run out of descriptors for a time.
fn without_descriptors(Path(ms): Path<u64>) -> Result<&'static str> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let usual = getrlimit(Resource::Nofile);
    let give_back = move || {
        std::thread::sleep(Duration::from_millis(ms));
        let _ = setrlimit(Resource::Nofile, usual);
    };
    std::thread::Builder::new().spawn(give_back)?;
    // Standard input to error and one more are open for ever; poll(2) refuses more descriptors than the limit.
    setrlimit(Resource::Nofile, Rlimit { current: Some(4), maximum: usual.maximum })?;
    Ok("none")
}

/// The slot of the process that has the connections: health routes run there in every model.
fn status() -> Json<Status> {
    let slot = tenfold_scoreboard::current();
    Json(Status {
        pid: std::process::id(),
        connections_open: slot.connections_open.get(),
        connections_accepted: slot.connections_accepted.get(),
        requests: slot.requests.get(),
        bad_requests: slot.bad_requests.get(),
        rejections: slot.rejections.get(),
        timeouts: slot.timeouts.get(),
        fibers_in_use: slot.fibers_in_use.get(),
    })
}

/// What `/status` tells.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) pid: u32,
    pub(crate) connections_open: u64,
    pub(crate) connections_accepted: u64,
    pub(crate) requests: u64,
    pub(crate) bad_requests: u64,
    pub(crate) rejections: u64,
    pub(crate) timeouts: u64,
    pub(crate) fibers_in_use: u64,
}

#[derive(Deserialize)]
struct Numbers {
    numbers: Vec<i64>,
}

#[derive(Serialize)]
struct Sum {
    sum: i64,
}

#[derive(Deserialize)]
struct Person {
    name: String,
}

fn header(Path(name): Path<String>, headers: HeaderMap) -> String {
    headers.get(&name).and_then(|value| value.to_str().ok()).unwrap_or("(none)").to_owned()
}

/// Waits as the model does: a plain thread sleeps, a fiber parks, an inline handler holds its loop.
fn sleep(Path(ms): Path<u64>) -> &'static str {
    tenfold_runtime::sleep(Duration::from_millis(ms));
    "slept"
}

/// Reads its body under an id of its own making.
fn named(id: RequestId, body: Body) -> Result<String> {
    hold(body).map(|_| id.to_string())
}

/// Computes, which no loop can take turns with.
#[inline(never)]
fn spin(Path(ms): Path<u64>) -> String {
    let started = Instant::now();
    let mut turns = 0_u64;
    while started.elapsed() < Duration::from_millis(ms) {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
    format!("spun {ms}")
}

/// Blocks in the system's own sleep, which nothing of ours can end.
#[inline(never)]
fn block(Path(ms): Path<u64>) -> String {
    std::thread::sleep(Duration::from_millis(ms));
    format!("blocked {ms}")
}

fn try_sleep(Path(ms): Path<u64>) -> Result<&'static str> {
    tenfold_runtime::try_sleep(Duration::from_millis(ms))?;
    Ok("slept")
}

/// Reads from somebody who says nothing.
fn wait_for_a_peer() -> Result<&'static str> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let stream = tenfold_runtime::net::TcpStream::connect(listener.local_addr()?)?;
    stream.read_until(&mut [0], None)?;
    Ok("it spoke")
}

/// Reads from three peers that say nothing, side by side and one level further down, until this is cancelled.
fn tree(port: u16) -> io::Result<String> {
    let connection = || {
        let stream = tenfold_runtime::net::TcpStream::connect(("127.0.0.1", port))?;
        stream.read_until(&mut [0], None)
    };
    let outcomes = tenfold_runtime::scope(|outer| {
        let near = outer.spawn(connection);
        let far = outer.spawn(|| {
            tenfold_runtime::scope(|inner| {
                let far = [inner.spawn(connection), inner.spawn(connection)];
                far.map(|child| child.join())
            })
        });
        let far = far.join()?;
        [near.join()].into_iter().chain(far).collect::<std::result::Result<Vec<_>, _>>()
    });
    let outcomes = outcomes.map_err(|_| tenfold_runtime::park::cancelled())?;
    outcomes.into_iter().collect::<io::Result<Vec<usize>>>().map(|_| "they spoke".into())
}

fn silent_tree(Path(port): Path<u16>) -> Result<String> {
    Ok(tree(port)?)
}

/// An answer whose body waits.
fn tree_behind_a_head(Path(port): Path<u16>) -> Body {
    Body::producer(move |out| {
        out.write_all(b"a beginning")?;
        out.flush()?;
        tree(port).map(drop)
    })
}

/// Waits in a future that a foreign thread wakes, as those of other libraries are.
async fn async_sleep(Path(ms): Path<u64>) -> String {
    Timer::new(Duration::from_millis(ms)).await;
    format!("slept {ms}")
}

/// Ready when a thread has slept.
struct Timer(Arc<Mutex<(bool, Option<Waker>)>>);

impl Timer {
    fn new(duration: Duration) -> Timer {
        let state = Arc::<Mutex<(bool, Option<Waker>)>>::default();
        let timer = Timer(state.clone());
        std::thread::spawn(move || {
            std::thread::sleep(duration);
            let mut state = state.lock().expect("nobody panics with it");
            state.0 = true;
            if let Some(waker) = state.1.take() {
                waker.wake();
            }
        });
        timer
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<()> {
        let mut state = self.0.lock().expect("nobody panics with it");
        if state.0 {
            return Poll::Ready(());
        }
        state.1 = Some(context.waker().clone());
        Poll::Pending
    }
}

/// Runs until its client lets it go: it asks for the body, so the client that expects a 100 learns that it runs.
fn hold(mut body: Body) -> Result<String> {
    let mut all = String::new();
    body.read_to_string(&mut all)?;
    Ok(format!("held {all}"))
}

/// Counts a body and sums its bytes, in constant memory.
fn count(mut body: Body) -> Result<String> {
    let (mut buf, mut bytes, mut sum) = (vec![0; 16 * 1024], 0_u64, 0_u64);
    loop {
        match body.read(&mut buf)? {
            0 => return Ok(format!("{bytes} {sum}")),
            count => {
                bytes += count as u64;
                sum += buf[..count].iter().map(|byte| u64::from(*byte)).sum::<u64>();
            }
        }
    }
}

/// Reads the first bytes of a body and leaves the rest.
fn first(Path(bytes): Path<u64>, body: Body) -> Result<String> {
    let mut all = String::new();
    body.take(bytes).read_to_string(&mut all)?;
    Ok(all)
}

fn trailers(mut body: Body) -> Result<String> {
    io::copy(&mut body, &mut io::sink())?;
    let trailers = body.trailers().unwrap_or_default();
    Ok(trailers.get("x-sum").and_then(|value| value.to_str().ok()).unwrap_or("(none)").to_owned())
}

fn produce(out: &mut dyn Write, bytes: u64) -> io::Result<()> {
    io::copy(&mut Letters(bytes), out).map(drop)
}

fn echo(mut stream: tenfold_server::Upgraded) {
    let Ok(mut copy) = stream.try_clone() else { return };
    let _ = io::copy(&mut stream, &mut copy);
}

/// This many letters `x`.
struct Letters(u64);

impl Read for Letters {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = buf.len().min(usize::try_from(self.0).unwrap_or(usize::MAX));
        buf[..count].fill(b'x');
        self.0 -= count as u64;
        Ok(count)
    }
}
