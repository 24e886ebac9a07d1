//! What runs a job: a plain function of its payload.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::backoff::Backoff;
use crate::cx::JobCx;

/// What a job's handler may return.
pub type JobResult = Result<(), JobError>;

/// A run that failed: to be tried again, unless it says that this is of no use. `?` makes one of any error.
///
/// ```
/// use tenfold_jobs::{JobError, JobResult};
///
/// fn charge(cents: u64) -> JobResult {
///     if cents == 0 {
///         return Err(JobError::dead("nothing to charge"));
///     }
///     std::fs::read("/no/such/terminal")?; // tried again later
///     Ok(())
/// }
/// assert!(charge(0).unwrap_err().is_dead());
/// assert!(!charge(1).unwrap_err().is_dead());
/// ```
#[derive(Debug)]
pub struct JobError {
    message: String,
    then: Then,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Retry(Option<Duration>),
    Dead,
    /// It is no failure: the job was done before.
    Done,
}

impl JobError {
    /// To be tried again, after the rest that the job's back-off says.
    pub fn retry(message: impl fmt::Display) -> JobError {
        JobError { message: message.to_string(), then: Then::Retry(None) }
    }

    /// To be tried again after this rest.
    pub fn retry_after(rest: Duration, message: impl fmt::Display) -> JobError {
        JobError { message: message.to_string(), then: Then::Retry(Some(rest)) }
    }

    /// Not to be tried again: it is a dead job from now on.
    pub fn dead(message: impl fmt::Display) -> JobError {
        JobError { message: message.to_string(), then: Then::Dead }
    }

    /// Whether it is not to be tried again.
    pub fn is_dead(&self) -> bool {
        self.then == Then::Dead
    }

    /// Its effects were there before: the job is done, and `?` leaves the handler.
    pub fn already_done() -> JobError {
        JobError { message: "it was done before".into(), then: Then::Done }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.then == Then::Done
    }

    pub(crate) fn rest(&self) -> Option<Duration> {
        match self.then {
            Then::Retry(rest) => rest,
            Then::Dead | Then::Done => None,
        }
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl<E: std::error::Error> From<E> for JobError {
    fn from(error: E) -> JobError {
        let mut message = error.to_string();
        let mut link = error.source();
        while let Some(cause) = link {
            message = format!("{message}: {cause}");
            link = cause.source();
        }
        JobError::retry(message)
    }
}

/// What a handler's return value says about its run.
pub trait IntoJobResult {
    /// The same as a result.
    fn into_job_result(self) -> JobResult;
}

impl IntoJobResult for () {
    fn into_job_result(self) -> JobResult {
        Ok(())
    }
}

impl<E: Into<JobError>> IntoJobResult for Result<(), E> {
    fn into_job_result(self) -> JobResult {
        self.map_err(Into::into)
    }
}

/// A function that runs jobs: `fn()`, `fn(T)` or `fn(&JobCx, T)`, where `T` is what the payload is read as. It returns nothing
/// or a `Result<(), E>`; a panic is a failure as well.
///
/// It is written as a request's handler is: what it waits for parks a fiber, or blocks a thread.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot run jobs",
    note = "a job's handler is `fn()`, `fn(T)` or `fn(&JobCx, T)` with a `T` that serde can read, and returns `()` or `Result<(), E>`"
)]
pub trait JobHandler<M>: Send + Sync + Sized + 'static {
    /// Runs one job.
    ///
    /// # Errors
    /// The job's own.
    fn run(&self, cx: &JobCx, payload: &str) -> JobResult;

    /// What was said about it.
    fn options(&self) -> JobOptions {
        JobOptions::default()
    }

    /// The same handler, for jobs of this queue; default `default`.
    fn queue(self, name: &str) -> Configured<Self, M> {
        Configured::new(self, |options| options.queue = name.into())
    }

    /// The same handler, tried again at most so often after the first time; default 10.
    fn retries(self, times: u32) -> Configured<Self, M> {
        Configured::new(self, |options| options.retries = times)
    }

    /// The same handler with other rests between its tries.
    fn backoff(self, backoff: Backoff) -> Configured<Self, M> {
        Configured::new(self, |options| options.backoff = backoff)
    }

    /// The same handler, for which a run may take so long: after it all its waits fail with `TimedOut`. Default none.
    fn timeout(self, timeout: Duration) -> Configured<Self, M> {
        Configured::new(self, |options| options.timeout = Some(timeout))
    }
}

/// What is said about a job's handler.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JobOptions {
    /// The queue of its jobs.
    pub queue: String,
    /// How often it is tried again.
    pub retries: u32,
    /// The rests in between.
    pub backoff: Backoff,
    /// How long a run may take.
    pub timeout: Option<Duration>,
}

impl Default for JobOptions {
    fn default() -> JobOptions {
        JobOptions { queue: "default".into(), retries: 10, backoff: Backoff::default(), timeout: None }
    }
}

/// A handler with options of its own; see [`JobHandler::queue`] and the others.
pub struct Configured<H, M> {
    handler: H,
    options: JobOptions,
    marker: PhantomData<fn() -> M>,
}

impl<M, H: JobHandler<M>> Configured<H, M> {
    fn new(handler: H, change: impl FnOnce(&mut JobOptions)) -> Configured<H, M> {
        let mut options = handler.options();
        change(&mut options);
        Configured { handler, options, marker: PhantomData }
    }
}

/// Marks handlers with options.
#[derive(Debug)]
pub enum WithOptions {}

impl<M: 'static, H: JobHandler<M>> JobHandler<(WithOptions, M)> for Configured<H, M> {
    fn run(&self, cx: &JobCx, payload: &str) -> JobResult {
        self.handler.run(cx, payload)
    }

    fn options(&self) -> JobOptions {
        self.options.clone()
    }
}

impl<H, M> fmt::Debug for Configured<H, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Configured").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Marks `fn()`.
#[derive(Debug)]
pub enum Bare {}

/// Marks `fn(T)`.
#[derive(Debug)]
pub enum Plain {}

/// Marks `fn(&JobCx, T)`.
#[derive(Debug)]
pub enum WithCx {}

impl<F, R> JobHandler<Bare> for F
where
    F: Fn() -> R + Send + Sync + 'static,
    R: IntoJobResult,
{
    fn run(&self, _cx: &JobCx, _payload: &str) -> JobResult {
        self().into_job_result()
    }
}

impl<F, T, R> JobHandler<(Plain, T)> for F
where
    F: Fn(T) -> R + Send + Sync + 'static,
    T: DeserializeOwned,
    R: IntoJobResult,
{
    fn run(&self, _cx: &JobCx, payload: &str) -> JobResult {
        self(read(payload)?).into_job_result()
    }
}

impl<F, T, R> JobHandler<(WithCx, T)> for F
where
    F: Fn(&JobCx, T) -> R + Send + Sync + 'static,
    T: DeserializeOwned,
    R: IntoJobResult,
{
    fn run(&self, cx: &JobCx, payload: &str) -> JobResult {
        self(cx, read(payload)?).into_job_result()
    }
}

/// A payload that does not fit will never fit.
fn read<T: DeserializeOwned>(payload: &str) -> Result<T, JobError> {
    serde_json::from_str(payload)
        .map_err(|error| JobError::dead(format!("the payload does not fit: {error}")))
}

/// A handler whose type is forgotten.
pub(crate) type Erased = Box<dyn Fn(&JobCx, &str) -> JobResult + Send + Sync>;
