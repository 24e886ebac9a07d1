//! Schedules fibers on reactors; the same calls block a plain thread.
//!
//! In scope: fibers ([`spawn`], [`scope`], [`yield_now`]), waiting ([`mod@park`], [`sleep`], [`deadline`]), what runs later ([`timer`]), sockets ([`net`]),
//! connections that wait without a fiber ([`feed`]), channels and locks ([`sync`]), what would hold the loop elsewhere
//! ([`offload`](fn@offload), [`fs`], [`dns`]), futures ([`block_on`](fn@block_on), [`adapter`]), and the [`Watchdog`]. Out of scope:
//! protocols, processes, signals.
//!
//! Every call that waits ends in [`park`], and nothing else decides how: on a fiber the thread goes on with other
//! fibers, on a plain thread the call blocks. So the same code runs in a process, a thread, a pool or a fiber.
//!
//! ```
//! use std::time::Duration;
//! use tenfold_runtime::{Runtime, scope, sleep};
//!
//! fn greet() -> &'static str {
//!     sleep(Duration::from_millis(1));
//!     "hello"
//! }
//!
//! assert_eq!(greet(), "hello"); // blocks this thread
//! let runtime = Runtime::new(&Default::default())?;
//! let words = runtime.run(|| {
//!     scope(|scope| {
//!         let first = scope.spawn(greet); // parks a fiber
//!         let second = scope.spawn(greet);
//!         [first.join().unwrap(), second.join().unwrap()]
//!     })
//! })?;
//! assert_eq!(words, ["hello", "hello"]);
//! # Ok::<(), tenfold_runtime::RuntimeError>(())
//! ```

#![forbid(unsafe_code)]

pub mod park;

pub mod account;
pub mod cause;

mod block_on;
mod cancel;
mod error;
mod expiry;
mod join;
mod local;
mod main_loop;
mod offload;
mod readiness;
mod remote;
mod scheduler;
mod scope;
mod share;
mod spawn;
mod table;
mod task;
mod time;
mod watchdog;
mod watched;

pub mod adapter;
pub mod dns;
pub mod fan_out;
pub mod feed;
pub mod foreign;
pub mod fs;
pub mod lend;
pub mod net;
pub mod sync;
pub mod timer;

pub use cause::waiting_for;

pub use block_on::{Delay, block_on, block_on_until, delay, delay_until};
pub use cancel::CancelHandle;
pub use error::RuntimeError;
pub use expiry::{Expiry, take_expiry};
pub use join::{JoinError, JoinHandle};
pub use local::Local;
pub use main_loop::{Runtime, RuntimeConfig};
pub use offload::{OffloadConfig, OffloadError, configure_offload, offload, offload_scoped, offload_threads};
pub use remote::LoopHandle;
pub use scope::{Scope, ScopedJoinHandle, scope};
pub use share::ProcessShare;
pub use spawn::{Builder, Reserved, current_loop, reserve, set_name, spawn, spawn_detached, yield_now};
/// A name that another thread may read.
pub use tenfold_fiber::SharedName;
pub use tenfold_fiber::prefetch;
/// Where a thread is right now, asked from another thread: what the watchdog uses.
pub use tenfold_fiber::trace;
pub use tenfold_reactor::{BackendChoice, Interest, ReactorConfig};
pub use time::{deadline, deadline_at, sleep, sleep_until, try_sleep, turn_now};
pub use watchdog::Watchdog;
pub use watched::{Watched, watched_loops};
