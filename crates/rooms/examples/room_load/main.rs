//! The listeners of a room, for measurements: very many WebSocket clients in one thread, and one publisher.
//!
//! ```text
//! room_load ADDRESS --path /rooms/ws --say '{"join":"bench"}' --clients 15000 --publish /publish/bench --rate 10 --seconds 10
//! ```
//!
//! Each message that is published has a time in it, `"t":"NANOSECONDS"` of the monotonic clock, which is the same for all processes
//! of a machine. Prints one line of JSON: deliveries a second, and the times from publish to receipt. `--rate 0` publishes one
//! message after the other without a pause; `--idle` publishes nothing and says only that all are connected; `--stalled N` has N
//! of the clients read nothing; `--on-word` begins when a line comes on its standard input, so that two of these can take turns. It
//! does no more with a frame than to find its end: the other core is the server's.
//!
//! `--stamps N` takes the times of N clients, one in so many, and from the kernel's stamp of each packet (`SO_TIMESTAMPNS`,
//! Documentation/networking/timestamping.rst): when it came to the clients' network device. The others are read when there is
//! time. So 15,000 clients that share a core do not measure the line in front of that core, which real ones have not.

#![forbid(unsafe_code)]

mod client;
mod options;

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use self::client::{Client, connect, frame, masked, now_ns, read_stamped, shake_hands, time_of};
use self::options::{Options, options};

/// Clients that open at a time.
const AT_ONCE: usize = 200;

fn main() -> Result<(), String> {
    let options = options()?;
    run(&options).map_err(|error| error.to_string())
}

fn run(options: &Options) -> io::Result<()> {
    let mut load = Load::open(options)?;
    println!("{{\"connected\":{}}}", load.clients.len());
    io::stdout().flush()?;
    if options.idle {
        let until = Instant::now() + Duration::from_secs(options.seconds);
        load.listen(until, &AtomicBool::new(false), false)?;
        return Ok(());
    }
    load.listen(Instant::now() + Duration::from_secs(1), &AtomicBool::new(false), false)?;
    if options.on_word {
        io::stdin().read_line(&mut String::new())?;
    }
    load.begin();
    let (published, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let publisher = {
        let (published, over) = (published.clone(), over.clone());
        let (address, path, rate, bytes) =
            (options.address, options.publish.clone(), options.rate, options.bytes);
        let until = Instant::now() + Duration::from_secs(options.seconds);
        std::thread::spawn(move || {
            let outcome = publish(address, &path, (rate, bytes), until, &published);
            over.store(true, Ordering::Release);
            outcome
        })
    };
    let begun = Instant::now();
    load.listen(begun + Duration::from_secs(options.seconds + 30), &over, true)?;
    // What was published and is on its way still counts, and so does its time.
    let mut last = load.received;
    let mut quiet = Instant::now();
    while quiet.elapsed() < Duration::from_millis(500) {
        load.listen(Instant::now() + Duration::from_millis(50), &AtomicBool::new(false), true)?;
        if load.received != last {
            (last, quiet) = (load.received, Instant::now());
        }
    }
    let took = load.last_at.duration_since(begun).as_secs_f64();
    publisher.join().map_err(|_| io::Error::other("the publisher has panicked"))??;
    load.report(published.load(Ordering::Acquire), took);
    Ok(())
}

fn publish(
    address: SocketAddrV4,
    path: &str,
    (rate, bytes): (u64, usize),
    until: Instant,
    published: &AtomicU64,
) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let begun = Instant::now();
    for number in 0u32.. {
        if let Some(pause) = Duration::from_secs(1).checked_div(u32::try_from(rate).unwrap_or(u32::MAX)) {
            std::thread::sleep((begun + pause * number).saturating_duration_since(Instant::now()));
        }
        if Instant::now() >= until {
            break;
        }
        let mut body = format!("{{\"t\":\"{:020}\",\"x\":\"", now_ns());
        body.push_str(&"x".repeat(bytes.saturating_sub(body.len() + 2)));
        body.push_str("\"}");
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
        read_answer(&mut stream)?;
        published.fetch_add(1, Ordering::AcqRel);
    }
    Ok(())
}

/// The head of an answer and its body of known length.
fn read_answer(stream: &mut TcpStream) -> io::Result<()> {
    let mut input = Vec::new();
    loop {
        if let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&input[..end]).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .and_then(|n| n.trim().parse().ok());
            if !head.starts_with("http/1.1 2") {
                return Err(io::Error::other(head));
            }
            if input.len() >= end + 4 + length.unwrap_or(0) {
                return Ok(());
            }
        }
        let mut chunk = [0; 1024];
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => input.extend_from_slice(&chunk[..count]),
        }
    }
}

struct Load {
    epoll: OwnedFd,
    clients: Vec<Client>,
    received: u64,
    gone: u64,
    /// Microseconds from publish to receipt, by how often.
    times: HashMap<u64, u64>,
    last_at: Instant,
    /// What is read with the kernel's stamps, and how much further the clock of those is than ours.
    stamps: Option<Duration>,
    /// Who of those without a time is read next. The first ones read nothing.
    next: usize,
    stalled: usize,
}

impl Load {
    fn open(options: &Options) -> io::Result<Load> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut clients = Vec::with_capacity(options.clients);
        while clients.len() < options.clients {
            let first = clients.len();
            let end = options.clients.min(first + AT_ONCE);
            for number in first..end {
                let mut stream = connect(options.address, number)?;
                let request = format!(
                    "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                    options.path, options.address
                );
                stream.write_all(request.as_bytes())?;
                clients.push(Client { stream, rest: Vec::new(), timed: true });
            }
            for client in &mut clients[first..end] {
                shake_hands(client, options)?;
            }
        }
        let every = options.clients.checked_div(options.stamps).unwrap_or(1).max(1);
        for (number, client) in clients.iter_mut().enumerate() {
            client.stream.set_nonblocking(true)?;
            client.timed = number % every == 0;
            if options.stamps > 0 && client.timed {
                setsockopt(&client.stream, sockopt::ReceiveTimestampns, &true)?;
            }
            if number >= options.stalled && client.timed {
                epoll::add(&epoll, client.stream.as_fd(), EventData::new_u64(number as u64), EventFlags::IN)?;
            }
        }
        let stamps = (options.stamps > 0).then(|| {
            let real = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
            Duration::new(real.tv_sec as u64, real.tv_nsec as u32) - Duration::from_nanos(now_ns())
        });
        let (times, last_at) = (HashMap::new(), Instant::now());
        Ok(Load {
            epoll,
            clients,
            received: 0,
            gone: 0,
            times,
            last_at,
            stamps,
            next: 0,
            stalled: options.stalled,
        })
    }

    fn begin(&mut self) {
        self.received = 0;
        self.times.clear();
    }

    /// Reads what comes until then, or until it is `over`.
    fn listen(&mut self, until: Instant, over: &AtomicBool, spins: bool) -> io::Result<()> {
        let mut events = [epoll::Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; 512];
        let mut chunk = vec![0; 256 << 10];
        while Instant::now() < until && !over.load(Ordering::Acquire) {
            // It never sleeps while it measures: the processor's interrupt that wakes it would be at the server's cost, and many
            // times what sending costs. Clients of a real server are on other machines.
            let wait = Timespec { tv_sec: 0, tv_nsec: if spins { 0 } else { 20_000_000 } };
            let count = match epoll::wait(&self.epoll, &mut events[..], Some(&wait)) {
                Ok(count) => count,
                Err(rustix::io::Errno::INTR) => 0,
                Err(errno) => return Err(errno.into()),
            };
            let now = now_ns();
            for event in &events[..count] {
                self.read(event.data.u64() as usize, &mut chunk, now);
            }
            if self.stamps.is_some() && count == 0 {
                for _ in 0..AT_ONCE {
                    self.next = (self.next + 1) % self.clients.len();
                    if self.next >= self.stalled && !self.clients[self.next].timed {
                        self.read(self.next, &mut chunk, now);
                    }
                }
            }
        }
        Ok(())
    }

    fn read(&mut self, number: usize, chunk: &mut [u8], now: u64) {
        let client = &mut self.clients[number];
        let read = match self.stamps {
            Some(ahead) if client.timed => read_stamped(&client.stream, chunk, ahead),
            _ => client.stream.read(chunk).map(|count| (count, now)),
        };
        match read {
            Ok((0, _)) => self.lose(number),
            Ok((count, at)) => self.take(number, &chunk[..count], at),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.lose(number),
        }
    }

    fn lose(&mut self, number: usize) {
        let _ = epoll::delete(&self.epoll, &self.clients[number].stream);
        self.gone += 1;
    }

    fn take(&mut self, number: usize, bytes: &[u8], now: u64) {
        let client = &mut self.clients[number];
        let joined;
        let mut input = if client.rest.is_empty() {
            bytes
        } else {
            joined = [&client.rest[..], bytes].concat();
            &joined
        };
        let mut answers = Vec::new();
        while let Some((payload, rest)) = frame(input) {
            input = rest;
            match time_of(payload) {
                Some(sent) => {
                    self.received += 1;
                    self.last_at = Instant::now();
                    if client.timed {
                        *self.times.entry(now.saturating_sub(sent) / 1_000).or_default() += 1;
                    }
                }
                // Engine.IO asks whether we are there.
                None if payload == b"2" => answers.push("3"),
                None => {}
            }
        }
        client.rest = input.to_vec();
        for answer in answers {
            let _ = client.stream.write_all(&masked(answer.as_bytes()));
        }
    }

    fn report(&self, published: u64, took: f64) {
        let mut times: Vec<(u64, u64)> = self.times.iter().map(|(time, count)| (*time, *count)).collect();
        times.sort_unstable();
        let total: u64 = times.iter().map(|(_, count)| count).sum();
        let at = |share: f64| {
            let mut left = (total as f64 * share).ceil() as u64;
            let found = times.iter().find(|(_, count)| {
                left = left.saturating_sub(*count);
                left == 0
            });
            found.map_or(0.0, |(time, _)| *time as f64 / 1_000.0)
        };
        println!(
            "{{\"published\":{published},\"received\":{},\"gone\":{},\"deliveries_per_s\":{:.0},\"p50_ms\":{:.2},\"p99_ms\":{:.2},\"max_ms\":{:.2}}}",
            self.received,
            self.gone,
            self.received as f64 / took,
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
}
