//! A thread for each connection.
//!
//! **Use it when** there are at most some hundred connections and the handlers wait a lot: plain code, no surprises.
//! **Costs** a thread for each connection, idle or not: about 10 KiB of user memory, 16 KiB of kernel stack, and a context
//! switch for each wait. **Refuses** lanes on loops. **Compared with** `pool` it never makes a connection wait for another
//! one's thread, and has no bound but `threads`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tenfold_scoreboard::Slot;
use tenfold_supervisor::{ExitReason, Worker};

use super::pool::run_blocking;
use super::{Facts, Model, place_on_threads};
use crate::guard::Overrun;
use crate::lane::{Lane, Placement};
use crate::plan::Plan;
use crate::services::Work;
use crate::settings::Settings;

pub(super) struct Thread;

/// Enough for handlers that use templates and drivers; only what is touched takes memory.
const STACK_BYTES: usize = 512 << 10;

impl Thread {
    fn threads(settings: &Settings) -> usize {
        settings.threads.unwrap_or(settings.limits.connections_max)
    }
}

impl Model for Thread {
    fn name(&self) -> &'static str {
        "thread"
    }

    fn layers(&self) -> (&'static str, &'static str) {
        ("blocking, a thread per connection", "that thread")
    }

    fn known_from(&self) -> &'static str {
        "MySQL, Java BIO"
    }

    fn facts(&self, settings: &Settings) -> Facts {
        let threads = Self::threads(settings).min(settings.limits.connections_max);
        Facts {
            evented: false,
            threads_max: threads + 3,
            processes: 0,
            at_once: Some(threads),
            // A thread that watches its client while it waits takes one more to be woken by, if there is one; else it looks
            // every 5 ms.
            descriptors_max: threads + 32,
            parallel_handlers: true,
            overrun: Overrun::Replace,
        }
    }

    fn cannot_cancel(&self) -> &'static str {
        "a thread that computes or blocks outside of Tenfold"
    }

    fn check(&self, settings: &Settings) -> Result<(), String> {
        settings.refuse_loop_options(self.name())?;
        settings.refuse_pool_threads(self.name())?;
        settings.refuse_handlers(self.name())
    }

    fn place(&self, lane: &Lane, _settings: &Settings) -> Result<Placement, String> {
        place_on_threads(self.name(), lane)
    }

    fn is_spare(&self) -> fn(&Slot) -> bool {
        |slot| slot.connections_open.get() == 0
    }

    fn run(&self, worker: &Worker, plan: &Plan) -> ExitReason {
        let most = Self::threads(&plan.settings);
        let alive = Arc::new(AtomicUsize::new(0));
        run_blocking(self, worker, plan, (1, most), move |work| start(work, &alive, most))
    }
}

fn start(work: Work, alive: &Arc<AtomicUsize>, most: usize) {
    while alive.load(Ordering::Relaxed) >= most {
        // The kernel's queue holds who comes next.
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    alive.fetch_add(1, Ordering::Relaxed);
    let counted = Counted(alive.clone());
    let thread = std::thread::Builder::new().name("connection".into()).stack_size(STACK_BYTES);
    let started = thread.spawn(move || {
        let _counted = counted;
        work();
    });
    if let Err(error) = started {
        // The closure, and the connection in it, is gone: closing is all that is left.
        tracing::warn!(%error, "no thread for a connection");
        tenfold_scoreboard::current().rejections.add(tenfold_scoreboard::Shed::Resources);
    }
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
