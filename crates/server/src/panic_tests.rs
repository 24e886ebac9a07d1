//! A panic is answered, counted and logged once, on a thread and on a fiber. The log is looked at through a subscriber of
//! the test's own.

use std::sync::{LazyLock, Mutex, mpsc};

use tenfold_runtime::Runtime;
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Metadata, Subscriber};

use super::*;
use crate::context::testing::{Asked, text_of};

/// Sends the text of every error.
struct Errors(Mutex<mpsc::Sender<String>>);

impl Subscriber for Errors {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::ERROR
    }

    fn event(&self, event: &Event<'_>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0 += &format!("{field}={value:?}; ");
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        // The receiver is gone when the test is over.
        let _ = self.0.lock().unwrap().send(text.0);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// Installs the hook, and makes sure that a subscriber hears of a line that another thread logs for the first time, without one:
/// where there is one subscriber only, tracing-core asks that thread's instead, and remembers that nobody wants the line.
fn begin() {
    static KEPT: LazyLock<[tracing::Dispatch; 2]> =
        LazyLock::new(|| [(), ()].map(|()| tracing::Dispatch::new(Errors(Mutex::new(mpsc::channel().0)))));
    LazyLock::force(&KEPT);
    install_hook();
}

fn failing() -> &'static str {
    panic!("out of {}", "tea")
}

/// The next line of the log.
fn line_of(log: &mpsc::Receiver<String>) -> String {
    // A fiber's panic is logged by a thread, which resolves the backtrace first.
    log.recv_timeout(std::time::Duration::from_secs(20)).expect("the panic is logged")
}

fn check(run: impl FnOnce(tracing::Dispatch) -> (u16, String)) {
    begin();
    let (sender, log) = mpsc::channel();
    let dispatch = tracing::Dispatch::new(Errors(Mutex::new(sender)));
    let before = tenfold_scoreboard::current().panics.get();
    assert_eq!(run(dispatch), (500, "internal server error".into()));
    assert!(tenfold_scoreboard::current().panics.get() > before);
    let line = line_of(&log);
    for part in ["out of tea", "panic_tests.rs:", "route=\"/{*rest}\"", "failing"] {
        assert!(line.contains(part), "{part} is not in: {line}");
    }
    let more: Vec<String> = log.try_iter().collect();
    assert!(more.is_empty(), "it is logged once: {more:?}");
}

fn ask() -> (u16, String) {
    let answer = Asked::get("/a").call(failing);
    (answer.status().as_u16(), text_of(answer))
}

#[test]
fn on_a_thread() {
    check(|dispatch| tracing::dispatcher::with_default(&dispatch, ask));
}

#[test]
fn on_a_fiber() {
    check(|dispatch| {
        let config = tenfold_runtime::RuntimeConfig { stack_bytes: 256 << 10, ..Default::default() };
        let runtime = Runtime::new(&config).unwrap();
        runtime.run(move || tracing::dispatcher::with_default(&dispatch, ask)).unwrap()
    });
}

#[test]
fn a_handler_that_follows_is_not_disturbed() {
    begin();
    assert_eq!(ask().0, 500);
    assert_eq!(text_of(Asked::get("/a").call(|| "fine")), "fine");
    assert_eq!(HANDLERS.get(), 0);
}

#[test]
fn a_panic_that_the_handler_catches_is_logged_when_its_fiber_ends() {
    begin();
    let (sender, log) = mpsc::channel();
    let dispatch = tracing::Dispatch::new(Errors(Mutex::new(sender)));
    let thread = std::thread::spawn(move || {
        tracing::dispatcher::with_default(&dispatch, || {
            let catching = || if catch_unwind(|| panic!("caught")).is_err() { "went on" } else { "" };
            let text = text_of(Asked::get("/a").call(catching));
            // A thread's locals are dropped after its subscriber is: the next panic's report replaces this one's.
            let _ = Asked::get("/a").call(failing);
            text
        })
    });
    assert_eq!(thread.join().unwrap(), "went on");
    assert!(line_of(&log).contains("caught"));
    assert!(line_of(&log).contains("out of tea"));
}

#[test]
fn messages_are_texts_of_either_kind() {
    assert_eq!(message_of(&"static"), "static");
    assert_eq!(message_of(&String::from("owned")), "owned");
    assert_eq!(message_of(&7), "(not a text)");
}
