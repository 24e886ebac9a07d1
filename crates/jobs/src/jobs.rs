//! `Jobs`: the way from a handler to its queues.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;
use tenfold_server::runtime::try_sleep;
use tenfold_server::{Busy, Context, FromRequest, Need, Rejection};

use crate::backoff::random_share;
use crate::error::{Error, Result};
use crate::id;
use crate::place::Durability;
use crate::queue::OnFull;
use crate::registry::Registry;
use crate::store::{Kept, Store};
use crate::wire::{self, Ask, Enqueue, NewJob, Receipt};

/// How long an enqueue tries to reach a store that does not answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Rests of a wait for room.
const ROOM_REST: Duration = Duration::from_millis(10);

/// Takes jobs in. An argument of a handler, and cheap to clone.
///
/// When a call returns, the job is on disk: a process that dies, and a machine that loses its power, lose nothing of it. It
/// will run **at least once**.
///
/// Calls wait for the disk: on a fiber the loop goes on with others, and what many of them enqueue at a time shares a write.
///
/// ```no_run
/// use tenfold_jobs::{AppJobs, Jobs};
/// use tenfold_server::{App, Path, Result};
///
/// fn register(Path(name): Path<String>, jobs: Jobs) -> Result<&'static str> {
///     jobs.enqueue("welcome", &name)?;
///     Ok("Welcome! Look into your mail.\n")
/// }
///
/// fn welcome(name: String) {
///     println!("a mail to {name}");
/// }
///
/// App::new().post("/register/{name}", register).job("welcome", welcome);
/// ```
#[derive(Clone, Debug)]
pub struct Jobs {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) registry: Arc<Registry>,
}

/// A job before it is taken in; see [`Jobs::with`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Draft<'a> {
    jobs: &'a Jobs,
    job: NewJob,
    payload_bytes_max: usize,
}

/// Jobs that are taken in together, and one that runs when all of them have ended.
///
/// ```no_run
/// # fn example(jobs: &tenfold_jobs::Jobs) -> tenfold_jobs::Result<()> {
/// let mut batch = jobs.batch();
/// for page in 1..=20 {
///     batch = batch.add("render", &page)?;
/// }
/// batch.then("bind", &"the book")?.send()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Batch<'a> {
    jobs: &'a Jobs,
    members: Vec<NewJob>,
    last: Option<NewJob>,
}

impl Jobs {
    /// Takes a job in for the handler of this name, and returns its id once it is on disk.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Unavailable`] after ten seconds, [`Error::TooLarge`], [`Error::UnknownJob`],
    /// [`Error::Payload`], [`Error::Ended`] by a deadline or a cancellation. After `Unavailable` and `Ended` the job may be
    /// there nevertheless: give it an id of your own ([`Draft::id`]) where sending it again must not double it.
    pub fn enqueue(&self, name: &str, payload: &(impl Serialize + ?Sized)) -> Result<String> {
        self.with(name, payload)?.send()
    }

    /// Begins a job with more to say about it.
    ///
    /// # Errors
    /// [`Error::UnknownJob`], [`Error::Payload`], [`Error::TooLarge`].
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # fn example(jobs: &tenfold_jobs::Jobs) -> tenfold_jobs::Result<()> {
    /// jobs.with("remind", &42)?.after(Duration::from_secs(3600)).priority(-1).id("reminder-42").send()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn with(&self, name: &str, payload: &(impl Serialize + ?Sized)) -> Result<Draft<'_>> {
        let job = self.registry.job(name).ok_or_else(|| Error::UnknownJob { name: name.into() })?;
        let queue = self.registry.queue(&job.options.queue);
        let payload = serde_json::to_string(payload)?;
        let bytes_max = queue.payload_bytes_max;
        if payload.len() > bytes_max {
            return Err(Error::TooLarge { name: name.into(), bytes: payload.len(), bytes_max });
        }
        let job = NewJob {
            id: id::generate(),
            queue: job.options.queue.clone(),
            name: name.into(),
            payload,
            ..NewJob::default()
        };
        Ok(Draft { jobs: self, job, payload_bytes_max: bytes_max })
    }

    /// Takes many jobs of one kind in, all or none; their ids, in their order. At most 10,000.
    ///
    /// # Errors
    /// As [`Jobs::enqueue`].
    pub fn enqueue_many<T: Serialize>(&self, name: &str, payloads: &[T]) -> Result<Vec<String>> {
        if payloads.is_empty() {
            return Ok(Vec::new());
        }
        let drafts = payloads.iter().map(|payload| self.with(name, payload).map(|draft| draft.job));
        let receipts = self.send(Enqueue { jobs: drafts.collect::<Result<_>>()?, last: None })?;
        Ok(receipts.into_iter().map(|receipt| receipt.id).collect())
    }

    /// Begins a batch.
    pub fn batch(&self) -> Batch<'_> {
        Batch { jobs: self, members: Vec::new(), last: None }
    }

    /// Takes a job back: one that waits does not run, and the waits of one that runs fail from now on.
    ///
    /// # Errors
    /// [`Error::Refused`] where there is no such job, or it has ended; [`Error::Unavailable`], [`Error::Ended`].
    pub fn cancel(&self, id: &str) -> Result<()> {
        self.ask(&Ask::Cancel(id.into())).map(drop)
    }

    /// What a job is and has been: `state`, `phase`, `progress`, `attempt`, `error`, `history` and others.
    ///
    /// # Errors
    /// [`Error::Refused`] where there is no such job; an ended one is forgotten after ten minutes. [`Error::Unavailable`],
    /// [`Error::Ended`].
    pub fn look_up(&self, id: &str) -> Result<Value> {
        self.ask(&Ask::Job(id.into()))
    }

    /// Puts a question to the store.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unavailable`], [`Error::Ended`].
    pub fn ask(&self, ask: &Ask) -> Result<Value> {
        self.store.ask(ask, Instant::now() + PATIENCE)
    }

    pub(crate) fn send(&self, enqueue: Enqueue) -> Result<Vec<Receipt>> {
        let begun = Instant::now();
        loop {
            let queue = match self.store.enqueue(&enqueue, Instant::now() + PATIENCE)? {
                Kept::All(receipts) => return Ok(receipts),
                Kept::Full(queue) => queue,
            };
            let rules = self.registry.queue(&queue);
            if let OnFull::Wait { at_most } = rules.on_full
                && begun.elapsed() < at_most
            {
                let left = at_most.saturating_sub(begun.elapsed());
                try_sleep(ROOM_REST.mul_f64(0.5 + random_share()).min(left))?;
                continue;
            }
            let mut busy = Busy::new("there is no room at the moment", rules.retry_after());
            if let OnFull::Page { html, .. } = &rules.on_full {
                busy = busy.with_page(html.clone());
            }
            return Err(Error::Full { queue, busy });
        }
    }
}

impl Draft<'_> {
    /// Not before so long a time has passed.
    pub fn after(mut self, delay: Duration) -> Self {
        self.job.delay_ms = wire::millis(delay);
        self
    }

    /// Before those of a lower priority in its queue; default 0.
    pub fn priority(mut self, priority: i8) -> Self {
        self.job.priority = priority;
        self
    }

    /// Its id, instead of a new one. The same id again is the same job, for as long as it lives and ten minutes after (or
    /// until 500,000 others have ended).
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.job.id = id.into();
        self
    }

    /// Its key: jobs of one key share the queue's bound for a key, or run in their order.
    pub fn key(mut self, key: impl ToString) -> Self {
        self.job.key = Some(key.to_string());
        self
    }

    /// Nothing happens while a job of this queue with the same word is not done, or was taken in less than `window` ago; the
    /// id is that one's then.
    pub fn unique(mut self, word: impl ToString, window: Duration) -> Self {
        self.job.unique = Some(word.to_string());
        self.job.unique_ms = wire::millis(window);
        self
    }

    /// What its taking in has to outlive; default [`Durability::Disk`]. With [`Durability::Process`] it is with the kernel when the
    /// call returns: the death of any process, or all of them, takes nothing, and a power failure may take what came in the last
    /// moments. It does not wait for the disk then, unless what others have sent at the same time does. That it has ended is
    /// synchronised in any case, and an engine keeps it as it keeps all others.
    ///
    /// ```no_run
    /// # use tenfold_jobs::Durability;
    /// # fn example(jobs: &tenfold_jobs::Jobs) -> tenfold_jobs::Result<()> {
    /// jobs.with("thumbnail", &42)?.durability(Durability::Process).send()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn durability(mut self, durability: Durability) -> Self {
        self.job.process = durability != Durability::Disk;
        self
    }

    /// Into another queue than that of its handler.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.job.queue = queue.into();
        self.payload_bytes_max = self.jobs.registry.queue(&self.job.queue).payload_bytes_max;
        self
    }

    /// Takes it in, and returns its id once it is on disk.
    ///
    /// # Errors
    /// As [`Jobs::enqueue`].
    pub fn send(self) -> Result<String> {
        let mut receipts = self.jobs.send(Enqueue { jobs: vec![self.job], last: None })?;
        receipts.pop().map(|receipt| receipt.id).ok_or_else(|| Error::Refused("no receipt".into()))
    }

    /// The job as it would be sent.
    pub(crate) fn into_job(self) -> NewJob {
        self.job
    }
}

impl Batch<'_> {
    /// One more job.
    ///
    /// # Errors
    /// As [`Jobs::with`].
    pub fn add(mut self, name: &str, payload: &(impl Serialize + ?Sized)) -> Result<Self> {
        let job = self.jobs.with(name, payload)?.into_job();
        self.members.push(job);
        Ok(self)
    }

    /// The job that runs when all others have ended, however they did.
    ///
    /// # Errors
    /// As [`Jobs::with`].
    pub fn then(mut self, name: &str, payload: &(impl Serialize + ?Sized)) -> Result<Self> {
        self.last = Some(self.jobs.with(name, payload)?.into_job());
        Ok(self)
    }

    /// Takes them in, all or none; the ids of all but the last one.
    ///
    /// # Errors
    /// As [`Jobs::enqueue`]; [`Error::Refused`] without a job, or with more than 10,000.
    pub fn send(self) -> Result<Vec<String>> {
        let receipts = self.jobs.send(Enqueue { jobs: self.members, last: self.last })?;
        Ok(receipts.into_iter().map(|receipt| receipt.id).collect())
    }
}

impl FromRequest for Jobs {
    type Rejection = Rejection;

    fn from_request(cx: &mut Context<'_>) -> Result<Jobs, Rejection> {
        let jobs = cx.state().get::<Jobs>().cloned();
        jobs.ok_or(Rejection::MissingState { type_name: "Jobs (App::job makes it)" })
    }

    fn needs() -> Vec<Need> {
        vec![Need::state::<Jobs>()]
    }
}
