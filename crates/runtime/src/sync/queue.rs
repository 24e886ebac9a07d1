//! A line of waiters: first come, first served.
//!
//! Each has a ticket; tickets grow from front to back. Whoever serves the line takes waiters from its front only, so a
//! waiter learns from its ticket alone, in constant time, whether it was served: its ticket is then below the front's.

use std::collections::VecDeque;

use crate::park::Waiter;

#[derive(Debug)]
pub(crate) struct Queue<W = ()> {
    entries: VecDeque<Entry<W>>,
    next: Ticket,
}

#[derive(Debug)]
struct Entry<W> {
    ticket: Ticket,
    waiter: Waiter,
    /// What it waits for.
    wants: W,
}

/// A place in a line. 2^64 of them do not run out.
pub(crate) type Ticket = u64;

impl<W: Copy> Queue<W> {
    pub(crate) const fn new() -> Queue<W> {
        Queue { entries: VecDeque::new(), next: 1 }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Joins at the back.
    #[inline]
    pub(crate) fn join(&mut self, waiter: Waiter, wants: W) -> Ticket {
        // Growing is in a function of its own: where growing (and so a panic) is possible the entry has to be somewhere in
        // memory to be dropped, and copying it from there into the line at once cost a channel's receiver 10 ns.
        if self.entries.len() == self.entries.capacity() {
            return self.join_growing(waiter, wants);
        }
        let ticket = self.next;
        self.next += 1;
        self.entries.push_back(Entry { ticket, waiter, wants });
        ticket
    }

    #[cold]
    #[inline(never)]
    fn join_growing(&mut self, waiter: Waiter, wants: W) -> Ticket {
        self.entries.reserve(1);
        self.join(waiter, wants)
    }

    /// Stays in the line, or joins again in front if it was served and somebody else was quicker.
    #[inline]
    pub(crate) fn stay(&mut self, ticket: Ticket, waiter: Waiter, wants: W) {
        if !self.holds(ticket) {
            // Others that were served meanwhile may have returned before it: keep the order of tickets.
            let place = self.entries.partition_point(|entry| entry.ticket < ticket);
            self.entries.insert(place, Entry { ticket, waiter, wants });
        }
    }

    /// Whether it still waits. Valid while every service is from the front.
    #[inline]
    pub(crate) fn holds(&self, ticket: Ticket) -> bool {
        match self.entries.front() {
            None => false,
            Some(front) if front.ticket == ticket => true,
            Some(front) if front.ticket > ticket => false,
            Some(_) => self.entries.binary_search_by_key(&ticket, |entry| entry.ticket).is_ok(),
        }
    }

    /// Leaves without having been served; false when it was served before.
    #[inline]
    pub(crate) fn leave(&mut self, ticket: Ticket) -> bool {
        // Nearly always the case for one that was served, and no reason for a call.
        if self.entries.is_empty() {
            return false;
        }
        match self.entries.binary_search_by_key(&ticket, |entry| entry.ticket) {
            Ok(place) => {
                self.entries.remove(place);
                true
            }
            Err(_) => false,
        }
    }

    /// What the first one waits for.
    #[inline]
    pub(crate) fn first_wants(&self) -> Option<W> {
        self.entries.front().map(|entry| entry.wants)
    }

    /// Serves the first one: wake it once the lock is released.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Waiter> {
        self.entries.pop_front().map(|entry| entry.waiter)
    }
}

impl<W: Copy> Default for Queue<W> {
    fn default() -> Self {
        Queue::new()
    }
}

/// Waiters to wake when this is dropped. Declared before the lock is taken, it is dropped after its release: a wake-up of
/// another thread is a system call.
#[derive(Debug, Default)]
pub(crate) struct Wakes {
    first: Option<Waiter>,
    rest: Vec<Waiter>,
}

impl Wakes {
    #[inline]
    pub(crate) fn push(&mut self, waiter: Waiter) {
        if self.first.is_none() {
            self.first = Some(waiter);
        } else {
            self.rest.push(waiter);
        }
    }

    pub(crate) fn all_of<W: Copy>(&mut self, queue: &mut Queue<W>) {
        while let Some(waiter) = queue.pop() {
            self.push(waiter);
        }
    }
}

impl Drop for Wakes {
    #[inline]
    fn drop(&mut self) {
        if let Some(waiter) = self.first.take() {
            waiter.wake();
            self.rest.drain(..).for_each(|waiter| waiter.wake());
        }
    }
}
