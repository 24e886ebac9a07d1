//! `Scoreboard`: all slots of a master and its workers.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    mem::size_of,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::{map, slot::Slot, times::TimesReading};

/// The most slots of one board: more workers than any machine has use for.
pub const SLOTS_MAX: usize = 4096;

/// What a board's file begins with; the digits are the layout's version.
const MAGIC: &[u8; 16] = b"tenfold board 01";
/// Where the slots begin in a file: a multiple of every page size that Linux has.
const HEADER_BYTES: u64 = 64 << 10;

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
    /// A board's file cannot be made or read.
    #[error("scoreboard {}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// A file is no board, or one of another version of this program.
    #[error("scoreboard {}: {reason}", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// What is different.
        reason: &'static str,
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

    /// As [`Scoreboard::new`], in a new file that other processes may [`Scoreboard::open`]: a measuring program, say. Put
    /// it where memory is (`/dev/shm`): on a disk every page that was touched is written back now and then.
    ///
    /// A file that is there already is replaced; whoever has that open keeps it. The new one is for its user only (0600),
    /// and stays when the process ends.
    ///
    /// # Errors
    /// [`Error::Slots`]; [`Error::File`]; [`Error::Map`].
    pub fn create_at(path: impl AsRef<Path>, slots_max: usize) -> Result<Self, Error> {
        check(slots_max)?;
        let path = path.as_ref();
        let failed = |source| Error::File { path: path.into(), source };
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let mut new = OpenOptions::new();
        let mut file = new.read(true).write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        file.set_len(HEADER_BYTES + (slots_max * size_of::<Slot>()) as u64).map_err(failed)?;
        let slots = map::file(&file, slots_max, HEADER_BYTES as i64)
            .map_err(|source| Error::Map { slots: slots_max, source })?;
        // Last, so that a board that is not whole is not taken for one.
        file.write_all(&header(slots_max)).map_err(failed)?;
        Ok(Self { slots })
    }

    /// The board that another process has created in a file.
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::Foreign`] when it is no board of this very version; [`Error::Map`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let failed = |source| Error::File { path: path.into(), source };
        let foreign = |reason| Error::Foreign { path: path.into(), reason };
        let mut file = File::options().read(true).write(true).open(path).map_err(failed)?;
        let mut found = [0; 32];
        file.read_exact(&mut found).map_err(|_| foreign("it is too short for a board"))?;
        let slots = u64::from_le_bytes(found[24..].try_into().expect("eight bytes")) as usize;
        check(slots)?;
        if found != header(slots) {
            return Err(foreign("it is no board, or one of another version"));
        }
        if file.metadata().map_err(failed)?.len() != HEADER_BYTES + (slots * size_of::<Slot>()) as u64 {
            return Err(foreign("its length is not what its header says"));
        }
        map::file(&file, slots, HEADER_BYTES as i64)
            .map(|slots| Self { slots })
            .map_err(|source| Error::Map { slots, source })
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

    /// What all finished requests of all slots have spent.
    pub fn times(&self) -> TimesReading {
        let mut all = TimesReading::default();
        // Slots that were never used are left alone: reading them would give them memory.
        for slot in self.slots.iter().filter(|slot| slot.starts() > 0) {
            all.merge(&slot.times.reading());
        }
        all
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

/// Magic, size of a slot, number of slots.
fn header(slots: usize) -> [u8; 32] {
    let mut header = [0; 32];
    header[..16].copy_from_slice(MAGIC);
    header[16..24].copy_from_slice(&(size_of::<Slot>() as u64).to_le_bytes());
    header[24..].copy_from_slice(&(slots as u64).to_le_bytes());
    header
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
    fn a_board_in_a_file_is_seen_by_whoever_opens_it() {
        let path = std::env::temp_dir().join(format!("tenfold-board-{}", std::process::id()));
        let board = Scoreboard::create_at(&path, 2).expect("a file");
        let other = Scoreboard::open(&path).expect("the same file");
        board.slot(1).occupy(42, 7);
        board.slot(1).account(0).expect("the first").begin(1, 1, crate::Stage::Run);
        assert_eq!((other.len(), other.slot(1).pid(), other.slot(1).generation()), (2, 42, 7));
        assert_eq!(other.slot(1).in_flight().len(), 1);
        // A new board takes the file's name and leaves the old one's memory alone.
        Scoreboard::create_at(&path, 3).expect("it is replaced");
        assert_eq!((other.slot(1).pid(), Scoreboard::open(&path).expect("the new one").len()), (42, 3));
        std::fs::write(&path, [7; 100]).unwrap();
        assert!(matches!(Scoreboard::open(&path), Err(Error::Foreign { .. } | Error::Slots(_))));
        std::fs::write(&path, header(3)).unwrap();
        assert!(matches!(Scoreboard::open(&path), Err(Error::Foreign { .. })));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(Scoreboard::open(&path), Err(Error::File { .. })));
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
