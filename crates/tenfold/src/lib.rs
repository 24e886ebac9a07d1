//! A web application server and framework. A handler is written once, as plain blocking code; one word chooses how it
//! runs: processes, threads, a pool, an event loop, fibers, or a mix of them.
//!
//! ```no_run
//! use tenfold::prelude::*;
//!
//! fn main() -> tenfold::Result<()> {
//!     App::new()
//!         .get("/", || "Hello, world!")
//!         .get("/wait/{n}", wait)
//!         .lane("reports", Lane::pool(4).queue(64).wait(secs(2)), |r| r.get("/reports/{id}", report))
//!         .main() // the command line: serve, load, plan, models, check
//! }
//!
//! fn wait(Path(n): Path<u64>) -> String {
//!     tenfold::sleep(ms(n)); // parks a fiber or blocks a thread
//!     format!("waited {n} ms\n")
//! }
//!
//! fn report(Path(id): Path<u64>) -> Json<[u64; 1]> {
//!     Json([id])
//! }
//! ```
//!
//! Then `myapp serve --model fiber`, or `--model pool --threads 64`, or any other: `myapp models` lists them. Nothing in the
//! handlers changes.
//!
//! In this crate: re-exports of what an application needs, and the command line ([`cli`]). What is one level deeper has a
//! module of its own: [`client`] for calls to other services, [`jobs`] for durable background work, [`rooms`] for WebSockets
//! and what is published to many, [`runtime`] for fibers, streams and waiting,
//! [`supervisor`] for processes.

#![forbid(unsafe_code)]

pub mod cli;

pub mod prelude;

use std::time::Duration;

// Linked for its symbols; nobody calls it.
#[cfg(feature = "hook")]
use tenfold_hook as _;

pub use tenfold_client as client;
pub use tenfold_compare as compare;
pub use tenfold_jobs as jobs;
pub use tenfold_rooms as rooms;
pub use tenfold_server::runtime::cause::{Cause, waiting_for};
pub use tenfold_server::runtime::sync::channel;
pub use tenfold_server::runtime::timer;
pub use tenfold_server::runtime::{deadline, offload, scope, sleep, spawn, try_sleep, yield_now};
pub use tenfold_server::scoreboard::{Table, TableConfig, TableError};
pub use tenfold_server::{
    App, BINARY, Blueprint, Body, BodyReadError, BodySource, BuildError, Bytes, ClientAddr, Context, Error,
    Failure, Form, FromRequest, HTML, Handler, HeaderMap, HeaderName, HeaderValue, Html, IntoResponse, JSON,
    Json, Lane, Limits, MODELS, MatchedPath, Method, Model, Path, Peer, Placement, Priority, Query, Redirect,
    RequestHead, RequestId, Response, ResponseParts, Result, Routes, ServeError, Serving, Settings, State,
    StatusCode, TEXT, Templates, Upgraded, Uri, Version, block_on, runtime, scoreboard, serve, supervisor,
    take_over, upgrade_to,
};

/// What serves protocols other than HTTP ([`App::tcp`], [`App::udp`]).
pub use tenfold_server::{
    BadInput, Conn, Cut, Datagram, Delimiter, FixedHeader, FrameError, FrameHandler, Framed, Framing,
    FramingExt, FromState, Input, LengthPrefix, Need, Outcome, Progress, Protocol, Reply, ServiceLimits,
    StateMap, TcpHandler, UdpHandler, WithLimits,
};

pub use cli::Main;

/// A number of seconds.
///
/// ```
/// assert_eq!(tenfold::secs(2), std::time::Duration::from_secs(2));
/// ```
pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A number of milliseconds.
///
/// ```
/// assert_eq!(tenfold::ms(2_000), tenfold::secs(2));
/// ```
pub const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The guide's examples, run as doc tests.
#[cfg(doctest)]
mod guide {
    macro_rules! pages {
        ($($name:ident: $path:literal,)*) => {
            $(#[doc = include_str!($path)] pub struct $name;)*
        };
    }

    pages! {
        Readme: "../../../README.md",
        Clients: "../../../docs/clients.md",
        Compare: "../../../docs/compare.md",
        Drivers: "../../../docs/drivers.md",
        FanOut: "../../../docs/fan-out.md",
        JobsPage: "../../../docs/jobs.md",
        Lanes: "../../../docs/lanes.md",
        Overload: "../../../docs/overload.md",
        Limits: "../../../docs/limits.md",
        Models: "../../../docs/models.md",
        Operations: "../../../docs/operations.md",
        RoomsPage: "../../../docs/rooms.md",
        RuntimePage: "../../../docs/runtime.md",
        Services: "../../../docs/services.md",
        Sight: "../../../docs/sight.md",
        TablePage: "../../../docs/table.md",
    }
}
