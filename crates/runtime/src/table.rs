//! The fibers of one thread, by number.
//!
//! A number is an index and a generation: a wake-up or timer that comes after its fiber has ended finds another
//! generation and does nothing.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use tenfold_fiber::{Fiber, prefetch};
use tenfold_reactor::{TimerId, WatchedPeer};

use crate::task::{Extra, Task};

/// Names a fiber of one scheduler: its generation above its index, in the low 54 bits of a word.
///
/// One word and not two fields: ids are written, queued and read again within a few nanoseconds, and a processor that
/// reads a word which was just written as two halves waits until both have left its store buffer (some 5 ns each time).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FiberId(u64);

/// 268 million fibers, which would be a terabyte of stacks.
const INDEX_BITS: u32 = 28;
const INDEX_MASK: u32 = (1 << INDEX_BITS) - 1;
/// Most fibers of one loop.
pub(crate) const FIBERS_MAX: usize = INDEX_MASK as usize;
/// A number fits the reactor's token with room for a kind, and a [`WakeId`] with room for a loop.
const GENERATION_BITS: u32 = 26;
const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;
/// Most loops of one process at the same time, and one: numbers begin at one.
pub(crate) const LOOPS_MAX: u32 = 1 << (u64::BITS - INDEX_BITS - GENERATION_BITS);

impl FiberId {
    #[inline]
    pub(crate) fn new(index: u32, generation: u32) -> FiberId {
        FiberId(u64::from(generation) << INDEX_BITS | u64::from(index))
    }

    #[inline]
    pub(crate) fn index(self) -> u32 {
        self.0 as u32 & INDEX_MASK
    }

    #[inline]
    pub(crate) fn generation(self) -> u32 {
        (self.0 >> INDEX_BITS) as u32 & GENERATION_MASK
    }

    #[inline]
    pub(crate) fn pack(self) -> u64 {
        self.0
    }

    pub(crate) fn next_generation(generation: u32) -> u32 {
        generation.wrapping_add(1) & GENERATION_MASK
    }

    #[inline]
    pub(crate) fn unpack(packed: u64) -> FiberId {
        FiberId(packed & ((1 << (INDEX_BITS + GENERATION_BITS)) - 1))
    }
}

/// Names a fiber of any scheduler of the process, for a wake-up: the loop's slot above the [`FiberId`]. Never zero, because
/// slots begin at one.
///
/// A slot is used again when its loop has ended, so this may name a fiber of a later loop: a wake-up too many, which
/// every wait has to expect. What must not go astray (a cancel) carries the loop's whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WakeId(u64);

impl WakeId {
    #[inline]
    pub(crate) fn new(scheduler: u32, fiber: FiberId) -> WakeId {
        WakeId(u64::from(scheduler % LOOPS_MAX) << (INDEX_BITS + GENERATION_BITS) | fiber.0)
    }

    /// The loop's slot: its number modulo [`LOOPS_MAX`].
    #[inline]
    pub(crate) fn slot(self) -> u32 {
        (self.0 >> (INDEX_BITS + GENERATION_BITS)) as u32
    }

    #[inline]
    pub(crate) fn fiber(self) -> FiberId {
        FiberId::unpack(self.0)
    }

    /// The word; not zero.
    #[inline]
    pub(crate) fn word(self) -> u64 {
        self.0
    }

    /// What [`WakeId::word`] gave; `None` for zero.
    #[inline]
    pub(crate) fn from_word(word: u64) -> Option<WakeId> {
        (word != 0).then_some(WakeId(word))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// In the run queue.
    Ready,
    /// On the thread.
    Running,
    /// Waiting for a wake-up.
    Parked,
}

pub(crate) struct Record {
    generation: u32,
    pub(crate) state: State,
    /// A wake-up came while the fiber was running: its next park returns at once.
    pub(crate) permit: bool,
    /// The timer of the present park has fired.
    pub(crate) timed_out: bool,
    /// The timer of the present park.
    pub(crate) timer: Option<TimerId>,
    /// `None` while it is on the thread.
    pub(crate) fiber: Option<Place>,
    pub(crate) name: &'static str,
    /// Where on its stack it waits, or begins: a hint, see [`Record::prefetch`].
    pub(crate) resting_at: usize,
    pub(crate) task: Task,
}

/// Where a fiber is kept, also while it runs: a record may move when the table grows. A record keeps its place for the next
/// fiber, so starting one allocates nothing. Moving the fiber out of its record and back instead was measured: a switch
/// through a channel took 82 ns and not 76, a spawn with join 168 and not 149, a bare spawn 82 and not 93.
pub(crate) type Place = Rc<RefCell<Option<Fiber>>>;

/// See [`Table::served_peers`].
pub(crate) struct ServedPeers {
    pub(crate) peers: Vec<(FiberId, WatchedPeer)>,
    /// Whether anybody among the records works for a peer.
    pub(crate) any: bool,
    /// Where to go on; `None` after the last record.
    pub(crate) next: Option<usize>,
}

/// What a fiber touches of its stack at once when it goes on: the switch, and the frames of whoever waits.
const FRAMES_LINES: usize = 6;
/// Of these, below where it was seen to wait.
const FRAMES_BELOW_BYTES: usize = 128;

impl Record {
    /// Asks for the memory that the fiber's run begins with.
    #[inline]
    pub(crate) fn prefetch(&self) {
        prefetch(self.resting_at.wrapping_sub(FRAMES_BELOW_BYTES), FRAMES_LINES);
        self.prefetch_place();
    }

    #[inline]
    fn prefetch_place(&self) {
        if let Some(place) = &self.fiber {
            prefetch(Rc::as_ptr(place).addr(), 2);
        }
    }
}

#[derive(Default)]
pub(crate) struct Table {
    records: Vec<Record>,
    free: Vec<u32>,
}

impl Table {
    pub(crate) fn len(&self) -> usize {
        self.records.len() - self.free.len()
    }

    /// Gives the fiber that `make` makes a number.
    ///
    /// A function and not a fiber: it is written where it stays. Made before and moved here it was copied word after word
    /// having been written, which cost 7 ns of a spawn.
    #[inline]
    pub(crate) fn insert(
        &mut self,
        make: impl FnOnce() -> Fiber,
        name: &'static str,
        deadline: Option<Instant>,
        resting_at: usize,
    ) -> FiberId {
        let Some(&index) = self.free.last() else {
            return self.insert_new(make(), name, deadline, resting_at);
        };
        self.prefetch_free();
        let record = &mut self.records[index as usize];
        {
            let mut place = record.fiber.as_ref().expect("a free record keeps its place").borrow_mut();
            // Said, so that the compiler need not keep the new one somewhere while an old one is dropped.
            assert!(place.is_none(), "the fiber of a free record is gone");
            *place = Some(make());
        }
        record.state = State::Ready;
        record.permit = false;
        record.timed_out = false;
        record.name = name;
        record.resting_at = resting_at;
        record.task.deadline = deadline;
        self.free.pop();
        FiberId::new(index, record.generation)
    }

    #[cold]
    fn insert_new(
        &mut self,
        fiber: Fiber,
        name: &'static str,
        deadline: Option<Instant>,
        resting_at: usize,
    ) -> FiberId {
        let index = self.records.len() as u32;
        assert!(index < INDEX_MASK, "fewer than 2^28 fibers fit in memory");
        self.records.push(Record {
            generation: 0,
            state: State::Ready,
            permit: false,
            timed_out: false,
            timer: None,
            fiber: Some(Rc::new(RefCell::new(Some(fiber)))),
            name,
            resting_at,
            task: Task { deadline, ..Task::default() },
        });
        FiberId::new(index, 0)
    }

    /// Asks for the records that the next fibers will get: who starts one often starts several.
    #[inline]
    fn prefetch_free(&self) {
        if let [.., third, second, _] = self.free[..] {
            self.prefetch_record(third);
            self.records[second as usize].prefetch_place();
        }
    }

    /// Asks for a record.
    #[inline]
    pub(crate) fn prefetch(&self, id: FiberId) {
        self.prefetch_record(id.index());
    }

    #[inline]
    fn prefetch_record(&self, index: u32) {
        if let Some(record) = self.records.get(index as usize) {
            prefetch(std::ptr::from_ref(record).addr(), size_of::<Record>().div_ceil(64));
        }
    }

    #[inline]
    pub(crate) fn get(&mut self, id: FiberId) -> Option<&mut Record> {
        self.records.get_mut(id.index() as usize).filter(|record| record.generation == id.generation())
    }

    /// The record of a fiber that is known to be alive because it runs.
    #[inline]
    pub(crate) fn alive(&mut self, id: FiberId) -> &mut Record {
        let record = &mut self.records[id.index() as usize];
        debug_assert_eq!(record.generation, id.generation(), "a running fiber has a record");
        record
    }

    /// Frees a fiber's number; what the record owned is returned, to be dropped outside the borrow.
    #[inline]
    pub(crate) fn remove(&mut self, id: FiberId, place: Place) -> Option<Box<Extra>> {
        let record = self.alive(id);
        record.generation = FiberId::next_generation(record.generation);
        record.fiber = Some(place);
        record.task.cancelled = false;
        record.task.inline = false;
        record.task.account = None;
        record.task.is_child = false;
        record.task.peer = None;
        let extra = record.task.extra.take();
        self.free.push(id.index());
        extra
    }

    /// The fibers that work for a peer and did so when they were looked at last, among the next `records_max` records from
    /// `from` on, and at most `most` of them.
    pub(crate) fn served_peers(&mut self, from: usize, records_max: usize, most: usize) -> ServedPeers {
        let mut served = ServedPeers { peers: Vec::new(), any: false, next: None };
        let end = self.records.len().min(from.saturating_add(records_max));
        for index in from..end {
            let record = &mut self.records[index];
            let Some(peer) = record.task.peer else { continue };
            served.any = true;
            if std::mem::replace(&mut record.task.peer_is_old, true) && !record.task.cancelled {
                served.peers.push((FiberId::new(index as u32, record.generation), peer));
                if served.peers.len() == most {
                    served.next = Some(index + 1);
                    return served;
                }
            }
        }
        served.next = (end < self.records.len()).then_some(end);
        served
    }

    pub(crate) fn ids(&self) -> Vec<FiberId> {
        let has_fiber = |record: &Record| record.fiber.as_ref().is_some_and(|place| place.borrow().is_some());
        let occupied = self.records.iter().enumerate().filter(|(_, record)| has_fiber(record));
        occupied.map(|(index, record)| FiberId::new(index as u32, record.generation)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_id_gives_back_the_loops_slot_and_the_fiber() {
        for (index, generation) in [(0, 0), (INDEX_MASK, GENERATION_MASK), (7, 1)] {
            let fiber = FiberId::new(index, generation);
            assert_eq!((fiber.index(), fiber.generation()), (index, generation));
            assert_eq!(FiberId::unpack(fiber.pack()), fiber);
            for id in [1, LOOPS_MAX - 1, 3 * LOOPS_MAX + 5] {
                let wake = WakeId::new(id, fiber);
                assert_eq!((wake.slot(), wake.fiber()), (id % LOOPS_MAX, fiber));
                assert_eq!(WakeId::from_word(wake.word()), Some(wake));
            }
        }
        assert_eq!(WakeId::from_word(0), None);
    }

    #[test]
    fn the_generation_after_the_last_is_the_first() {
        assert_eq!(FiberId::next_generation(GENERATION_MASK), 0);
    }
}
