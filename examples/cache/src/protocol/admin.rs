//! Commands about the cache itself.

use std::io::Write;
use std::sync::atomic::Ordering;

use super::words::Words;
use super::{BAD_LINE, Call, Done, ERROR, number};

/// Clients look at the number: the commands are those of memcached 1.6.
pub(super) const VERSION: &str = "1.6.0-tenfold";
pub(super) const VERSION_LINE: &[u8] = b"VERSION 1.6.0-tenfold\r\n";

impl Call<'_> {
    pub(super) fn flush_all(&mut self, mut words: Words<'_>) -> Done {
        let is_quiet = words.is_noreply();
        let delay = match words.next().filter(|word| *word != b"noreply").map(number::signed) {
            None => 0,
            Some(Some(delay)) => delay,
            Some(None) => return self.say(b"CLIENT_ERROR invalid exptime argument\r\n"),
        };
        let at = match delay {
            ..=0 => self.now,
            delay => self.store.expires(delay, self.now),
        };
        self.store.flush(at, self.now);
        self.tell(b"OK\r\n", is_quiet)
    }

    pub(super) fn verbosity(&mut self, mut words: Words<'_>) -> Done {
        let is_quiet = words.is_noreply();
        match words.next() {
            None => self.say(ERROR),
            Some(word) if number::unsigned(word).is_none() && !is_quiet => self.say(BAD_LINE),
            Some(_) => self.tell(b"OK\r\n", is_quiet),
        }
    }

    pub(super) fn stats(&mut self, mut words: Words<'_>) -> Done {
        match words.next() {
            None => self.stats_all(),
            Some(b"reset") => {
                self.store.reset_counts();
                self.say(b"RESET\r\n")
            }
            Some(b"settings") => {
                let config = self.store.config().clone();
                self.stat("maxbytes", config.bytes_max);
                self.stat("item_size_max", config.item_bytes_max);
                self.stat("num_threads", config.threads);
                self.stat("cas_enabled", "yes");
                self.stat("evictions", "on");
                self.say(b"END\r\n")
            }
            // What there is nothing to say about, such as slabs.
            Some(b"items" | b"slabs" | b"sizes" | b"conns") => self.say(b"END\r\n"),
            Some(_) => self.say(ERROR),
        }
    }

    fn stats_all(&mut self) -> Done {
        let (counts, config) = (self.store.counts(), self.store.config().clone());
        let connections = self.store.connections();
        let (open, total) =
            (connections.open.load(Ordering::Relaxed), connections.total.load(Ordering::Relaxed));
        self.stat("pid", std::process::id());
        self.stat("uptime", self.now - 2);
        self.stat("time", self.store.unix());
        self.stat("version", VERSION);
        self.stat("pointer_size", usize::BITS);
        self.stat("curr_connections", open);
        self.stat("total_connections", total);
        self.stat("threads", config.threads);
        self.stat("limit_maxbytes", config.bytes_max);
        for (name, value) in [
            ("cmd_get", counts.cmd_get),
            ("cmd_set", counts.cmd_set),
            ("cmd_touch", counts.cmd_touch),
            ("get_hits", counts.get_hits),
            ("get_misses", counts.get_misses),
            ("get_expired", counts.get_expired),
            ("get_flushed", counts.get_flushed),
            ("delete_misses", counts.delete_misses),
            ("delete_hits", counts.delete_hits),
            ("incr_misses", counts.incr_misses),
            ("incr_hits", counts.incr_hits),
            ("decr_misses", counts.decr_misses),
            ("decr_hits", counts.decr_hits),
            ("cas_misses", counts.cas_misses),
            ("cas_hits", counts.cas_hits),
            ("cas_badval", counts.cas_badval),
            ("touch_hits", counts.touch_hits),
            ("touch_misses", counts.touch_misses),
            ("bytes", counts.bytes),
            ("curr_items", counts.curr_items),
            ("total_items", counts.total_items),
            ("evictions", counts.evictions),
        ] {
            self.stat(name, value);
        }
        self.say(b"END\r\n")
    }

    fn stat(&mut self, name: &str, value: impl std::fmt::Display) {
        write!(self.out, "STAT {name} {value}\r\n").expect("a vector takes everything");
    }
}
