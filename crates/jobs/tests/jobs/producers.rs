//! `Producers`: threads that enqueue all the time at a site that fails, and what it has acknowledged to them.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tenfold_testkit::{Signal, is_frozen, signal_process, wait_until};

use crate::fixture::now_us;
use crate::site::Site;

/// How many there are.
const PRODUCERS: u64 = 4;

/// Ids that were answered with 200, and whether they are those of jobs with an effect.
pub(crate) type Kept = BTreeMap<String, bool>;

pub(crate) struct Producers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    kept: Mutex<Kept>,
    address: Mutex<String>,
    over: AtomicBool,
    sent: AtomicU64,
}

impl Producers {
    pub(crate) fn start(site: &Site) -> Producers {
        let shared = Arc::new(Shared::default());
        *shared.address.lock().unwrap() = site.address();
        let start = |number| {
            let shared = shared.clone();
            std::thread::spawn(move || produce(number, &shared))
        };
        Producers { threads: (0..PRODUCERS).map(start).collect(), shared }
    }

    /// The site serves elsewhere from now on.
    pub(crate) fn follow(&self, site: &Site) {
        *self.shared.address.lock().unwrap() = site.address();
    }

    /// How many jobs have been acknowledged.
    pub(crate) fn kept(&self) -> usize {
        self.shared.kept.lock().unwrap().len()
    }

    /// Ends when what is on its way has been answered.
    pub(crate) fn stop(self) -> Kept {
        self.shared.over.store(true, Ordering::Release);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        std::mem::take(&mut self.shared.kept.lock().unwrap())
    }
}

/// Their jobs are in a queue that lets a job outlive any number of its workers: that is what is tested.
///
/// One connection after another; what is not answered is not known, and is left at that.
fn produce(number: u64, shared: &Shared) {
    let mut random = Random(number + 77);
    while !shared.over.load(Ordering::Acquire) {
        let address = shared.address.lock().unwrap().clone();
        let Ok(mut stream) = TcpStream::connect(&address) else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
        while !shared.over.load(Ordering::Acquire) {
            let is_once = random.below(4) == 0;
            let id = format!("p{number}-{}", shared.sent.fetch_add(1, Ordering::Relaxed));
            let (name, wait) = if is_once { ("once", 0) } else { ("note", random.below(30)) };
            let body = format!(r#"{{"text":"{id}","wait_ms":{wait}}}"#);
            let request = format!(
                "POST /enqueue/{name}?queue=hardy&id={id} HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            if !exchange(&mut stream, request.as_bytes()) {
                break;
            }
            shared.kept.lock().unwrap().insert(id, is_once);
            std::thread::sleep(Duration::from_millis(random.below(4)));
        }
    }
}

/// Whether the answer is 200.
fn exchange(stream: &mut TcpStream, request: &[u8]) -> bool {
    if stream.write_all(request).is_err() {
        return false;
    }
    let (mut answer, mut chunk) = (Vec::new(), [0; 1024]);
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok()
            });
            if body.len() >= length.unwrap_or(0) {
                return head.starts_with("HTTP/1.1 200");
            }
        }
        match stream.read(&mut chunk) {
            Ok(count @ 1..) => answer.extend_from_slice(&chunk[..count]),
            _ => return false,
        }
    }
    false
}

/// From when to when somebody was killed: until it is gone a process goes on with what it does.
pub(crate) type Death = RangeInclusive<u64>;

/// Kills a process.
pub(crate) fn kill(pid: u32) -> Death {
    death(|| {
        signal_process(pid, Signal::KILL);
        wait_until("it is gone", || is_frozen(pid).then_some(()));
    })
}

/// What somebody dies of.
pub(crate) fn death(act: impl FnOnce()) -> Death {
    let from = now_us();
    act();
    from..=now_us()
}

/// Each job that was kept has run, once unless somebody was killed while it did, and has had its effect once.
pub(crate) fn check(site: &Site, kept: &Kept, kills: &[Death], seed: u64) {
    let mut runs: HashMap<String, Vec<u64>> = HashMap::new();
    for line in site.lines().into_iter().filter(|line| line.what.starts_with("begin")) {
        runs.entry(line.id).or_default().push(line.at_us);
    }
    let database = rusqlite::Connection::open(site.directory.join("effects.db")).unwrap();
    let mut statement = database.prepare("select text, count(*) from effect group by text").unwrap();
    let effects: HashMap<String, u64> = statement
        .query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for (id, is_once) in kept {
        match is_once {
            true => assert_eq!(effects.get(id), Some(&1), "seed {seed}: effects of {id}"),
            false => assert!(runs.contains_key(id), "seed {seed}: {id} was acknowledged and has not run"),
        }
    }
    for (text, count) in &effects {
        assert_eq!(*count, 1, "seed {seed}: {text} has had its effect more than once");
    }
    let mut doubled = 0;
    for (id, times) in &runs {
        for pair in times.windows(2) {
            let killed = kills.iter().any(|death| *death.start() <= pair[1] && pair[0] <= *death.end());
            assert!(killed, "seed {seed}: {id} ran at {pair:?}, and nobody was killed in between");
            doubled += 1;
        }
    }
    println!("{doubled} runs were repeated");
}

/// xorshift64*: the same numbers for the same seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound.max(1)
    }
}
