#![allow(unsafe_code, reason = "reads an interrupted context and the frames below it")]
//! Walking frame pointers inside a signal handler.
//!
//! No unwinder: those lock and allocate (backtrace-rs takes a global lock, dl_iterate_phdr the loader's), and the
//! interrupted code may hold just these locks. The workspace builds with `-C force-frame-pointers=yes`, so the frames are
//! a linked list on the stack: `[fp]` is the caller's frame pointer, `[fp + 8]` the return address (System V AMD64 ABI
//! 3.2.2; AAPCS64 6.4.6). Code built without frame pointers ends the walk early or skips callers; it cannot derail it,
//! because every step must move up and stay inside the stack. A function that is interrupted before its frame is set up (in
//! its first instructions, or in a loop that the compiler has kept out of the frame) hides its direct caller.
//!
//! # Invariants
//! I1. Memory from the interrupted stack pointer to the end of the stack it is in is mapped and readable: it is in use.

use std::ffi::c_void;

/// Most frames that a walk yields.
pub(crate) const FRAMES_MAX: usize = 128;

/// Where the interrupted code was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registers {
    pub(crate) pc: usize,
    pub(crate) fp: usize,
    pub(crate) sp: usize,
}

impl Registers {
    /// The registers at the moment of the signal.
    ///
    /// # Safety
    /// `context` is the third argument of an `SA_SIGINFO` handler that is still running.
    pub(crate) unsafe fn of_context(context: *mut c_void) -> Self {
        let context = context.cast::<libc::ucontext_t>();
        // SAFETY: the caller's promise: the kernel has put a `ucontext_t` there (sigaction(2), SA_SIGINFO).
        let machine = unsafe { &(*context).uc_mcontext };
        #[cfg(target_arch = "x86_64")]
        return Self {
            pc: machine.gregs[libc::REG_RIP as usize] as usize,
            fp: machine.gregs[libc::REG_RBP as usize] as usize,
            sp: machine.gregs[libc::REG_RSP as usize] as usize,
        };
        #[cfg(target_arch = "aarch64")]
        return Self { pc: machine.pc as usize, fp: machine.regs[29] as usize, sp: machine.sp as usize };
    }

    /// Yields the program counter, then return addresses from the inside out, at most [`FRAMES_MAX`] in all.
    ///
    /// # Safety
    /// I1 holds for `low..high`, and the code that `self` describes is stopped.
    pub(crate) unsafe fn walk(self, low: usize, high: usize, mut yield_address: impl FnMut(usize)) {
        const WORD: usize = size_of::<usize>();
        yield_address(self.pc);
        let mut fp = self.fp;
        let mut lowest = low;
        for _ in 1..FRAMES_MAX {
            if fp < lowest || !fp.is_multiple_of(WORD) || high - lowest < 2 * WORD || fp > high - 2 * WORD {
                return;
            }
            // SAFETY: I1: both words are inside `low..high`, aligned.
            let (next, return_address) = unsafe {
                let frame = std::ptr::with_exposed_provenance::<usize>(fp);
                (frame.read_volatile(), frame.add(1).read_volatile())
            };
            if return_address < 4096 {
                return; // The first frame of a stack has a zero (or nothing) as its return address.
            }
            yield_address(return_address);
            lowest = fp + 2 * WORD;
            fp = next;
        }
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("add the registers of this architecture to Registers::of_context");
