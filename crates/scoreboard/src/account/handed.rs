//! `Handed`: what goes from one process to another with a request.

use crate::stage::Stage;

/// What one process has counted of a request that another one answers. Only waits for the client come before that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handed {
    pub(super) arrived: u64,
    pub(super) since: u64,
    pub(super) spent: [u64; Stage::COUNT],
    pub(super) client: u64,
}

impl Handed {
    /// Bytes of [`Handed::to_bytes`].
    pub const BYTES: usize = 8 * (Stage::COUNT + 3);

    /// Whether anything was counted at all.
    pub fn is_some(&self) -> bool {
        self.arrived != 0
    }

    /// As bytes, for a process of the same program.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let numbers = [self.arrived, self.since, self.client].into_iter().chain(self.spent);
        for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// From such bytes; any bytes are numbers.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Handed {
        let (words, _) = bytes.as_chunks::<8>();
        let number = |at: usize| u64::from_le_bytes(words[at]);
        Handed {
            arrived: number(0),
            since: number(1),
            client: number(2),
            spent: std::array::from_fn(|at| number(3 + at)),
        }
    }
}
