//! `Slot`: what one worker tells about itself.
//!
//! A slot outlives the worker in it: when a worker dies, its replacement takes
//! over the same slot, the counters run on (so that sums never go back, which
//! is what a metrics collector expects), and the gauges start at zero.
//!
//! ```text
//!   offset   0   identity      written by the master and at the start, then only read
//!   offset  64   connections   written by whoever accepts and closes
//!   offset 128   answers       written by whoever answers
//!   offset 256   rare events   written when something went wrong
//!   offset 320   hand-over     written by a handler process, read by its front process
//!   offset 384   times         what finished requests have spent, written at their ends
//!   then         rooms         written by who gives messages their places, and by who delivers them
//!   then         lanes         written by whoever enters and leaves them
//!   then         accounts      one for each request in flight
//! ```
//!
//! Each group starts its own cache line, and a slot is a multiple of 128 bytes,
//! because x86-64 fetches lines in pairs: neighbours do not disturb each other.

use std::{
    sync::atomic::{
        AtomicU32, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::account::{Account, AccountReading};
use crate::counter::{Counter, Gauge};
use crate::lane::{LANES_PER_SLOT, LaneCounters};
use crate::now_ns;
use crate::reason::{Counters, Phase, Shed};
use crate::rooms::RoomCounters;
use crate::times::Times;

/// Requests of one worker that can be seen in flight at a time. Those beyond are served and counted, but not listed.
pub const ACCOUNTS_PER_SLOT: usize = 512;

/// One worker's line on the scoreboard. A slot of zeroes is a free slot.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct Slot {
    pid: AtomicU32,
    generation: AtomicU32,
    state: AtomicU32,
    /// How many workers have had this slot, the present one included.
    starts: AtomicU32,
    started_at_unix_ms: AtomicU64,
    /// Until when the worker has to have ended, on the board's clock; 0 unless its master has told it to.
    stop_by_ns: AtomicU64,

    _connections: Line,
    /// Connections accepted.
    pub connections_accepted: Counter,
    /// Connections open now.
    pub connections_open: Gauge,
    /// Not zero in a process that takes its connections from a listener shared with others.
    pub accepting: Gauge,
    /// Not zero in a process that has taken its part of what all workers have together, and so depends on how many there are.
    pub has_share: Gauge,
    /// Bytes received from clients.
    pub bytes_in: Counter,
    /// Bytes sent to clients.
    pub bytes_out: Counter,

    _answers: Line,
    /// Request heads that were parsed, whatever became of them.
    pub requests: Counter,
    /// Fibers that hold a stack now.
    pub fibers_in_use: Gauge,
    /// Answers with a status of 200 to 299.
    pub responses_2xx: Counter,
    /// Answers with a status of 300 to 399.
    pub responses_3xx: Counter,
    /// Answers with a status of 400 to 499, bad requests included.
    pub responses_4xx: Counter,
    /// Answers with a status of 500 to 599, rejections and panics included.
    pub responses_5xx: Counter,

    _rare: Line,
    /// Requests that could not be parsed or broke a limit.
    pub bad_requests: Counter,
    /// Requests, connections and datagrams that were refused although nothing was wrong with them.
    pub rejections: Counters<Shed, 6>,
    /// Handlers that panicked.
    pub panics: Counter,
    /// Connections or requests ended by a time-out.
    pub timeouts: Counters<Phase, 4>,
    /// Times the watchdog found a loop held for too long.
    pub loop_holds: Counter,

    _hand_over: Line,
    /// Which request of this handler process has started its answer.
    ///
    /// For the `event-worker` model: the front process may give a request to
    /// another handler process after a crash only while this differs from the
    /// number of that request. The value is the model's own business.
    pub answer_started: AtomicU32,

    _times: Line,
    /// What finished requests have spent, where accounting is on.
    pub times: Times,

    _rooms: Line,
    /// What the process does for rooms.
    pub rooms: RoomCounters,

    lanes: [LaneCounters; LANES_PER_SLOT],
    /// Those behind were never used, and take no memory while nobody looks at them.
    accounts_used: AtomicU32,
    accounts: [Account; ACCOUNTS_PER_SLOT],
}

/// Makes the field behind it start a cache line of 64 bytes; takes no room itself.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line;

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum State {
    /// Nobody has this slot.
    Free = 0,
    /// Forked, and not yet serving.
    Starting = 1,
    /// Serving.
    Ready = 2,
    /// Told to stop; finishes what it has.
    Draining = 3,
    /// Ended; perhaps a replacement is due.
    Exited = 4,
}

impl Slot {
    /// A free slot.
    pub const fn new() -> Self {
        Self {
            pid: AtomicU32::new(0),
            generation: AtomicU32::new(0),
            state: AtomicU32::new(State::Free as u32),
            starts: AtomicU32::new(0),
            started_at_unix_ms: AtomicU64::new(0),
            stop_by_ns: AtomicU64::new(0),
            _connections: Line,
            connections_accepted: Counter::new(),
            connections_open: Gauge::new(),
            accepting: Gauge::new(),
            has_share: Gauge::new(),
            bytes_in: Counter::new(),
            bytes_out: Counter::new(),
            _answers: Line,
            requests: Counter::new(),
            fibers_in_use: Gauge::new(),
            responses_2xx: Counter::new(),
            responses_3xx: Counter::new(),
            responses_4xx: Counter::new(),
            responses_5xx: Counter::new(),
            _rare: Line,
            bad_requests: Counter::new(),
            rejections: Counters::new(),
            panics: Counter::new(),
            timeouts: Counters::new(),
            loop_holds: Counter::new(),
            _hand_over: Line,
            answer_started: AtomicU32::new(0),
            _times: Line,
            times: Times::new(),
            _rooms: Line,
            rooms: RoomCounters::new(),
            lanes: [const { LaneCounters::new() }; LANES_PER_SLOT],
            accounts_used: AtomicU32::new(0),
            accounts: [const { Account::new() }; ACCOUNTS_PER_SLOT],
        }
    }

    /// Gives the slot to a new worker that is in state [`State::Starting`].
    ///
    /// Gauges start at zero, because a worker that was killed took none of its
    /// own back. Counters run on.
    pub fn occupy(&self, pid: u32, generation: u32) {
        self.reset_gauges();
        self.answer_started.store(0, Relaxed);
        self.pid.store(pid, Relaxed);
        self.generation.store(generation, Relaxed);
        self.starts.fetch_add(1, Relaxed);
        self.started_at_unix_ms.store(unix_ms(), Relaxed);
        self.stop_by_ns.store(0, Relaxed);
        self.set_state(State::Starting);
    }

    /// Notes that the worker in the slot has ended.
    pub fn vacate(&self) {
        self.reset_gauges();
        self.pid.store(0, Relaxed);
        self.set_state(State::Exited);
    }

    /// Notes where the worker is; what it wrote to the slot before is visible
    /// to whoever reads the new state.
    pub fn set_state(&self, state: State) {
        self.state.store(state as u32, Release);
    }

    /// Where the worker is.
    pub fn state(&self) -> State {
        match self.state.load(Acquire) {
            1 => State::Starting,
            2 => State::Ready,
            3 => State::Draining,
            4 => State::Exited,
            _ => State::Free,
        }
    }

    /// Notes that the worker has `rest` from now on to end. By its master, before it tells it so: a worker that is busy hears
    /// the order later.
    pub fn stop_within(&self, rest: Duration) {
        let rest = u64::try_from(rest.as_nanos()).unwrap_or(u64::MAX);
        self.stop_by_ns.store(now_ns().saturating_add(rest).max(1), Relaxed);
    }

    /// How long the worker has from now on to end; `None` unless its master has told it to.
    pub fn rest_to_stop(&self) -> Option<Duration> {
        match self.stop_by_ns.load(Relaxed) {
            0 => None,
            by => Some(Duration::from_nanos(by.saturating_sub(now_ns()))),
        }
    }

    /// Process id of the worker; 0 when there is none.
    pub fn pid(&self) -> u32 {
        self.pid.load(Relaxed)
    }

    /// The generation of configuration and binary that the worker runs.
    pub fn generation(&self) -> u32 {
        self.generation.load(Relaxed)
    }

    /// How many workers have had this slot, the present one included.
    pub fn starts(&self) -> u32 {
        self.starts.load(Relaxed)
    }

    /// When the worker was started, in milliseconds since 1970; 0 before the first.
    pub fn started_at_unix_ms(&self) -> u64 {
        self.started_at_unix_ms.load(Relaxed)
    }

    /// Counts one answer in the class of its status; 1xx and nonsense count nowhere.
    #[inline]
    pub fn count_response(&self, status: u16) {
        if let Some(counter) = self.response_class(status) {
            counter.add(1);
        }
    }

    /// [`Slot::count_response`] without a locked instruction; see
    /// [`Counter::add_single_writer`] for when that is right.
    #[inline]
    pub fn count_response_single_writer(&self, status: u16) {
        if let Some(counter) = self.response_class(status) {
            counter.add_single_writer(1);
        }
    }

    #[inline]
    fn response_class(&self, status: u16) -> Option<&Counter> {
        match status {
            200..=299 => Some(&self.responses_2xx),
            300..=399 => Some(&self.responses_3xx),
            400..=499 => Some(&self.responses_4xx),
            500..=599 => Some(&self.responses_5xx),
            _ => None,
        }
    }

    /// An account of the table of requests in flight, for whoever is to write to it; `None` beyond
    /// [`ACCOUNTS_PER_SLOT`]. [`crate::Claim`] gives them out.
    pub fn account(&self, index: usize) -> Option<&Account> {
        let account = self.accounts.get(index)?;
        self.accounts_used.fetch_max(index as u32 + 1, Relaxed);
        Some(account)
    }

    /// The place of a lane, for the process that has it. A later worker of the slot finds the same one, so that its counter
    /// runs on. `None` beyond [`LANES_PER_SLOT`]. Asked for by one thread, before the worker is ready.
    pub fn lane(&self, name: &str, uploads: bool) -> Option<&LaneCounters> {
        self.lanes.iter().find(|lane| lane.take(name, uploads))
    }

    /// All lanes that workers of this slot have had.
    pub fn lanes(&self) -> impl Iterator<Item = &LaneCounters> {
        // They are taken in order.
        self.lanes.iter().take_while(|lane| !lane.name().is_empty())
    }

    fn used_accounts(&self) -> &[Account] {
        let used = self.accounts_used.load(Relaxed) as usize;
        &self.accounts[..used.min(ACCOUNTS_PER_SLOT)]
    }

    /// The requests that are in flight at the moment. Those that change all the time while they are looked at are left
    /// out.
    pub fn in_flight(&self) -> Vec<AccountReading> {
        self.used_accounts().iter().filter_map(Account::reading).collect()
    }

    fn reset_gauges(&self) {
        self.used_accounts().iter().filter(|account| account.is_in_flight()).for_each(Account::discard);
        self.connections_open.set(0);
        self.accepting.set(0);
        self.has_share.set(0);
        self.fibers_in_use.set(0);
        self.rooms.reset_gauges();
        self.lanes().for_each(LaneCounters::reset_gauges);
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self::new()
    }
}

/// Milliseconds since 1970; 0 when the clock is set to before that.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::*;

    #[test]
    fn groups_start_on_their_own_cache_lines_and_slots_on_pairs_of_lines() {
        for offset in [
            offset_of!(Slot, connections_accepted),
            offset_of!(Slot, requests),
            offset_of!(Slot, bad_requests),
            offset_of!(Slot, answer_started),
            offset_of!(Slot, times),
            offset_of!(Slot, rooms),
        ] {
            assert_eq!(offset % 64, 0, "offset {offset}");
        }
        assert_eq!(size_of::<Slot>() % 128, 0);
    }

    #[test]
    fn a_replacement_keeps_the_counters_and_starts_its_gauges_at_zero() {
        let slot = Slot::new();
        assert_eq!(slot.state(), State::Free);
        slot.occupy(10, 1);
        slot.set_state(State::Ready);
        slot.requests.add(5);
        slot.connections_open.add(3);
        slot.vacate();
        assert_eq!((slot.pid(), slot.state(), slot.connections_open.get()), (0, State::Exited, 0));
        slot.occupy(11, 1);
        assert_eq!((slot.pid(), slot.state(), slot.starts()), (11, State::Starting, 2));
        assert_eq!(slot.requests.get(), 5);
        assert!(slot.started_at_unix_ms() > 1_600_000_000_000);
    }

    #[test]
    fn a_lane_has_one_place_for_all_workers_of_its_slot() {
        let slot = Slot::new();
        assert_eq!(slot.lanes().count(), 0);
        slot.occupy(10, 1);
        let lane = slot.lane("reports", false).expect("the first");
        lane.at_once_max.set(4);
        lane.shed.add(2);
        slot.lane("reports", true).expect("another door").shed.add(1);
        slot.occupy(11, 1);
        slot.lane("pages", false).expect("a third");
        let again = slot.lane("reports", false).expect("the same");
        assert_eq!((again.is_open(), again.shed.get(), slot.lanes().count()), (false, 2, 3));
        let more = (0..).take_while(|number| slot.lane(&number.to_string(), false).is_some()).count();
        assert_eq!(more, LANES_PER_SLOT - 3);
    }

    #[test]
    fn answers_are_counted_by_the_class_of_their_status() {
        let slot = Slot::new();
        for status in [101, 200, 204, 302, 404, 503, 599, 600] {
            slot.count_response(status);
        }
        slot.count_response_single_writer(404);
        let classes = [&slot.responses_2xx, &slot.responses_3xx, &slot.responses_4xx, &slot.responses_5xx];
        assert_eq!(classes.map(Counter::get), [2, 1, 2, 2]);
    }
}
