//! Which of a vector's places are free, lowest first.

/// Places that one word of the top level stands for.
const SPAN: usize = 64 * 64 * 64;

/// A set of small numbers that gives its lowest; insert and take cost three words each, for up to 262,144 numbers, and a
/// word more to look at for each further 262,144.
///
/// A list through the free places themselves would be shorter to write, but after a million cancels in a random order it
/// leads through memory in that order: every add then waits for a line that no cache holds. Taking the lowest makes
/// neighbours of timers that are added one after the other, whatever ended before.
#[derive(Debug, Default)]
pub(super) struct FreeSet {
    /// A bit for each number of the set.
    members: Vec<u64>,
    /// A bit for each word of `members` that is not zero.
    words: Vec<u64>,
    /// A bit for each word of `words` that is not zero.
    groups: Vec<u64>,
}

impl FreeSet {
    /// Adds a number that is not in the set. Allocates when it is larger than any before.
    pub(super) fn insert(&mut self, number: u32) {
        let number = number as usize;
        if number / 64 >= self.members.len() {
            let top = number / SPAN + 1;
            self.groups.resize(top, 0);
            self.words.resize(top * 64, 0);
            self.members.resize(top * 64 * 64, 0);
        }
        self.members[number / 64] |= 1 << (number % 64);
        self.words[number / 64 / 64] |= 1 << (number / 64 % 64);
        self.groups[number / SPAN] |= 1 << (number / 64 / 64 % 64);
    }

    /// Removes the lowest number and returns it.
    pub(super) fn take(&mut self) -> Option<u32> {
        let top = self.groups.iter().position(|&bits| bits != 0)?;
        let group = top * 64 + self.groups[top].trailing_zeros() as usize;
        let word = group * 64 + self.words[group].trailing_zeros() as usize;
        let bits = self.members[word];
        self.members[word] = bits & (bits - 1);
        if self.members[word] == 0 {
            self.words[group] &= !(1 << (word % 64));
            if self.words[group] == 0 {
                self.groups[top] &= !(1 << (group % 64));
            }
        }
        // Numbers come in as u32, so none is larger.
        Some((word * 64) as u32 + bits.trailing_zeros())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timer::tests::random;

    #[test]
    fn gives_the_lowest_of_what_it_holds() {
        let mut set = FreeSet::default();
        assert_eq!(set.take(), None);
        for number in [700_000, 3, 64, 4_096, 262_144, 0, 65] {
            set.insert(number);
        }
        let taken: Vec<u32> = std::iter::from_fn(|| set.take()).collect();
        assert_eq!(taken, [0, 3, 64, 65, 4_096, 262_144, 700_000]);
    }

    #[test]
    fn agrees_with_a_sorted_set() {
        let mut set = FreeSet::default();
        let mut model = std::collections::BTreeSet::new();
        let mut seed: u64 = 88_172_645_463_325_252;
        for _ in 0..20_000 {
            let number = (random(&mut seed) >> 8) as u32 % 300_000;
            if seed.is_multiple_of(3) {
                assert_eq!(set.take(), model.pop_first());
            } else if model.insert(number) {
                set.insert(number);
            }
        }
    }
}
