//! An engine on a log: for servers that keep messages in an order and know nothing else, as NATS JetStream.
//!
//! ```text
//!   round of calls ─► this machine's replica (SQLite in memory) ─► the statements that changed it
//!                         ▲                                             │ append, if the log still ends where we think
//!                         │ repeats what others have appended           ▼
//!                         └──────────────────────────────────── the log, in the engine ── every so often: an image
//! ```
//!
//! Every machine has a replica of all jobs that live, and decides on it. What it has decided counts when the log has taken it, and
//! that takes it only behind the last entry that the machine has seen: if another machine was faster, the decision is rolled back,
//! the others' entries are done, and it is decided anew. So each decision is made on the state that it changes, as in one
//! transaction after another, and no machine leads. Entries are statements with their values, not what was asked for: a program
//! of another version that reads them comes to the same state.
//!
//! A machine that comes reads the latest image, and the entries behind it. Every so many entries a machine makes the next image, and
//! has the log cut off behind it; of two that do so at a time one counts.

mod asks;
mod intake;
mod leases;
mod log;
mod machine;
mod phases;
mod table;

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub(crate) use self::log::{Log, Next};
use self::machine::Machine;
use self::table::{Statement, Table};
use super::engine::{Answer, Call, Engine, EngineError};
use crate::backoff::random;

/// How often a round is decided anew because others were faster, before the engine counts as away.
const TRIES_MAX: u32 = 50;
/// Entries, and bytes of entries, after which an image is made.
const IMAGE_EVERY: u64 = 2_000;
const IMAGE_BYTES: usize = 32 << 20;
/// The longest that a replica is used without a look whether others have appended: their bell may have been missed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Serialize, Deserialize)]
struct Entry {
    statements: Vec<Statement>,
}

pub(crate) struct LogEngine<L> {
    log: L,
    lease: Duration,
    /// Where images are written to and read from on their way.
    scratch: PathBuf,
    replica: Option<Replica>,
}

struct Replica {
    machine: Machine,
    /// Number of the last entry that is in it.
    tip: u64,
    imaged: u64,
    bytes_since: usize,
    looked_at: Instant,
}

impl<L: Log> LogEngine<L> {
    pub(crate) fn new(log: L, lease: Duration, scratch: PathBuf) -> LogEngine<L> {
        LogEngine { log, lease, scratch, replica: None }
    }

    /// A file that is empty and only this user's: there are payloads in images.
    fn make_scratch(&self) -> std::io::Result<File> {
        let _ = std::fs::remove_file(&self.scratch);
        OpenOptions::new().create_new(true).write(true).mode(0o600).open(&self.scratch)
    }

    /// A replica from the latest image.
    fn restore(&mut self, keeper: &str) -> Result<Replica, EngineError> {
        let (tip, table) = match self.log.image()? {
            Some((tip, image)) => {
                let written = self.make_scratch().and_then(|mut file| file.write_all(&image));
                written.map_err(|error| gone("an image", &error))?;
                let table = Table::restore(&self.scratch);
                let _ = std::fs::remove_file(&self.scratch);
                (tip, table.map_err(|error| gone("an image", &error))?)
            }
            None => (0, Table::new().map_err(|error| gone("the replica", &error))?),
        };
        let machine = Machine {
            table,
            keeper: keeper.into(),
            session: format!("{:016x}", random()),
            lease: self.lease,
            progress: HashMap::new(),
            refused: BTreeMap::new(),
            seen: HashMap::new(),
            beat_at: None,
            tidied_at: None,
        };
        Ok(Replica { machine, tip, imaged: tip, bytes_since: 0, looked_at: Instant::now() })
    }

    /// Does what others have appended.
    fn catch_up(&mut self) -> Result<(), EngineError> {
        let Some(replica) = &mut self.replica else {
            return Err(EngineError::Gone("there is no replica".into()));
        };
        replica.looked_at = Instant::now();
        loop {
            match self.log.next(replica.tip)? {
                Next::End => return Ok(()),
                Next::Gone => return Err(EngineError::Gone("the log was cut off meanwhile".into())),
                Next::Entry(number, bytes) => {
                    let entry: Entry =
                        rmp_serde::from_slice(&bytes).map_err(|error| gone("an entry", &error))?;
                    let done = replica.machine.table.repeat(&entry.statements);
                    done.map_err(|error| gone("an entry cannot be repeated", &error))?;
                    replica.tip = number;
                    replica.bytes_since += bytes.len();
                }
            }
        }
    }

    /// Decides, and appends what was decided; `None` when others were faster.
    fn try_round(&mut self, calls: &[Call]) -> Result<Option<Vec<Answer>>, EngineError> {
        let Some(replica) = &mut self.replica else {
            return Err(EngineError::Gone("there is no replica".into()));
        };
        let failed = |error: rusqlite::Error| gone("the replica", &error);
        replica.machine.table.begin().map_err(failed)?;
        let (refused, beat_at, tidied_at) =
            (replica.machine.refused.clone(), replica.machine.beat_at, replica.machine.tidied_at);
        let answers = replica.machine.decide(calls)?;
        let written = replica.machine.table.written();
        if written.is_empty() {
            replica.machine.table.commit().map_err(failed)?;
            return Ok(Some(answers));
        }
        let entry = Entry { statements: written.to_vec() };
        let bytes = rmp_serde::to_vec(&entry).expect("statements have a form in MessagePack");
        match self.log.append(replica.tip, &bytes)? {
            Some(number) => {
                replica.machine.table.commit().map_err(failed)?;
                replica.tip = number;
                replica.bytes_since += bytes.len();
                Ok(Some(answers))
            }
            None => {
                replica.machine.table.roll_back().map_err(failed)?;
                let machine = &mut replica.machine;
                (machine.refused, machine.beat_at, machine.tidied_at) = (refused, beat_at, tidied_at);
                Ok(None)
            }
        }
    }

    /// Makes an image, if it is time for one.
    fn tend_image(&mut self) -> Result<(), EngineError> {
        let Some(replica) = &mut self.replica else { return Ok(()) };
        if replica.tip - replica.imaged < IMAGE_EVERY && replica.bytes_since < IMAGE_BYTES {
            return Ok(());
        }
        (replica.imaged, replica.bytes_since) = (replica.tip, 0);
        self.make_scratch().map_err(|error| gone("an image", &error))?;
        let Some(replica) = &mut self.replica else { return Ok(()) };
        replica.machine.table.image(&self.scratch).map_err(|error| gone("an image", &error))?;
        let image = std::fs::read(&self.scratch).map_err(|error| gone("an image", &error))?;
        let _ = std::fs::remove_file(&self.scratch);
        self.log.put_image(replica.tip, &image)
    }
}

impl<L: Log> Engine for LogEngine<L> {
    fn connect(&mut self, keeper: &str) -> Result<(), EngineError> {
        self.log.connect(random())?;
        // What is in memory may be what an append that nobody has heard of has made of it.
        let replica = self.restore(keeper)?;
        self.replica = Some(replica);
        self.catch_up()
    }

    fn round(&mut self, calls: &[Call]) -> Result<Vec<Answer>, EngineError> {
        let is_old = self.replica.as_ref().is_some_and(|replica| replica.looked_at.elapsed() > LOOK_EVERY);
        if self.log.has_news() || is_old {
            self.catch_up()?;
        }
        for _ in 0..TRIES_MAX {
            if let Some(answers) = self.try_round(calls)? {
                // What was decided counts without it.
                if let Err(error) = self.tend_image() {
                    tracing::error!(target: "jobs", ?error, "no image of the jobs can be kept: the log goes on to grow");
                }
                return Ok(answers);
            }
            self.catch_up()?;
        }
        Err(EngineError::Gone("others are always faster".into()))
    }
}

fn gone(what: &str, error: &dyn std::error::Error) -> EngineError {
    EngineError::Gone(format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::wire::{End, Enqueue, NewJob, Outcome, QueueSpec, Want};

    /// A log in memory that several engines share.
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<State>>);

    #[derive(Default)]
    struct State {
        last: u64,
        entries: BTreeMap<u64, Vec<u8>>,
        image: Option<(u64, Vec<u8>)>,
    }

    impl Log for Shared {
        fn connect(&mut self, _: u64) -> Result<(), EngineError> {
            Ok(())
        }

        fn append(&mut self, tip: u64, entry: &[u8]) -> Result<Option<u64>, EngineError> {
            let mut state = self.0.lock().unwrap();
            if state.last != tip {
                return Ok(None);
            }
            state.last += 1;
            let number = state.last;
            state.entries.insert(number, entry.to_vec());
            Ok(Some(number))
        }

        fn next(&mut self, tip: u64) -> Result<Next, EngineError> {
            let state = self.0.lock().unwrap();
            Ok(match state.entries.get(&(tip + 1)) {
                Some(entry) => Next::Entry(tip + 1, entry.clone()),
                None if state.last > tip => Next::Gone,
                None => Next::End,
            })
        }

        fn has_news(&mut self) -> bool {
            false
        }

        fn image(&mut self) -> Result<Option<(u64, Vec<u8>)>, EngineError> {
            Ok(self.0.lock().unwrap().image.clone())
        }

        fn put_image(&mut self, tip: u64, image: &[u8]) -> Result<(), EngineError> {
            let mut state = self.0.lock().unwrap();
            state.entries.retain(|number, _| *number > tip);
            state.image = Some((tip, image.to_vec()));
            Ok(())
        }
    }

    fn engine(log: &Shared, name: &str) -> LogEngine<Shared> {
        let scratch = std::env::temp_dir().join(format!("tfj-image-{}-{name}", std::process::id()));
        let mut engine = LogEngine::new(log.clone(), Duration::from_secs(15), scratch);
        engine.connect(name).unwrap();
        let spec = QueueSpec { name: "q".into(), capacity: 5, ordered: true, ..QueueSpec::default() };
        engine.round(&[Call::Open { held: Vec::new() }, Call::Define(vec![spec])]).unwrap();
        engine
    }

    fn enqueue(id: &str) -> Call {
        let job = NewJob { id: id.into(), queue: "q".into(), key: Some("k".into()), ..NewJob::default() };
        Call::Enqueue(Enqueue { jobs: vec![job], last: None })
    }

    fn take(engine: &mut LogEngine<Shared>) -> Vec<i64> {
        let call = Call::Take(vec![Want { queue: "q".into(), at_once: 10 }]);
        match engine.round(&[call]).unwrap().pop() {
            Some(Answer::Taken { leases, .. }) => leases.into_iter().map(|lease| lease.seq).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn machines_that_decide_at_a_time_agree_on_bounds_ids_and_the_order_of_a_key() {
        let log = Shared::default();
        let (mut a, mut b) = (engine(&log, "a"), engine(&log, "b"));
        for number in 0..8 {
            let (first, second) = if number % 2 == 0 { (&mut a, &mut b) } else { (&mut b, &mut a) };
            let answer = first.round(&[enqueue(&number.to_string())]).unwrap().pop();
            assert_eq!(matches!(answer, Some(Answer::Kept(_))), number < 5, "{number}: {answer:?}");
            let again = second.round(&[enqueue(&number.to_string())]).unwrap().pop();
            match again {
                Some(Answer::Kept(receipts)) => assert!(receipts[0].known && number < 5),
                other => assert!(matches!(other, Some(Answer::Full(_))) && number >= 5, "{other:?}"),
            }
        }
        for expected in 1..=5 {
            // The one decides on what the other has just changed.
            assert_eq!(take(&mut a), [expected]);
            b.catch_up().unwrap();
            assert!(take(&mut b).is_empty(), "its key is in use on the other machine");
            let end = End { seq: expected, attempt: 0, outcome: Outcome::Done };
            a.round(&[Call::Settle(vec![end])]).unwrap();
        }
        assert!(take(&mut a).is_empty());
    }

    #[test]
    fn a_machine_that_comes_later_reads_an_image_and_what_is_behind_it() {
        let log = Shared::default();
        let mut a = engine(&log, "a");
        a.round(&[enqueue("1"), enqueue("2")]).unwrap();
        let replica = a.replica.as_mut().unwrap();
        replica.bytes_since = IMAGE_BYTES;
        a.round(&[enqueue("3")]).unwrap();
        assert!(log.0.lock().unwrap().entries.is_empty(), "the log was cut off");
        a.round(&[enqueue("4")]).unwrap();
        let mut b = engine(&log, "b");
        assert_eq!(take(&mut b), [1]);
        let numbers = b.replica.as_ref().unwrap().machine.table.read(
            "select count(*), max(seq) from job",
            &[],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
        );
        assert_eq!(numbers.unwrap(), Some((4, 4)));
        // Numbers go on where they were.
        b.round(&[enqueue("5")]).unwrap();
        assert!(a.round(&[enqueue("5")]).is_ok());
    }
}
