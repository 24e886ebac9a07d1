//! `Scoreboard`: all slots of a master and its workers.

use std::{fmt, io};

use crate::{map, slot::Slot};

/// The most slots of one board: more workers than any machine has use for.
pub const SLOTS_MAX: usize = 4096;

/// A row of slots, shared between a master and the workers it forks.
///
/// A handle is two words, may be copied freely, and stays valid for ever: the
/// memory behind it is never given back, because a worker's last tick may come
/// at any time. Make one board per master, not one per request.
#[derive(Clone, Copy)]
pub struct Scoreboard {
    slots: &'static [Slot],
}

/// Why a board could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The number of slots is zero or beyond [`SLOTS_MAX`].
    #[error("a scoreboard has 1 to {SLOTS_MAX} slots, not {0}")]
    Slots(usize),
    /// The kernel gave no memory.
    #[error("cannot map {slots} slots of shared memory: {source}")]
    Map {
        /// How many slots were asked for.
        slots: usize,
        /// What mmap(2) answered.
        source: io::Error,
    },
}

impl Scoreboard {
    /// A board of `slots_max` slots in memory shared with children forked later.
    ///
    /// # Errors
    /// [`Error::Slots`] outside 1..=[`SLOTS_MAX`]; [`Error::Map`] without memory.
    pub fn new(slots_max: usize) -> Result<Self, Error> {
        check(slots_max)?;
        let slots = map::shared(slots_max).map_err(|source| Error::Map { slots: slots_max, source })?;
        Ok(Self { slots })
    }

    /// A board that only this process sees, for tests and for serving without a
    /// master.
    ///
    /// # Panics
    /// When `slots` is zero or beyond [`SLOTS_MAX`].
    pub fn private(slots: usize) -> Self {
        check(slots).expect("the caller asks for a board of a sensible size");
        Self { slots: Box::leak((0..slots).map(|_| Slot::new()).collect()) }
    }

    /// Slot number `index`, counted from zero.
    ///
    /// # Panics
    /// When there is no such slot.
    pub fn slot(&self, index: usize) -> &'static Slot {
        &self.slots[index]
    }

    /// All slots, in order.
    pub fn slots(&self) -> &'static [Slot] {
        self.slots
    }

    /// How many slots there are; never zero.
    #[expect(clippy::len_without_is_empty, reason = "a board is never empty")]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Sums one number over all slots.
    pub fn sum(&self, number: impl Fn(&Slot) -> u64) -> u64 {
        self.slots.iter().map(number).fold(0, u64::wrapping_add)
    }
}

impl fmt::Debug for Scoreboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scoreboard").field("slots", &self.slots.len()).finish_non_exhaustive()
    }
}

fn check(slots: usize) -> Result<(), Error> {
    if (1..=SLOTS_MAX).contains(&slots) { Ok(()) } else { Err(Error::Slots(slots)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{State, current, set_current};

    #[test]
    fn a_mapped_board_starts_with_free_slots_at_zero() {
        let board = Scoreboard::new(3).expect("three slots");
        assert_eq!(board.len(), 3);
        for slot in board.slots() {
            assert_eq!((slot.state(), slot.pid(), slot.requests.get()), (State::Free, 0, 0));
        }
        board.slot(0).bytes_in.add(4);
        board.slot(2).bytes_in.add(5);
        assert_eq!(board.sum(|slot| slot.bytes_in.get()), 9);
    }

    #[test]
    fn a_size_out_of_bounds_is_refused_with_the_bounds() {
        let refusal = Scoreboard::new(0).expect_err("no slots").to_string();
        assert_eq!(refusal, "a scoreboard has 1 to 4096 slots, not 0");
        assert!(matches!(Scoreboard::new(SLOTS_MAX + 1), Err(Error::Slots(4097))));
        assert!(Scoreboard::new(SLOTS_MAX).is_ok());
    }

    #[test]
    fn ticks_go_to_a_private_slot_until_one_is_set() {
        current().loop_holds.add(1);
        assert_eq!(current().loop_holds.get(), 1);
        let board = Scoreboard::private(1);
        set_current(board.slot(0));
        current().loop_holds.add(2);
        assert_eq!(board.slot(0).loop_holds.get(), 2);
    }
}
