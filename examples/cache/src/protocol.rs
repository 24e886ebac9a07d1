//! `Memcache`: memcached's text protocol, as what the server runs on each connection. Sans-io: bytes come in, commands are
//! found in them without a copy, answers are appended to what goes out. See memcached's protocol.txt.

use std::sync::atomic::Ordering;

use tenfold::{BadInput, Input, Need, Peer, Progress, Protocol, Reply, StateMap};

use crate::store::Store;

mod admin;
mod meta;
mod number;
mod text;
mod words;

use words::Words;

/// Bytes of a command's line: a `get` of many keys is the longest.
pub const LINE_BYTES_MAX: usize = 64 << 10;
/// Bytes of a key.
pub const KEY_BYTES_MAX: usize = 250;

const BAD_LINE: &[u8] = b"CLIENT_ERROR bad command line format\r\n";
const BAD_CHUNK: &[u8] = b"CLIENT_ERROR bad data chunk\r\n";
const TOO_LARGE: &[u8] = b"SERVER_ERROR object too large for cache\r\n";
const ERROR: &[u8] = b"ERROR\r\n";

/// The protocol. Its store is the app's state.
#[derive(Clone, Copy, Debug)]
pub struct Memcache;

/// What is kept for a connection.
#[derive(Debug)]
pub struct Session {
    store: Store,
    /// Bytes of a value that nobody wants, and that are still to come.
    swallow: usize,
}

/// What a command works with.
struct Call<'c> {
    store: &'c Store,
    now: u32,
    out: &'c mut Vec<u8>,
    /// What has come behind the line.
    rest: &'c [u8],
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    /// It is answered, and has used so many bytes behind its line.
    Used(usize),
    /// Its value has not all come.
    Partial,
    /// It is answered, and so many bytes behind its line are not wanted.
    Swallow(usize),
    /// The connection ends.
    Quit,
}

impl Protocol for Memcache {
    type Session = Session;

    fn open(&self, _peer: Peer, state: &StateMap) -> Session {
        let store = state.get::<Store>().expect("an app without a store does not start").clone();
        store.connections().open.fetch_add(1, Ordering::Relaxed);
        store.connections().total.fetch_add(1, Ordering::Relaxed);
        Session { store, swallow: 0 }
    }

    #[inline]
    fn serve(
        &self,
        session: &mut Session,
        input: Input<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Progress, BadInput> {
        let bytes = input.bytes();
        if session.swallow > 0 {
            let count = session.swallow.min(bytes.len());
            session.swallow -= count;
            return Ok(Progress::Skip(count));
        }
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            if bytes.len() <= LINE_BYTES_MAX {
                return Ok(Progress::Partial);
            }
            reply.push(b"CLIENT_ERROR line too long\r\n");
            return Err(BadInput::new("a line is too long"));
        };
        let line = &bytes[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let used = end + 1;
        let (store, now) = (&session.store, session.store.now());
        let mut call = Call { store, now, out: reply.buffer(), rest: &bytes[used..] };
        match call.run(line) {
            Done::Used(more) => Ok(Progress::Frame(used + more)),
            Done::Partial => Ok(Progress::Partial),
            Done::Swallow(count) => {
                let there = count.min(bytes.len() - used);
                session.swallow = count - there;
                Ok(Progress::Frame(used + there))
            }
            Done::Quit => {
                reply.close();
                Ok(Progress::Frame(used))
            }
        }
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::state::<Store>()]
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.store.connections().open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Call<'_> {
    #[inline]
    fn run(&mut self, line: &[u8]) -> Done {
        let mut words = Words::new(line);
        match words.next().unwrap_or_default() {
            b"get" => self.get(words, false),
            b"gets" => self.get(words, true),
            b"set" => self.put(words, text::Mode::Set),
            b"mg" => self.meta_get(words),
            b"ms" => self.meta_set(words),
            b"md" => self.meta_delete(words),
            b"ma" => self.meta_arithmetic(words),
            b"mn" => self.say(b"MN\r\n"),
            b"me" => self.meta_debug(words),
            b"add" => self.put(words, text::Mode::Add),
            b"replace" => self.put(words, text::Mode::Replace),
            b"append" => self.put(words, text::Mode::Append),
            b"prepend" => self.put(words, text::Mode::Prepend),
            b"cas" => self.put(words, text::Mode::Cas),
            b"incr" => self.count(words, true),
            b"decr" => self.count(words, false),
            b"delete" => self.delete(words),
            b"touch" => self.touch(words),
            b"gat" => self.get_and_touch(words, false),
            b"gats" => self.get_and_touch(words, true),
            b"stats" => self.stats(words),
            b"flush_all" => self.flush_all(words),
            b"version" => self.say(admin::VERSION_LINE),
            b"verbosity" => self.verbosity(words),
            b"quit" => Done::Quit,
            _ => self.say(ERROR),
        }
    }

    #[inline]
    fn say(&mut self, text: &[u8]) -> Done {
        self.out.extend_from_slice(text);
        Done::Used(0)
    }

    /// Answers, unless nobody wants to know.
    #[inline]
    fn tell(&mut self, text: &[u8], is_quiet: bool) -> Done {
        if is_quiet { Done::Used(0) } else { self.say(text) }
    }

    fn push_number(&mut self, number: impl itoa::Integer) {
        self.out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    /// The value behind the line, with its CR LF; or what else is to be done.
    fn value(&self, bytes: usize) -> Result<&[u8], Done> {
        self.rest.get(..bytes + 2).ok_or(Done::Partial)
    }
}
