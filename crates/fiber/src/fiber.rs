#![allow(unsafe_code, reason = "keeps the current fiber in a thread-local pointer and switches stacks")]
//! A closure on a stack of its own, and the switch between it and its resumer.
//!
//! Called by the runtime's scheduler (`new`, `resume`, `into_stack`) and, through `suspend`, by whatever waits on a
//! fiber. The switch itself is corosensei's; this file adds who is running now, names, and what may not happen.
//!
//! A fiber suspends only by itself and continues on the thread where it began, so thread identity, cached thread-local
//! addresses and values that are not `Send` are fine across a `suspend`. What is not fine, and what no type can forbid, is
//! to treat a suspension as if nobody else ran on the thread meanwhile: a `RefCell` borrowed or a std lock held across
//! `suspend` meets the next fiber, and a crate that keeps a borrowed pointer in a thread-local for the time of a closure
//! (scoped-tls) must not be suspended inside that closure.
//!
//! # Invariants
//! I1. `CURRENT` is null or points to the `Context` of the innermost fiber whose code is running on this thread. A context
//! is in the root frame of its fiber's stack, so it lives while that fiber is unfinished, and it is not on another stack.
//! I2. While a fiber is not running, nothing refers to its frames except what the fiber itself has lent out (the kernel
//! included), and for these its stack is left untouched: never unwound, never reused, never unmapped.
//! I3. A `Fiber` and all contexts stay on one thread: they are neither `Send` nor `Sync`.

use std::{arch::asm, cell::Cell, fmt, marker::PhantomData, mem::ManuallyDrop, ptr, thread};

use corosensei::{Coroutine, CoroutineResult, Yielder};

use crate::{name::PackedName, stack::Stack};

thread_local! {
    // `const` and without a destructor: one load relative to the thread pointer, also in a signal handler.
    static CURRENT: Cell<*const Context> = const { Cell::new(ptr::null()) };
}

/// A closure that runs on its own stack and can stop in the middle.
///
/// It is tied to the thread that made it:
///
/// ```compile_fail,E0277
/// fn assert_send<T: Send>() {}
/// assert_send::<tenfold_fiber::Fiber>();
/// ```
///
/// # Drop
/// A fiber that has finished or has not begun gives its stack back to the pool; in the latter case its closure is dropped.
/// A *suspended* fiber is leaked, with its stack and everything on it. Freeing it would be wrong: the kernel may be about to write
/// into a buffer there (an io_uring operation is over only at its completion), and another fiber may borrow from it.
/// Unwinding it would be wrong as well: there may be frames of C code on the stack, which cannot be unwound. Whoever
/// wants a fiber gone makes its pending call fail and lets it return.
pub struct Fiber {
    coroutine: ManuallyDrop<Coroutine<(), (), (), Stack>>,
    /// I3, whatever corosensei decides about its own types.
    not_send: PhantomData<*mut ()>,
}

/// How a [`Fiber::resume`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// The fiber has called [`suspend`] and can be resumed again.
    Suspended,
    /// The fiber's closure has returned.
    Finished,
}

/// What a running fiber knows about itself. Lives in the root frame of its stack.
struct Context {
    yielder: *const Yielder<(), ()>,
    /// The fiber that has resumed this one; null when it was a plain thread. Set at each resume.
    parent: Cell<*const Context>,
    name: Cell<PackedName>,
    /// How many `without_suspending` are in progress.
    held: Cell<u32>,
    /// Lowest usable address of the stack.
    low: usize,
    /// Bytes from there to where the stack begins, its high end.
    bytes: u32,
}

/// Largest closure that is written to the stack directly.
const CLOSURE_BYTES_MAX: usize = 1024;
/// Strictest alignment of such a closure.
const CLOSURE_ALIGN_MAX: usize = 64;

impl Fiber {
    /// A fiber that will run `f` on `stack` when it is first resumed.
    ///
    /// Does not allocate: `f` moves to the stack. Only an `f` that holds more than 1 KiB goes to the heap: writing it
    /// below the end of a small stack would not hit the guard but jump over it, and a parked fiber should need one page.
    ///
    /// `name` appears in the overflow report; see [`set_name`].
    ///
    /// # Aborts
    /// When a panic leaves `f`. There is nobody whom it could be handed to; the runtime catches panics inside `f`.
    #[inline]
    pub fn new<F: FnOnce() + 'static>(stack: Stack, name: &'static str, f: F) -> Self {
        if const { size_of::<F>() > CLOSURE_BYTES_MAX || align_of::<F>() > CLOSURE_ALIGN_MAX } {
            Self::new_small(stack, name, Box::new(f))
        } else {
            Self::new_small(stack, name, f)
        }
    }

    #[inline]
    fn new_small<F: FnOnce() + 'static>(stack: Stack, name: &'static str, f: F) -> Self {
        // A stack has 256 MiB at most. In 32 bits, because adjacent words of one size would be copied as one, and a processor
        // waits for a load that takes in two stores (3 ns).
        let (low, bytes) = (stack.low(), stack.usable_bytes() as u32);
        let name = PackedName::new(name);
        let coroutine = Coroutine::with_stack(stack, move |yielder: &Yielder<(), ()>, ()| {
            let context = Context {
                yielder,
                parent: Cell::new(CURRENT.get()),
                name: Cell::new(name),
                held: Cell::new(0),
                low,
                bytes,
            };
            CURRENT.set(&context);
            let bomb = AbortOnUnwind; // After `context`, whose name it reads.
            f();
            CURRENT.set(context.parent.get());
            std::mem::forget(bomb);
        });
        Self { coroutine: ManuallyDrop::new(coroutine), not_send: PhantomData }
    }

    /// Runs the fiber until it suspends or returns. May be called on another fiber, which then is the one that a
    /// [`suspend`] returns to.
    ///
    /// # Panics
    /// When the fiber has finished.
    #[inline]
    pub fn resume(&mut self) -> Resume {
        match self.coroutine.resume(()) {
            CoroutineResult::Yield(()) => Resume::Suspended,
            CoroutineResult::Return(()) => Resume::Finished,
        }
    }

    /// Whether the closure has returned.
    #[inline]
    pub fn is_finished(&self) -> bool {
        self.coroutine.done()
    }

    /// The stack of a fiber that has finished.
    ///
    /// # Errors
    /// The fiber itself, when it has not.
    #[inline]
    pub fn into_stack(self) -> Result<Stack, Self> {
        if !self.is_finished() {
            return Err(self);
        }
        let mut fiber = ManuallyDrop::new(self);
        // SAFETY: `fiber` is not dropped and not used again, so the coroutine is taken once.
        let coroutine = unsafe { ManuallyDrop::take(&mut fiber.coroutine) };
        Ok(coroutine.into_stack())
    }
}

impl Drop for Fiber {
    fn drop(&mut self) {
        if self.coroutine.done() || !self.coroutine.started() {
            // SAFETY: dropped once, here. Not suspended, so corosensei does not unwind; I2 has nothing to protect.
            unsafe { ManuallyDrop::drop(&mut self.coroutine) };
        }
        // Else I2: it stays as it is for ever. The `Stack` inside is not dropped either, so its region stays mapped.
    }
}

impl fmt::Debug for Fiber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match (self.coroutine.done(), self.coroutine.started()) {
            (true, _) => "finished",
            (false, true) => "suspended",
            (false, false) => "not begun",
        };
        f.debug_struct("Fiber").field("state", &state).finish()
    }
}

/// Stops the current fiber and returns to whoever has resumed it; returns `true` when the fiber is resumed.
///
/// Returns `false` at once, without having stopped, inside [`without_suspending`] and while the thread is panicking: the
/// next fiber would see `thread::panicking()`, poison its locks, and a panic of its own would abort the process. The
/// caller then has to wait as a plain thread does. See [`may_suspend`].
///
/// # Panics
/// When not on a fiber.
#[inline]
pub fn suspend() -> bool {
    if thread::panicking() {
        return false;
    }
    let current = CURRENT.get();
    if current.is_null() {
        suspended_off_fiber();
    }
    // SAFETY: I1: `current` is alive and this code runs on its stack, below its frame; it stays alive over the switch,
    // because the fiber is unfinished and I2 keeps its stack. The yielder lives as long as the coroutine runs.
    unsafe {
        if (*current).held.get() != 0 {
            return false;
        }
        CURRENT.set((*current).parent.get());
        (*(*current).yielder).suspend(());
        // Resumed, possibly by another fiber than before.
        (*current).parent.set(CURRENT.get());
        CURRENT.set(current);
    }
    true
}

/// Whether [`suspend`] would suspend: on a fiber, not inside [`without_suspending`], and the thread is not panicking.
#[inline]
pub fn may_suspend() -> bool {
    with_current(|context| context.held.get() == 0).unwrap_or(false) && !thread::panicking()
}

/// Runs `f`, during which the current fiber does not suspend: [`suspend`] returns `false` instead, and the caller waits as a
/// plain thread does.
///
/// For code that must not meet another fiber of its thread half-way, such as one that holds a lock of std's or runs inside a
/// crate's thread-local scope. Off a fiber it just runs `f`.
///
/// ```
/// use tenfold_fiber::{may_suspend, without_suspending};
/// assert!(!without_suspending(may_suspend));
/// ```
pub fn without_suspending<R>(f: impl FnOnce() -> R) -> R {
    /// Ends the section, also when `f` panics.
    struct Section(*const Context);
    impl Drop for Section {
        fn drop(&mut self) {
            // SAFETY: I1: the context is that of the fiber we run on, and the fiber is unfinished: its frame is above ours.
            if let Some(context) = unsafe { self.0.as_ref() } {
                context.held.set(context.held.get() - 1);
            }
        }
    }
    let section = Section(CURRENT.get());
    // SAFETY: I1, as above.
    if let Some(context) = unsafe { section.0.as_ref() } {
        let held =
            context.held.get().checked_add(1).expect("the stack ends before four billion nested calls");
        context.held.set(held);
    }
    f()
}

/// Whether the calling code runs on a fiber.
#[inline]
pub fn is_on_fiber() -> bool {
    !CURRENT.get().is_null()
}

/// Renames the current fiber, for example when the route of its request is known. Nothing happens off a fiber.
#[inline]
pub fn set_name(name: &'static str) {
    with_current(|context| context.name.set(PackedName::new(name)));
}

/// The name of the current fiber; `None` off a fiber.
#[inline]
pub fn name() -> Option<&'static str> {
    with_current(|context| context.name.get().get().unwrap_or(""))
}

/// Bytes of stack that the current fiber uses at this point; 0 off a fiber.
#[inline]
pub fn stack_used() -> usize {
    with_current(|context| (context.low + context.bytes as usize).saturating_sub(stack_pointer()))
        .unwrap_or(0)
}

/// Bytes of stack that the current fiber has left at this point; `usize::MAX` off a fiber, whose thread's bounds are not
/// this crate's business.
#[inline]
pub fn stack_left() -> usize {
    with_current(|context| stack_pointer().saturating_sub(context.low)).unwrap_or(usize::MAX)
}

/// The name and the lowest usable address of the fiber that runs on this thread. Safe in a signal handler: the name is one
/// word, and a context is complete before `CURRENT` points to it.
pub(crate) fn current_in_handler() -> Option<(&'static str, usize)> {
    with_current(|context| (context.name.get().get().unwrap_or(""), context.low))
}

#[inline]
fn with_current<R>(f: impl FnOnce(&Context) -> R) -> Option<R> {
    let current = CURRENT.get();
    // SAFETY: I1: not null means alive; `f` cannot switch, it is one of the short closures above.
    unsafe { current.as_ref() }.map(f)
}

/// The stack pointer. The register itself, because a local variable can be anywhere in a large frame.
#[inline(always)]
fn stack_pointer() -> usize {
    let pointer: usize;
    // SAFETY: copies a register, touches nothing else.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!("mov {}, rsp", out(reg) pointer, options(nomem, nostack, preserves_flags));
        #[cfg(target_arch = "aarch64")]
        asm!("mov {}, sp", out(reg) pointer, options(nomem, nostack, preserves_flags));
    }
    pointer
}

#[cold]
#[inline(never)]
fn suspended_off_fiber() -> ! {
    panic!("tenfold_fiber::suspend() was called on a plain thread; ask may_suspend() first");
}

/// Ends the process when a panic passes it.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    #[cold]
    fn drop(&mut self) {
        eprintln!(
            "a panic left the closure of fiber \"{}\": aborting, there is nobody to hand it to",
            name().unwrap_or("")
        );
        std::process::abort();
    }
}
