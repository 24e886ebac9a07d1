//! Durable background work: a handler puts a job on disk and answers; a worker runs it, and runs it again if that fails.
//!
//! ```text
//!   request ─► Jobs::enqueue ─► keeper: SQLite, on disk ─► worker: your function ─► done │ again │ dead
//! ```
//!
//! In scope: bounded queues with a rule for when they are full, retries, delays, priorities, keys with a bound or an order,
//! unique jobs, batches, dead jobs and their replay, schedules; and [`topic`], a log of records that need none of it. Out of scope:
//! HTTP, and what a job does.
//!
//! The default store is a SQLite file that one process, the keeper, owns ([`keeper`]); it starts and ends with the server. Where
//! several machines share their jobs it hands them on to Redis, Valkey or NATS, and keeps them while that is away.
//! A job that was taken in is on disk. It runs at least once: again after a failure, and after the death of the worker that
//! ran it, which is noticed within milliseconds.
//!
//! ```no_run
//! use tenfold_jobs::{AppJobs, Jobs};
//! use tenfold_server::{App, Path, Result};
//!
//! fn order(Path(item): Path<u64>, jobs: Jobs) -> Result<String> {
//!     let id = jobs.with("ship", &item)?.key(item).send()?;
//!     Ok(format!("ordered: {id}\n"))
//! }
//!
//! fn ship(item: u64) -> std::io::Result<()> {
//!     std::fs::write(format!("/tmp/shipped-{item}"), "")
//! }
//!
//! let app = App::new().post("/order/{item}", order).job("ship", ship);
//! # let _ = app;
//! ```

#![forbid(unsafe_code)]

mod app;
mod jobs;
mod queue;

mod cx;
mod handler;
pub mod once;
pub mod outbox;
mod registry;
mod runner;
mod user_tx;

mod history;
mod page;
pub mod report;
mod shown;

pub mod topic;

pub mod keeper;
mod place;
mod store;
pub mod wire;

mod backoff;
mod cron;
mod error;
mod id;

pub use app::AppJobs;
pub use backoff::Backoff;
pub use cx::JobCx;
pub use error::{Error, Result};
pub use handler::{
    Bare, Configured, IntoJobResult, JobError, JobHandler, JobOptions, JobResult, Plain, WithCx, WithOptions,
};
pub use jobs::{Batch, Draft, Jobs};
pub use place::{DEFAULT_FILE, Durability};
pub use queue::{OnFull, Queue, Workers};
pub use user_tx::UserTx;
pub use wire::{Ask, Misfire};
