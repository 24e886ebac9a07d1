//! The store simulator: a Redis that knows one kind of item and takes a set time for each answer, for any number of queries
//! at once.

use std::io::{self, BufReader, Write};
use std::time::{Duration, Instant};

use tenfold_runtime::net::{TcpListener, TcpStream};
use tenfold_runtime::{Runtime, RuntimeConfig, sleep_until};

use super::{accept, bind};
use crate::store::{Command, ITEMS, id_of_key, item};

/// A bound simulator.
#[derive(Debug)]
pub(crate) struct StoreSimulator {
    listener: std::net::TcpListener,
    address: std::net::SocketAddr,
}

impl StoreSimulator {
    /// Binds a free port.
    pub(crate) fn bind() -> io::Result<StoreSimulator> {
        let (listener, address) = bind()?;
        Ok(StoreSimulator { listener, address })
    }

    /// Where it answers.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}/0", self.address)
    }

    /// Serves until the process is ended.
    pub(crate) fn serve(self, latency: Duration) -> Result<(), String> {
        let runtime = Runtime::new(&RuntimeConfig::default()).map_err(|error| error.to_string())?;
        let listener = TcpListener::from(self.listener);
        runtime
            .run(move || accept(&listener, move |stream| answer(stream, latency)))
            .map_err(|error| error.to_string())
    }
}

/// Answers commands until the peer leaves.
fn answer(mut stream: TcpStream, latency: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = BufReader::with_capacity(1 << 10, stream.clone());
    let mut output = Vec::with_capacity(1 << 10);
    while let Some(Command(words)) = Command::read(&mut input)? {
        // From when the query has come, as a client of a real store would see it.
        let due = Instant::now() + latency;
        output.clear();
        match (words[0].to_ascii_uppercase().as_slice(), &words[1..]) {
            (b"GET", [key]) => match id_of_key(key).filter(|id| *id < ITEMS).map(item) {
                Some(item) => {
                    write!(output, "${}\r\n", item.len())?;
                    output.extend_from_slice(&item);
                    output.extend_from_slice(b"\r\n");
                }
                None => output.extend_from_slice(b"$-1\r\n"),
            },
            (b"PING", _) => output.extend_from_slice(b"+PONG\r\n"),
            (b"SELECT" | b"SET", _) => output.extend_from_slice(b"+OK\r\n"),
            _ => output.extend_from_slice(b"-ERR unknown command\r\n"),
        }
        if !latency.is_zero() {
            sleep_until(due);
        }
        stream.write_all(&output)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Store, fill};

    #[test]
    fn it_answers_as_a_store_does_and_takes_its_time() {
        let simulator = StoreSimulator::bind().unwrap();
        let url = simulator.url();
        let latency = Duration::from_millis(5);
        // It ends with this test's process.
        std::thread::spawn(move || simulator.serve(latency));
        fill(&url).unwrap();
        let store = Store::open(&url).unwrap();
        let start = Instant::now();
        assert_eq!(store.get(3).unwrap(), Some(item(3)));
        assert!(start.elapsed() >= latency);
        assert_eq!(store.get(ITEMS).unwrap(), None);
    }
}
