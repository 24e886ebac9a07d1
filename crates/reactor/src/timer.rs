//! A hierarchical timer wheel: 1 ms ticks, six levels, add and cancel in constant time, and no tick that does much at once.
//!
//! After G. Varghese and T. Lauck, "Hashed and hierarchical timing wheels" (SOSP 1987), scheme 7. A slot of level n is 64^n
//! ms wide; a timer is filed in the level of the highest bit in which its deadline differs from the wheel's time, and moves
//! one level down ("cascades") when its slot comes up. Most timers of a server are cancelled, so a cancel only unlinks.
//! Nodes are links by index in one vector; nothing is allocated once that vector has grown to the number of timers alive.
//!
//! The scheme has one weakness: a slot of level 2 that holds 800,000 timers holds up whatever is due when it comes up, for
//! a tenth of a second. So each level is a ring of 128 slots, twice what scheme 7 needs: the half beyond the present turn
//! takes in the timers of the next slot of the level above, [`PACE`] of them in a tick, before that slot comes up. A small
//! slot moves when it comes up, as in the original.

mod free_set;

use self::free_set::FreeSet;

const LEVELS: usize = 6;
/// Slots of a level's ring; a turn of the level below one slot of the level above is 64 of them.
const SLOTS: usize = 128;
const NIL: u32 = u32::MAX;
/// Timers of a slot that may move within one tick: about 20 µs' worth when each misses the caches.
const PACE: u64 = 256;

/// A set of timers, each with a deadline in milliseconds since the wheel's own start and a caller's value.
///
/// ```
/// use tenfold_reactor::Wheel;
/// let mut wheel = Wheel::new();
/// let soon = wheel.add(5, 1);
/// wheel.add(70, 2);
/// assert!(wheel.cancel(soon));
/// let mut fired = Vec::new();
/// wheel.advance(100, &mut fired);
/// assert_eq!(fired, [2]);
/// ```
#[derive(Debug)]
pub struct Wheel {
    /// All deadlines up to and including this one have fired.
    now_ms: u64,
    levels: [Level; LEVELS],
    nodes: Vec<Node>,
    free: FreeSet,
    len: usize,
}

/// A ring of slots of one width.
#[derive(Debug)]
struct Level {
    /// A bit for each slot that is not empty.
    occupied: u128,
    slots: [Slot; SLOTS],
}

/// A list of timers in the order in which they were added.
#[derive(Clone, Copy, Debug)]
struct Slot {
    first: u32,
    last: u32,
    len: u32,
}

/// Names a timer; a stale one (fired or cancelled) is recognised by its generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerId {
    index: u32,
    generation: u32,
}

#[derive(Debug)]
struct Node {
    deadline_ms: u64,
    value: u64,
    prev: u32,
    next: u32,
    /// Odd while the node is in a list.
    generation: u32,
    level: u8,
    slot: u8,
}

impl Wheel {
    /// The farthest deadline that is kept exactly, in ms from now (about two years); later ones are re-filed on the way.
    pub const HORIZON_MS: u64 = 1 << 36;

    /// An empty wheel at time 0.
    pub fn new() -> Wheel {
        let slots = [Slot { first: NIL, last: NIL, len: 0 }; SLOTS];
        Wheel {
            now_ms: 0,
            levels: std::array::from_fn(|_| Level { occupied: 0, slots }),
            nodes: Vec::new(),
            free: FreeSet::default(),
            len: 0,
        }
    }

    /// The number of timers alive.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no timer is alive.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a timer. A deadline that has passed fires at the next tick. Cost: constant.
    pub fn add(&mut self, deadline_ms: u64, value: u64) -> TimerId {
        let index = self.take_node();
        let node = &mut self.nodes[index as usize];
        node.deadline_ms = deadline_ms.max(self.now_ms + 1);
        node.value = value;
        node.generation = node.generation.wrapping_add(1);
        let id = TimerId { index, generation: node.generation };
        self.file(index);
        self.len += 1;
        id
    }

    /// Removes a timer; false when it has fired or was cancelled before. Cost: constant.
    pub fn cancel(&mut self, id: TimerId) -> bool {
        match self.nodes.get(id.index as usize) {
            Some(node) if node.generation == id.generation => {}
            _ => return false,
        }
        self.unlink(id.index);
        self.release(id.index);
        true
    }

    /// Milliseconds at which `advance` has something to do, at the latest; `None` when no timer is alive.
    ///
    /// Exact for the nearest 64 ms; farther away it may be the time of a cascade, which is never late.
    pub fn next_ms(&self) -> Option<u64> {
        if self.len == 0 {
            return None;
        }
        (0..LEVELS).filter_map(|level| self.level_due(level)).min()
    }

    /// Moves time forward and appends the values of all timers that are due, in order of their deadlines' ticks and,
    /// within a tick, in the order in which they were added.
    pub fn advance(&mut self, now_ms: u64, fired: &mut Vec<u64>) {
        while self.now_ms < now_ms {
            let Some(event_ms) = self.next_ms().filter(|&at| at <= now_ms) else {
                self.now_ms = now_ms;
                return;
            };
            self.now_ms = event_ms;
            // Higher levels first: what cascades down may be due in this very tick.
            for level in (1..LEVELS).rev() {
                if self.levels[level].occupied != 0 {
                    self.cascade(level);
                }
            }
            self.fire(fired);
        }
    }

    /// In the order in which they were added: among a thousand timers of one tick the reverse made whoever waited longest
    /// wait longest again.
    fn fire(&mut self, fired: &mut Vec<u64>) {
        let slot = slot_of(self.now_ms, 0);
        let mut index = self.detach(0, slot, u32::MAX);
        while index != NIL {
            let node = &self.nodes[index as usize];
            let newer = node.next;
            debug_assert_eq!(node.deadline_ms, self.now_ms, "a slot of level 0 is one tick");
            fired.push(node.value);
            self.release(index);
            index = newer;
        }
    }

    /// Moves what is due to move in this tick from a level to the one below: all of the slot that comes up, and of the next
    /// one as much as leaves the rest for the ticks before it comes up.
    fn cascade(&mut self, level: usize) {
        let width = 1 << (6 * level);
        if self.now_ms.is_multiple_of(width) {
            self.lower(level, self.now_ms, u32::MAX);
        }
        let next = (self.now_ms / width + 1) * width;
        let len = u64::from(self.levels[level].slots[slot_of(next, level)].len);
        if len > PACE {
            let share = len.div_ceil(next - self.now_ms).max(PACE);
            self.lower(level, next, u32::try_from(share).unwrap_or(u32::MAX));
        }
    }

    /// Moves the oldest `count` timers of the slot at `time` one level down. Never further: timers of one tick come down in
    /// the order in which they were added only if all of them take the same way.
    fn lower(&mut self, level: usize, time: u64, count: u32) {
        let mut index = self.detach(level, slot_of(time, level), count);
        while index != NIL {
            let Node { next, deadline_ms, .. } = self.nodes[index as usize];
            if deadline_ms >> (6 * level) == time >> (6 * level) {
                self.link(index, level - 1, slot_of(deadline_ms, level - 1));
            } else {
                // It was beyond the horizon when it was filed.
                self.file(index);
            }
            index = next;
        }
    }

    /// Takes the oldest `count` timers off a slot's list and returns the first; `next` leads to the others.
    fn detach(&mut self, level: usize, slot: usize, count: u32) -> u32 {
        let Level { occupied, slots } = &mut self.levels[level];
        let list = &mut slots[slot];
        let first = list.first;
        if count >= list.len {
            *list = Slot { first: NIL, last: NIL, len: 0 };
            *occupied &= !(1 << slot);
            return first;
        }
        let mut last = first;
        for _ in 1..count {
            last = self.nodes[last as usize].next;
        }
        list.first = std::mem::replace(&mut self.nodes[last as usize].next, NIL);
        list.len -= count;
        self.nodes[list.first as usize].prev = NIL;
        first
    }

    /// When a level has something to do: its nearest slot comes up, or is so full that it has to begin before.
    fn level_due(&self, level: usize) -> Option<u64> {
        let Level { occupied, slots } = &self.levels[level];
        if *occupied == 0 {
            return None;
        }
        let shift = 6 * level;
        let current = self.now_ms >> shift;
        // The slot of the present time is empty, so the search begins at the next.
        let ahead = occupied.rotate_right((current as u32 + 1) % SLOTS as u32).trailing_zeros();
        let due = (current + 1 + u64::from(ahead)) << shift;
        let len = u64::from(slots[slot_of(due, level)].len);
        if level == 0 || len <= PACE {
            return Some(due);
        }
        // Not before the slot is the next one: the ring below has no place for farther ones.
        let lead = (len / PACE).min(1 << shift);
        Some((due - lead).max(self.now_ms + 1))
    }

    /// Files a timer by its distance from now.
    fn file(&mut self, index: u32) {
        let deadline = self.nodes[index as usize].deadline_ms.min(self.now_ms + Self::HORIZON_MS - 1);
        let differing = (deadline ^ self.now_ms) | 1;
        let level = ((63 - differing.leading_zeros() as usize) / 6).min(LEVELS - 1);
        self.link(index, level, slot_of(deadline, level));
    }

    fn link(&mut self, index: u32, level: usize, slot: usize) {
        let Level { occupied, slots } = &mut self.levels[level];
        let list = &mut slots[slot];
        let last = std::mem::replace(&mut list.last, index);
        list.len += 1;
        *occupied |= 1 << slot;
        let node = &mut self.nodes[index as usize];
        node.level = level as u8;
        node.slot = slot as u8;
        node.prev = last;
        node.next = NIL;
        if last == NIL {
            list.first = index;
        } else {
            self.nodes[last as usize].next = index;
        }
    }

    fn unlink(&mut self, index: u32) {
        let Node { prev, next, level, slot, .. } = self.nodes[index as usize];
        let Level { occupied, slots } = &mut self.levels[level as usize];
        let list = &mut slots[slot as usize];
        list.len -= 1;
        if list.len == 0 {
            *occupied &= !(1 << slot);
        }
        if prev == NIL {
            list.first = next;
        } else {
            self.nodes[prev as usize].next = next;
        }
        if next == NIL {
            list.last = prev;
        } else {
            self.nodes[next as usize].prev = prev;
        }
    }

    fn take_node(&mut self) -> u32 {
        if let Some(index) = self.free.take() {
            return index;
        }
        let index = u32::try_from(self.nodes.len()).expect("fewer than 2^32 timers fit in memory");
        self.nodes.push(Node {
            deadline_ms: 0,
            value: 0,
            prev: NIL,
            next: NIL,
            generation: 0,
            level: 0,
            slot: 0,
        });
        index
    }

    fn release(&mut self, index: u32) {
        let node = &mut self.nodes[index as usize];
        node.generation = node.generation.wrapping_add(1);
        self.free.insert(index);
        self.len -= 1;
    }
}

impl Default for Wheel {
    fn default() -> Self {
        Wheel::new()
    }
}

fn slot_of(time_ms: u64, level: usize) -> usize {
    (time_ms >> (6 * level)) as usize % SLOTS
}

#[cfg(test)]
mod tests;
