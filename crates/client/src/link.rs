//! `Link`: one connection that many fibers (or threads) use at the same time.
//!
//! ```text
//!   callers ──append──► out ──one of them writes──► socket ──one of them reads──► replies, in order ──► their callers
//! ```
//!
//! There is no fiber or thread behind it. Whoever calls appends its command to `out`, and if nobody writes, writes what is
//! there; on a fiber it lets the others that are ready append theirs first, so that a hundred requests that arrive together
//! cost one send and one receive. Then it waits, and if nobody reads, it is the one who reads, for all, until its own
//! reply is there; it leaves reading to the next one in line.
//!
//! A caller whose time is over leaves without its reply, which is thrown away when it comes: the connection stays good.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use slab::Slab;
use tenfold_runtime::net::TcpStream;
use tenfold_runtime::park::{self, Unparked, Waiter};
use tenfold_runtime::yield_now;

use crate::error::{Error, Phase};

/// Room that a receive has at least.
const ROOM_BYTES: usize = 16 << 10;
/// A buffer that has grown beyond is given back when it is empty.
const KEPT_BYTES: usize = 256 << 10;

/// How replies look. They come in order, or each with the number of its call.
pub(crate) trait Protocol: 'static {
    type Reply: Send;

    /// Reads one reply from the front of `input`, which is not empty, if it is whole. `bytes_max` bounds what it may announce.
    fn parse(input: &[u8], bytes_max: usize) -> Result<Parsed<Self::Reply>, Malformed>;
}

/// What the front of a buffer is.
#[derive(Debug, PartialEq)]
pub(crate) enum Parsed<R> {
    /// A reply to the call that waits longest, and its length.
    Next(R, usize),
    /// A reply to the call of this number, and its length.
    Numbered(u64, R, usize),
    /// Something that nobody has asked for, and its length.
    Unasked(usize),
    /// At least so many bytes are missing; never 0.
    Missing(usize),
}

/// The bytes are no reply, or more than the reader is ready to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

pub(crate) struct Link<P: Protocol> {
    stream: TcpStream,
    bounds: Bounds,
    state: Mutex<State<P::Reply>>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) in_flight_max: usize,
    pub(crate) out_bytes_max: usize,
    pub(crate) reply_bytes_max: usize,
}

struct State<R> {
    out: Vec<u8>,
    writing: bool,
    /// Received and not yet whole; whoever reads takes it along.
    input: Input,
    reading: bool,
    calls: Slab<Call<R>>,
    /// Calls whose replies are to come, in order.
    line: VecDeque<usize>,
    dead: Option<Death>,
    used_at: Instant,
}

struct Call<R> {
    waiter: Waiter,
    replies: Vec<R>,
    missing: usize,
    /// Nobody waits for it any more.
    abandoned: bool,
}

#[derive(Default)]
struct Input {
    bytes: Vec<u8>,
    filled: usize,
    /// Nothing is whole before so many bytes are there.
    wanted: usize,
}

/// Why a link is of no use any more; errors cannot be cloned.
#[derive(Clone, Debug)]
enum Death {
    Closed,
    Broken(io::ErrorKind, String),
    Malformed(&'static str),
}

/// What a caller does next.
enum Duty {
    Write,
    Read(Input),
    Wait,
}

impl<P: Protocol> Link<P> {
    pub(crate) fn new(stream: TcpStream, bounds: Bounds) -> Link<P> {
        let state = State {
            out: Vec::new(),
            writing: false,
            input: Input::default(),
            reading: false,
            calls: Slab::new(),
            line: VecDeque::new(),
            dead: None,
            used_at: Instant::now(),
        };
        Link { stream, bounds, state: Mutex::new(state) }
    }

    /// Whether it can be used. One that was not used for a while is looked at: the server may have closed it.
    pub(crate) fn is_alive(&self, look_after: Duration) -> bool {
        let mut state = self.lock();
        let now = Instant::now();
        let idled = state.line.is_empty() && now.saturating_duration_since(state.used_at) >= look_after;
        state.used_at = now;
        if state.dead.is_none() && idled && !state.reading {
            let quiet = self.stream.try_read(&mut [0]);
            if !matches!(&quiet, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
                state.dead = Some(Death::Closed);
            }
        }
        state.dead.is_none()
    }

    /// Sends commands that belong together (`encode` gets the call's number) and waits for their replies, until `until` at most.
    pub(crate) fn call(
        &self,
        encode: impl FnOnce(&mut Vec<u8>, u64),
        replies: usize,
        until: Instant,
    ) -> Result<Vec<P::Reply>, Error> {
        let (key, writes) = {
            let mut state = self.lock();
            if let Some(death) = &state.dead {
                return Err(death.error());
            }
            if state.line.len() >= self.bounds.in_flight_max || state.out.len() >= self.bounds.out_bytes_max {
                return Err(Error::Overloaded { in_flight: state.line.len() });
            }
            let call = Call {
                waiter: Waiter::current(),
                replies: Vec::with_capacity(replies),
                missing: replies,
                abandoned: false,
            };
            // Not given to another call before its reply is here, whoever waits for it.
            let key = state.calls.insert(call);
            encode(&mut state.out, key as u64);
            state.line.push_back(key);
            let writes = !state.writing;
            state.writing = true;
            (key, writes)
        };
        if writes {
            if park::parks() {
                // Others that are ready append theirs before it goes out.
                yield_now();
            }
            if let Err(error) = self.write(until) {
                return self.leave(key, Phase::Sending, error);
            }
        }
        self.await_replies(key, until)
    }

    fn await_replies(&self, key: usize, until: Instant) -> Result<Vec<P::Reply>, Error> {
        loop {
            let duty = {
                let mut state = self.lock();
                if state.calls[key].missing == 0 {
                    let replies = state.calls.remove(key).replies;
                    state.pass_on();
                    return Ok(replies);
                }
                if let Some(death) = &state.dead {
                    let error = death.error();
                    state.calls.remove(key);
                    return Err(error);
                }
                state.duty()
            };
            let outcome = match duty {
                Duty::Write => self.write(until),
                Duty::Read(input) => self.read(input, key, until),
                Duty::Wait => match park::park(Some(until)) {
                    Unparked::Woken => Ok(()),
                    ended => park::check(ended),
                },
            };
            if let Err(error) = outcome {
                return self.leave(key, Phase::AwaitingReply, error);
            }
        }
    }

    /// Writes what there is until nothing is left. An error is the caller's own end, never the connection's: what was not
    /// sent stays for the next one.
    fn write(&self, until: Instant) -> io::Result<()> {
        let mut out = Vec::new();
        loop {
            {
                let mut state = self.lock();
                if state.out.is_empty() || state.dead.is_some() {
                    if out.capacity() <= KEPT_BYTES && state.out.capacity() < out.capacity() {
                        out.clear();
                        state.out = out;
                    }
                    state.writing = false;
                    return Ok(());
                }
                out.clear();
                std::mem::swap(&mut out, &mut state.out);
            }
            let mut sent = 0;
            while sent < out.len() {
                let error = match self.stream.write_until(&out[sent..], Some(until)) {
                    Ok(count) => {
                        sent += count;
                        continue;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => error,
                };
                let mut state = self.lock();
                state.writing = false;
                if !is_own_end(&error) {
                    state.die(Death::Broken(error.kind(), error.to_string()));
                    return Ok(());
                }
                out.drain(..sent);
                out.append(&mut state.out);
                state.out = out;
                return Err(error);
            }
        }
    }

    /// Receives once and hands out what is whole. An error is the caller's own end.
    fn read(&self, mut input: Input, key: usize, until: Instant) -> io::Result<()> {
        let room = input.wanted.max(input.filled + ROOM_BYTES);
        if input.bytes.len() < room {
            input.bytes.resize(room, 0);
        }
        let outcome = loop {
            match self.stream.read_until(&mut input.bytes[input.filled..], Some(until)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let mut wakes = Vec::new();
        let mut state = self.lock();
        state.reading = false;
        let ended = match outcome {
            Ok(0) => {
                state.die(Death::Closed);
                Ok(())
            }
            Ok(count) => {
                input.filled += count;
                if let Err(what) =
                    state.hand_out::<P>(&mut input, self.bounds.reply_bytes_max, key, &mut wakes)
                {
                    state.die(Death::Malformed(what.0));
                }
                Ok(())
            }
            Err(error) if is_own_end(&error) => Err(error),
            Err(error) => {
                state.die(Death::Broken(error.kind(), error.to_string()));
                Ok(())
            }
        };
        state.input = input;
        drop(state);
        wakes.iter().for_each(Waiter::wake);
        ended
    }

    /// The caller goes without its replies.
    fn leave<T>(&self, key: usize, phase: Phase, error: io::Error) -> Result<T, Error> {
        let mut state = self.lock();
        if state.dead.is_some() || state.calls[key].missing == 0 {
            state.calls.remove(key);
        } else {
            state.calls[key].abandoned = true;
        }
        state.pass_on();
        drop(state);
        Err(Error::io(phase, error))
    }

    fn lock(&self) -> MutexGuard<'_, State<P::Reply>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R> State<R> {
    /// What has to be done now by somebody who waits.
    fn duty(&mut self) -> Duty {
        if !self.writing && !self.out.is_empty() {
            self.writing = true;
            return Duty::Write;
        }
        if !self.reading {
            self.reading = true;
            return Duty::Read(std::mem::take(&mut self.input));
        }
        Duty::Wait
    }

    /// Called by whoever leaves: if there is something to do and nobody does it, the first in line does.
    fn pass_on(&self) {
        let unwritten = !self.writing && !self.out.is_empty();
        if self.dead.is_none()
            && (unwritten || !self.reading)
            && let Some(first) = self.line.iter().find(|key| !self.calls[**key].abandoned)
        {
            self.calls[*first].waiter.wake();
        }
    }

    /// Gives what is whole to those who wait for it. `own` is awake already.
    fn hand_out<P: Protocol<Reply = R>>(
        &mut self,
        input: &mut Input,
        reply_bytes_max: usize,
        own: usize,
        wakes: &mut Vec<Waiter>,
    ) -> Result<(), Malformed> {
        const UNASKED: Malformed = Malformed("a reply that nobody asked for");
        let mut at = 0;
        while input.filled > at && input.filled - at >= input.wanted {
            input.wanted = 0;
            let (place, reply, bytes) = match P::parse(&input.bytes[at..input.filled], reply_bytes_max)? {
                Parsed::Next(reply, bytes) => (0, reply, bytes),
                Parsed::Numbered(number, reply, bytes) => {
                    let place = self.line.iter().position(|key| *key as u64 == number);
                    (place.ok_or(UNASKED)?, reply, bytes)
                }
                Parsed::Unasked(bytes) => {
                    at += bytes;
                    continue;
                }
                Parsed::Missing(bytes) => {
                    input.wanted = input.filled - at + bytes;
                    break;
                }
            };
            at += bytes;
            let key = *self.line.get(place).ok_or(UNASKED)?;
            let call = &mut self.calls[key];
            call.replies.push(reply);
            call.missing -= 1;
            if call.missing == 0 {
                self.line.remove(place);
                match call.abandoned {
                    true => drop(self.calls.remove(key)),
                    false if key != own => wakes.push(call.waiter.clone()),
                    false => {}
                }
            }
        }
        input.bytes.copy_within(at..input.filled, 0);
        input.filled -= at;
        if input.filled == 0 && input.bytes.len() > KEPT_BYTES {
            input.bytes = Vec::new();
        }
        Ok(())
    }

    /// Ends all calls.
    fn die(&mut self, death: Death) {
        self.dead.get_or_insert(death);
        self.out = Vec::new();
        for key in self.line.drain(..) {
            match self.calls[key].abandoned {
                true => drop(self.calls.remove(key)),
                false => self.calls[key].waiter.wake(),
            }
        }
    }
}

impl Death {
    fn error(&self) -> Error {
        match self {
            Death::Closed => Error::Closed,
            Death::Broken(kind, text) => {
                Error::Io { phase: Phase::AwaitingReply, source: io::Error::new(*kind, text.clone()) }
            }
            Death::Malformed(what) => Error::Unexpected(what),
        }
    }
}

/// Whether an error says something about the caller and nothing about the connection.
fn is_own_end(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::TimedOut || park::is_cancellation(error)
}

impl<P: Protocol> std::fmt::Debug for Link<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("in_flight", &self.lock().line.len()).finish_non_exhaustive()
    }
}
