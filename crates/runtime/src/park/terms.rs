//! `Terms`: for whom, until when and how a request's handler waits, said in one step.
//!
//! Each of [`super::for_peer`], [`crate::deadline_at`] and [`super::inline`] looks the running task up at its beginning and at
//! its end. A server says all three of every request, so here they are one look before and one behind: what is said about
//! the task, and how it is put back, is the same.

use std::time::Instant;

use tenfold_reactor::WatchedPeer;

use super::earlier;
use crate::expiry::Expiry;
use crate::task::{self, Task};

/// What holds for the waits of a handler.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Who waits for the answer; see [`super::for_peer`].
    pub peer: WatchedPeer,
    /// When its waits fail, if not sooner; see [`crate::deadline_at`].
    pub deadline: Option<Instant>,
    /// Whether its waits block the thread; see [`super::inline`].
    pub inline: bool,
}

/// Runs `f` on these terms: [`super::for_peer`], [`crate::deadline_at`] and [`super::inline`] in one. With a deadline, also takes
/// the note of the first wait that one has ended, as [`crate::take_expiry`] does.
///
/// ```
/// use std::net::{TcpListener, TcpStream};
/// use std::time::Instant;
/// use tenfold_runtime::park::{Terms, WatchedPeer, on_terms};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let client = TcpStream::connect(listener.local_addr()?)?;
/// let server = listener.accept()?.0;
/// let peer = WatchedPeer::new(&server, true);
/// let terms = Terms { peer, deadline: Some(Instant::now()), inline: false };
/// let (slept, expiry) = on_terms(terms, || tenfold_runtime::try_sleep(std::time::Duration::MAX));
/// assert_eq!(slept.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
/// assert_eq!(expiry.unwrap().what, "sleep");
/// # drop(client);
/// # Ok::<(), std::io::Error>(())
/// ```
#[inline]
pub fn on_terms<R>(terms: Terms, f: impl FnOnce() -> R) -> (R, Option<Box<Expiry>>) {
    let mut expiry = None;
    let restore = Restore {
        before: task::begin_terms(terms),
        takes_expiry: terms.deadline.is_some(),
        expiry: &mut expiry,
    };
    let result = f();
    drop(restore);
    (result, expiry)
}

/// What the task said before.
#[derive(Clone, Copy)]
pub(crate) struct Before {
    peer: Option<WatchedPeer>,
    deadline: Option<Instant>,
    inline: bool,
}

impl Before {
    /// Says the terms of a task, and returns what it said before.
    #[inline]
    pub(crate) fn begin(task: &mut Task, terms: Terms) -> Before {
        let before = Before { peer: task.peer, deadline: task.deadline, inline: task.inline };
        task.peer = Some(terms.peer);
        task.peer_is_old = false;
        task.deadline = earlier(task.deadline, terms.deadline);
        task.inline |= terms.inline;
        before
    }

    /// Says again what was said before.
    #[inline]
    pub(crate) fn end(self, task: &mut Task) {
        task.peer = self.peer;
        task.deadline = self.deadline;
        task.inline = self.inline;
    }

    /// Whether waits blocked the thread before.
    #[inline]
    pub(crate) fn inline(self) -> bool {
        self.inline
    }
}

/// Puts the task's words back, also when `f` panics.
struct Restore<'a> {
    before: Before,
    takes_expiry: bool,
    expiry: &'a mut Option<Box<Expiry>>,
}

impl Drop for Restore<'_> {
    #[inline]
    fn drop(&mut self) {
        *self.expiry = task::end_terms(self.before, self.takes_expiry);
    }
}
