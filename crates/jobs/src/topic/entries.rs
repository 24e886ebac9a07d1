//! `Entries`: a collector that appends each record to a stream of an engine, where other machines read it.
//!
//! Runs in the collector's process. What the engine does not take, or nobody knows whether it did, comes again with its whole batch:
//! at least once, in each process's order.

mod nats;
mod redis;

use std::io;

use tenfold_client::Error as ClientError;

use self::nats::JetStream;
use self::redis::RedisStream;
use super::{Batch, Collect};
use crate::error::{Error, Result};

/// Records that are on their way at a time.
const AT_ONCE: usize = 1_000;
/// Entries that a stream keeps if nobody says otherwise.
const ENTRIES_MAX: u64 = 1_000_000;

/// An engine's stream, made when the first records come. A member is one file.
trait Stream: Send {
    /// Appends these in their order, behind about `entries_max` others, of which the oldest go. After an error nobody knows which
    /// of them are there.
    fn append(&mut self, records: &[&[u8]], entries_max: u64) -> Result<(), ClientError>;
}

/// Appends each record to a stream of Redis or Valkey (`XADD`, in the field `record`), or of NATS JetStream (a message of the
/// subject), which may be on another machine.
///
/// While the engine is away, records wait in the topic, within its bound, and go on in their order. A batch that was interrupted comes
/// again as a whole: readers that must not count a record twice need something in it to know it by.
///
/// ```
/// use tenfold_jobs::AppJobs;
/// use tenfold_jobs::topic::{Entries, Topic};
/// use tenfold_server::App;
///
/// let entries = Entries::to("redis://db:6379", "visits")?.entries_max(10_000_000);
/// App::new().topic_to(Topic::new("visits"), entries);
/// # Ok::<(), tenfold_jobs::Error>(())
/// ```
pub struct Entries {
    name: String,
    stream: Box<dyn Stream>,
    entries_max: u64,
}

impl Entries {
    /// To the stream of this name, behind `redis://[[user]:password@]host[:port][/database]` or
    /// `nats://[user:password@ | token@]host[:port]`. Connects when the first batch comes.
    ///
    /// # Errors
    /// [`Error::Refused`]: the address is none, or the name is none that the engine could have: a word of letters, digits, `-` and
    /// `_`; in Redis also `.` and `:`.
    pub fn to(url: &str, name: &str) -> Result<Entries> {
        let stream: Box<dyn Stream> = match url.split_once("://").map_or("", |(scheme, _)| scheme) {
            "redis" => Box::new(RedisStream::new(url, name)?),
            "nats" => Box::new(JetStream::new(url, name)?),
            scheme => {
                return Err(Error::Refused(format!(
                    "a stream is behind redis://HOST:PORT or nats://HOST:PORT, and not {scheme:?}"
                )));
            }
        };
        Ok(Entries { name: name.into(), stream, entries_max: ENTRIES_MAX })
    }

    /// How many entries the stream keeps, about; the oldest go. Default 1,000,000. Of a stream of NATS that is there already its own
    /// bound counts.
    #[must_use]
    pub fn entries_max(mut self, entries: u64) -> Entries {
        self.entries_max = entries.max(1);
        self
    }
}

impl Collect for Entries {
    fn collect(&mut self, batch: Batch<'_>) -> io::Result<()> {
        let records: Vec<&[u8]> = batch.records().collect();
        let mut parts = records.chunks(AT_ONCE);
        parts.try_for_each(|part| self.stream.append(part, self.entries_max)).map_err(io::Error::other)
    }
}

/// Whether a name consists of letters, digits and these.
fn check_name(name: &str, others: &str) -> Result<()> {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || others.contains(char);
    if name.is_empty() || name.len() > 128 || !name.chars().all(is_plain) {
        let reason = format!("{name:?} is no stream's name: letters, digits and {others:?} are possible");
        return Err(Error::Refused(reason));
    }
    Ok(())
}

fn no_address(error: &ClientError) -> Error {
    Error::Refused(format!("no address of a stream: {error}"))
}

impl std::fmt::Debug for Entries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entries").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_one_line_and_shows_no_password() {
        for (url, name) in [
            ("kafka://:secret@x", "visits"),
            ("visits.log", "visits"),
            ("redis://:secret@x:port", "visits"),
            ("redis://:secret@x", "a b"),
            ("redis://:secret@x", ""),
            ("nats://secret@x", "a.b"),
            ("nats://secret@x", "a>"),
        ] {
            let line = Entries::to(url, name).unwrap_err().to_string();
            assert!(!line.contains('\n') && !line.contains("secret"), "{line}");
        }
        assert!(Entries::to("redis://:secret@x", "shop:visits").is_ok());
        assert!(Entries::to("nats://secret@x", "visits").is_ok());
    }
}
