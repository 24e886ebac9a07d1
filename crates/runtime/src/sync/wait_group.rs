//! `WaitGroup`: wait until all members have left.

use std::sync::Arc;
use std::time::Instant;

use tenfold_fiber::BiasedLock;

use super::error::{self, WaitError};
use super::queue::{Queue, Wakes};
use crate::cause::Cause;
use crate::park::{self, Waiter};

/// Counts members and lets others wait until there are none. Cloning shares the group.
///
/// ```
/// use tenfold_runtime::{spawn, sync::WaitGroup};
/// let group = WaitGroup::new();
/// for _ in 0..3 {
///     let member = group.join();
///     spawn(move || drop(member));
/// }
/// group.wait().unwrap();
/// assert_eq!(group.members(), 0);
/// ```
#[derive(Clone, Debug, Default)]
pub struct WaitGroup(Arc<BiasedLock<Group>>);

/// One member; it leaves when this is dropped, also by a panic.
#[derive(Debug)]
#[must_use = "it leaves the group at once"]
pub struct Member(WaitGroup);

#[derive(Debug, Default)]
struct Group {
    members: usize,
    queue: Queue,
}

impl WaitGroup {
    /// A group without members.
    pub fn new() -> WaitGroup {
        WaitGroup::default()
    }

    /// Adds a member.
    pub fn join(&self) -> Member {
        self.0.lock().members += 1;
        Member(self.clone())
    }

    /// How many members there are.
    pub fn members(&self) -> usize {
        self.0.lock().members
    }

    /// Waits until there is no member. Returns at once when there is none.
    ///
    /// # Errors
    /// [`WaitError`].
    pub fn wait(&self) -> Result<(), WaitError> {
        self.wait_until(None)
    }

    /// Waits until there is no member, or until `until`.
    ///
    /// # Errors
    /// [`WaitError`].
    pub fn wait_until(&self, until: Option<Instant>) -> Result<(), WaitError> {
        let ticket = {
            let mut group = self.0.lock();
            if group.members == 0 {
                return Ok(());
            }
            group.queue.join(Waiter::current(), ())
        };
        loop {
            let ended = error::ended(park::park_for(Cause::Task, until));
            let mut group = self.0.lock();
            if !group.queue.holds(ticket) {
                return Ok(());
            }
            if let Some(error) = ended {
                group.queue.leave(ticket);
                return Err(error);
            }
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut wakes = Wakes::default();
        let mut group = self.0.0.lock();
        group.members -= 1;
        if group.members == 0 {
            wakes.all_of(&mut group.queue);
        }
    }
}
