//! Drives a future where it stands: on a fiber by parking it, on a plain thread by blocking it.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use tenfold_runtime::park::{self, Unparked, Waiter};

/// Runs `future` to its end. It may be woken from any thread.
///
/// Cost: one allocation, and no system call while the future makes progress by itself.
///
/// # Errors
/// [`Unparked::TimedOut`] after the task's deadline, [`Unparked::Cancelled`] when it is cancelled; the future has been
/// dropped then, at its last await.
/// # Examples
/// ```
/// assert_eq!(tenfold_server::block_on(async { 1 + 1 }), Ok(2));
/// ```
pub fn block_on<F: Future>(future: F) -> Result<F::Output, Unparked> {
    let mut future = pin!(future);
    let wakeup = Arc::new(Wakeup { woken: AtomicBool::new(false), waiter: Waiter::current() });
    let waker = Waker::from(wakeup.clone());
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Ok(output);
        }
        // The flag tells wake-ups of this future from others that the fiber or thread gets, late ones included.
        while !wakeup.woken.swap(false, Ordering::Acquire) {
            match park::park(None) {
                Unparked::Woken => {}
                ended => return Err(ended),
            }
        }
    }
}

struct Wakeup {
    woken: AtomicBool,
    waiter: Waiter,
}

impl Wake for Wakeup {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::Release) {
            self.waiter.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::time::Duration;

    use tenfold_runtime::Runtime;

    use super::*;

    /// Is ready at the second poll, which another thread asks for.
    fn woken_from_elsewhere() -> impl Future<Output = &'static str> {
        let mut asked = false;
        poll_fn(move |context| {
            if asked {
                return Poll::Ready("woken");
            }
            asked = true;
            let waker = context.waker().clone();
            std::thread::spawn(move || waker.wake());
            Poll::Pending
        })
    }

    fn pending_until_the_deadline() -> Result<(), Unparked> {
        tenfold_runtime::deadline(Duration::from_millis(5), || block_on(pending::<()>()))
    }

    #[test]
    fn a_future_is_woken_from_another_thread_on_a_thread_and_on_a_fiber() {
        assert_eq!(block_on(woken_from_elsewhere()), Ok("woken"));
        let runtime = Runtime::new(&Default::default()).unwrap();
        assert_eq!(runtime.run(|| block_on(woken_from_elsewhere())).unwrap(), Ok("woken"));
    }

    #[test]
    fn a_future_that_wakes_itself_goes_on_at_once() {
        let mut polls = 0;
        let yielding = poll_fn(|context| {
            polls += 1;
            context.waker().wake_by_ref();
            if polls == 3 { Poll::Ready(polls) } else { Poll::Pending }
        });
        assert_eq!(block_on(yielding), Ok(3));
    }

    #[test]
    fn the_deadline_ends_a_future_on_a_thread_and_on_a_fiber() {
        assert_eq!(pending_until_the_deadline(), Err(Unparked::TimedOut));
        let runtime = Runtime::new(&Default::default()).unwrap();
        assert_eq!(runtime.run(pending_until_the_deadline).unwrap(), Err(Unparked::TimedOut));
    }
}
