//! `EngineThread`: the thread of the keeper that waits for the engine, so that its loop never does.
//!
//! It does one order at a time and answers it; the loop gives it the next one then. What it says comes over a channel, with a byte
//! in a socket that the loop polls.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::beside;
use crate::place::{EngineKind, EngineSettings};
use crate::store::engine::{Answer, Call, Engine, EngineError, Notice};
use crate::store::nats::NatsLog;
use crate::store::redis::RedisEngine;
use crate::store::shared::LogEngine;

pub(super) enum Order {
    /// Connect as this keeper.
    Connect(String),
    Round(Vec<Call>),
}

#[derive(Debug)]
pub(super) enum Event {
    Connected(Result<(), EngineError>),
    Done(Result<Vec<Answer>, EngineError>),
    Notice(Notice),
}

pub(super) struct EngineThread {
    orders: Sender<Order>,
    events: Receiver<Event>,
    bell: UnixStream,
}

/// Says something to the loop.
#[derive(Clone)]
struct Mouth {
    events: Sender<Event>,
    bell: Arc<UnixStream>,
}

impl Mouth {
    fn say(&self, event: Event) {
        let _ = self.events.send(event);
        // A socket that is full rings as well.
        let _ = (&*self.bell).write(&[1]);
    }
}

impl EngineThread {
    pub(super) fn start(settings: &EngineSettings) -> Result<EngineThread, String> {
        let text = |error: std::io::Error| format!("cannot start the engine's thread: {error}");
        let (bell, ringer) = UnixStream::pair().map_err(text)?;
        bell.set_nonblocking(true).and_then(|()| ringer.set_nonblocking(true)).map_err(text)?;
        let (orders, to_do) = channel();
        let (said, events) = channel();
        let mouth = Mouth { events: said, bell: Arc::new(ringer) };
        let for_notices = mouth.clone();
        let listener = Arc::new(move |notice| for_notices.say(Event::Notice(notice)));
        let engine: Box<dyn Engine> = match settings.kind {
            EngineKind::Redis => Box::new(RedisEngine::new(settings.clone(), listener)?),
            EngineKind::Nats => {
                let log = NatsLog::new(settings.clone(), listener)?;
                Box::new(LogEngine::new(log, settings.lease, beside(&settings.spool, "image")))
            }
        };
        let run = move || run(engine, &to_do, &mouth);
        std::thread::Builder::new().name("jobs-engine".into()).spawn(run).map_err(text)?;
        Ok(EngineThread { orders, events, bell })
    }

    pub(super) fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }

    /// What it has said since the last time.
    pub(super) fn heard(&mut self) -> Vec<Event> {
        let mut chunk = [0; 256];
        while matches!(self.bell.read(&mut chunk), Ok(count) if count > 0) {}
        self.events.try_iter().collect()
    }
}

impl AsFd for EngineThread {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

/// The thread `jobs-engine`.
fn run(mut engine: Box<dyn Engine>, orders: &Receiver<Order>, mouth: &Mouth) {
    while let Ok(order) = orders.recv() {
        mouth.say(match order {
            Order::Connect(keeper) => Event::Connected(engine.connect(&keeper)),
            Order::Round(calls) => Event::Done(engine.round(&calls)),
        });
    }
}
