//! What the tests share: a raw HTTP/1.1 client, server processes, their memory, and a runner for generated cases.
//!
//! Everything here fails the test that uses it, by panicking with what was received or logged so far: a test reads as what
//! is expected, and a hang is not one of the outcomes. Nothing of the server is used, so that a bug in its parser does not
//! hide itself.

#![forbid(unsafe_code)]

mod client;
mod harness;
mod inflate;
mod memory;
mod process;
mod response;
pub mod services;
mod traffic;
mod websocket;

pub use client::{Client, PATIENCE};
pub use harness::{Case, Options, run};
pub use inflate::inflate_within;
pub use memory::{Memory, PeakWatch, descendants, memory_of_tree};
pub use process::{Exit, ServerProcess, is_frozen, kill_remaining, signal_process, wait_until, wait_within};
pub use response::{ResponseReader, TestResponse};
pub use rustix::process::Signal;
pub use traffic::{Counted, Traffic};
pub use websocket::{WsClient, frame};
