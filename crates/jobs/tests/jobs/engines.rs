//! An engine that goes away and comes back, under load: nothing that was acknowledged is lost, and the jobs of a key keep their
//! order. And what an engine that promises too little is told.
//!
//! Three seconds; with `TENFOLD_LONG=1` thirty.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tenfold_client::nats::{Connection, Login};
use tenfold_client::redis::{Command, Value};
use tenfold_jobs::topic::{Collect, Entries, Topic};
use tenfold_testkit::services::{Instance, Nats, Redis};
use tenfold_testkit::{Case, Exit, PATIENCE, ServerProcess, Signal, signal_process, wait_until};

use crate::fixture::Note;
use crate::on::engine;
use crate::site::{Site, try_enqueue};
use crate::topics::Place;

/// Keys that jobs of a producer share in turn.
const KEYS: u64 = 4;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new("a_redis_that_promises_less_than_is_asked_for_is_one_clear_error", unfit_redis),
        Case::new("a_nats_that_cannot_promise_what_is_asked_for_is_one_clear_error", unfit_nats),
    ];
    for kind in [Kind::Redis, Kind::Nats] {
        let mut add = |name: &str, test: fn(&Service)| {
            cases.push(Case::new(format!("{name}_{}", kind.word()), move || {
                if let Some(service) = Service::start(kind) {
                    test(&service);
                }
            }));
        };
        add("an_engine_that_stops_under_load_loses_nothing_and_keeps_the_order", |service| {
            outage(service, Instance::pause, Instance::resume)
        });
        add("an_engine_that_is_killed_under_load_loses_nothing_and_keeps_the_order", |service| {
            outage(service, Instance::kill, Instance::restart)
        });
        add("a_server_starts_without_its_engine_and_forwards_later", starts_without);
        add("what_the_spool_has_is_there_after_a_kill", spool_survives);
        add("a_spool_keeps_the_bound_of_a_queue", bounded);
        add("the_jobs_of_a_machine_that_dies_run_on_another_one", machine_dies);
        add("a_schedule_fires_once_for_two_machines", one_firing);
        add("two_machines_keep_the_order_of_a_key", two_machines);
        add("a_topic_goes_on_to_a_stream_and_waits_while_the_engine_is_away", topic_goes_on);
    }
    cases
}

fn seconds() -> u64 {
    if std::env::var_os("TENFOLD_LONG").is_some() { 30 } else { 3 }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Redis,
    Nats,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Redis => "redis",
            Kind::Nats => "nats",
        }
    }
}

/// Sites whose jobs are in one engine of their own, and are one service.
pub(crate) enum Service {
    Redis(Redis),
    Nats(Nats),
}

impl Service {
    pub(crate) fn start(kind: Kind) -> Option<Service> {
        match kind {
            Kind::Redis => Redis::start_durable().map(Service::Redis),
            Kind::Nats => Nats::start().map(Service::Nats),
        }
    }

    pub(crate) fn engine(&self) -> &Instance {
        match self {
            Service::Redis(redis) => redis,
            Service::Nats(nats) => nats,
        }
    }

    fn url(&self) -> String {
        match self {
            Service::Redis(redis) => redis.url(),
            Service::Nats(nats) => nats.url(),
        }
    }

    /// The records of a stream.
    fn entries(&self, stream: &str) -> Vec<Vec<u8>> {
        match self {
            Service::Redis(redis) => {
                let client = tenfold_client::redis::Client::new(&redis.url()).unwrap();
                let all = Command::new("XRANGE").arg(stream).arg("-").arg("+");
                let all: Vec<Vec<Value>> = client.query(&all).unwrap();
                let record = |entry: Vec<Value>| match &entry[1] {
                    Value::List(fields) => match &fields[1] {
                        Value::Bulk(record) => record.to_vec(),
                        other => panic!("no record: {other:?}"),
                    },
                    other => panic!("no fields: {other:?}"),
                };
                all.into_iter().map(record).collect()
            }
            Service::Nats(nats) => {
                let login = Login::parse(&nats.url()).unwrap();
                let mut connection = Connection::open(&login, PATIENCE).unwrap();
                let all = connection.all_kept(stream, stream).unwrap();
                all.into_iter().map(|kept| kept.payload).collect()
            }
        }
    }

    /// One more machine, so to say.
    pub(crate) fn site(&self, settings: &str, more: &str, schedules: bool) -> Site {
        let mut site = self.idle_site(settings, more, schedules);
        site.serve();
        site
    }

    /// One that does not serve yet.
    pub(crate) fn idle_site(&self, settings: &str, more: &str, schedules: bool) -> Site {
        let mut site = Site::new(crate::on::On::File, settings, schedules);
        let url = engine(&self.url(), &site.directory, &format!("&durability=process{more}"));
        let own = format!("prefix={}", site.directory.file_name().unwrap().to_str().unwrap());
        site.jobs = url.replace(&own, "prefix=shared");
        site
    }
}

/// Numbers of each key that were acknowledged, in their order.
type Kept = Arc<Mutex<BTreeMap<u64, Vec<u64>>>>;

/// Enqueues all the time; jobs of a key one after another, each with the next number. A refused one comes again.
fn produce(address: &str, key: u64, kept: &Kept, over: &AtomicBool) {
    let mut number = 0;
    while !over.load(Ordering::Acquire) {
        let note = Note { text: format!("{key}-{number}"), ..Note::default() };
        let target = format!("note?queue=ordered&key={key}&id=k{key}-{number}");
        if try_enqueue(address, &target, &note).is_some() {
            kept.lock().unwrap().entry(key).or_default().push(number);
            number += 1;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn outage(service: &Service, begin: fn(&Instance), end: fn(&Instance)) {
    let site = service.site("model = 'fiber'\nworkers = 2", "", false);
    let (kept, over): (Kept, _) = (Kept::default(), Arc::new(AtomicBool::new(false)));
    let address = site.address();
    let producers: Vec<_> = (0..KEYS)
        .map(|key| {
            let (address, kept, over) = (address.clone(), kept.clone(), over.clone());
            std::thread::spawn(move || produce(&address, key, &kept, &over))
        })
        .collect();
    let count = || kept.lock().unwrap().values().map(Vec::len).sum::<usize>();
    wait_until("jobs are taken in", || (count() > 50).then_some(()));
    begin(service.engine());
    let until = Instant::now() + Duration::from_secs(seconds());
    let before = count();
    wait_until("jobs are taken in without the engine", || (count() > before + 50).then_some(()));
    std::thread::sleep(until.saturating_duration_since(Instant::now()));
    let during = count();
    end(service.engine());
    wait_until("the engine has been reached again", || {
        (site.try_queue("ordered")?["live"].as_u64()).map(|_| ())
    });
    wait_until("jobs are taken in after it", || (count() > during + 50).then_some(()));
    over.store(true, Ordering::Release);
    producers.into_iter().for_each(|producer| producer.join().unwrap());
    let all = count();
    await_runs(&site, all);
    site.wait_until_empty();
    println!("{all} jobs, {} of them while the engine was away", during - before);
    check_order(&site, &kept.lock().unwrap());
}

/// Waits until so many jobs have run, for as long as more and more do: jobs of four keys run four at a time.
fn await_runs(site: &Site, all: usize) {
    let count =
        || site.texts().into_iter().filter(|line| line.starts_with("end ")).collect::<BTreeSet<_>>().len();
    let (mut last, mut grown_at) = (0, Instant::now());
    while last < all {
        std::thread::sleep(Duration::from_millis(50));
        let now = count();
        if now > last {
            (last, grown_at) = (now, Instant::now());
        }
        assert!(grown_at.elapsed() < PATIENCE, "{last} of {all} jobs have run, and no more do");
    }
}

/// Each key's jobs have begun in their order: what comes twice, comes twice in a row.
fn check_order(site: &Site, kept: &BTreeMap<u64, Vec<u64>>) {
    let mut begun: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for text in site.texts() {
        if let Some((key, number)) = text.strip_prefix("begin ").and_then(|text| text.split_once('-')) {
            begun.entry(key.parse().unwrap()).or_default().push(number.parse().unwrap());
        }
    }
    for (key, numbers) in kept {
        let mut order = begun.remove(key).unwrap_or_default();
        order.dedup();
        assert!(order.is_sorted(), "key {key} has not kept its order: {order:?}");
        for number in numbers {
            assert!(order.binary_search(number).is_ok(), "{key}-{number} was acknowledged and has not run");
        }
    }
}

fn starts_without(service: &Service) {
    service.engine().kill();
    let site = service.site("model = 'fiber'\nworkers = 1", "", false);
    let ids: Vec<String> = (0..20).map(|n| site.note("note", &n.to_string())).collect();
    assert!(site.texts().is_empty(), "who runs what is the engine's to say");
    service.engine().restart();
    site.wait_for("end 19");
    site.wait_until_empty();
    assert_eq!(site.job(&ids[0])["state"], "done");
    assert_eq!(site.texts().len(), 40);
}

fn spool_survives(service: &Service) {
    let mut site = service.site("model = 'fiber'\nworkers = 1", "", false);
    service.engine().pause();
    site.note("note?after_ms=500", "a");
    let pid = site.server().pid();
    signal_process(pid, Signal::KILL);
    service.engine().resume();
    site.serve();
    site.wait_for("end a");
    site.wait_until_empty();
    assert_eq!(site.texts(), ["begin a", "end a"]);
}

fn bounded(service: &Service) {
    let site = service.site("model = 'fiber'\nworkers = 1", "", false);
    site.ask(json!({ "Pause": { "queue": "small", "on": true } }));
    service.engine().kill();
    for number in 0..3 {
        site.note("note?queue=small", &number.to_string());
    }
    site.ask_to_enqueue("note?queue=small", &Note::default()).expect(503);
    service.engine().restart();
    wait_until("they are there", || (site.try_queue("small")?["live"] == 3).then_some(()));
    site.ask_to_enqueue("note?queue=small", &Note::default()).expect(503);
    site.ask(json!({ "Pause": { "queue": "small", "on": false } }));
    site.wait_until_empty();
    assert_eq!(site.texts().len(), 6);
}

fn machine_dies(service: &Service) {
    let mut first = service.site("model = 'fiber'\nworkers = 1", "&lease_secs=4", false);
    let long = Note { text: "long".into(), wait_ms: 3_600_000, ..Note::default() };
    first.enqueue("note?id=long", &long);
    first.wait_for("begin long");
    let second = service.site("model = 'fiber'\nworkers = 1", "&lease_secs=4", false);
    // A job that runs longer than a lease stays where it is.
    std::thread::sleep(Duration::from_secs(6));
    assert!(second.texts().is_empty());
    // Nobody says good-bye: all of its processes end at once.
    let pid = first.server().pid();
    let all: Vec<u32> = first.children("").into_iter().chain([pid]).collect();
    all.iter().for_each(|pid| signal_process(*pid, Signal::STOP));
    all.iter().for_each(|pid| signal_process(*pid, Signal::KILL));
    second.wait_for("begin long");
    assert_eq!(second.job("long")["crashes"], 1);
    second.ask(json!({ "Cancel": "long" }));
    second.wait_until_empty();
}

fn one_firing(service: &Service) {
    let first = service.site("model = 'fiber'\nworkers = 1", "", true);
    let second = service.site("model = 'fiber'\nworkers = 1", "", true);
    let ticks = |site: &Site| {
        site.lines().into_iter().filter(|line| line.what == "tick").map(|line| line.id).collect::<Vec<_>>()
    };
    wait_until("twenty ticks", || (ticks(&first).len() + ticks(&second).len() >= 20).then_some(()));
    let mut all = [ticks(&first), ticks(&second)].concat();
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count, "no time has fired twice");
}

/// Jobs of a key are taken in by one machine after the other, and run on both.
fn two_machines(service: &Service) {
    let sites = [0, 1].map(|_| service.site("model = 'fiber'\nworkers = 1", "", false));
    for number in 0..40 {
        let note = Note { text: format!("{}-{number}", number % 2), wait_ms: 1, ..Note::default() };
        sites[(number / 2) % 2].enqueue(&format!("note?queue=ordered&key={}", number % 2), &note);
    }
    sites[0].wait_until_empty();
    let mut lines = [sites[0].lines(), sites[1].lines()].concat();
    lines.sort_by_key(|line| line.at_us);
    for key in 0..2 {
        let own = lines.iter().filter(|line| line.what.contains(&format!(" {key}-")));
        let own: Vec<&str> = own.map(|line| line.what.as_str()).collect();
        let expected = (0..40).filter(|number| number % 2 == key);
        let expected: Vec<String> = expected
            .flat_map(|number| ["begin", "end"].map(|word| format!("{word} {key}-{number}")))
            .collect();
        assert_eq!(own, expected, "one after another, over both machines");
    }
}

fn topic_goes_on(service: &Service) {
    let place = Place::new("entries");
    let topic = Topic::new("visits").directory(&place.0);
    let (writer, mut reader) = (topic.writer(), topic.reader().unwrap());
    let mut entries = Entries::to(&service.url(), "visits").unwrap();
    let append = |numbers: std::ops::Range<u32>| {
        numbers.for_each(|number| writer.append(number.to_string().as_bytes()).unwrap());
        writer.flush().unwrap();
    };
    let mut take_all = || -> std::io::Result<()> {
        while let Some(batch) = reader.next().unwrap() {
            entries.collect(batch)?;
            reader.commit().unwrap();
        }
        Ok(())
    };
    append(0..5_000);
    take_all().unwrap();
    service.engine().kill();
    append(5_000..6_000);
    take_all().unwrap_err();
    service.engine().restart();
    append(6_000..6_001);
    wait_until("the rest is taken", || take_all().ok());
    let expected: Vec<Vec<u8>> = (0..6_001).map(|number: u32| number.to_string().into_bytes()).collect();
    assert!(service.entries("visits") == expected, "each once, in their order");
}

fn unfit_redis() {
    // It keeps nothing on disk.
    let Some(redis) = Redis::start() else { return };
    refuses(&redis.url(), "appendonly no", "durability=memory");
}

fn unfit_nats() {
    let Some(nats) = Nats::start() else { return };
    refuses(&nats.url(), "answers before fsync", "durability=process");
}

/// One line that says what is missing and what to ask for instead; and then it serves.
fn refuses(url: &str, reason: &str, instead: &str) {
    let mut site =
        Site::new(crate::on::On::File, "model = 'fiber'\nworkers = 1\nready_timeout_secs = 2.0", false);
    site.jobs = engine(url, &site.directory, "");
    let (exit, log) = ServerProcess::try_start(&mut site.command()).expect_err("it does not start");
    assert_eq!(exit, Exit::Code(1), "{log}");
    assert!(log.contains(reason) && log.contains(instead), "{log}");
    site.jobs = engine(url, &site.directory, &format!("&{instead}"));
    site.serve();
    site.note("note", "a");
    site.wait_for("end a");
}
