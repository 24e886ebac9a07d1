//! The frames that a connection has to offer, one after another, in plain blocking style; their answers go out together.
//!
//! Runs on a fiber of a loop or on a thread. As with HTTP it returns when the connection has nothing more to say for now.

use std::io;
use std::time::Instant;

use tenfold_runtime::{account, park};
use tenfold_scoreboard::{self as scoreboard, Account};

use crate::drive::exchange::Next;
use crate::drive::sight::elsewhere;
use crate::drive::workspace::Workspace;
use crate::lane::Placement;
use crate::panic::guard;
use crate::services::handler::{ErasedProtocol, Kind};
use crate::services::link::Link;
use crate::services::protocol::{Input, Progress};
use crate::services::reply::Reply;

/// Bytes of answers after which they are written before the next frame is served.
const OUTPUT_MAX: usize = 256 << 10;

/// What became of the frames that had come.
struct Turn {
    used: usize,
    frames: u64,
    /// Of what is left, what was looked at in vain.
    seen: usize,
    end: End,
}

enum End {
    /// The rest is no whole frame.
    Partial,
    /// There is much to write.
    Full,
    /// The handler wants the connection closed.
    Close,
    /// So does what the client has sent.
    Bad(String),
    /// The handler has panicked.
    Panicked,
}

/// Serves every frame whose bytes have come, and one whose first bytes have.
pub(super) fn serve(link: &mut Link, work: &mut Workspace) -> Next {
    let account = work.sight.start(&mut link.conn);
    if account.is_none() {
        return serve_all(link, work, None);
    }
    let next = account::with(account, || serve_all(link, work, account));
    work.sight.end();
    next
}

fn serve_all(link: &mut Link, work: &mut Workspace, account: Option<&'static Account>) -> Next {
    let limit = link.tcp.limits.frame(&link.conn.service.bounds);
    let (mut until, mut seen) = (None, 0);
    loop {
        if !work.input.is_empty() {
            if let Some(account) = account {
                work.sight.begin(&mut link.conn, account, ("TCP", link.tcp.name));
            }
            let turn = turn(link, work, seen);
            work.input.consume(turn.used);
            settle(work, account, turn.frames);
            (until, seen) = (until.filter(|_| turn.used == 0), turn.seen);
            match turn.end {
                End::Partial => {}
                End::Full => {
                    if flush(link, work).is_err() {
                        return Next::Close;
                    }
                    continue;
                }
                End::Close => return last(link, work, Next::Linger),
                End::Panicked => return last(link, work, Next::Close),
                End::Bad(reason) => {
                    link.complain(&reason);
                    return last(link, work, Next::Linger);
                }
            }
        }
        if flush(link, work).is_err() {
            return Next::Close;
        }
        if work.input.is_empty() {
            return Next::Idle;
        }
        let until = *until.get_or_insert_with(|| Instant::now() + limit);
        work.sight.await_head(account);
        match link.conn.read(work.input.spare(), Some(until)) {
            Ok(0) => return Next::Close,
            Ok(count) => {
                work.input.commit(count);
                work.sight.parse_on(account);
            }
            Err(error) => {
                if error.kind() == io::ErrorKind::TimedOut {
                    scoreboard::current().timeouts.add(scoreboard::Phase::Head);
                    link.complain("a frame took too long");
                }
                return Next::Close;
            }
        }
    }
}

/// Serves what is there, where the model has its handlers run.
fn turn(link: &mut Link, work: &mut Workspace, seen: usize) -> Turn {
    let Link { conn, tcp, session, .. } = link;
    // A function has no frames, and its connection never comes here.
    let Kind::Frames(protocol) = &tcp.kind else { return Turn { used: 0, frames: 0, seen, end: End::Close } };
    let (conn, service) = (&*conn, &*conn.service);
    let input = Input {
        bytes: work.input.filled(),
        seen,
        bytes_max: tcp.limits.frame_bytes_max,
        peer: conn.peer,
        state: &service.state,
    };
    let output = &mut work.output;
    let name = tcp.name;
    let mut frames = || {
        let reply = Reply { out: output, framing: None, peer: input.peer, closes: false };
        let panicked = Turn { used: 0, frames: 0, seen: 0, end: End::Panicked };
        guard(name, || frames_of(&**protocol, &mut **session, input, reply)).unwrap_or(panicked)
    };
    match (&service.services.pool, service.services.placement) {
        (Some(pool), _) => {
            let account = account::current();
            conn.for_client(|| elsewhere(account, || pool.run(frames)))
        }
        (None, Placement::Inline) => park::inline(frames),
        (None, _) => conn.for_client(&mut frames),
    }
}

fn frames_of(
    protocol: &dyn ErasedProtocol,
    session: &mut (dyn std::any::Any + Send),
    input: Input<'_>,
    mut reply: Reply<'_>,
) -> Turn {
    let (all, mut seen) = (input.bytes, input.seen);
    let (mut used, mut frames) = (0, 0);
    let end = loop {
        let bytes = &all[used..];
        if bytes.is_empty() {
            break End::Partial;
        }
        match protocol.serve(session, Input { bytes, seen, ..input }, &mut reply) {
            Ok(Progress::Frame(count)) => {
                (used, frames, seen) = (used + count.clamp(1, bytes.len()), frames + 1, 0);
            }
            Ok(Progress::Skip(count)) => (used, seen) = (used + count.clamp(1, bytes.len()), 0),
            Ok(Progress::Partial) if bytes.len() >= input.bytes_max => {
                break End::Bad(format!("a frame is longer than {} bytes", input.bytes_max));
            }
            Ok(Progress::Partial) => {
                seen = bytes.len();
                break End::Partial;
            }
            Err(bad) => break End::Bad(bad.to_string()),
        }
        if reply.closes {
            break End::Close;
        }
        if reply.out.len() >= OUTPUT_MAX {
            break End::Full;
        }
    };
    Turn { used, frames, seen, end }
}

/// Counts frames; those that came together share their time.
fn settle(work: &mut Workspace, account: Option<&'static Account>, frames: u64) {
    work.tally.settle(frames);
    if let Some(account) = account {
        match frames {
            0 => work.sight.forget(),
            more => drop((1..more).all(|_| account.join())),
        }
    }
}

fn flush(link: &Link, work: &mut Workspace) -> io::Result<()> {
    if work.output.is_empty() {
        return Ok(());
    }
    let outcome = link.write_all(&work.output);
    work.output.clear();
    outcome
}

/// Writes what there is and ends with `next`.
fn last(link: &Link, work: &mut Workspace, next: Next) -> Next {
    let wrote_something = !work.output.is_empty();
    match flush(link, work) {
        Ok(()) if wrote_something => next,
        _ => Next::Close,
    }
}
