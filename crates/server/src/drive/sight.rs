//! `Sight`: keeps account of the requests of a connection while they are served.
//!
//! Here is only what the server knows: where a request's stages begin and end. What it waits for, and for how long it
//! queues for the loop, comes from the scheduler's own events (`tenfold_runtime::account`). Switched off, a request costs a
//! few branches.
//!
//! ```text
//!   bytes came      served by a fiber       head parsed       handler       its answer     in the output      sent
//!      │  queue  ───────┤  parse ───────────────┤ (queue) │ run ──────┤ render ──────────────┤ write ──────────┤
//!    arrived                                   label       waits and queueing                            finish
//! ```
//!
//! What is finer than that is not told apart: the answers of a pipeline go out together, and its requests share their time.

use std::cell::RefCell;

use tenfold_runtime::account;
use tenfold_scoreboard::{self as scoreboard, Account, Claim, Handed, Stage, now_ns};

use crate::drive::connection::Connection;
use crate::sight::title;

/// What is known of a request before it is served; kept with its connection.
#[derive(Debug, Default)]
pub(crate) struct Dawn {
    /// When the connection was accepted, until somebody looks at it.
    accepted: u64,
    /// From acceptance to the first look.
    accept_ns: u64,
    /// When its first bytes came, where that was before anybody served it.
    arrived: u64,
    /// What a front has counted before it gave the request to this process.
    handed: Option<Box<Handed>>,
}

impl Dawn {
    pub(crate) fn accepted(is_on: bool) -> Dawn {
        Dawn { accepted: if is_on { now_ns() } else { 0 }, ..Dawn::default() }
    }

    /// The connection is looked at for the first time.
    pub(crate) fn looked(&mut self) {
        if self.accepted != 0 {
            self.accept_ns = now_ns() - std::mem::take(&mut self.accepted);
        }
    }

    /// Its bytes have come with the loop's present turn.
    #[inline]
    pub(crate) fn came(&mut self, is_on: bool) {
        if is_on {
            self.looked();
            self.arrived = account::turn_ns();
        }
    }

    pub(crate) fn handed(handed: Handed) -> Dawn {
        Dawn { handed: handed.is_some().then(|| Box::new(handed)), ..Dawn::default() }
    }
}

/// One request in so many is timed stage by stage, if none of them waits: reading the clock costs 30 to 60 ns, and a small
/// request has four more stages than it takes readings to time it as a whole.
const FINE_EVERY: u32 = 16;

/// Books that a thread keeps from one run of requests to the next. Runs that do not wait need one of them, however many
/// connections there are, and it stays in the processor's cache.
const BOOKS_KEPT_MAX: usize = 16;

thread_local! {
    static BOOKS: RefCell<Vec<Book>> = const { RefCell::new(Vec::new()) };
}

/// An account, claimed once and not for each request.
#[derive(Debug)]
struct Book {
    claim: Claim,
    /// Requests of this account so far.
    begun: u32,
}

impl Book {
    fn open() -> Book {
        BOOKS.with_borrow_mut(Vec::pop).unwrap_or_else(|| Book { claim: Claim::take(), begun: 0 })
    }

    fn close(self) {
        BOOKS.with_borrow_mut(|kept| {
            if kept.len() < BOOKS_KEPT_MAX {
                kept.push(self);
            }
        });
    }

    /// Whether the next request is timed stage by stage: the first one of an account tells how the others are divided.
    fn is_fine(&self) -> bool {
        self.begun.is_multiple_of(FINE_EVERY)
    }
}

/// Belongs to a workspace; has a book while requests are served.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    book: Option<Book>,
    phase: Phase,
    /// When the work began that is the next request's, once it turns out to be one.
    mark: u64,
    arrived: u64,
    /// No other thread of the process finishes requests.
    is_single: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Nothing,
    /// A part of a head has come.
    Head,
    /// There is a request: on its way to the handler, or back from it.
    Request,
}

impl Sight {
    /// A run of requests begins. Returns the account that their waits go to; `None` when sight is off.
    #[inline]
    pub(crate) fn start(&mut self, conn: &mut Connection) -> Option<&'static Account> {
        if !conn.service.sight {
            return None;
        }
        let book = self.book.get_or_insert_with(Book::open);
        let account = book.claim.account();
        self.is_single = conn.service.is_single;
        (self.arrived, self.mark) = match std::mem::take(&mut conn.dawn.arrived) {
            0 => {
                let now = now_ns();
                (now, now)
            }
            arrived if book.is_fine() => (arrived, now_ns()),
            arrived => (arrived, account::run_began_ns()),
        };
        if let Some(handed) = conn.dawn.handed.take() {
            account.take_over(&handed);
            account.enter(Stage::Parse, self.mark);
            self.phase = Phase::Head;
        }
        Some(account)
    }

    /// The account of the run, once it has started.
    #[inline]
    pub(crate) fn account(&self) -> Option<&'static Account> {
        match self.phase {
            Phase::Nothing => None,
            _ => self.book.as_ref().map(|book| book.claim.account()),
        }
    }

    /// A head has begun and its end is awaited.
    pub(crate) fn await_head(&mut self, account: Option<&'static Account>) {
        let Some(account) = account else { return };
        let now = now_ns();
        if self.phase == Phase::Request {
            self.finish_at(now);
        }
        if self.phase == Phase::Nothing {
            account.begin(self.arrived.min(now), self.mark.min(now), Stage::Parse);
            self.phase = Phase::Head;
        }
        account.enter(Stage::Read, now);
    }

    /// More of the head has come.
    pub(crate) fn parse_on(&self, account: Option<&'static Account>) {
        if let Some(account) = account {
            account.enter(Stage::Parse, now_ns());
        }
    }

    /// A head is whole; `request` is its method and path.
    #[inline]
    pub(crate) fn begin(&mut self, conn: &mut Connection, account: &Account, request: (&str, &str)) {
        match self.phase {
            Phase::Request if account.join() => {
                account.label(request.0, request.1);
                return;
            }
            Phase::Request => {
                self.finish_at(now_ns());
                self.begin_new(account, request);
            }
            Phase::Nothing => self.begin_new(account, request),
            Phase::Head => account.label(request.0, request.1),
        }
        self.phase = Phase::Request;
        title::request(self.mark, request.0, request.1);
        if conn.dawn.accept_ns > 0 {
            account.add_before(Stage::Accept, std::mem::take(&mut conn.dawn.accept_ns));
        }
    }

    #[inline]
    fn begin_new(&mut self, account: &Account, request: (&str, &str)) {
        account.begin_with(self.arrived, self.mark, Stage::Parse, request);
        if let Some(book) = &mut self.book {
            if !book.is_fine() {
                account.time_roughly();
            }
            book.begun = book.begun.wrapping_add(1);
        }
    }

    /// The last byte of the answer is with the kernel, if there was one.
    #[inline]
    pub(crate) fn finish(&mut self) {
        if self.phase == Phase::Request {
            self.finish_at(now_ns());
        }
    }

    #[inline]
    fn finish_at(&mut self, now: u64) {
        if let Some(account) = self.account() {
            let times = &scoreboard::current().times;
            match self.is_single {
                true => account.finish_single_writer(times, now),
                false => account.finish(times, now),
            }
        }
        account::note_reading(now);
        self.phase = Phase::Nothing;
        (self.mark, self.arrived) = (now, now);
    }

    /// The run is over: what did not become a request counts nowhere.
    #[inline]
    pub(crate) fn end(&mut self) {
        match self.phase {
            Phase::Nothing => {}
            Phase::Request => self.finish(),
            Phase::Head => self.forget(),
        }
        if let Some(book) = self.book.take() {
            book.close();
        }
    }

    /// Another process has counted the request.
    pub(crate) fn forget(&mut self) {
        if let Some(account) = self.account().filter(|account| account.is_in_flight()) {
            account.discard();
        }
        self.phase = Phase::Nothing;
    }
}

/// Runs `f`, in which the request is in `stage`, and then in the stage before again.
#[inline]
pub(crate) fn within<R>(stage: Stage, f: impl FnOnce() -> R) -> R {
    let Some(account) = account::current() else { return f() };
    let before = account.enter(stage, account.now());
    let result = f();
    account.enter(before, account.now());
    result
}

/// The request is in another stage from now on.
#[inline]
pub(crate) fn enter(account: Option<&'static Account>, stage: Stage) {
    if let Some(account) = account {
        account.enter(stage, account.now());
    }
}

/// Runs `f`, which runs `there` on another thread, with the request's waits in its account there and not here; the ways to
/// and fro are queueing.
pub(crate) fn elsewhere<R>(account: Option<&'static Account>, f: impl FnOnce() -> R) -> R {
    let Some(open) = account else { return f() };
    let now = now_ns();
    open.time_finely(now);
    let before = open.enter(Stage::Queue, now);
    let result = account::with(None, f);
    open.enter(before, now_ns());
    result
}

/// The other side of [`elsewhere`].
pub(crate) fn there<R>(account: Option<&'static Account>, f: impl FnOnce() -> R) -> R {
    let Some(open) = account else { return f() };
    let result = account::with(account, f);
    open.enter(Stage::Queue, now_ns());
    result
}
