//! Locks, channels and the like, for fibers and threads at once.
//!
//! All of them wait through [`crate::park`]: a fiber parks, a thread blocks, and the two may stand in the same line. All
//! lines are first come, first served. A wait ends early with the task's deadline or its cancellation, and says so in a
//! [`WaitError`] (or the channel's own errors, which give the value back). What arrived before that is delivered.
//!
//! Nothing is poisoned by a panic: a guard is released as it is dropped, and whoever needs more says so in the data.

mod queue;

mod channel;
mod condvar;
mod error;
mod mutex;
mod once;
mod rwlock;
mod select;
mod semaphore;
mod wait_group;

pub use channel::{Iter, Receiver, RecvError, SendError, Sender, TryRecvError, TrySendError, channel};
pub use condvar::Condvar;
pub use error::WaitError;
pub(crate) use error::ended;
pub use mutex::{Mutex, MutexGuard};
pub use once::{Once, OnceCell};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use select::{Select, select};
pub use semaphore::{OwnedPermit, Permit, Semaphore};
pub use wait_group::{Member, WaitGroup};
