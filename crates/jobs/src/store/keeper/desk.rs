//! `KeeperDesk`: the connection of a worker that runs jobs.
//!
//! Two plain threads, so that whatever a job does to its loop, the end of others is told:
//!
//! ```text
//!   jobs-in    connect ─► Hello(held) ─► Want ─► ends that are not settled ─► reads: Work, Settled, Cancel
//!   jobs-out   a queue of messages ─► whatever has gathered is one write
//! ```
//!
//! A keeper that is gone is tried again until it is there. Then it learns first what is still running here, so that it gives
//! that to nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::{Desk, Event, Sink};
use crate::wire::{self, End, Hello, Lease, Outcome, Reply, Request, Want};

/// Rest before the keeper is tried again.
const REST: Duration = Duration::from_millis(20);
/// How long a worker that starts waits for the keeper.
const FIRST_PATIENCE: Duration = Duration::from_secs(2);
/// Rest before ends are told again that could not be written.
const FAILED_REST: Duration = Duration::from_millis(100);

pub(super) struct KeeperDesk {
    socket: PathBuf,
    hello: Hello,
    wants: Vec<Want>,
    sink: Sink,
    state: Mutex<State>,
    /// Bounded by the jobs that run here: each has one end, and its progress is told by who runs it.
    out: Mutex<Sender<Message>>,
    stopping: AtomicBool,
    closed: AtomicBool,
}

#[derive(Default)]
struct State {
    link: Option<UnixStream>,
    /// Jobs that were given to this worker and have not ended here.
    running: BTreeSet<i64>,
    /// Ends that the keeper has not settled yet.
    unsettled: BTreeMap<i64, End>,
}

enum Message {
    End(End),
    Other(Request),
}

impl KeeperDesk {
    pub(super) fn open(
        socket: PathBuf,
        hello: Hello,
        wants: Vec<Want>,
        sink: Sink,
    ) -> io::Result<Arc<KeeperDesk>> {
        let (sender, receiver) = channel();
        let desk = Arc::new(KeeperDesk {
            socket,
            hello,
            wants,
            sink,
            state: Mutex::default(),
            out: Mutex::new(sender),
            stopping: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        });
        // A worker that says it is ready has told its queues. A keeper that is not there holds nobody up for long.
        let until = Instant::now() + FIRST_PATIENCE;
        let mut first = desk.connect();
        while first.is_err() && Instant::now() < until {
            std::thread::sleep(REST);
            first = desk.connect();
        }
        let (reader, writer) = (desk.clone(), desk.clone());
        std::thread::Builder::new().name("jobs-in".into()).spawn(move || reader.read_always(first))?;
        std::thread::Builder::new().name("jobs-out".into()).spawn(move || writer.write_always(&receiver))?;
        Ok(desk)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn post(&self, message: Message) {
        let _ = self.out.lock().unwrap_or_else(PoisonError::into_inner).send(message);
    }

    /// The thread `jobs-in`.
    fn read_always(&self, first: io::Result<UnixStream>) {
        let mut next = Some(first);
        while !self.closed.load(Ordering::Acquire) {
            let stream = next.take().unwrap_or_else(|| self.connect());
            if let Err(error) = stream.and_then(|stream| self.read(stream)) {
                tracing::debug!(target: "jobs", %error, "the keeper is gone");
            }
            self.state().link = None;
            std::thread::sleep(REST);
        }
    }

    fn connect(&self) -> io::Result<UnixStream> {
        let mut stream = UnixStream::connect(&self.socket)?;
        // What has ended here is held until it is settled. Nothing is posted over the old link meanwhile, and what is posted
        // from now on waits for this lock.
        let mut state = self.state();
        let held = state.running.iter().chain(state.unsettled.keys()).copied().collect();
        let ends: Vec<End> = state.unsettled.values().cloned().collect();
        let mut frames = Vec::new();
        wire::encode(&Request::Hello(Hello { held, ..self.hello.clone() }), &mut frames);
        if !self.stopping.load(Ordering::Acquire) {
            wire::encode(&Request::Want(self.wants.clone()), &mut frames);
        }
        if !ends.is_empty() {
            wire::encode(&Request::Ended(ends), &mut frames);
        }
        stream.write_all(&frames)?;
        state.link = Some(stream.try_clone()?);
        Ok(stream)
    }

    fn read(&self, mut stream: UnixStream) -> io::Result<()> {
        let (mut input, mut chunk) = (Vec::new(), vec![0; 64 << 10]);
        loop {
            let mut used = 0;
            while let Some((reply, length)) = wire::decode(&input[used..]).map_err(io::Error::other)? {
                used += length;
                self.take(reply);
            }
            input.drain(..used);
            match stream.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => input.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&self, reply: Reply) {
        match reply {
            Reply::Work(leases) => leases.into_iter().for_each(|lease| self.begin(lease)),
            Reply::Settled(seqs) => {
                let mut state = self.state();
                seqs.iter().for_each(|seq| drop(state.unsettled.remove(seq)));
            }
            Reply::Cancel(seq) => (self.sink)(Event::Cancel(seq)),
            Reply::Failed(reason) => {
                tracing::warn!(target: "jobs", reason, "what has ended is told again");
                std::thread::sleep(FAILED_REST);
                let state = self.state();
                state.unsettled.values().for_each(|end| self.post(Message::End(end.clone())));
            }
            _ => {}
        }
    }

    fn begin(&self, lease: Lease) {
        let (seq, attempt) = (lease.seq, lease.attempt);
        // A job that was given again while its end is on its way is on its way out.
        let mut state = self.state();
        if state.unsettled.contains_key(&seq) || !state.running.insert(seq) {
            return;
        }
        drop(state);
        if self.stopping.load(Ordering::Acquire) {
            return self.end(End { seq, attempt, outcome: Outcome::Returned });
        }
        (self.sink)(Event::Run(lease));
    }

    /// The thread `jobs-out`.
    fn write_always(&self, messages: &Receiver<Message>) {
        while let Ok(first) = messages.recv() {
            let (mut ends, mut frames) = (Vec::new(), Vec::new());
            for message in std::iter::once(first).chain(messages.try_iter().take(1_000)) {
                match message {
                    Message::End(end) => ends.push(end),
                    Message::Other(request) => wire::encode(&request, &mut frames),
                }
            }
            if !ends.is_empty() {
                let mut all = Vec::new();
                wire::encode(&Request::Ended(ends), &mut all);
                all.append(&mut frames);
                frames = all;
            }
            let link = self.state().link.as_ref().and_then(|link| link.try_clone().ok());
            // What cannot be sent now is told by whoever connects next; only ends matter, and they are in the state.
            if let Some(mut link) = link {
                let _ = link.write_all(&frames);
            }
        }
    }
}

impl Desk for KeeperDesk {
    fn end(&self, end: End) {
        let mut state = self.state();
        state.running.remove(&end.seq);
        state.unsettled.insert(end.seq, end.clone());
        drop(state);
        self.post(Message::End(end));
    }

    fn progress(&self, seq: i64, percent: u8) {
        self.post(Message::Other(Request::Progress { seq, percent }));
    }

    fn stop(&self) {
        if !self.stopping.swap(true, Ordering::AcqRel) {
            let none = self.wants.iter().map(|want| Want { queue: want.queue.clone(), at_once: 0 });
            self.post(Message::Other(Request::Want(none.collect())));
        }
    }

    fn is_settled(&self) -> bool {
        self.state().unsettled.is_empty()
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let link = self.state().link.take();
        if let Some(mut link) = link {
            let mut frame = Vec::new();
            wire::encode(&Request::Bye, &mut frame);
            let _ = link.write_all(&frame);
            let _ = link.shutdown(std::net::Shutdown::Both);
        }
    }
}
