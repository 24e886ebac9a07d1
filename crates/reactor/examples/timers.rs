//! What a million timers cost on one thread, and how late they are while the thread is busy.
//!
//! `cargo run --release -p tenfold-reactor --example timers [timers [seconds [busy percent]]]`
//!
//! Adds and cancels are timed with all timers alive, in a random order, so that most of them miss the processor's caches;
//! "grown" means that the wheel has held as many before and allocates nothing. Lateness is counted from a timer's own
//! deadline to its callback, with a clock read for each. Exits with 1 when a timer was early or did not fire.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tenfold_reactor::{Event, Reactor, ReactorConfig, TimerId};

/// The longest time for which the thread computes before it looks at its timers again, as a handler between two waits.
const SLICE: Duration = Duration::from_micros(400);
/// The longest wait of a turn, so that the share of busy time can be kept.
const PAUSE: Duration = Duration::from_micros(200);

fn main() -> ExitCode {
    let count: usize = argument(1, 1_000_000);
    let seconds: u64 = argument(2, 10);
    let busy = f64::from(argument::<u32>(3, 80).min(99)) / 100.0;
    let reactor = Reactor::new(&ReactorConfig::default()).expect("a reactor");
    println!("backend {}, {count} timers", reactor.backend_name());
    for state in ["new", "grown", "grown"] {
        costs(&reactor, count, state);
    }
    if lateness(&reactor, count, Duration::from_secs(seconds), busy) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn argument<T: std::str::FromStr>(index: usize, default: T) -> T {
    std::env::args()
        .nth(index)
        .map_or(default, |text| text.parse().ok().expect("arguments are whole numbers"))
}

fn costs(reactor: &Reactor, count: usize, state: &str) {
    let mut seed = 0x9E37_79B9_7F4A_7C15;
    let base = Instant::now() + Duration::from_secs(60);
    let deadlines: Vec<Instant> =
        (0..count).map(|_| base + Duration::from_millis(random(&mut seed) % 60_000)).collect();
    let mut timers: Vec<TimerId> = Vec::with_capacity(count);
    let started = Instant::now();
    timers.extend(deadlines.iter().zip(0..).map(|(&deadline, value)| reactor.add_timer(deadline, value)));
    let adding = started.elapsed();
    for index in (1..count).rev() {
        timers.swap(index, (random(&mut seed) % (index as u64 + 1)) as usize);
    }
    let started = Instant::now();
    let cancelled = timers.iter().filter(|&&timer| reactor.cancel_timer(timer)).count();
    let cancelling = started.elapsed();
    assert_eq!(cancelled, count, "none has fired: all deadlines are a minute away");
    let each = |total: Duration| total.as_nanos() as f64 / count as f64;
    println!("{state:>6}: add {:.0} ns, cancel {:.0} ns each", each(adding), each(cancelling));
}

/// Spreads the timers evenly at random over `span`, keeps the thread busy, and says whether all fired and none early.
fn lateness(reactor: &Reactor, count: usize, span: Duration, busy: f64) -> bool {
    let mut seed = 0x2545_F491_4F6C_DD1D;
    // A second ahead: the last is added before the first is due.
    let base = Instant::now() + Duration::from_secs(1);
    let micros = span.as_micros().max(1) as u64;
    let deadlines: Vec<Instant> =
        (0..count).map(|_| base + Duration::from_micros(random(&mut seed) % micros)).collect();
    for (&deadline, value) in deadlines.iter().zip(0..) {
        reactor.add_timer(deadline, value);
    }
    let mut late_ns: Vec<u64> = Vec::with_capacity(count);
    let mut early = 0;
    let started = Instant::now();
    let processor = thread_time();
    let give_up = base + span + Duration::from_secs(10);
    while late_ns.len() + early < count && Instant::now() < give_up {
        reactor.poll(Some(PAUSE)).expect("the backend waits");
        reactor.dispatch(1024, |event| {
            if let Event::Timer(value) = event {
                match Instant::now().checked_duration_since(deadlines[value as usize]) {
                    Some(late) => late_ns.push(late.as_nanos() as u64),
                    None => early += 1,
                }
            }
        });
        let slice_end = Instant::now() + SLICE;
        while Instant::now() < slice_end
            && (thread_time() - processor).as_secs_f64() < busy * started.elapsed().as_secs_f64()
        {
            std::hint::spin_loop();
        }
    }
    let share = (thread_time() - processor).as_secs_f64() / started.elapsed().as_secs_f64();
    late_ns.sort_unstable();
    let missing = count - early - late_ns.len();
    let at = |part: f64| {
        let index = (late_ns.len() as f64 * part) as usize;
        late_ns.get(index.min(late_ns.len().saturating_sub(1))).map_or(f64::NAN, |&ns| ns as f64 / 1e6)
    };
    println!(
        "lateness at {:.0} % of a processor: median {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, longest {:.2} ms; \
         early {early}, missing {missing}",
        share * 100.0,
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
    );
    early == 0 && missing == 0
}

/// The processor time that this thread has used.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// A small generator, so that runs compare (xorshift64, G. Marsaglia 2003).
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}
