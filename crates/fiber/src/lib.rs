//! Stacks and switching: what a fiber is made of.
//!
//! A [`Fiber`] is a closure on a stack of its own that can stop in the middle ([`suspend`]) and be continued later
//! ([`Fiber::resume`]). Stacks come from a [`StackPool`]: large regions of address space, a guard below every stack,
//! the ones used last handed out first.
//!
//! In scope: stacks, switching, the primitive under structured concurrency ([`lend_scope`]), the stack overflow
//! report ([`overflow`]), what a watchdog needs to see where a thread is ([`trace`], [`Beat`]), and a lock that fibers of
//! one thread share nearly for free ([`BiasedLock`]).
//!
//! Out of scope: scheduling and I/O. Nothing here decides when a fiber runs or what it waits for; `tenfold-runtime`
//! does, and it forbids `unsafe`, so every function that this crate exports is safe to call.
//!
//! ```
//! use tenfold_fiber::{Fiber, Resume, StackConfig, StackPool, suspend};
//!
//! let pool = StackPool::new(StackConfig::default())?;
//! let mut fiber = Fiber::new(pool.take()?, "greeter", || {
//!     println!("hello");
//!     suspend();
//!     println!("hello again");
//! });
//! assert_eq!(fiber.resume(), Resume::Suspended);
//! assert_eq!(fiber.resume(), Resume::Finished);
//! pool.put(fiber.into_stack().expect("the fiber has finished"));
//! # Ok::<(), tenfold_fiber::FiberError>(())
//! ```

mod beat;
mod biased;
mod error;
mod fiber;
mod frames;
mod membarrier;
mod name;
pub mod overflow;
mod pool;
mod prefetch;
mod region;
mod registry;
mod scope;
mod stack;
mod storage;
pub mod trace;

pub use beat::{Beat, BeatSample};
pub use biased::{BiasedGuard, BiasedLock, prepare_biased_locks};
pub use error::FiberError;
pub use fiber::{
    Fiber, Resume, is_on_fiber, may_suspend, name, set_name, stack_left, stack_used, suspend,
    without_suspending,
};
pub use name::SharedName;
pub use pool::{PoolStats, StackConfig, StackPool, Trimmed};
pub use prefetch::prefetch;
pub use region::GuardKind;
pub use scope::{Borrows, Lender, Lent, LocalLent, lend_scope};
pub use stack::Stack;
