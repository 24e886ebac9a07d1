//! A hierarchical timer wheel: 1 ms ticks, six levels of 64 slots, add and cancel in constant time.
//!
//! After G. Varghese and T. Lauck, "Hashed and hierarchical timing wheels" (SOSP 1987), scheme 7. Level n has slots of
//! 64^n ms; a timer sits in the level of the highest bit in which its deadline differs from the wheel's time, and moves
//! one or more levels down ("cascades") when its slot comes up. Most timers of a server are cancelled, so a cancel only
//! unlinks. Nodes are links by index in one vector; nothing is allocated once that vector has grown to the number of
//! timers alive.

const LEVELS: usize = 6;
const SLOTS: usize = 64;
const NIL: u32 = u32::MAX;

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
    /// First node of each slot's list, by level.
    heads: [[u32; SLOTS]; LEVELS],
    /// A bit for each slot that is not empty, by level.
    occupied: [u64; LEVELS],
    nodes: Vec<Node>,
    free: u32,
    len: usize,
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
        Wheel {
            now_ms: 0,
            heads: [[NIL; SLOTS]; LEVELS],
            occupied: [0; LEVELS],
            nodes: Vec::new(),
            free: NIL,
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
        self.link(index);
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
        (0..LEVELS).filter(|&level| self.occupied[level] != 0).map(|level| self.slot_time(level)).min()
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
                if event_ms.trailing_zeros() as usize >= 6 * level {
                    self.cascade(level, slot_of(event_ms, level));
                }
            }
            self.fire(slot_of(event_ms, 0), fired);
        }
    }

    /// In the order in which they were added: among a thousand timers of one tick the reverse made whoever waited longest
    /// wait longest again.
    fn fire(&mut self, slot: usize, fired: &mut Vec<u64>) {
        let mut index = self.detach(0, slot);
        while index != NIL {
            let node = &self.nodes[index as usize];
            let newer = node.prev;
            if node.deadline_ms <= self.now_ms {
                fired.push(node.value);
                self.release(index);
            } else {
                self.link(index);
            }
            index = newer;
        }
    }

    fn cascade(&mut self, level: usize, slot: usize) {
        let mut index = self.detach(level, slot);
        while index != NIL {
            let newer = self.nodes[index as usize].prev;
            self.link(index);
            index = newer;
        }
    }

    /// Empties a slot and returns the oldest timer of its list: newer ones are linked in front, so `prev` leads to them.
    fn detach(&mut self, level: usize, slot: usize) -> u32 {
        self.occupied[level] &= !(1 << slot);
        let mut index = std::mem::replace(&mut self.heads[level][slot], NIL);
        while index != NIL && self.nodes[index as usize].next != NIL {
            index = self.nodes[index as usize].next;
        }
        index
    }

    /// The time at which the nearest occupied slot of a level comes up.
    fn slot_time(&self, level: usize) -> u64 {
        let shift = 6 * level;
        let current = slot_of(self.now_ms, level);
        // The slot of the present time has been emptied, so in a level above 0 a bit there belongs to the next turn.
        let ahead = self.occupied[level].rotate_right(current as u32 + 1).trailing_zeros() as u64 + 1;
        ((self.now_ms >> shift) + ahead) << shift
    }

    fn link(&mut self, index: u32) {
        let node = &mut self.nodes[index as usize];
        // A deadline of this very tick can only come from a cascade: level 0 fires it right after.
        let deadline = node.deadline_ms.max(self.now_ms).min(self.now_ms + Self::HORIZON_MS - 1);
        let differing = (deadline ^ self.now_ms) | 1;
        let level = ((63 - differing.leading_zeros() as usize) / 6).min(LEVELS - 1);
        let slot = slot_of(deadline, level);
        let head = self.heads[level][slot];
        node.level = level as u8;
        node.slot = slot as u8;
        node.prev = NIL;
        node.next = head;
        if head != NIL {
            self.nodes[head as usize].prev = index;
        }
        self.heads[level][slot] = index;
        self.occupied[level] |= 1 << slot;
    }

    fn unlink(&mut self, index: u32) {
        let Node { prev, next, level, slot, .. } = self.nodes[index as usize];
        if next != NIL {
            self.nodes[next as usize].prev = prev;
        }
        if prev != NIL {
            self.nodes[prev as usize].next = next;
            return;
        }
        self.heads[level as usize][slot as usize] = next;
        if next == NIL {
            self.occupied[level as usize] &= !(1 << slot);
        }
    }

    fn take_node(&mut self) -> u32 {
        if self.free != NIL {
            let index = self.free;
            self.free = self.nodes[index as usize].next;
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
        let free = self.free;
        let node = &mut self.nodes[index as usize];
        node.generation = node.generation.wrapping_add(1);
        node.next = free;
        self.free = index;
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
    fn random(state: &mut u64) -> u64 {
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
