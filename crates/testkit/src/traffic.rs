//! A client that counts every connection and every response, while a server is being reloaded, upgraded or killed.
//!
//! One thread takes turns between a connection that is kept and connections for one request each. It never retries: what a
//! client that retries would not notice is counted as a failure here.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::client::PATIENCE;

/// Requests on a connection that is kept.
const KEPT_REQUESTS: u32 = 16;
/// Connections for one request each, before the next one that is kept.
const SINGLE_REQUESTS: u32 = 4;
/// Failures whose reason is kept.
const REASONS_MAX: usize = 20;

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counted {
    /// Responses that came whole, with status 200.
    pub answered: u64,
    /// Connections that were opened.
    pub connections: u64,
    /// Requests without such a response.
    pub failed: u64,
    /// Why, for the first ones.
    pub reasons: Vec<String>,
}

/// Traffic that goes on until it is stopped.
#[derive(Debug)]
pub struct Traffic {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    answered: AtomicU64,
    connections: AtomicU64,
    failed: AtomicU64,
    reasons: Mutex<Vec<String>>,
}

impl Traffic {
    /// Begins to ask `address` for `target`.
    ///
    /// # Panics
    /// When there is no thread for it.
    pub fn start(address: &str, target: &str) -> Traffic {
        let shared = Arc::<Shared>::default();
        let theirs = shared.clone();
        let (address, target) = (address.to_owned(), target.to_owned());
        let thread = std::thread::spawn(move || theirs.run(&address, &target));
        Traffic { shared, thread: Some(thread) }
    }

    /// Responses so far.
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Waits until `count` more responses have come.
    ///
    /// # Panics
    /// With the failures, when they do not come in time.
    #[track_caller]
    pub fn wait_for(&self, count: u64) {
        let until = self.answered() + count;
        crate::process::wait_until(&format!("{count} more responses, {:?}", self.counted()), || {
            (self.answered() >= until).then_some(())
        });
    }

    /// Ends it, after the request that is under way.
    pub fn stop(mut self) -> Counted {
        self.end();
        self.counted()
    }

    fn counted(&self) -> Counted {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counted {
            answered: load(&self.shared.answered),
            connections: load(&self.shared.connections),
            failed: load(&self.shared.failed),
            reasons: self.shared.reasons.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn run(&self, address: &str, target: &str) {
        while !self.stop.load(Ordering::Relaxed) {
            let mut kept = None;
            for number in 1..=KEPT_REQUESTS {
                // The last one says so: two connections at a time could wait for each other where a worker has one.
                let connection = if number < KEPT_REQUESTS { "keep-alive" } else { "close" };
                self.turn(&mut kept, address, target, connection);
            }
            for _ in 0..SINGLE_REQUESTS {
                self.turn(&mut None, address, target, "close");
            }
        }
    }

    /// One request, on the kept connection if there is one.
    fn turn(&self, kept: &mut Option<TcpStream>, address: &str, target: &str, connection: &str) {
        let outcome = self.connected(kept, address).and_then(|mut stream| {
            let closes = ask(&mut stream, target, connection)?;
            if !closes {
                *kept = Some(stream);
            }
            Ok(())
        });
        match outcome {
            Ok(()) => drop(self.answered.fetch_add(1, Ordering::Relaxed)),
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
                if reasons.len() < REASONS_MAX {
                    reasons.push(format!("{connection}: {error}"));
                }
                drop(reasons);
                // A server that is gone must not be asked a million times.
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    fn connected(&self, kept: &mut Option<TcpStream>, address: &str) -> io::Result<TcpStream> {
        if let Some(stream) = kept.take() {
            return Ok(stream);
        }
        let stream = TcpStream::connect(address)?;
        self.connections.fetch_add(1, Ordering::Relaxed);
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// Whether the response says that the connection ends.
fn ask(stream: &mut TcpStream, target: &str, connection: &str) -> io::Result<bool> {
    let head = format!("GET {target} HTTP/1.1\r\nHost: test\r\nConnection: {connection}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut received = Vec::new();
    let mut chunk = [0; 4096];
    let (head_end, length) = loop {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            let error = format!("the connection ended after {} bytes of the response", received.len());
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, error));
        }
        received.extend_from_slice(&chunk[..count]);
        if let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&received[..end]).to_ascii_lowercase();
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
            let length: usize = length.ok_or_else(|| io::Error::other("there is no length"))?;
            if received.len() >= end + 4 + length {
                break (end, length);
            }
        }
    };
    let head = String::from_utf8_lossy(&received[..head_end]).to_ascii_lowercase();
    if !head.starts_with("http/1.1 200") || received.len() != head_end + 4 + length {
        return Err(io::Error::other(format!("unexpected response: {head}")));
    }
    Ok(head.contains("connection: close"))
}
