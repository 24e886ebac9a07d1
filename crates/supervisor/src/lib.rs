//! The master: binds, forks, restarts and stops workers. Knows no HTTP.
//!
//! ```text
//!                 signals, SIGCHLD
//!                        │
//!   listeners ──►  ┌──────────┐  orders pipe   ┌────────┐
//!   (bound once)   │  Master  │ ─────────────► │ Worker │  × count, per Group
//!   scoreboard ──► │ 1 thread │ ◄───────────── │  run() │
//!                  └──────────┘   ready pipe   └────────┘
//! ```
//!
//! The master owns what must outlive a worker (listeners, the scoreboard), runs
//! no handler and starts no thread: so there is nothing in it that a request
//! could break, and fork(2) finds no lock held by somebody who is not there any
//! more. A worker learns what to do from one readable descriptor
//! ([`Worker::orders_fd`]), whether the order came from the master or as a
//! signal, and says by [`Worker::ready`] that it serves: nobody sleeps and hopes.
//!
//! ```no_run
//! use tenfold_supervisor::{Bound, ExitReason, Group, ListenSpec, Master, MasterConfig};
//!
//! let bound = Bound::bind(&"127.0.0.1:8080".parse::<ListenSpec>()?)?;
//! let listener = bound.tcp().expect("a TCP address").try_clone()?;
//! let code = Master::new(MasterConfig::default())
//!     .group(Group::new("worker", 2, move |worker| {
//!         listener.set_nonblocking(true).expect("a listener can be made non-blocking");
//!         worker.ready();
//!         while worker.try_order().is_none() {
//!             // poll(2) on the listener and on worker.orders_fd(), then serve.
//!         }
//!         ExitReason::Done
//!     }))
//!     .on_ready(|| println!("serving"))
//!     .run()?;
//! # let _ = code;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod master;
mod source;

mod crew;

mod generation;
mod group;
mod seat;

mod order;
mod report;
mod worker;

mod accept_queue;
mod activation;
mod listen_spec;
mod listener;
mod listeners;
mod takeover;

mod command;
mod control;
mod identity;
mod notify;
mod pidfile;

mod backoff;
mod error;
mod sys;
mod title;

pub use command::Command;
pub use error::Error;
pub use group::{ExitReason, Group, Recycling, Spawning};
pub use identity::Identity;
pub use listen_spec::ListenSpec;
pub use listener::{BACKLOG, Bound, Listener};
pub use listeners::{Listen, ListenerSet};
pub use master::{Master, MasterConfig};
pub use order::{LogLevel, Order, Orders};
pub use report::{Report, Reporter};
pub use source::{Prepared, Source, Wish};
pub use takeover::{inherited_control, report_failure};
pub use title::set_title;
pub use worker::{OrderReader, Worker};

/// What this crate answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;
