//! Running futures from blocking-style code.
//!
//! A future is polled on the stack of whoever calls: on a fiber its waker wakes the fiber and other fibers run meanwhile,
//! on a plain thread it blocks in poll(2). There is no executor to enter, so calls nest without limits, and a
//! future may call blocking-style code (which parks) as well.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use crate::park::{self, Waiter};
use crate::readiness::{self, PlainSection, Registration};
use crate::sync::{WaitError, ended};

/// Runs a future to its end.
///
/// What it awaits has to be runtime-neutral (channels, [`crate::adapter`]'s streams, [`delay`]): tokio's own sockets and
/// timers need tokio's runtime.
///
/// ```
/// use std::time::Duration;
/// use tenfold_runtime::{block_on, delay};
/// let answer = block_on(async {
///     delay(Duration::from_millis(1)).await;
///     42
/// });
/// assert_eq!(answer, Ok(42));
/// ```
///
/// # Errors
/// [`WaitError`] when the task's deadline passes or it is cancelled.
///
/// # Cancel safety
/// The future is dropped where it is, as futures are.
pub fn block_on<F: Future>(future: F) -> Result<F::Output, WaitError> {
    block_on_until(future, None)
}

/// As [`block_on`], until `until` at most.
///
/// # Errors
/// [`WaitError`].
pub fn block_on_until<F: Future>(future: F, until: Option<Instant>) -> Result<F::Output, WaitError> {
    let _section = PlainSection::enter();
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(WakesTask(Waiter::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Ok(output);
        }
        if let Some(error) = ended(park::park_polling(until)) {
            return Err(error);
        }
    }
}

/// A waiter as a future's waker.
struct WakesTask(Waiter);

impl Wake for WakesTask {
    fn wake(self: Arc<Self>) {
        self.0.wake();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.wake();
    }
}

/// A future that is ready once `duration` is over.
pub fn delay(duration: Duration) -> Delay {
    delay_until(park::after(duration))
}

/// A future that is ready at `until`.
pub fn delay_until(until: Instant) -> Delay {
    Delay { until, place: None }
}

/// See [`delay`]. Works inside of [`block_on`] only.
#[derive(Debug)]
#[must_use = "futures do nothing unless they are polled"]
pub struct Delay {
    until: Instant,
    place: Option<Registration>,
}

impl Future for Delay {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if Instant::now() >= this.until {
            this.place = None;
            return Poll::Ready(());
        }
        readiness::watch_time(&mut this.place, this.until, context.waker());
        Poll::Pending
    }
}
