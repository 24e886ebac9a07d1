//! What can go wrong outside of this crate's control: limits reached, and the kernel saying no.

use std::io;

/// Why a stack, a guard or a signal handler could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FiberError {
    /// The configuration asks for something that cannot be honoured; the text says which field and why.
    #[error("stack configuration: {0}")]
    Config(&'static str),
    /// The pool has handed out `stacks_max` stacks. Finish fibers, or raise the limit.
    #[error("all {stacks_max} stacks of the pool are in use")]
    StacksExhausted {
        /// The limit that was reached, in stacks.
        stacks_max: usize,
    },
    /// The process has as many stack regions as the overflow report can know. More regions would work, but an overflow
    /// in one of them would be a bare SIGSEGV.
    #[error("all {regions_max} stack regions of the process are in use")]
    RegionsExhausted {
        /// The limit that was reached, in regions.
        regions_max: usize,
    },
    /// The kernel refused address space for stacks: RLIMIT_AS, vm.overcommit_memory=2, or vm.max_map_count.
    #[error("cannot map a region of stacks: {0}")]
    Map(#[source] io::Error),
    /// The kernel refused a guard. With `mprotect` every guard is a mapping, and `ENOMEM` means vm.max_map_count.
    #[error("cannot guard a stack: {0}")]
    Guard(#[source] io::Error),
    /// A signal handler or an alternate signal stack was refused.
    #[error("cannot install {what}: {source}")]
    Signal {
        /// What was being installed.
        what: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The bounds of the current thread's stack are not to be had, so its frames cannot be walked safely.
    #[error("cannot find the bounds of this thread's stack: {0}")]
    ThreadStack(#[source] io::Error),
}
