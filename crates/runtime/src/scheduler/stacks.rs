//! Stacks of other sizes than the usual one, and the memory of those that are not needed any more.

use std::time::Duration;

use tenfold_fiber::{FiberError, StackConfig, StackPool};

use super::{Scheduler, TIMER_TRIM};

/// How often memory of stacks that are not needed any more is given back.
const TRIM_EVERY: Duration = Duration::from_secs(1);

impl Scheduler {
    #[cold]
    pub(super) fn take_stack_of_size(&self, bytes: usize) -> Result<tenfold_fiber::Stack, FiberError> {
        let mut pools = self.stacks_of_size.borrow_mut();
        if let Some((_, pool)) = pools.iter().find(|(size, _)| *size == bytes) {
            return pool.take();
        }
        let pool = StackPool::new(StackConfig { usable_bytes: bytes, ..self.stack_config.clone() })?;
        let stack = pool.take();
        pools.push((bytes, pool));
        stack
    }

    /// A stack has gone back to its pool: sees to it that it does not keep its memory for ever.
    #[inline]
    pub(super) fn arm_trim(&self) {
        if !self.trim_armed.replace(true) {
            self.reactor.add_timer(self.reactor.now() + TRIM_EVERY, TIMER_TRIM);
        }
    }

    pub(super) fn trim(&self) {
        let mut busy = self.table.borrow().len() > 1;
        let others = self.stacks_of_size.borrow();
        for pool in std::iter::once(&self.stacks).chain(others.iter().map(|(_, pool)| pool)) {
            pool.trim();
            let stats = pool.stats();
            busy |= stats.warm > stats.in_use;
        }
        // An idle process is not woken every second for ever: the timer rests until a fiber ends again.
        self.trim_armed.set(busy);
        if busy {
            self.reactor.add_timer(self.reactor.now() + TRIM_EVERY, TIMER_TRIM);
        }
    }
}
