//! The patterns without parameters, which most requests of most services ask for, by their path.
//!
//! Of two patterns that match, the more literal one answers, so a path that is a pattern itself needs no walk through the
//! tree of all patterns: a hash and one comparison find it. What is not here is left to the tree.

/// A table with open addressing, made once. Its keys are the app's own, so nobody else can make them collide; a path that is
/// none of them meets the few entries that stand in a row.
pub(super) struct Literal<T> {
    /// A power of two of places, at most half of which are taken: every search ends at a free one.
    places: Box<[Option<(&'static str, T)>]>,
}

impl<T> Literal<T> {
    /// Of paths that differ from each other.
    pub(super) fn new(entries: Vec<(&'static str, T)>) -> Literal<T> {
        let count = (2 * entries.len()).next_power_of_two();
        let mut places: Box<[Option<(&'static str, T)>]> = (0..count).map(|_| None).collect();
        let mask = places.len() - 1;
        for (path, value) in entries {
            let mut at = hash(path) & mask;
            while places[at].is_some() {
                at = (at + 1) & mask;
            }
            places[at] = Some((path, value));
        }
        Literal { places }
    }

    /// The value of exactly this path.
    #[inline]
    pub(super) fn get(&self, path: &str) -> Option<&T> {
        let mask = self.places.len().wrapping_sub(1);
        let mut at = hash(path) & mask;
        while let Some((key, value)) = self.places.get(at)? {
            if *key == path {
                return Some(value);
            }
            at = (at + 1) & mask;
        }
        None
    }
}

/// Of all its bytes, eight at a time: the last eight count twice where the length is no multiple, which does no harm.
#[inline]
fn hash(path: &str) -> usize {
    // The golden ratio, which spreads what is in the low bits upwards (Knuth, The Art of Computer Programming, volume 3,
    // section 6.4); so it is the high half that is kept in the end.
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    let bytes = path.as_bytes();
    let mix = |hash: u64, word: u64| (hash.rotate_left(23) ^ word).wrapping_mul(GOLDEN);
    let start = bytes.len() as u64;
    let mixed = match (bytes.last_chunk::<8>(), bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(last), ..) => {
            let whole = bytes.as_chunks::<8>().0.iter().map(|chunk| u64::from_le_bytes(*chunk));
            mix(whole.fold(start, mix), u64::from_le_bytes(*last))
        }
        (None, Some(first), Some(last)) => {
            mix(start, u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last)))
        }
        _ => bytes.iter().fold(start, |hash, byte| mix(hash, u64::from(*byte))),
    };
    (mixed >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_found_and_no_other() {
        let paths: Vec<&'static str> =
            (0..300).map(|number| &*format!("/articles/{number}/comments").leak()).collect();
        let short = ["/", "/a", "/ab", "/abc", "/abcdefg", "/abcdefgh"];
        let all: Vec<&'static str> = paths.into_iter().chain(short).collect();
        let literal = Literal::new(all.iter().enumerate().map(|(at, path)| (*path, at)).collect());
        for (at, path) in all.iter().enumerate() {
            assert_eq!(literal.get(path), Some(&at), "{path}");
        }
        for other in ["", "a", "/b", "/articles", "/articles/300/comments", "/articles/0/comments/", "*"] {
            assert_eq!(literal.get(other), None, "{other}");
        }
    }

    #[test]
    fn similar_paths_do_not_stand_in_long_rows() {
        let paths = (0..4096).map(|number| (&*format!("/api/v1/section{number:04}/list").leak(), ()));
        let literal = Literal::new(paths.collect());
        let rows = literal.places.split(Option::is_none).map(<[_]>::len);
        assert!(rows.max().unwrap() < 64, "half of the places are free");
    }

    #[test]
    fn without_paths_nothing_is_found() {
        assert_eq!(Literal::<()>::new(Vec::new()).get("/"), None);
    }
}
