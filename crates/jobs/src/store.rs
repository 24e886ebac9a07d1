//! `Store`: where jobs are kept, seen from a program. Its only way is through the keeper of the machine: that has them in a file,
//! or hands them on to an engine (`engine.rs`), of which there is one file each.
//!
//! A store keeps what it is given before it says so, gives each job to one run at a time, gives it again when that run's
//! worker dies, and knows an id again. What a queue's rules mean is decided there, not here.

pub(crate) mod engine;
mod keeper;
pub(crate) mod nats;
pub(crate) mod redis;
pub(crate) mod shared;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::wire::{Ask, End, Enqueue, Hello, Lease, Receipt, Want};

pub(crate) use keeper::KeeperStore;

/// Where jobs are kept. Its calls may be made on fibers and threads, and wait for as long as they are allowed to.
pub(crate) trait Store: fmt::Debug + Send + Sync {
    /// Keeps jobs, all or none; when it returns they are on disk. Tries again until `until`, always with the same ids.
    fn enqueue(&self, enqueue: &Enqueue, until: Instant) -> Result<Kept>;

    /// Answers a person.
    fn ask(&self, ask: &Ask, until: Instant) -> Result<Value>;

    /// Takes jobs from now on, and hands them to `sink`, on a thread of its own.
    fn work(&self, hello: Hello, wants: Vec<Want>, sink: Sink) -> Result<Arc<dyn Desk>>;
}

/// What became of an enqueue.
pub(crate) enum Kept {
    All(Vec<Receipt>),
    /// This queue has no room.
    Full(String),
}

/// Where work comes in.
pub(crate) type Sink = Arc<dyn Fn(Event) + Send + Sync>;

/// What a store tells a worker.
#[derive(Debug)]
pub(crate) enum Event {
    Run(Lease),
    Cancel(i64),
}

/// A worker's place at a store.
pub(crate) trait Desk: Send + Sync {
    /// A run has ended. Never waits; it is told until it is settled.
    fn end(&self, end: End);

    /// How far a run is. May be lost.
    fn progress(&self, seq: i64, percent: u8);

    /// Takes no more work.
    fn stop(&self);

    /// Whether everything that has ended is settled.
    fn is_settled(&self) -> bool;

    /// Says good-bye: what is still held goes back.
    fn close(&self);
}

/// A program that has no store: where an app is only checked, or its server was not started by `serve`.
#[derive(Debug)]
pub(crate) struct NoStore;

impl Store for NoStore {
    fn enqueue(&self, _: &Enqueue, _: Instant) -> Result<Kept> {
        Err(Error::unavailable("this program was not told where its jobs are kept"))
    }

    fn ask(&self, _: &Ask, _: Instant) -> Result<Value> {
        Err(Error::unavailable("this program was not told where its jobs are kept"))
    }

    fn work(&self, _: Hello, _: Vec<Want>, _: Sink) -> Result<Arc<dyn Desk>> {
        Err(Error::unavailable("this program was not told where its jobs are kept"))
    }
}
