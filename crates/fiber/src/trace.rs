#![allow(unsafe_code, reason = "installs and runs a signal handler, and signals a thread")]
//! Where a thread is right now, asked from another thread.
//!
//! The watchdog finds that a loop has been held for too long and wants to say by which line. It sends the thread a signal,
//! whose handler walks the frame pointers of the stack it has interrupted, fiber or thread, into a buffer made
//! beforehand; names are looked up afterwards, on the watchdog's own time.
//!
//! ```text
//!   state:   IDLE --capture--> requested(thread) --handler--> WRITING --handler--> DONE --capture--> IDLE
//!                                  `----- capture, after its timeout -----------------------> IDLE
//! ```
//!
//! # Invariants
//! I1. The handler allocates nothing, takes no lock and makes no system call. It reads the interrupted stack only within
//! the bounds of a fiber stack that the registry knows or of the thread's own stack.
//! I2. `FRAMES` and `LEN` are written by the handler alone, between its change of `STATE` to WRITING and to DONE, and
//! read by the one `capture` at a time (a mutex) after DONE.

use std::{
    cell::Cell,
    ffi::{c_int, c_void},
    io,
    mem::{self, MaybeUninit},
    ptr,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{
            AtomicBool, AtomicU64, AtomicUsize,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    error::FiberError,
    frames::{FRAMES_MAX, Registers},
    registry,
};

const IDLE: u64 = 0;
const WRITING: u64 = 1;
const DONE: u64 = 2;

/// The state in which the thread `tid` is asked. State and thread in one word: a thread whose signal comes late cannot
/// answer for the next one.
fn requested(tid: libc::pid_t) -> u64 {
    u64::from(tid.unsigned_abs()) << 2 | 3
}

static STATE: AtomicU64 = AtomicU64::new(IDLE);
static FRAMES: [AtomicUsize; FRAMES_MAX] = [const { AtomicUsize::new(0) }; FRAMES_MAX];
static LEN: AtomicUsize = AtomicUsize::new(0);
/// Where a walk starts that is not about the interrupted code: a [`Place`], and the address to look for (or zero).
/// `FROM_SP` is zero otherwise. Written by the one `capture` at a time before it sends its signal.
static FROM_PC: AtomicUsize = AtomicUsize::new(0);
static FROM_FP: AtomicUsize = AtomicUsize::new(0);
static FROM_SP: AtomicUsize = AtomicUsize::new(0);
static LOOK_FOR: AtomicUsize = AtomicUsize::new(0);
/// Whether the address was found; as `LEN`.
static FOUND: AtomicBool = AtomicBool::new(false);
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
/// The signal, once installed.
static SIGNAL: OnceLock<c_int> = OnceLock::new();

/// How often a waiting `capture` looks. Signals arrive in microseconds unless the thread is not running.
const LOOK_EVERY: Duration = Duration::from_micros(50);

thread_local! {
    /// This thread's kernel id and stack, for its handler; zero when not registered.
    static ME: Cell<ThreadBounds> = const { Cell::new(ThreadBounds { tid: 0, low: 0, high: 0 }) };
}

#[derive(Clone, Copy)]
struct ThreadBounds {
    tid: libc::pid_t,
    low: usize,
    high: usize,
}

/// A signal that is free for tracing unless the program uses it: SIGRTMIN + 1. (glibc keeps the two below SIGRTMIN.)
pub fn default_signal() -> i32 {
    libc::SIGRTMIN() + 1
}

/// Installs the handler for `signal`, for the whole process. Must be called before [`capture`]; a second call with the same
/// signal does nothing.
///
/// # Errors
/// [`FiberError::Signal`] when the kernel refuses the handler, or when another signal has been installed before.
pub fn install(signal: i32) -> Result<(), FiberError> {
    let failed = |source| FiberError::Signal { what: "the trace handler", source };
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    match SIGNAL.get() {
        Some(&installed) if installed == signal => return Ok(()),
        Some(_) => return Err(failed(io::Error::other("another signal is already used for tracing"))),
        None => {}
    }
    let handler: unsafe extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = handle_trace;
    // SAFETY: all zeroes is a valid sigaction.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = handler as usize;
    // SA_RESTART: system calls that were not written with signals in mind go on. SA_ONSTACK: a fiber's stack may not have
    // room for the signal frame, which holds all vector registers.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
    // SAFETY: `handle_trace` has the signature that SA_SIGINFO promises, and I1.
    if unsafe { libc::sigaction(signal, &action, ptr::null_mut()) } != 0 {
        return Err(failed(io::Error::last_os_error()));
    }
    SIGNAL.get_or_init(|| signal);
    Ok(())
}

/// A thread that can be asked where it is. Any thread may keep it, also beyond the thread's end.
#[derive(Clone, Debug)]
pub struct TracedThread {
    tid: libc::pid_t,
}

impl TracedThread {
    /// The thread's id as the kernel and `top -H` show it.
    pub fn tid(&self) -> i32 {
        self.tid
    }
}

/// Makes the current thread one that can be asked. Once per thread and process: after fork(2) the child's thread has
/// another id and must register again.
///
/// # Errors
/// [`FiberError::ThreadStack`] when the bounds of the thread's stack cannot be found.
pub fn register_thread() -> Result<TracedThread, FiberError> {
    let (low, high) = thread_stack().map_err(FiberError::ThreadStack)?;
    // SAFETY: gettid(2) cannot fail.
    let tid = unsafe { libc::gettid() };
    ME.set(ThreadBounds { tid, low, high });
    Ok(TracedThread { tid })
}

/// The program counter and then the return addresses, from the inside out, of what `thread` is running now: at most 128.
///
/// Of a fiber, the frames of that fiber only; who resumed it is the scheduler and of no interest.
///
/// Waits at most `timeout`. Empty when the thread has ended, has not registered, blocks the signal, or did not run in
/// time (in an uninterruptible wait, or with no processor free). One capture at a time in the process; others wait for
/// their turn. [`install`] must have been called.
pub fn capture(thread: &TracedThread, timeout: Duration) -> Vec<usize> {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    FROM_SP.store(0, Relaxed);
    ask(thread, timeout)
}

/// Where code of a fiber was a moment before the fiber was suspended.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pc: usize,
    fp: usize,
    sp: usize,
}

/// The present place. Good for [`capture_parked`] while the function that has called this is not left.
#[inline(always)]
pub fn place() -> Place {
    let (pc, fp, sp): (usize, usize, usize);
    // SAFETY: reads three registers.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!("lea {}, [rip]", "mov {}, rbp", "mov {}, rsp", out(reg) pc, out(reg) fp, out(reg) sp,
            options(nomem, nostack, preserves_flags));
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("adr {}, .", "mov {}, x29", "mov {}, sp", out(reg) pc, out(reg) fp, out(reg) sp,
            options(nomem, nostack, preserves_flags));
    }
    Place { pc, fp, sp }
}

/// As [`capture`], of a fiber of `thread` that is suspended; and whether its stack holds an address within
/// [`NEAR_BYTES`] below `look_for`: a reference to what begins there or a little before.
///
/// The walk is done by the thread that the fiber belongs to, so the fiber cannot run meanwhile. If it has run since, or
/// has ended, the result is about whatever is in its place.
pub fn capture_parked(
    thread: &TracedThread,
    place: Place,
    look_for: Option<usize>,
    timeout: Duration,
) -> (Vec<usize>, bool) {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    FROM_PC.store(place.pc, Relaxed);
    FROM_FP.store(place.fp, Relaxed);
    FROM_SP.store(place.sp, Relaxed);
    LOOK_FOR.store(look_for.unwrap_or(0), Relaxed);
    FOUND.store(false, Relaxed);
    let frames = ask(thread, timeout);
    let found = !frames.is_empty() && FOUND.load(Relaxed);
    (frames, found)
}

/// How far below the address in [`capture_parked`] a reference may point: a lock is rarely the first field of what it
/// is a part of.
pub const NEAR_BYTES: usize = 128;

/// Sends the signal and waits for the answer. The caller holds `ONE_AT_A_TIME` and has said what to walk.
fn ask(thread: &TracedThread, timeout: Duration) -> Vec<usize> {
    let Some(&signal) = SIGNAL.get() else { return Vec::new() };
    STATE.store(requested(thread.tid), Release);
    // tgkill, not pthread_kill: it fails cleanly for a thread that has ended, while a pthread_t is a dangling pointer
    // then. A thread that got the same id since has not registered under it, or has registered and is traced.
    // SAFETY: tgkill(2) takes numbers only; the handler is installed.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread.tid, signal) };
    if sent == 0 {
        let deadline = Instant::now() + timeout;
        while STATE.load(Acquire) != DONE && Instant::now() < deadline {
            thread::sleep(LOOK_EVERY);
        }
    }
    if STATE.compare_exchange(requested(thread.tid), IDLE, AcqRel, Acquire).is_ok() {
        return Vec::new();
    }
    // The handler has begun, so it ends after 128 frames at most, as soon as its thread gets the processor.
    while STATE.load(Acquire) != DONE {
        thread::sleep(LOOK_EVERY);
    }
    let frames = FRAMES[..LEN.load(Relaxed)].iter().map(|frame| frame.load(Relaxed)).collect();
    STATE.store(IDLE, Release);
    frames
}

/// The return addresses of the calling code itself, from the inside out, at most `frames_max`.
///
/// Uses the unwinder, which locks: for a thread that asks about itself, never in a handler. Costs some ten microseconds,
/// more the first time.
pub fn here(frames_max: usize) -> Vec<usize> {
    let mut frames = Vec::with_capacity(frames_max);
    backtrace::trace(|frame| {
        // Below the first function of a fiber there is nothing, and some unwinders say so by a frame at zero.
        frames.extend(Some(frame.ip().addr()).filter(|address| *address != 0));
        frames.len() < frames_max
    });
    frames
}

/// One line per function for addresses from [`capture`]: its name, and the source line if the program has line tables.
/// An inlined function has a line of its own; an unknown address stays a number.
///
/// Reads debug information from disk the first time, allocates and locks: milliseconds to seconds, and never in a handler.
pub fn symbolise(frames: &[usize]) -> Vec<String> {
    let mut lines = Vec::with_capacity(frames.len());
    for (index, &address) in frames.iter().enumerate() {
        // A return address is behind the call, which may be another line or another function.
        let inside = if index == 0 { address } else { address - 1 };
        let mut found = false;
        backtrace::resolve(ptr::without_provenance_mut(inside), |symbol| {
            found = true;
            let name = symbol.name().map_or_else(|| format!("{address:#x}"), |name| format!("{name:#}"));
            lines.push(match (symbol.filename(), symbol.lineno()) {
                (Some(file), Some(line)) => format!("{name} at {}:{line}", file.display()),
                _ => name,
            });
        });
        if !found {
            lines.push(format!("{address:#x}"));
        }
    }
    // The debug information is some ten megabytes, and a server should not keep them for a report it may never repeat.
    backtrace::clear_symbol_cache();
    lines
}

/// The handler: runs on the thread that is asked.
unsafe extern "C" fn handle_trace(_signal: c_int, _info: *mut libc::siginfo_t, context: *mut c_void) {
    let me = ME.get();
    // A signal may be late, or sent by somebody else: answer only what is being asked, and of us.
    if me.tid == 0 || STATE.compare_exchange(requested(me.tid), WRITING, AcqRel, Relaxed).is_err() {
        return;
    }
    let registers = match FROM_SP.load(Relaxed) {
        // SAFETY: `context` is this handler's third argument.
        0 => unsafe { Registers::of_context(context) },
        sp => Registers { pc: FROM_PC.load(Relaxed), fp: FROM_FP.load(Relaxed), sp },
    };
    // By address, not by asking which fiber is current: the signal may have hit the middle of a switch.
    let (low, high) = match registry::find(registers.sp) {
        Some(stack) => (stack.low, stack.high),
        // A fiber's stack that is gone.
        None if FROM_SP.load(Relaxed) != 0 => (0, 0),
        None => (me.low, me.high),
    };
    let (low, high) = if (low..high).contains(&registers.sp) { (registers.sp, high) } else { (0, 0) };
    let mut len = 0;
    // SAFETY: I1 of frames.rs: `sp..high` is in use by the code we have interrupted, or the range is empty.
    unsafe {
        registers.walk(low, high, |address| {
            FRAMES[len].store(address, Relaxed);
            len += 1;
        });
    }
    LEN.store(len, Relaxed);
    if FROM_SP.load(Relaxed) != 0 {
        // SAFETY: as above.
        FOUND.store(unsafe { mentions(low, high, LOOK_FOR.load(Relaxed)) }, Relaxed);
    }
    STATE.store(DONE, Release);
}

/// Whether a word of a stack is an address within [`NEAR_BYTES`] below `address`. At most the stack's length in words.
///
/// # Safety
/// `low..high` is mapped, and the code that it belongs to is stopped.
unsafe fn mentions(low: usize, high: usize, address: usize) -> bool {
    const WORD: usize = size_of::<usize>();
    let words = (low.next_multiple_of(WORD)..high.saturating_sub(WORD - 1)).step_by(WORD);
    let near = address.saturating_sub(NEAR_BYTES)..=address;
    address != 0
        && words
            // SAFETY: the caller's promise; aligned.
            .map(|at| unsafe { ptr::with_exposed_provenance::<usize>(at).read_volatile() })
            .any(|word| near.contains(&word))
}

/// Lowest and highest address of the current thread's own stack.
fn thread_stack() -> io::Result<(usize, usize)> {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::zeroed();
    let (mut low, mut bytes) = (ptr::null_mut(), 0);
    // SAFETY: pthread_getattr_np(3) fills the attributes of the calling thread; they are read and then destroyed.
    let result = unsafe {
        match libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) {
            0 => {
                let result = libc::pthread_attr_getstack(attributes.as_ptr(), &mut low, &mut bytes);
                libc::pthread_attr_destroy(attributes.as_mut_ptr());
                result
            }
            error => error,
        }
    };
    match result {
        0 => Ok((low.addr(), low.addr() + bytes)),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}
