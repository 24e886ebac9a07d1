//! Many calls at once: all of them, the first of them, some of them, those that answer in time.
//!
//! What is started here has ended when the call returns. A call that is not wanted any more (somebody else was first, the
//! deadline has passed, the caller was cancelled) is cancelled: its waits fail, down to its sockets, and it is waited for.
//! So a tree of calls ends with its root and leaves nothing behind. A call that computes, or holds on after its waits fail,
//! is waited for as well: nothing unwinds.
//!
//! | | returns | the others |
//! |---|---|---|
//! | [`join_all`], [`join_all_bounded`] | all results, in order | – |
//! | [`race`] | the first success | cancelled |
//! | [`first_of`] | the first n successes | cancelled |
//! | [`hedged`] | the first success; another try starts when one is late | cancelled |
//! | [`partial`] | what was there at a point in time | cancelled |
//!
//! Each call runs on a fiber of this thread, or on a thread where there is no loop; [`join_all_bounded`] bounds how many.
//! [`Retry`] and [`Breaker`] are about one call after another.

mod breaker;
mod error;
mod first;
mod gathering;
mod hedged;
mod join_all;
mod partial;
mod retry;

pub use breaker::{Breaker, BreakerConfig, BreakerError};
pub use error::{CallError, FanOutError};
pub use first::{first_of, race};
pub use hedged::hedged;
pub use join_all::{join_all, join_all_bounded};
pub use partial::{Partial, partial};
pub use retry::{Retry, RetryBudget};
