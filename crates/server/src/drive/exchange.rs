//! The requests that a connection has to offer, one after another, in plain blocking style.
//!
//! Runs on a fiber in the evented models and on a thread in the others; what it calls decides how to wait. It returns
//! when the connection has nothing more to say for now, so that an idle connection can be kept without a stack.

use std::io;
use std::time::Instant;

use http::StatusCode;
use tenfold_http::h1::{After, Parse};
use tenfold_runtime::{account, park};
use tenfold_scoreboard::{self as scoreboard, Account, Stage};

use crate::drive::answer::{Asked, answer};
use crate::drive::connection::Connection;
use crate::drive::intake::Leftover;
use crate::drive::sight::enter;
use crate::drive::turn::{self, Outcome};
use crate::drive::workspace::Workspace;
use crate::error::Error;

/// What is to become of the connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It has no further request yet: wait for one.
    Idle,
    /// Close it.
    Close,
    /// Close it gently: the client may be sending.
    Linger,
    /// It has left HTTP: the workspace says for whom.
    TakenOver,
}

/// Serves every request whose bytes have come, and those whose first bytes have.
pub(crate) fn serve(conn: &mut Connection, work: &mut Workspace) -> Next {
    let mut served = 0;
    let next = serve_until(conn, work, &mut served, u64::MAX);
    work.tally.settle(served);
    next
}

/// As [`serve`], but at most `requests_max` requests.
pub(crate) fn serve_until(
    conn: &mut Connection,
    work: &mut Workspace,
    served: &mut u64,
    requests_max: u64,
) -> Next {
    let account = work.sight.start(conn);
    if account.is_none() {
        return serve_all(conn, work, served, requests_max, None);
    }
    let next = account::with(account, || serve_all(conn, work, served, requests_max, account));
    work.sight.end();
    next
}

fn serve_all(
    conn: &mut Connection,
    work: &mut Workspace,
    served: &mut u64,
    requests_max: u64,
    account: Option<&'static Account>,
) -> Next {
    let mut head_until = None;
    while *served < requests_max {
        // Nothing is not worth asking the parser about, and is what follows nearly every request.
        let parsed = match work.input.is_empty() {
            true => Ok(Parse::Partial),
            false => work.head.parse(work.input.filled(), &conn.service.bounds.head),
        };
        match parsed {
            Ok(Parse::Complete { bytes }) => {
                head_until = None;
                *served += 1;
                let waits = park::waits();
                let outcome = one(conn, work, bytes, account);
                if work.input.is_empty() || park::waits() != waits {
                    conn.arrived = None;
                }
                // Else the next request's first bytes came with this one's, and the clock need not be read again.
                match outcome {
                    Ok(After::KeepAlive) => {}
                    Ok(_) if work.take_over.is_some() => return Next::TakenOver,
                    Ok(After::Linger) => return flush(conn, work, Next::Linger),
                    Ok(_) => return flush_last(conn, work),
                    Err(error) => return broken_off(conn, &error),
                }
            }
            Ok(Parse::Partial) => {
                let idle = work.input.is_empty();
                if !idle {
                    conn.note_arrival();
                }
                let next = flush(conn, work, Next::Idle);
                if idle || next == Next::Close {
                    return next;
                }
                let limit = conn.service.bounds.header_timeout;
                let until = *head_until.get_or_insert_with(|| Instant::now() + limit);
                work.sight.await_head(account);
                match conn.read(work.input.spare(), Some(until)) {
                    Ok(0) => return Next::Close,
                    Ok(count) => {
                        work.input.commit(count);
                        work.sight.parse_on(account);
                    }
                    Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                        scoreboard::current().timeouts.add(scoreboard::Phase::Head);
                        return refuse(conn, work, StatusCode::REQUEST_TIMEOUT, "the head took too long");
                    }
                    Err(_) => return Next::Close,
                }
            }
            Err(error) => return refuse(conn, work, error.status(), error.reason()),
        }
    }
    flush(conn, work, Next::Idle)
}

/// Serves one request, whose head is the first `head_bytes` of the input, and throws away what was not read of its body.
/// It begins in `begins`, if that is given, and has begun before if not.
fn one(
    conn: &mut Connection,
    work: &mut Workspace,
    head_bytes: usize,
    begins: Option<&'static Account>,
) -> io::Result<After> {
    let Workspace { input, output, head, tally, sight, take_over } = work;
    let (head_part, rest) = input.filled().split_at(head_bytes);
    let view = head.view(head_part);
    let request = (view.method_str(), view.path());
    if let Some(account) = begins {
        sight.begin(conn, account, request);
    }
    let account = sight.account();
    let (after, leftover) =
        match turn::take(conn, (view, request), (head_part, rest), output, (tally, account))? {
            Outcome::Answered(after) => {
                input.consume(head_bytes);
                return Ok(after);
            }
            Outcome::WithBody(after, leftover) => (after, leftover),
            Outcome::Elsewhere(after, received) => {
                sight.forget();
                input.clear();
                input.append(&received);
                return Ok(after);
            }
            Outcome::Again(came) => {
                // The offsets of the parsed head count from the input's start, so it need not be parsed again.
                input.append(&came);
                return one(conn, work, head_bytes, None);
            }
            Outcome::TakenOver(begin, lane) => {
                input.consume(head_bytes);
                conn.write_all(output)?;
                output.clear();
                sight.finish();
                *take_over = begin.begin().map(|begin| (begin, lane));
                return Ok(After::Close);
            }
        };
    let Leftover { decoder, received, .. } = *leftover;
    match received {
        // The body's reader had the bytes behind the head; what it left is the next request.
        Some(received) => {
            input.clear();
            input.append(received.filled());
        }
        None => input.consume(head_bytes),
    }
    match after {
        After::Drain { bytes_max } => drain(conn, work, decoder, bytes_max),
        after => Ok(after),
    }
}

/// Reads the rest of a body that nobody wanted, so that the connection can go on.
fn drain(
    conn: &Connection,
    work: &mut Workspace,
    mut decoder: tenfold_http::h1::BodyDecoder,
    bytes_max: u64,
) -> io::Result<After> {
    // The client may be waiting for the answer before it sends on.
    if let Next::Close = flush(conn, work, Next::Idle) {
        return Ok(After::Close);
    }
    let until = Instant::now() + conn.service.bounds.linger;
    let mut left = bytes_max;
    while !decoder.is_end() {
        if work.input.is_empty() {
            match conn.read(work.input.spare(), Some(until)) {
                Ok(0) | Err(_) => return Ok(After::Close),
                Ok(count) => work.input.commit(count),
            }
        }
        let Ok(decoded) = decoder.decode(work.input.filled()) else { return Ok(After::Linger) };
        let Some(less) = left.checked_sub(decoded.data.len() as u64) else { return Ok(After::Linger) };
        left = less;
        let needs_more = decoded.consumed == 0 && !decoded.end;
        work.input.consume(decoded.consumed);
        if needs_more {
            match conn.read(work.input.spare(), Some(until)) {
                Ok(0) | Err(_) => return Ok(After::Close),
                Ok(count) => work.input.commit(count),
            }
        }
    }
    Ok(After::KeepAlive)
}

/// Writes what is pending.
fn flush(conn: &Connection, work: &mut Workspace, next: Next) -> Next {
    if work.output.is_empty() {
        work.sight.finish();
        return next;
    }
    enter(work.sight.account(), Stage::Write);
    let outcome = conn.write_plain(&work.output);
    work.output.clear();
    work.sight.finish();
    match outcome {
        Ok(()) => next,
        Err(error) => broken_off(conn, &error),
    }
}

/// Writes what is pending and closes: the kernel is told to wait for the end of the stream, which goes out with the last
/// bytes in one packet.
fn flush_last(conn: &Connection, work: &mut Workspace) -> Next {
    enter(work.sight.account(), Stage::Write);
    if !work.output.is_empty()
        && let Ok(sent) = conn.write_last(&work.output)
    {
        work.output.drain(..sent);
    }
    flush(conn, work, Next::Close)
}

/// The client is gone, or takes no answer, or the answer's body failed: closing tells the client that it is not whole.
fn broken_off(conn: &Connection, error: &io::Error) -> Next {
    if error.kind() == io::ErrorKind::TimedOut {
        scoreboard::current().timeouts.add(scoreboard::Phase::Answer);
    }
    tracing::debug!(peer = %conn.peer, %error, "the answer broke off");
    Next::Close
}

/// Answers what is not a request. There is no next one: where it would begin is not known.
fn refuse(conn: &Connection, work: &mut Workspace, status: StatusCode, reason: &'static str) -> Next {
    scoreboard::current().bad_requests.add(1);
    tracing::info!(peer = %conn.peer, status = status.as_u16(), reason, "bad request");
    work.tally.response(status);
    let asked = Asked { version: http::Version::HTTP_11, to_head: false, keep_alive: false };
    let mut response = conn.service.router.refuse(Error::new(status, reason), None);
    match answer(conn, &mut work.output, asked, &mut response, false) {
        Ok(_) => flush(conn, work, Next::Linger),
        Err(_) => Next::Close,
    }
}
