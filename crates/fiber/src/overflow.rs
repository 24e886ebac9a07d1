#![allow(unsafe_code, reason = "installs and runs a signal handler")]
//! Stack overflow in a fiber: one line that names it, and where it was, instead of a bare SIGSEGV.
//!
//! std's own handler knows the guards of std's threads only. Ours looks at the address of the fault: in the guard of
//! a fiber stack it reports and lets the process die of the signal; anywhere else it hands on to the handler that was there
//! before, normally std's.
//!
//! There is no recovery. The overflowed code was interrupted at an arbitrary instruction, with locks held and values half
//! made.
//!
//! # Invariants
//! I1. The handler allocates nothing, takes no lock, and calls only what signal-safety(7) lists.
//! I2. `PREVIOUS` is complete before our handler can run, and is not changed after that.
//! I3. A thread uses its `AltStack` memory until `sigaltstack` has been told otherwise, on the same thread.

use std::{
    ffi::{c_int, c_void},
    io,
    marker::PhantomData,
    mem::{self, MaybeUninit},
    ptr,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use crate::{error::FiberError, fiber, frames::Registers, region, registry, registry::StackBounds};

/// The handlers that were there before ours: SIGSEGV, SIGBUS.
static PREVIOUS: OnceLock<[libc::sigaction; 2]> = OnceLock::new();

/// Where the executable is loaded, so that the report can give addresses that `addr2line` takes.
static EXECUTABLE_BASE: AtomicUsize = AtomicUsize::new(0);

/// Bytes of signal stack per thread. The kernel's own frame takes up to 11 KiB with AMX state (sigaltstack(2), "NOTES");
/// std's handler, which ours may call, takes some more.
const ALT_STACK_BYTES: usize = 64 << 10;

/// Installs the report for the whole process; later calls do nothing. A thread that runs fibers also needs
/// [`install_for_thread`].
///
/// # Errors
/// [`FiberError::Signal`] when the kernel refuses the handler.
pub fn install() -> Result<(), FiberError> {
    static RESULT: OnceLock<Result<(), c_int>> = OnceLock::new();
    RESULT.get_or_init(install_once).map_err(|errno| FiberError::Signal {
        what: "the stack overflow handler",
        source: io::Error::from_raw_os_error(errno),
    })
}

fn install_once() -> Result<(), c_int> {
    let errno = || io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL);
    EXECUTABLE_BASE.store(executable_base(), Relaxed);

    let mut previous: [libc::sigaction; 2] = [empty_action(), empty_action()];
    for (signal, previous) in [libc::SIGSEGV, libc::SIGBUS].into_iter().zip(&mut previous) {
        // SAFETY: sigaction(2) only writes to `previous`.
        if unsafe { libc::sigaction(signal, ptr::null(), previous) } != 0 {
            return Err(errno());
        }
    }
    // I2: stored before the first of ours is installed.
    PREVIOUS.get_or_init(|| previous);

    let handler: unsafe extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = handle_fault;
    let mut action = empty_action();
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: `handle_fault` has the signature that SA_SIGINFO promises, and I1.
        if unsafe { libc::sigaction(signal, &action, ptr::null_mut()) } != 0 {
            return Err(errno());
        }
    }
    Ok(())
}

/// Gives the current thread a signal stack, on which the report can run when the thread's own stack is a full fiber stack.
/// Without it the kernel kills the process silently.
///
/// The memory (64 KiB and a guard) is released, and the thread's previous signal stack restored, when the returned value
/// is dropped.
///
/// # Errors
/// [`FiberError::Map`], [`FiberError::Guard`] or [`FiberError::Signal`] when the kernel refuses.
pub fn install_for_thread() -> Result<AltStack, FiberError> {
    let guard_bytes = region::page_bytes();
    let bytes = guard_bytes + ALT_STACK_BYTES;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
    // SAFETY: a new anonymous mapping touches no memory in use.
    let address =
        unsafe { libc::mmap(ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if address == libc::MAP_FAILED {
        return Err(FiberError::Map(io::Error::last_os_error()));
    }
    let mut stack =
        AltStack { address, bytes, previous: MaybeUninit::zeroed(), installed: false, not_send: PhantomData };
    // SAFETY: the first page of the mapping made above.
    if unsafe { libc::mprotect(address, guard_bytes, libc::PROT_NONE) } != 0 {
        return Err(FiberError::Guard(io::Error::last_os_error()));
    }
    let new = libc::stack_t {
        // SAFETY: `guard_bytes` is less than the mapping's size.
        ss_sp: unsafe { address.byte_add(guard_bytes) },
        ss_flags: 0,
        ss_size: ALT_STACK_BYTES,
    };
    // SAFETY: I3: the memory is mapped until `AltStack::drop` has taken it back.
    if unsafe { libc::sigaltstack(&new, stack.previous.as_mut_ptr()) } != 0 {
        let source = io::Error::last_os_error();
        return Err(FiberError::Signal { what: "a signal stack", source });
    }
    stack.installed = true;
    Ok(stack)
}

/// A thread's signal stack, from [`install_for_thread`]; released on drop, on the same thread.
///
/// ```compile_fail,E0277
/// fn assert_send<T: Send>() {}
/// assert_send::<tenfold_fiber::overflow::AltStack>();
/// ```
#[derive(Debug)]
#[must_use = "the signal stack is released when this is dropped"]
pub struct AltStack {
    address: *mut c_void,
    bytes: usize,
    /// What sigaltstack(2) said was there before; only meaningful when `installed`.
    previous: MaybeUninit<libc::stack_t>,
    installed: bool,
    not_send: PhantomData<*mut ()>,
}

impl Drop for AltStack {
    fn drop(&mut self) {
        if self.installed {
            // SAFETY: `installed` means that sigaltstack has filled `previous`. It is this thread's (the type is not Send), and std
            // keeps its stack until the thread ends.
            let result = unsafe { libc::sigaltstack(self.previous.as_ptr(), ptr::null_mut()) };
            if result != 0 {
                // EPERM: we are being dropped on it, inside a handler. Leaking it is the only thing that is safe.
                return;
            }
        }
        // SAFETY: I3: our own mapping, which the kernel does not use any more.
        unsafe { libc::munmap(self.address, self.bytes) };
    }
}

/// The handler for SIGSEGV and SIGBUS.
unsafe extern "C" fn handle_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: SA_SIGINFO: `info` is valid, and for these two signals it has an address (sigaction(2)).
    let (address, code) = unsafe { ((*info).si_addr().addr(), (*info).si_code) };
    // A code of zero or less means that another process or thread has sent the signal: there is no address.
    let overflowed =
        if code > 0 { registry::find(address).filter(|stack| address < stack.low) } else { None };
    match overflowed {
        Some(stack) => {
            // SAFETY: `context` is this handler's third argument.
            let registers = unsafe { Registers::of_context(context) };
            report(address, stack, registers);
            // Returning repeats the fault, and the default action then ends the process with the right registers in
            // the core dump, which an abort from here would not have.
            restore_default(signal);
        }
        None => hand_on(signal, info, context),
    }
}

/// Calls the handler that was there before ours.
fn hand_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let previous = PREVIOUS.get().map(|[segv, bus]| if signal == libc::SIGSEGV { segv } else { bus });
    match previous {
        Some(action) if action.sa_sigaction != libc::SIG_DFL && action.sa_sigaction != libc::SIG_IGN => {
            if action.sa_flags & libc::SA_SIGINFO != 0 {
                // SAFETY: with SA_SIGINFO, the field holds a function of this type (sigaction(2)).
                let handler = unsafe {
                    mem::transmute::<usize, unsafe extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void)>(
                        action.sa_sigaction,
                    )
                };
                // SAFETY: called as the kernel would, with the kernel's arguments.
                unsafe { handler(signal, info, context) };
            } else {
                // SAFETY: without SA_SIGINFO, the field holds a function of this type.
                let handler =
                    unsafe { mem::transmute::<usize, unsafe extern "C" fn(c_int)>(action.sa_sigaction) };
                // SAFETY: as above.
                unsafe { handler(signal) };
            }
        }
        // SIG_IGN as well: ignoring a fault would repeat it for ever; the kernel kills in that case too (signal(2)).
        _ => restore_default(signal),
    }
    // A fault repeats itself when we return, and finds the default action if the previous handler (std's does this) has
    // restored it. A signal that somebody sent does not repeat itself, so `kill -SEGV` would only have
    // disarmed us.
    // SAFETY: `info` is valid; sigaction(2) and raise(3) are signal-safe.
    unsafe {
        let mut now = empty_action();
        libc::sigaction(signal, ptr::null(), &mut now);
        if (*info).si_code <= 0 && now.sa_sigaction == libc::SIG_DFL {
            libc::raise(signal);
        }
    }
}

fn restore_default(signal: c_int) {
    let action = empty_action(); // SIG_DFL is zero.
    // SAFETY: sigaction(2) is signal-safe.
    unsafe { libc::sigaction(signal, &action, ptr::null_mut()) };
}

/// Writes the report to standard error, piece by piece, without allocating.
fn report(address: usize, stack: StackBounds, registers: Registers) {
    let mut out = Report::new();
    // The current fiber, unless the address is in some other stack's guard: then a wild pointer was followed, or a frame
    // was so large that it reached over a whole guard.
    let name = fiber::current_in_handler().filter(|&(_, low)| low == stack.low).map(|(name, _)| name);
    out.text("stack overflow in fiber \"").text(name.unwrap_or("(not the current one)")).text("\" (");
    out.decimal((stack.high - stack.low) / 1024).text(" KiB stack, fault at ").hex(address).text(")\n");
    let base = EXECUTABLE_BASE.load(Relaxed);
    // The frames are on this stack only if the stack pointer is: in its usable part, or just fallen off into the guard.
    let is_on_it = (stack.guard_low..stack.high).contains(&registers.sp);
    let (low, high) = if is_on_it { (registers.sp.max(stack.low), stack.high) } else { (0, 0) };
    let mut count = 0;
    // SAFETY: I1 of frames.rs: `low..high` is the used part of a stack that this thread has just been running on and that
    // we have interrupted, or it is empty.
    unsafe {
        registers.walk(low, high, |address| {
            // The innermost frames say it all: an overflow is mostly the same few functions over and over.
            if count < REPORT_FRAMES_MAX {
                out.text("  ").decimal(count).text(": ").hex(address);
                if base != 0 && address >= base {
                    out.text(" (executable + ").hex(address - base).text(")");
                }
                out.text("\n");
            }
            count += 1;
        });
    }
    out.flush();
}

const REPORT_FRAMES_MAX: usize = 32;

/// A small buffer in front of write(2).
struct Report {
    bytes: [u8; 256],
    len: usize,
}

impl Report {
    fn new() -> Self {
        Self { bytes: [0; 256], len: 0 }
    }

    fn text(&mut self, text: &str) -> &mut Self {
        for &byte in text.as_bytes() {
            if self.len == self.bytes.len() {
                self.flush();
            }
            self.bytes[self.len] = byte;
            self.len += 1;
        }
        self
    }

    fn decimal(&mut self, number: usize) -> &mut Self {
        self.number(number, 10)
    }

    fn hex(&mut self, number: usize) -> &mut Self {
        self.text("0x").number(number, 16)
    }

    fn number(&mut self, mut number: usize, radix: usize) -> &mut Self {
        let mut digits = [0_u8; 20]; // 2^64 has 20 decimal digits.
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = b"0123456789abcdef"[number % radix];
            number /= radix;
            if number == 0 {
                break;
            }
        }
        self.text(std::str::from_utf8(&digits[first..]).unwrap_or("?"))
    }

    fn flush(&mut self) {
        let mut rest = &self.bytes[..self.len];
        while !rest.is_empty() {
            // The raw call, so that no interposed `write` runs here: it might want to park the fiber.
            // SAFETY: the buffer is valid; write(2) is signal-safe.
            let written =
                unsafe { libc::syscall(libc::SYS_write, libc::STDERR_FILENO, rest.as_ptr(), rest.len()) };
            match usize::try_from(written) {
                Ok(written) if written > 0 => rest = &rest[written.min(rest.len())..],
                _ => break, // Nobody reads; there is nobody to tell.
            }
        }
        self.len = 0;
    }
}

fn empty_action() -> libc::sigaction {
    // SAFETY: all zeroes is a valid sigaction: SIG_DFL, no flags, an empty mask.
    unsafe { mem::zeroed() }
}

/// Where the object with this function is loaded, 0 if unknown. dladdr(3) is not signal-safe, so it is asked beforehand.
fn executable_base() -> usize {
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: dladdr(3) looks up any address and fills `info` when it answers non-zero.
    unsafe {
        match libc::dladdr(executable_base as *const c_void, info.as_mut_ptr()) {
            0 => 0,
            _ => info.assume_init().dli_fbase.addr(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_write_them() {
        let mut out = Report::new();
        out.decimal(0).text(" ").decimal(64).text(" ").hex(0xdead_beef).text(" ").decimal(usize::MAX);
        assert_eq!(&out.bytes[..out.len], b"0 64 0xdeadbeef 18446744073709551615");
    }

    #[test]
    fn a_threads_signal_stack_is_restored_on_drop() {
        let current = || {
            let mut stack = MaybeUninit::<libc::stack_t>::zeroed();
            // SAFETY: sigaltstack(2) with no new stack only fills `stack`.
            unsafe {
                assert_eq!(libc::sigaltstack(ptr::null(), stack.as_mut_ptr()), 0);
                stack.assume_init()
            }
        };
        let before = current();
        let ours = install_for_thread().unwrap();
        assert_eq!(current().ss_size, ALT_STACK_BYTES);
        assert_ne!(current().ss_sp, before.ss_sp);
        drop(ours);
        assert_eq!((current().ss_sp, current().ss_flags), (before.ss_sp, before.ss_flags));
    }
}
