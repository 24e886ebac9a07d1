//! The watchdog names the fiber that holds its loop, with a trace that contains its function.

use std::fmt::Write;
use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tenfold_runtime::{Runtime, RuntimeConfig, Watchdog, sleep, spawn_detached};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Keeps warnings as text.
struct Keep(Arc<Mutex<Vec<String>>>);

impl Subscriber for Keep {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                write!(self.0, "{field}={value:?} ").unwrap();
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[inline(never)]
fn a_careless_computation(until: Instant) -> u64 {
    let mut sum = 0;
    while Instant::now() < until {
        sum = one_round(sum);
    }
    black_box(sum)
}

#[inline(never)]
fn one_round(sum: u64) -> u64 {
    (0..black_box(10_000)).fold(sum, |sum, number| black_box(sum + number))
}

#[test]
fn a_fiber_that_computes_is_named_once_a_doubling_and_one_that_waits_is_not() {
    let warnings = Arc::new(Mutex::new(Vec::new()));
    tracing::subscriber::set_global_default(Keep(warnings.clone())).unwrap();
    let holds = || tenfold_scoreboard::current().loop_holds.get();
    let before = holds();
    let watchdog = Watchdog::start(Duration::from_millis(40)).unwrap();
    Runtime::new(&RuntimeConfig::default())
        .unwrap()
        .run(|| {
            sleep(Duration::from_millis(150));
            let started = spawn_detached("GET /careless", || {
                a_careless_computation(Instant::now() + Duration::from_millis(600));
            });
            assert!(started.is_ok());
            sleep(Duration::from_millis(700));
        })
        .unwrap();
    drop(watchdog);
    let warnings = warnings.lock().unwrap();
    let reports: Vec<_> = warnings.iter().filter(|text| text.contains("holds its loop")).collect();
    assert!((1..=5).contains(&reports.len()), "at doubling intervals: {reports:#?}");
    assert!(reports.iter().all(|text| text.contains("GET /careless")), "{reports:#?}");
    assert!(reports.iter().any(|text| text.contains("a_careless_computation")), "{reports:#?}");
    assert_eq!(holds() - before, 1);
}
