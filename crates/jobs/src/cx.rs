//! `JobCx`: what a run knows about its job.

use std::any::type_name;
use std::sync::Arc;
use std::time::Duration;

use tenfold_server::StateMap;

use crate::handler::JobError;
use crate::jobs::Jobs;
use crate::store::Desk;
use crate::user_tx::UserTx;
use crate::wire::Lease;

/// A running job, seen by its handler.
pub struct JobCx {
    pub(crate) lease: Lease,
    pub(crate) state: Arc<StateMap>,
    pub(crate) jobs: Jobs,
    pub(crate) desk: Arc<dyn Desk>,
}

impl JobCx {
    /// The job's id, the same in each of its runs: what makes an effect recognisable.
    pub fn id(&self) -> &str {
        &self.lease.id
    }

    /// The job's name.
    pub fn name(&self) -> &str {
        &self.lease.name
    }

    /// How often it has failed before.
    pub fn attempt(&self) -> u32 {
        self.lease.attempt
    }

    /// When it was taken in, since 1970.
    pub fn created(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.lease.created_ms).unwrap_or(0))
    }

    /// A clone of the app's state value of this type.
    ///
    /// # Errors
    /// The app has none: the job is dead.
    pub fn state<T: Clone + Send + Sync + 'static>(&self) -> Result<T, JobError> {
        let value = self.state.get::<T>().cloned();
        value.ok_or_else(|| JobError::dead(format!("the app has no state of type {}", type_name::<T>())))
    }

    /// The way to more jobs.
    pub fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// Marks this job as done in the user's own transaction, so that its effects happen once, however often it runs: an
    /// effect that is committed has its mark, and the next run ends here.
    ///
    /// Everything that must happen once goes into the same transaction, and the mark is the first thing in it. The table
    /// `tenfold_once` must be there: [`crate::once::SQL`] makes it.
    ///
    /// # Errors
    /// [`JobError::already_done`] in a job that was done before: leave the handler with `?`. Whatever the database says.
    ///
    /// ```
    /// # fn example(cx: &tenfold_jobs::JobCx, database: &mut rusqlite::Connection) -> tenfold_jobs::JobResult {
    /// let mut tx = database.transaction()?;
    /// cx.once(&mut tx)?;
    /// tx.execute("update account set cents = cents - 100 where id = 7", [])?;
    /// tx.commit()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn once(&self, tx: &mut impl UserTx) -> Result<(), JobError> {
        match tx.insert_new("tenfold_once", &["id"], &[&self.lease.id])? {
            true => Ok(()),
            false => Err(JobError::already_done()),
        }
    }

    /// Says how far it is, from 0 to 100: for whoever looks. It is not written to disk.
    pub fn progress(&self, percent: u8) {
        self.desk.progress(self.lease.seq, percent.min(100));
    }
}

impl std::fmt::Debug for JobCx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobCx")
            .field("id", &self.lease.id)
            .field("name", &self.lease.name)
            .finish_non_exhaustive()
    }
}
