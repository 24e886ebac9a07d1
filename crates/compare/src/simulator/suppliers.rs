//! The supplier simulator: companies that take 100 ms to name a price, for the demo's aggregator and for `ads`.
//!
//! It speaks just enough HTTP for this project's client.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tenfold_runtime::net::{TcpListener, TcpStream};
use tenfold_runtime::{Interest, Runtime, RuntimeConfig, sleep, spawn_detached};
use tenfold_server::supervisor::{ExitReason, Group, Worker};

use super::{accept, bind};

/// How long a supplier thinks.
pub const ANSWER: Duration = Duration::from_millis(100);

/// How long a slow one thinks: longer than the demo's aggregator waits.
pub const SLOW_ANSWER: Duration = Duration::from_millis(400);

/// Most bytes of a request; ours have about 150.
const REQUEST_BYTES_MAX: usize = 2 << 10;

/// A connection that is silent for longer is closed.
const READ_TIMEOUT: Duration = Duration::from_secs(120);

/// The bound port, before the fork.
#[derive(Debug)]
pub struct Suppliers {
    listener: std::net::TcpListener,
    url: String,
}

impl Suppliers {
    /// Binds a free port of 127.0.0.1, so that who asks knows the address from the start.
    ///
    /// # Errors
    /// The system's.
    pub fn bind() -> io::Result<Suppliers> {
        let (listener, address) = bind()?;
        Ok(Suppliers { listener, url: format!("http://{address}") })
    }

    /// Where they answer: `/offer/{slot}/{supplier}`, with `?slow` for one that takes its time.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Their process, beside the workers of a master.
    pub fn group(self) -> Group {
        Group::new("suppliers", 1, move |worker| match self.serve_until_ordered(worker) {
            Ok(()) => ExitReason::Done,
            Err(reason) => ExitReason::Failed(reason),
        })
    }

    /// Serves until the process is ended.
    pub(crate) fn serve(self) -> Result<(), String> {
        let runtime = Runtime::new(&RuntimeConfig::default()).map_err(|error| error.to_string())?;
        let listener = TcpListener::from(self.listener);
        runtime.run(move || accept(&listener, answer)).map_err(|error| error.to_string())
    }

    /// Serves until the worker is ordered to stop.
    fn serve_until_ordered(&self, worker: &Worker) -> Result<(), String> {
        let runtime = Runtime::new(&RuntimeConfig::default()).map_err(|error| error.to_string())?;
        let listener = self.listener.try_clone().map_err(|error| error.to_string())?;
        let orders = worker.orders_fd().as_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
        worker.ready();
        let main = move || {
            let listener = TcpListener::from(listener);
            let accepting = spawn_detached("suppliers", move || accept(&listener, answer));
            // Whatever the order is: nobody misses an offer that was not made.
            let stopped = TcpStream::from_fd(orders).wait_ready(Interest::READ, None);
            accepting.map_err(|(error, _)| error.to_string())?;
            stopped.map_err(|error| error.to_string())
        };
        runtime.run(main).map_err(|error| error.to_string())?
    }
}

/// Answers requests until the peer leaves.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    let _ = stream.set_nodelay(true);
    stream.set_read_timeout(Some(READ_TIMEOUT));
    let mut input = Vec::new();
    let mut piece = [0; 512];
    loop {
        while let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") {
            let offer = offer(&input[..end]);
            input.drain(..end + 4);
            stream.write_all(&offer)?;
        }
        let count = stream.read(&mut piece)?;
        if count == 0 || input.len() + count > REQUEST_BYTES_MAX {
            return Ok(());
        }
        input.extend_from_slice(&piece[..count]);
    }
}

/// Thinks, and names a price.
fn offer(head: &[u8]) -> Vec<u8> {
    let head = String::from_utf8_lossy(head);
    let target = head.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut parts = path.strip_prefix("/offer/").unwrap_or_default().splitn(2, '/').map(str::parse::<u64>);
    let (Some(Ok(slot)), Some(Ok(supplier))) = (parts.next(), parts.next()) else {
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec();
    };
    sleep(if query == "slow" { SLOW_ANSWER } else { ANSWER });
    let body = format!("{{\"slot\":{slot},\"supplier\":{supplier},\"cents\":{}}}", price(slot, supplier));
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Between 0.10 and 9.99, another one each time: prices move.
fn price(slot: u64, supplier: u64) -> u64 {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    let asked = ASKED.fetch_add(1, Ordering::Relaxed);
    let mixed = (asked << 16 ^ slot << 8 ^ supplier).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    10 + (mixed >> 40) % 990
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_names_its_slot_and_a_price_within_bounds() {
        let answer = String::from_utf8(offer(b"GET /offer/2/17 HTTP/1.1\r\nHost: x")).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
        assert!(body.starts_with("{\"slot\":2,\"supplier\":17,\"cents\":"), "{body}");
        assert!((0..1000).all(|n| (10..1000).contains(&price(1, n))));
    }

    #[test]
    fn another_path_is_not_found() {
        for head in ["GET / HTTP/1.1", "GET /offer/x/1 HTTP/1.1", "GET /offer/1 HTTP/1.1", ""] {
            assert!(offer(head.as_bytes()).starts_with(b"HTTP/1.1 404"), "{head}");
        }
    }
}
