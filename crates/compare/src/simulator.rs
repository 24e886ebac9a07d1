//! Simulators: what a handler waits for, in a process of its own, with a latency that is known.
//!
//! In a process of their own, because a model that runs one handler at a time would otherwise wait for itself. They show the
//! runtime without the server: a fiber per connection, on 127.0.0.1 only.

mod store;
mod suppliers;

use std::io;

use tenfold_runtime::net::{TcpListener, TcpStream};
use tenfold_runtime::{park, sleep, spawn_detached};

pub use suppliers::{ANSWER, SLOW_ANSWER, Suppliers};

pub(crate) use store::StoreSimulator;

use std::time::Duration;

/// Descriptors have most likely run out: those who leave free some.
const PAUSE: Duration = Duration::from_millis(100);

/// A free port of 127.0.0.1, non-blocking, and its address.
fn bind() -> io::Result<(std::net::TcpListener, std::net::SocketAddr)> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Gives each connection a fiber that runs `answer`, until this fiber is cancelled.
fn accept(listener: &TcpListener, answer: impl Fn(TcpStream) -> io::Result<()> + Clone + 'static) {
    loop {
        match listener.accept() {
            Ok(stream) => {
                let answer = answer.clone();
                // Without a stack the connection is closed, which its peer sees.
                let _ = spawn_detached("simulator", move || drop(answer(stream)));
            }
            Err(error) if park::is_cancellation(&error) => return,
            Err(_) => sleep(PAUSE),
        }
    }
}
