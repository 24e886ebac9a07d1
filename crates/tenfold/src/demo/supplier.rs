//! The supplier simulator: sixty companies that take 100 ms to name a price, in one small process of their own.
//!
//! Its own process, because a model that runs one handler at a time would otherwise wait for itself. It speaks just enough
//! HTTP for the client in `ads`, on 127.0.0.1 only, and shows the runtime without the server: a fiber per connection.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

use tenfold::runtime::net::{TcpListener, TcpStream};
use tenfold::runtime::{Interest, Runtime, RuntimeConfig, spawn_detached};
use tenfold::supervisor::{ExitReason, Group, Worker};
use tenfold::{ms, secs, sleep};

/// How long a supplier thinks, in milliseconds.
pub const ANSWER_MS: u64 = 100;

/// How long a slow one thinks, in milliseconds: longer than the aggregator waits.
pub const SLOW_ANSWER_MS: u64 = 400;

/// Most bytes of a request; ours have about 150.
const REQUEST_BYTES_MAX: usize = 2 << 10;

/// The bound port, before the fork.
#[derive(Debug)]
pub struct Suppliers {
    listener: std::net::TcpListener,
    url: String,
}

/// Binds a free port of 127.0.0.1, so that the workers know the address from the start.
pub fn bind() -> io::Result<Suppliers> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let url = format!("http://{}", listener.local_addr()?);
    Ok(Suppliers { listener, url })
}

impl Suppliers {
    /// Where they answer: `/offer/{slot}/{supplier}`, with `?slow` for one that takes its time.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Their process.
    pub fn group(self) -> Group {
        Group::new("suppliers", 1, move |worker| match serve(&self.listener, worker) {
            Ok(()) => ExitReason::Done,
            Err(reason) => ExitReason::Failed(reason),
        })
    }
}

/// Serves until the worker is ordered to stop.
fn serve(listener: &std::net::TcpListener, worker: &Worker) -> Result<(), String> {
    let runtime = Runtime::new(&RuntimeConfig::default()).map_err(|error| error.to_string())?;
    let listener = listener.try_clone().map_err(|error| error.to_string())?;
    let orders = worker.orders_fd().as_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
    worker.ready();
    let main = move || {
        let listener = TcpListener::from(listener);
        let accepting = spawn_detached("suppliers", move || accept(&listener));
        // Whatever the order is: nobody misses an offer that was not made.
        let stopped = TcpStream::from_fd(orders).wait_ready(Interest::READ, None);
        accepting.map_err(|(error, _)| error.to_string())?;
        stopped.map_err(|error| error.to_string())
    };
    runtime.run(main).map_err(|error| error.to_string())?
}

fn accept(listener: &TcpListener) {
    loop {
        match listener.accept() {
            Ok(stream) => {
                // Without a stack the connection is closed, and the client counts the supplier as silent.
                let _ = spawn_detached("supplier", move || {
                    let _ = answer(stream);
                });
            }
            Err(error) if tenfold::runtime::park::is_cancellation(&error) => return,
            // Out of descriptors, most likely: those who leave free some.
            Err(_) => sleep(ms(100)),
        }
    }
}

/// Answers requests until the peer leaves.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    let _ = stream.set_nodelay(true);
    stream.set_read_timeout(Some(secs(120)));
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
    sleep(ms(if query == "slow" { SLOW_ANSWER_MS } else { ANSWER_MS }));
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
