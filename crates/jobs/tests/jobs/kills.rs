//! `kill -9` of producers, workers, the keeper and the master, at any moment: no job that was acknowledged is lost, one runs
//! twice only if it was running at a kill, and no effect of `once` happens twice.
//!
//! 50 rounds; with `TENFOLD_LONG=1` a thousand. A seed that fails is printed and can be given in `TENFOLD_SEED`.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tenfold_testkit::{Case, Signal, signal_process, wait_until};

use crate::fixture::now_us;
use crate::on::{On, each};
use crate::site::Site;

pub(crate) fn cases() -> Vec<Case> {
    [each("kill_9_of_anybody_at_any_moment_loses_nothing", kills)].into_iter().flatten().collect()
}

/// Threads that enqueue all the time.
const PRODUCERS: u64 = 4;

#[derive(Default)]
struct Ledger {
    /// Ids that were answered with 200, and their kind.
    kept: Mutex<BTreeMap<String, bool>>,
    address: Mutex<String>,
    over: AtomicBool,
    sent: AtomicU64,
}

fn kills(on: On) {
    let rounds = if std::env::var_os("TENFOLD_LONG").is_some() { 1_000 } else { 50 };
    let seed = std::env::var("TENFOLD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(now_us);
    println!("TENFOLD_SEED={seed}");
    let mut random = Random(seed | 1);
    let mut site = on.start("model = 'fiber'\nworkers = 2\ngraceful_timeout_secs = 5.0");
    let ledger = Arc::new(Ledger::default());
    *ledger.address.lock().unwrap() = site.address();
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|number| {
            let ledger = ledger.clone();
            std::thread::spawn(move || produce(number, &ledger))
        })
        .collect();
    let mut kills: Vec<u64> = Vec::new();
    let mut victims: HashMap<&str, u32> = HashMap::new();
    for _ in 0..rounds {
        let before = ledger.kept.lock().unwrap().len();
        std::thread::sleep(Duration::from_micros(random.below(60_000)));
        let victim = ["worker", "worker", "keeper", "master"][random.below(4) as usize];
        *victims.entry(victim).or_default() += 1;
        match victim {
            "master" => {
                let pid = site.server().pid();
                kills.push(now_us());
                signal_process(pid, Signal::KILL);
                site.serve();
                *ledger.address.lock().unwrap() = site.address();
                kills.push(now_us());
            }
            title => {
                let all = site.children(title);
                let Some(pid) = all.get(random.below(all.len().max(1) as u64) as usize) else { continue };
                kills.push(now_us());
                signal_process(*pid, Signal::KILL);
            }
        }
        // The next kill is for a service that works again; what it does meanwhile is killed in the middle.
        wait_until("jobs are taken in again", || {
            (ledger.kept.lock().unwrap().len() > before + 2).then_some(())
        });
    }
    ledger.over.store(true, Ordering::Release);
    producers.into_iter().for_each(|producer| producer.join().unwrap());
    site.wait_until_empty();
    check(&site, &ledger, &kills, seed);
    println!("{rounds} kills: {victims:?}; {} jobs", ledger.kept.lock().unwrap().len());
}

fn check(site: &Site, ledger: &Ledger, kills: &[u64], seed: u64) {
    let kept = ledger.kept.lock().unwrap();
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
    for (id, is_once) in kept.iter() {
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
            let killed = kills.iter().any(|kill| (pair[0]..=pair[1]).contains(kill));
            assert!(killed, "seed {seed}: {id} ran at {pair:?}, and nobody was killed in between");
            doubled += 1;
        }
    }
    println!("{doubled} runs were repeated");
}

/// One connection after another; what is not answered is not known, and is left at that.
fn produce(number: u64, ledger: &Ledger) {
    let mut random = Random(number + 77);
    while !ledger.over.load(Ordering::Acquire) {
        let address = ledger.address.lock().unwrap().clone();
        let Ok(mut stream) = TcpStream::connect(&address) else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
        while !ledger.over.load(Ordering::Acquire) {
            let is_once = random.below(4) == 0;
            let id = format!("p{number}-{}", ledger.sent.fetch_add(1, Ordering::Relaxed));
            let (name, wait) = if is_once { ("once", 0) } else { ("note", random.below(30)) };
            let body = format!(r#"{{"text":"{id}","wait_ms":{wait}}}"#);
            let request = format!(
                "POST /enqueue/{name}?id={id} HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            if !exchange(&mut stream, request.as_bytes()) {
                break;
            }
            ledger.kept.lock().unwrap().insert(id, is_once);
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

/// xorshift64*: the same numbers for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound.max(1)
    }
}
