//! A load of gets and sets on a server that speaks memcached's protocol, from one thread that costs little.
//!
//! Each connection sends a batch and waits for its answers; the connections take turns, so that the server always has
//! something to do. Batches are made before the clock runs, and of answers only the length is looked at, which is known: the
//! keys are there, and all values have one size. Every thousandth batch is compared byte by byte.
//!
//! ```text
//! cache-load 127.0.0.1:11211 --connections 50 --pipeline 1 --seconds 5
//! ```

#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

/// Different batches; connections go through all of them.
const BATCHES: usize = 509;
/// One batch in so many is compared as a whole.
const COMPARE_EVERY: u64 = 1000;
/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A load of gets and sets.
#[derive(Debug, Parser)]
#[command(name = "cache-load")]
struct Arguments {
    /// Where the server is.
    address: String,
    /// Connections.
    #[arg(long, default_value_t = 50)]
    connections: usize,
    /// Commands that a connection sends at once.
    #[arg(long, default_value_t = 1)]
    pipeline: usize,
    /// How long.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Of ten commands so many are gets.
    #[arg(long, default_value_t = 9)]
    gets: u64,
    /// Bytes of a value.
    #[arg(long, default_value_t = 100)]
    value: usize,
    /// Keys.
    #[arg(long, default_value_t = 10_000)]
    keys: u64,
    /// The keys are there already: an earlier run has set them.
    #[arg(long)]
    prefilled: bool,
}

struct Batch {
    sent: Vec<u8>,
    answer: Vec<u8>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("cache-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<String> {
    let value = "x".repeat(arguments.value);
    let mut clients: Vec<TcpStream> =
        (0..arguments.connections).map(|_| connect(&arguments.address)).collect::<io::Result<_>>()?;
    let mut buf = vec![0; 1 << 20];
    let first = clients.first_mut().ok_or(io::ErrorKind::InvalidInput)?;
    for key in (0..arguments.keys).filter(|_| !arguments.prefilled) {
        first.write_all(format!("set {} 0 0 {}\r\n{value}\r\n", name(key), value.len()).as_bytes())?;
        first.read_exact(&mut buf[..b"STORED\r\n".len()])?;
    }
    let batches = batches(arguments, &value);
    let (mut at, mut commands, mut turns) = (0, 0_u64, 0_u64);
    let (began, lasts) = (Instant::now(), Duration::from_secs_f64(arguments.seconds));
    while began.elapsed() < lasts {
        for (index, client) in clients.iter_mut().enumerate() {
            client.write_all(&batches[(at + index) % BATCHES].sent)?;
        }
        for (index, client) in clients.iter_mut().enumerate() {
            let answer = &batches[(at + index) % BATCHES].answer;
            client.read_exact(&mut buf[..answer.len()])?;
            turns += 1;
            if turns % COMPARE_EVERY == 0 && buf[..answer.len()] != answer[..] {
                return Err(io::Error::other("another answer than was expected"));
            }
        }
        at += clients.len();
        commands += (clients.len() * arguments.pipeline) as u64;
    }
    let seconds = began.elapsed().as_secs_f64();
    Ok(format!("{{\"commands\": {commands}, \"seconds\": {seconds:.4}}}"))
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let client = TcpStream::connect(address)?;
    client.set_nodelay(true)?;
    client.set_read_timeout(Some(TIMEOUT))?;
    Ok(client)
}

fn name(key: u64) -> String {
    format!("key-{key:012}")
}

fn batches(arguments: &Arguments, value: &str) -> Vec<Batch> {
    let mut seed = 88_172_645_463_325_252_u64;
    let mut random = || {
        // xorshift64.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let mut batch = || {
        let (mut sent, mut answer) = (String::new(), String::new());
        for _ in 0..arguments.pipeline {
            let (key, len) = (name(random() % arguments.keys), value.len());
            if random() % 10 < arguments.gets {
                sent += &format!("get {key}\r\n");
                answer += &format!("VALUE {key} 0 {len}\r\n{value}\r\nEND\r\n");
            } else {
                sent += &format!("set {key} 0 0 {len}\r\n{value}\r\n");
                answer += "STORED\r\n";
            }
        }
        Batch { sent: sent.into_bytes(), answer: answer.into_bytes() }
    };
    (0..BATCHES).map(|_| batch()).collect()
}
