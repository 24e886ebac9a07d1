//! `Shed` and `Phase`: why requests were refused, and what took too long; `Counters`: a counter for each of them.
//!
//! "5,000 were refused" sends nobody anywhere: a full line wants more places or another server, a full budget wants memory,
//! and a client address that comes too often wants neither.

use std::marker::PhantomData;

use crate::counter::Counter;

/// Why a request, a connection or a datagram was refused although nothing was wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Shed {
    /// The line of its lane was full.
    QueueFull,
    /// It would have waited for too long, by what those before it took.
    Overload,
    /// No place became free in time.
    Wait,
    /// Its address has had too much.
    Address,
    /// The worker's budget for buffers had no room for it.
    Memory,
    /// There was no fiber or no thread to run it.
    Resources,
}

/// What ended by a time-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// The head of a request, or a frame of another protocol, did not come.
    Head,
    /// The body of a request came too slowly.
    Body,
    /// The client took the answer too slowly.
    Answer,
    /// The request was past its deadline.
    Request,
}

/// A kind of events that are counted apart.
pub trait Reason: Copy + 'static {
    /// All of them, in the order of their numbers.
    const ALL: &'static [Self];

    /// Its number, from zero.
    fn index(self) -> usize;

    /// One word, as metrics label it.
    fn name(self) -> &'static str;
}

impl Reason for Shed {
    const ALL: &'static [Self] =
        &[Self::QueueFull, Self::Overload, Self::Wait, Self::Address, Self::Memory, Self::Resources];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Overload => "overload",
            Self::Wait => "wait",
            Self::Address => "address",
            Self::Memory => "memory",
            Self::Resources => "resources",
        }
    }
}

impl Reason for Phase {
    const ALL: &'static [Self] = &[Self::Head, Self::Body, Self::Answer, Self::Request];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Body => "body",
            Self::Answer => "answer",
            Self::Request => "request",
        }
    }
}

/// How often each of `N` reasons has occurred; all zeroes is a valid value, which the mapping relies on.
///
/// ```
/// use tenfold_scoreboard::{Counters, Shed};
/// let sheds: Counters<Shed, 6> = Counters::new();
/// sheds.add(Shed::Memory);
/// assert_eq!((sheds.get(), sheds.of(Shed::Memory), sheds.of(Shed::Wait)), (1, 1, 0));
/// ```
#[derive(Debug)]
#[repr(transparent)]
pub struct Counters<R, const N: usize> {
    counters: [Counter; N],
    reason: PhantomData<fn(R)>,
}

impl<R: Reason, const N: usize> Counters<R, N> {
    /// Counters at zero.
    pub const fn new() -> Self {
        const { assert!(N == R::ALL.len(), "a counter for each reason") };
        Self { counters: [const { Counter::new() }; N], reason: PhantomData }
    }

    /// Counts one more; any number of threads may do so at once.
    #[inline]
    pub fn add(&self, reason: R) {
        self.counters[reason.index()].add(1);
    }

    /// How many there were for this reason.
    #[inline]
    pub fn of(&self, reason: R) -> u64 {
        self.counters[reason.index()].get()
    }

    /// How many there were for any.
    pub fn get(&self) -> u64 {
        self.counters.iter().map(Counter::get).sum()
    }
}

impl<R: Reason, const N: usize> Default for Counters<R, N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expect_names<R: Reason>() {
        for (number, reason) in R::ALL.iter().enumerate() {
            assert_eq!(reason.index(), number, "{}", reason.name());
            let namesakes = R::ALL.iter().filter(|other| other.name() == reason.name());
            assert_eq!(namesakes.count(), 1, "{}", reason.name());
        }
    }

    #[test]
    fn every_reason_has_its_own_number_and_name() {
        expect_names::<Shed>();
        expect_names::<Phase>();
    }
}
