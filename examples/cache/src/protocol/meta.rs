//! The meta commands: `mg`, `ms`, `md`, `ma`, `me`.
//!
//! A command is a key and flags; each flag is one letter, some with a token behind it. What an answer has is returned in the
//! order in which it was asked for.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::text::{Mode, Order, add, compare, copy_small, store};
use super::words::Words;
use super::{BAD_CHUNK, BAD_LINE, Call, Done, ERROR, KEY_BYTES_MAX, number};
use crate::store::{Item, Outcome, Put};

const BAD_FLAG: &[u8] = b"CLIENT_ERROR invalid flag\r\n";
const BAD_TOKEN: &[u8] = b"CLIENT_ERROR bad token in command line format\r\n";

/// What the flags of a command say.
struct Flags<'l> {
    /// The words, for what is returned in their order.
    words: Words<'l>,
    /// As it was sent.
    sent_key: &'l [u8],
    /// Decoded, if it was sent in base64.
    key: std::borrow::Cow<'l, [u8]>,
    is_base64: bool,
    is_quiet: bool,
    wants_value: bool,
    /// `k` and `O` are returned by every answer.
    compare: Option<u64>,
    new_cas: Option<u64>,
    client_flags: u32,
    invalidates: bool,
    /// `T`, `N` and `R` as they were said.
    ttl: Option<i64>,
    vivify: Option<i64>,
    recache: Option<i64>,
    mode: u8,
    initial: u64,
    delta: u64,
}

impl<'l> Flags<'l> {
    /// Reads a key and the flags behind it, after `skipped` words between them.
    fn read(words: &mut Words<'l>) -> Result<Flags<'l>, &'static [u8]> {
        let sent_key = words.next().ok_or(ERROR)?;
        if sent_key.len() > KEY_BYTES_MAX {
            return Err(BAD_LINE);
        }
        Ok(Flags {
            words: words.clone(),
            sent_key,
            key: sent_key.into(),
            is_base64: false,
            is_quiet: false,
            wants_value: false,
            compare: None,
            new_cas: None,
            client_flags: 0,
            invalidates: false,
            ttl: None,
            vivify: None,
            recache: None,
            mode: 0,
            initial: 0,
            delta: 1,
        })
    }

    fn read_flags(&mut self) -> Result<(), &'static [u8]> {
        let mut seen = [false; 128];
        for word in self.words.clone() {
            let (letter, token) = (word[0], &word[1..]);
            match seen.get_mut(letter as usize) {
                None => return Err(BAD_FLAG),
                Some(seen) if *seen => return Err(b"CLIENT_ERROR duplicate flag\r\n"),
                Some(seen) => *seen = true,
            }
            let unsigned = || number::unsigned(token).ok_or(BAD_TOKEN);
            let signed = || number::signed(token).ok_or(BAD_TOKEN);
            match letter {
                b'b' => self.is_base64 = true,
                b'q' => self.is_quiet = true,
                b'v' => self.wants_value = true,
                b'C' => self.compare = Some(unsigned()?),
                b'E' => self.new_cas = Some(unsigned()?),
                b'F' => self.client_flags = number::flags(token).ok_or(BAD_TOKEN)?,
                b'I' => self.invalidates = true,
                b'T' => self.ttl = Some(signed()?),
                b'N' => self.vivify = Some(signed()?),
                b'R' => self.recache = Some(signed()?),
                b'J' => self.initial = unsigned()?,
                b'D' => self.delta = unsigned()?,
                b'M' => self.mode = *token.first().ok_or(BAD_TOKEN)?,
                b'O' if token.len() > 32 => return Err(b"CLIENT_ERROR opaque token too long\r\n"),
                b'c' | b'f' | b'h' | b'k' | b'l' | b'O' | b's' | b't' | b'S' => {}
                _ => return Err(BAD_FLAG),
            }
        }
        if self.is_base64 {
            let key = STANDARD.decode(self.sent_key).ok().filter(|key| !key.is_empty());
            self.key = key.ok_or(&b"CLIENT_ERROR error decoding key\r\n"[..])?.into();
        }
        Ok(())
    }

    /// Writes what an answer without an item has.
    fn echo(&self, out: &mut Vec<u8>, mut with: impl FnMut(u8, &mut Vec<u8>)) {
        for word in self.words.clone() {
            match word[0] {
                b'k' => {
                    out.extend_from_slice(b" k");
                    out.extend_from_slice(self.sent_key);
                    if self.is_base64 {
                        out.extend_from_slice(b" b");
                    }
                }
                b'O' => {
                    out.push(b' ');
                    out.extend_from_slice(word);
                }
                other => with(other, out),
            }
        }
    }
}

/// Writes what a flag asks about an item.
fn tell(item: &Item, letter: u8, now: u32, out: &mut Vec<u8>) {
    let mut number = |number: i64| {
        out.extend_from_slice(&[b' ', letter]);
        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    };
    match letter {
        b'c' => number(item.cas as i64),
        b'f' => number(i64::from(item.flags)),
        b'h' => number(i64::from(item.fetched)),
        b'l' => number(i64::from(now.saturating_sub(item.accessed))),
        b's' => number(item.data().len() as i64),
        b't' => number(item.ttl(now)),
        _ => {}
    }
}

impl Call<'_> {
    pub(super) fn meta_get(&mut self, mut words: Words<'_>) -> Done {
        let read = Flags::read(&mut words).and_then(|mut flags| flags.read_flags().map(|()| flags));
        let flags = match read {
            Ok(flags) => flags,
            Err(text) => return self.say(text),
        };
        let (store, now, out) = (self.store, self.now, &mut *self.out);
        let ttl = flags.ttl.map(|ttl| store.expires(ttl, now));
        let vivify = flags.vivify.map(|ttl| store.expires(ttl, now));
        let large = store.with(&flags.key, |shard, hash| {
            let (mut is_new, mut won) = (false, false);
            if shard.find(hash, &flags.key, now).is_none()
                && let Some(expires) = vivify
            {
                shard.counts_mut().get_misses += 1;
                shard.put(
                    hash,
                    &flags.key,
                    None,
                    Put { value: Ok(b"\r\n"), flags: 0, expires, cas: flags.new_cas },
                    now,
                );
                (is_new, won) = (true, true);
            }
            let item = match is_new {
                true => shard.find(hash, &flags.key, now).map(|index| shard.item_mut(index))?,
                false => shard.look(hash, &flags.key, now)?,
            };
            match flags.wants_value {
                true => {
                    out.extend_from_slice(b"VA ");
                    out.extend_from_slice(itoa::Buffer::new().format(item.data().len()).as_bytes());
                }
                false => out.extend_from_slice(b"HD"),
            }
            flags.echo(out, |letter, out| match letter {
                b'T' => item.expires = ttl.unwrap_or(item.expires),
                b'R' => {
                    let left = item.ttl(now);
                    won |= !item.won && !is_new && left >= 0 && left < flags.recache.unwrap_or(0);
                }
                other => tell(item, other, now, out),
            });
            if item.won {
                out.extend_from_slice(b" Z");
            }
            if item.stale {
                out.extend_from_slice(b" X");
                won |= !item.won;
            }
            if won {
                out.extend_from_slice(b" W");
                item.won = true;
            }
            out.extend_from_slice(b"\r\n");
            item.accessed = now;
            item.fetched |= !is_new;
            Some(if flags.wants_value { copy_small(item, out) } else { None })
        });
        match large {
            None => self.tell(b"EN\r\n", flags.is_quiet),
            Some(None) => Done::Used(0),
            Some(Some(value)) => self.say(&value),
        }
    }

    pub(super) fn meta_set(&mut self, mut words: Words<'_>) -> Done {
        let mut flags = match Flags::read(&mut words) {
            Ok(flags) => flags,
            Err(text) => return self.say(text),
        };
        let Some(bytes) = words.next() else { return self.say(BAD_LINE) };
        let Some(bytes) = number::length(bytes) else { return self.say(BAD_LINE) };
        flags.words = words;
        if let Err(text) = flags.read_flags() {
            // Its value is on its way all the same.
            self.say(text);
            return Done::Swallow(bytes + 2);
        }
        let mode = match flags.mode {
            0 | b'S' | b's' => Mode::Set,
            b'E' | b'e' => Mode::Add,
            b'A' | b'a' => Mode::Append,
            b'P' | b'p' => Mode::Prepend,
            b'R' | b'r' => Mode::Replace,
            _ => {
                self.say(b"CLIENT_ERROR invalid mode for ms M token\r\n");
                return Done::Swallow(bytes + 2);
            }
        };
        if bytes > self.store.config().item_bytes_max {
            return self.refuse_large(&flags.key, bytes, mode == Mode::Set);
        }
        let Some(value) = self.rest.get(..bytes + 2) else { return Done::Partial };
        if !value.ends_with(b"\r\n") {
            self.say(BAD_CHUNK);
            return Done::Used(bytes + 2);
        }
        let now = self.now;
        let mut order = Order {
            key: &flags.key,
            flags: flags.client_flags,
            expires: self.store.expires(flags.ttl.unwrap_or(0), now),
            compare: flags.compare,
            new_cas: flags.new_cas,
            invalidates: flags.invalidates,
            value,
        };
        let (mut outcome, mut cas) = store(self.store, now, mode, &order);
        if let (Outcome::NotStored, Mode::Append | Mode::Prepend, Some(ttl)) = (outcome, mode, flags.vivify) {
            order.expires = self.store.expires(ttl, now);
            (outcome, cas) = store(self.store, now, Mode::Add, &order);
        }
        if !(flags.is_quiet && outcome == Outcome::Stored) {
            self.answer(&flags, outcome, |letter, out| match letter {
                b'c' if outcome == Outcome::Stored => {
                    out.extend_from_slice(b" c");
                    out.extend_from_slice(itoa::Buffer::new().format(cas).as_bytes());
                }
                _ => {}
            });
        }
        Done::Used(bytes + 2)
    }

    pub(super) fn meta_delete(&mut self, mut words: Words<'_>) -> Done {
        let read = Flags::read(&mut words).and_then(|mut flags| flags.read_flags().map(|()| flags));
        let flags = match read {
            Ok(flags) => flags,
            Err(text) => return self.say(text),
        };
        let (now, order) = (self.now, flags_order(&flags));
        let ttl = flags.ttl.map(|ttl| self.store.expires(ttl, now));
        let (outcome, _dropped) = self.store.with(&flags.key, |shard, hash| {
            let Some(index) = shard.find(hash, &flags.key, now) else {
                shard.counts_mut().delete_misses += 1;
                return (Outcome::NotFound, None);
            };
            if compare(shard, index, &order).is_none() {
                return (Outcome::Exists, None);
            }
            if !flags.invalidates {
                shard.counts_mut().delete_hits += 1;
                return (Outcome::Stored, shard.remove(index));
            }
            let cas = flags.new_cas.unwrap_or(shard.item(index).cas + 1);
            let item = shard.item_mut(index);
            (item.stale, item.won, item.fetched, item.cas) = (true, false, false, cas);
            item.expires = ttl.unwrap_or(item.expires);
            (Outcome::Stored, None)
        });
        match flags.is_quiet && outcome == Outcome::Stored {
            true => Done::Used(0),
            false => self.answer(&flags, outcome, |_, _| {}),
        }
    }

    pub(super) fn meta_arithmetic(&mut self, mut words: Words<'_>) -> Done {
        let read = Flags::read(&mut words).and_then(|mut flags| flags.read_flags().map(|()| flags));
        let flags = match read {
            Ok(flags) => flags,
            Err(text) => return self.say(text),
        };
        let up = match flags.mode {
            0 | b'I' | b'i' | b'+' => true,
            b'D' | b'd' | b'-' => false,
            _ => return self.say(b"CLIENT_ERROR invalid mode for ma M token\r\n"),
        };
        let (now, out, order) = (self.now, &mut *self.out, flags_order(&flags));
        let ttl = flags.ttl.map(|ttl| self.store.expires(ttl, now));
        let vivify = flags.vivify.map(|ttl| self.store.expires(ttl, now));
        let outcome = self.store.with(&flags.key, |shard, hash| {
            let (index, number) = match (shard.find(hash, &flags.key, now), vivify) {
                (Some(index), _) => {
                    if compare(shard, index, &order).is_none() {
                        return Ok(Outcome::Exists);
                    }
                    let number = add(shard, index, up, flags.delta, flags.new_cas)
                        .ok_or(&b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"[..])?;
                    (index, number)
                }
                (None, None) => {
                    let counts = shard.counts_mut();
                    *(if up { &mut counts.incr_misses } else { &mut counts.decr_misses }) += 1;
                    return Ok(Outcome::NotFound);
                }
                (None, Some(expires)) => {
                    let text = format!("{}\r\n", flags.initial);
                    let put = Put { value: Ok(text.as_bytes()), flags: 0, expires, cas: flags.new_cas };
                    shard.put(hash, &flags.key, None, put, now);
                    let index = shard.find(hash, &flags.key, now);
                    (index.ok_or(&b"SERVER_ERROR out of memory\r\n"[..])?, flags.initial)
                }
            };
            let item = shard.item_mut(index);
            item.expires = ttl.unwrap_or(item.expires);
            if flags.is_quiet {
                return Ok(Outcome::Stored);
            }
            // The number alone, although the item may have spaces behind it.
            let (mut digits, mut length) = (itoa::Buffer::new(), itoa::Buffer::new());
            let digits = digits.format(number);
            match flags.wants_value {
                true => {
                    out.extend_from_slice(b"VA ");
                    out.extend_from_slice(length.format(digits.len()).as_bytes());
                }
                false => out.extend_from_slice(b"HD"),
            }
            flags.echo(out, |letter, out| {
                if matches!(letter, b'c' | b't') {
                    tell(item, letter, now, out);
                }
            });
            out.extend_from_slice(b"\r\n");
            if flags.wants_value {
                out.extend_from_slice(digits.as_bytes());
                out.extend_from_slice(b"\r\n");
            }
            Ok(Outcome::Stored)
        });
        match outcome {
            Err(text) => self.say(text),
            Ok(Outcome::Stored) => Done::Used(0),
            Ok(other) => self.answer(&flags, other, |_, _| {}),
        }
    }

    pub(super) fn meta_debug(&mut self, mut words: Words<'_>) -> Done {
        let Some(key) = words.next() else { return self.say(ERROR) };
        let now = self.now;
        let text = self.store.with(key, |shard, hash| {
            let index = shard.find(hash, key, now)?;
            let item = shard.item(index);
            Some(format!(
                "ME {} exp={} la={} cas={} fetch={} cls=1 size={}\r\n",
                String::from_utf8_lossy(key),
                item.ttl(now),
                now.saturating_sub(item.accessed),
                item.cas,
                if item.fetched { "yes" } else { "no" },
                item.bytes(),
            ))
        });
        self.say(text.as_deref().map_or(&b"EN\r\n"[..], str::as_bytes))
    }

    fn answer(&mut self, flags: &Flags<'_>, outcome: Outcome, with: impl FnMut(u8, &mut Vec<u8>)) -> Done {
        self.out.extend_from_slice(match outcome {
            Outcome::Stored => b"HD",
            Outcome::NotStored => b"NS",
            Outcome::Exists => b"EX",
            Outcome::NotFound => b"NF",
        });
        flags.echo(self.out, with);
        self.say(b"\r\n")
    }
}

/// What the condition of a command without a value is.
fn flags_order<'f>(flags: &'f Flags<'_>) -> Order<'f> {
    Order {
        key: &flags.key,
        flags: 0,
        expires: 0,
        compare: flags.compare,
        new_cas: flags.new_cas,
        invalidates: false,
        value: b"\r\n",
    }
}
