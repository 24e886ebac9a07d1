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
mod tests {
    use super::*;

    /// A small generator, so that a failure can be repeated (xorshift64, G. Marsaglia 2003).
    pub(super) fn random(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    #[test]
    fn fires_every_timer_exactly_at_its_tick_whatever_the_distance() {
        for deadline in [1, 2, 63, 64, 65, 127, 128, 4095, 4096, 4097, 262_144, 16_777_217, 1_073_741_824] {
            for start in [0, 1, 63, 64, 4095, 4096, 1_000_003] {
                let mut wheel = Wheel::new();
                let mut fired = Vec::new();
                wheel.advance(start, &mut fired);
                wheel.add(start + deadline, 7);
                wheel.advance(start + deadline - 1, &mut fired);
                assert!(fired.is_empty(), "early: {start}+{deadline}");
                wheel.advance(start + deadline, &mut fired);
                assert_eq!(fired, [7], "late: {start}+{deadline}");
                assert!(wheel.is_empty());
            }
        }
    }

    #[test]
    fn agrees_with_a_sorted_list_over_random_adds_cancels_and_steps() {
        let mut seed = 0x9E37_79B9_7F4A_7C15;
        for _ in 0..50 {
            let mut wheel = Wheel::new();
            let mut model: Vec<(u64, u64, TimerId)> = Vec::new();
            let mut now = 0;
            for value in 0..400 {
                match random(&mut seed) % 4 {
                    0 | 1 => {
                        let magnitude = random(&mut seed) % 22;
                        let deadline = now + 1 + random(&mut seed) % (1 << magnitude);
                        model.push((deadline, value, wheel.add(deadline, value)));
                    }
                    2 if !model.is_empty() => {
                        let victim = model.swap_remove(random(&mut seed) as usize % model.len());
                        assert!(wheel.cancel(victim.2));
                        assert!(!wheel.cancel(victim.2), "a second cancel finds nothing");
                    }
                    _ => {
                        let magnitude = random(&mut seed) % 20;
                        now += random(&mut seed) % (1 << magnitude);
                        let mut fired = Vec::new();
                        wheel.advance(now, &mut fired);
                        let mut due: Vec<u64> =
                            model.iter().filter(|timer| timer.0 <= now).map(|timer| timer.1).collect();
                        model.retain(|timer| timer.0 > now);
                        due.sort_unstable();
                        fired.sort_unstable();
                        assert_eq!(fired, due);
                    }
                }
                assert_eq!(wheel.len(), model.len());
                let earliest = model.iter().map(|timer| timer.0).min();
                assert!(
                    wheel.next_ms() <= earliest || earliest.is_none(),
                    "the wheel would sleep past a deadline"
                );
            }
        }
    }

    #[test]
    fn timers_of_one_tick_fire_in_the_order_in_which_they_were_added() {
        // 5 ms is in the first level at once, 100 ms and 10 s come down to it over one and two others.
        for deadline in [5, 100, 10_000] {
            let mut wheel = Wheel::new();
            let ids: Vec<TimerId> = (0..10).map(|value| wheel.add(deadline, value)).collect();
            wheel.cancel(ids[0]);
            wheel.cancel(ids[4]);
            wheel.cancel(ids[9]);
            let mut fired = Vec::new();
            wheel.advance(deadline, &mut fired);
            assert_eq!(fired, [1, 2, 3, 5, 6, 7, 8], "at {deadline} ms");
        }
    }

    #[test]
    fn a_full_slot_comes_down_in_small_parts_and_in_order() {
        let mut wheel = Wheel::new();
        // 60 slots of level 0 in one slot of level 2, which is [8192, 12288).
        let deadline = |value: u64| 8_200 + value % 60 * 63;
        for value in 0..90_000 {
            wheel.add(deadline(value), value);
        }
        let mut added = 90_000;
        let mut fired: Vec<u64> = Vec::new();
        for now in 1..12_288 {
            let before = wheel.levels.each_ref().map(|level| level.slots.map(|slot| slot.len));
            let fired_before = fired.len();
            wheel.advance(now, &mut fired);
            let moved: u32 = (1..LEVELS)
                .flat_map(|level| (0..SLOTS).map(move |slot| (level, slot)))
                .map(|(level, slot)| before[level][slot].saturating_sub(wheel.levels[level].slots[slot].len))
                .sum();
            assert!(moved <= 3 * PACE as u32, "{moved} timers moved in the tick {now}");
            assert!(fired[fired_before..].iter().all(|&value| deadline(value) == now));
            // Later ones of the same ticks are filed while the earlier ones are on their way down.
            if now % 64 == 1 && now < 8_192 {
                wheel.add(deadline(added), added);
                added += 1;
            }
        }
        assert_eq!(fired.len() as u64, added);
        for tick in fired.chunk_by(|&a, &b| deadline(a) == deadline(b)) {
            assert!(tick.is_sorted(), "timers of one tick overtook each other");
        }
    }

    #[test]
    fn a_deadline_in_the_past_fires_at_the_next_tick() {
        let mut wheel = Wheel::new();
        let mut fired = Vec::new();
        wheel.advance(1000, &mut fired);
        wheel.add(3, 1);
        assert_eq!(wheel.next_ms(), Some(1001));
        wheel.advance(1001, &mut fired);
        assert_eq!(fired, [1]);
    }

    #[test]
    fn a_deadline_beyond_the_horizon_is_refiled_and_not_early() {
        let mut wheel = Wheel::new();
        let mut fired = Vec::new();
        let deadline = Wheel::HORIZON_MS + 12_345;
        wheel.add(deadline, 1);
        wheel.advance(deadline - 1, &mut fired);
        assert!(fired.is_empty());
        wheel.advance(deadline, &mut fired);
        assert_eq!(fired, [1]);
    }
}
