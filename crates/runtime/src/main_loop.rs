//! Making a loop and running it: what a program calls.

use std::cell::RefCell;
use std::rc::Rc;

use tenfold_reactor::ReactorConfig;

use crate::error::RuntimeError;
use crate::remote::LoopHandle;
use crate::scheduler::{Entered, Scheduler};

/// How a runtime is made.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// The reactor's settings.
    pub reactor: ReactorConfig,
    /// Usable bytes of a fiber's stack; default 64 KiB. See [`crate::Builder::stack_bytes`] for single fibers.
    pub stack_bytes: usize,
    /// Most fibers of this thread; default 1,048,576, at most 268 million.
    pub fibers_max: usize,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        RuntimeConfig { reactor: ReactorConfig::default(), stack_bytes: 64 << 10, fibers_max: 1 << 20 }
    }
}

/// Runs fibers on the calling thread.
#[derive(Debug)]
pub struct Runtime {
    scheduler: Rc<Scheduler>,
}

impl Runtime {
    /// Makes a runtime for the calling thread.
    ///
    /// # Errors
    /// When the kernel refuses what a reactor or the stacks need.
    pub fn new(config: &RuntimeConfig) -> Result<Runtime, RuntimeError> {
        Ok(Runtime { scheduler: Rc::new(Scheduler::new(config)?) })
    }

    /// Runs `main` on a fiber, and everything that it starts, until it returns. Fibers that are alive then are cancelled,
    /// and get five seconds to end; what ignores that is leaked, stack and all.
    ///
    /// # Errors
    /// [`RuntimeError::Nested`] when this thread runs a loop already.
    ///
    /// # Panics
    /// With the panic of `main`.
    pub fn run<T: 'static>(&self, main: impl FnOnce() -> T + 'static) -> Result<T, RuntimeError> {
        let _entered = Entered::enter(&self.scheduler)?;
        let result = Rc::new(RefCell::new(None));
        let slot = result.clone();
        let main = move || {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(main));
            *slot.borrow_mut() = Some(outcome);
        };
        let id = self.scheduler.start("main", None, None, main).map_err(|failed| failed.0)?;
        self.scheduler.drive_to_end_of(id)?;
        self.scheduler.end()?;
        let outcome = result.borrow_mut().take().expect("the main fiber has ended and left its result");
        outcome.map_or_else(|panic| std::panic::resume_unwind(panic), Ok)
    }

    /// `"io_uring"` or `"epoll"`.
    pub fn backend_name(&self) -> &'static str {
        self.scheduler.reactor().backend_name()
    }

    /// A way to this loop for other threads.
    pub fn handle(&self) -> LoopHandle {
        self.scheduler.handle()
    }
}
