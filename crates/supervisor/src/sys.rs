//! Fork, signal handlers, identities and `_exit`: what std and rustix cannot do safely.
//!
//! The only file of this crate with unsafe code. A signal never does work
//! here: its handler writes the signal's number to a pipe, and the loop that
//! owns the pipe acts on it. (signalfd(2) was refused: blocked signals are
//! inherited by whatever a handler's code executes, and a shell that ignores
//! SIGTERM is a bad surprise.)
//!
//! Invariants:
//! - **I1.** The process has one thread when it forks, so the child may do
//!   anything the parent might (fork(2): only a child of a multi-threaded
//!   process is limited to async-signal-safe functions). Checked at each fork.
//! - **I2.** `SIGNAL_FD` is -1 or an open descriptor that nobody else owns. It
//!   is closed only in a new child, where all signals are blocked and no other
//!   thread exists, so no handler can be about to use it.
//! - **I3.** Handlers call async-signal-safe functions only (signal-safety(7)):
//!   write, getppid, alarm; and they leave errno as it was.
#![allow(unsafe_code, reason = "fork, sigaction, setuid and _exit have no safe binding")]

use std::{
    ffi::CString,
    fs,
    io::{self, Write},
    mem::MaybeUninit,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd},
    ptr,
    sync::atomic::{
        AtomicI32, AtomicU32,
        Ordering::{Acquire, Relaxed, Release},
    },
    time::Duration,
};

use libc::c_int;
use rustix::process::{Pid, Signal};

use crate::{error::Error, identity::Identity};

/// Where handlers write signal numbers; see I2.
static SIGNAL_FD: AtomicI32 = AtomicI32::new(-1);
/// In a worker: the master's pid. Elsewhere 0.
static MASTER_PID: AtomicI32 = AtomicI32::new(0);
/// How long a worker without its master may take to finish, in seconds.
static ORPHAN_LIMIT_S: AtomicU32 = AtomicU32::new(0);

/// Which side of a fork this is.
pub(crate) enum Forked {
    Parent(Pid),
    Child,
}

/// While it lives, some signals of this process arrive as bytes on a pipe.
#[derive(Debug)]
pub(crate) struct Caught {
    signals: Vec<c_int>,
}

impl Caught {
    /// Has the numbers of `signals` written to `pipe`, which must not block.
    ///
    /// # Errors
    /// `Error::SignalsTaken` when something else in this process catches already.
    pub(crate) fn new(pipe: OwnedFd, signals: &[Signal]) -> Result<Self, Error> {
        if SIGNAL_FD.compare_exchange(-1, pipe.as_raw_fd(), Release, Relaxed).is_err() {
            return Err(Error::SignalsTaken);
        }
        // I2: from here on the static owns it.
        let _ = pipe.into_raw_fd();
        let signals: Vec<c_int> = signals.iter().map(|signal| signal.as_raw()).collect();
        for &signal in &signals {
            set_action(signal, on_signal as *const () as usize);
        }
        unblock(&signals);
        Ok(Self { signals })
    }
}

impl Drop for Caught {
    /// Gives the signals back their default action. The descriptor stays open:
    /// a handler on another thread may be about to write to it (I2).
    fn drop(&mut self) {
        for &signal in &self.signals {
            set_action(signal, libc::SIG_DFL);
        }
        SIGNAL_FD.store(-1, Release);
    }
}

/// Makes a child that has the signal behaviour of a worker.
///
/// In the child TERM and QUIT arrive as bytes on `orders`, INT does nothing (a
/// terminal sends Ctrl-C to the whole group, and the master relays it), CHLD
/// and the rest are as in a fresh process, SIGPIPE is ignored. When the master
/// dies, the child gets TERM (prctl(2), PR_SET_PDEATHSIG), and then has
/// `orphan_limit` (rounded up to seconds) to finish before SIGALRM ends it.
///
/// The child's copy of `orders` is kept by this module; the parent's is closed.
///
/// # Errors
/// `Error::Threads` when the process has more than one thread; `Error::System`
/// when fork(2) fails (`EAGAIN`: the process limit; `ENOMEM`).
pub(crate) fn fork(orders: OwnedFd, orphan_limit: Duration) -> Result<Forked, Error> {
    let threads = threads()?;
    if threads != 1 {
        return Err(Error::Threads { threads });
    }
    // What is still buffered would be printed twice, by both processes.
    let _ = io::stdout().flush();
    let master = rustix::process::getpid();
    let mask = block_all();
    // SAFETY: I1, checked above; no code of ours ran in between that could start a thread.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => {
            let source = io::Error::last_os_error();
            set_mask(&mask);
            Err(Error::System { call: "fork", source })
        }
        0 => {
            become_worker(orders, master, orphan_limit);
            set_mask(&mask);
            unblock(&[
                libc::SIGTERM,
                libc::SIGQUIT,
                libc::SIGINT,
                libc::SIGCHLD,
                libc::SIGUSR1,
                libc::SIGUSR2,
                libc::SIGHUP,
                libc::SIGWINCH,
                libc::SIGTTIN,
                libc::SIGTTOU,
            ]);
            Ok(Forked::Child)
        }
        pid => {
            set_mask(&mask);
            Ok(Forked::Parent(Pid::from_raw(pid).expect("fork answers a positive pid to the parent")))
        }
    }
}

/// How many threads this process has.
pub(crate) fn threads() -> Result<usize, Error> {
    let tasks = fs::read_dir("/proc/self/task")
        .map_err(|source| Error::System { call: "counting threads in /proc/self/task", source })?;
    Ok(tasks.count())
}

/// Ends this process at once: no destructors, no atexit handlers.
///
/// Those belong to the master, whose copy of the memory this is: a socket file
/// must not be removed because one worker ended.
pub(crate) fn exit(code: i32) -> ! {
    let _ = io::stdout().flush();
    let _ = io::stderr().flush();
    // SAFETY: _exit(2) has no precondition.
    unsafe { libc::_exit(code) }
}

/// Runs in a new child with all signals blocked.
fn become_worker(orders: OwnedFd, master: Pid, orphan_limit: Duration) {
    let old = SIGNAL_FD.swap(orders.into_raw_fd(), Release);
    if old >= 0 {
        // SAFETY: I2: one thread, signals blocked, and the static owned it.
        unsafe { libc::close(old) };
    }
    MASTER_PID.store(master.as_raw_pid(), Relaxed);
    let seconds = orphan_limit.as_millis().div_ceil(1000).max(1);
    ORPHAN_LIMIT_S.store(u32::try_from(seconds).unwrap_or(u32::MAX), Relaxed);

    let handler = on_signal as *const () as usize;
    set_action(libc::SIGTERM, handler);
    set_action(libc::SIGQUIT, handler);
    // A handler that does nothing, and not SIG_IGN: that would be inherited by
    // every program a handler executes (execve(2)).
    set_action(libc::SIGINT, on_ignored as *const () as usize);
    set_action(libc::SIGUSR1, handler);
    // The same for what the master acts on, and a terminal or an operator may send to the whole group.
    for signal in [libc::SIGHUP, libc::SIGUSR2, libc::SIGWINCH, libc::SIGTTIN, libc::SIGTTOU] {
        set_action(signal, on_ignored as *const () as usize);
    }
    set_action(libc::SIGCHLD, libc::SIG_DFL);
    set_action(libc::SIGPIPE, libc::SIG_IGN);
    die_with(master);
}

/// Has the kernel send TERM to this process when its master dies, which it may have done already.
fn die_with(master: Pid) {
    let armed = rustix::process::set_parent_process_death_signal(Some(Signal::TERM));
    // The master may have died before the line above: then no signal comes.
    if armed.is_err() || rustix::process::getppid() != Some(master) {
        exit(0);
    }
}

/// Makes this worker somebody else, for ever.
///
/// In this order, because without root's rights the next step would fail (setgroups(2), setgid(2), setuid(2)). The process
/// has one thread here, so there is no other one to change as well. A change of the user takes PR_SET_PDEATHSIG back
/// (prctl(2)), so it is set again.
///
/// # Errors
/// `Error::System` with the step that failed; the worker must end then.
pub(crate) fn become_identity(identity: &Identity) -> Result<(), Error> {
    let check = |call: &'static str, answer: c_int| match answer {
        0 => Ok(()),
        _ => Err(Error::System { call, source: io::Error::last_os_error() }),
    };
    if rustix::process::geteuid().is_root() {
        // SAFETY: the pointer and the length are those of a living slice; the other calls take numbers.
        unsafe {
            check("setgroups", libc::setgroups(identity.groups.len(), identity.groups.as_ptr()))?;
            check("setgid", libc::setgid(identity.group))?;
            check("setuid", libc::setuid(identity.user))?;
        }
    }
    if let Some(master) = Pid::from_raw(MASTER_PID.load(Relaxed)) {
        die_with(master);
    }
    Ok(())
}

/// The ids of a user and of its group, by name.
pub(crate) fn user(name: &str) -> Option<(u32, u32)> {
    let name = CString::new(name).ok()?;
    // SAFETY: a NUL-terminated name; the answer is null or points to a static record that is read at once, and no other
    // thread exists that could overwrite it (I1; the master is the only caller).
    unsafe { libc::getpwnam(name.as_ptr()).as_ref().map(|entry| (entry.pw_uid, entry.pw_gid)) }
}

/// The id of a group, by name.
pub(crate) fn group(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: as in `user`.
    unsafe { libc::getgrnam(name.as_ptr()).as_ref().map(|entry| entry.gr_gid) }
}

/// All groups of a user, with `group` among them; at most 256.
pub(crate) fn groups_of(name: &str, group: u32) -> Vec<u32> {
    let Ok(name) = CString::new(name) else { return vec![group] };
    let mut groups = vec![group; 256];
    let mut count: c_int = 256;
    // SAFETY: `groups` has room for the `count` entries that it says.
    let answer = unsafe { libc::getgrouplist(name.as_ptr(), group, groups.as_mut_ptr(), &raw mut count) };
    groups.truncate(if answer < 0 { 1 } else { usize::try_from(count).unwrap_or(1) });
    groups
}

/// Takes a descriptor that this process has inherited, and closes it on exec from now on.
///
/// `None` when there is none of this number. The caller knows from its parent that the number is its own to take, and takes
/// each once.
pub(crate) fn inherited(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: fcntl(2) with a number that is no open descriptor answers EBADF and does nothing else.
    let answer = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    // SAFETY: the descriptor is open, as fcntl has just said, and by the contract above nobody else owns it.
    (fd > 2 && answer == 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// How many connections wait in the queue of a TCP socket that listens, and how many may; `None` for any other socket.
///
/// TCP_INFO has the two in fields that a listener does not need otherwise (tcp_get_info() in Linux' net/ipv4/tcp.c: "Report
/// meaningful fields for listen()"). Not /proc/net/tcp: it lists every connection of the machine before.
pub(crate) fn accept_queue(socket: BorrowedFd<'_>) -> Option<(u32, u32)> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the descriptor is open while it is borrowed; getsockopt(2) writes at most `length` bytes to `info`, of which
    // zeroes are a valid value, and to `length`.
    let (answer, info) = unsafe {
        let info_at = info.as_mut_ptr().cast();
        let length_at = &raw mut length;
        let answer =
            libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, info_at, length_at);
        (answer, info.assume_init())
    };
    /// `TCP_LISTEN` in Linux' net/tcp_states.h.
    const LISTEN: u8 = 10;
    (answer == 0 && info.tcpi_state == LISTEN).then_some((info.tcpi_unacked, info.tcpi_sacked))
}

extern "C" fn on_signal(signal: c_int) {
    // SAFETY: I3. `__errno_location` points to this thread's errno, which is
    // valid for the life of the thread. I2: the descriptor is open. A full pipe
    // (EAGAIN) already holds an order that was not yet read.
    unsafe {
        let errno = *libc::__errno_location();
        let fd = SIGNAL_FD.load(Acquire);
        if fd >= 0 {
            let byte = signal as u8;
            libc::write(fd, ptr::from_ref(&byte).cast(), 1);
        }
        let master = MASTER_PID.load(Relaxed);
        if master != 0 && libc::getppid() != master {
            libc::alarm(ORPHAN_LIMIT_S.load(Relaxed));
        }
        *libc::__errno_location() = errno;
    }
}

extern "C" fn on_ignored(_: c_int) {}

/// Sets what `signal` does. SA_RESTART, because code of handlers is not written
/// for EINTR; whoever must notice an order polls its descriptor, and poll(2) is
/// never restarted (signal(7)).
fn set_action(signal: c_int, action: usize) {
    let mut new = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a zeroed sigaction is valid (an empty mask, no flags); `action`
    // is SIG_DFL, SIG_IGN or one of the handlers above, which keep I3.
    let answer = unsafe {
        let new = new.assume_init_mut();
        new.sa_sigaction = action;
        new.sa_flags = libc::SA_RESTART | libc::SA_NOCLDSTOP;
        libc::sigaction(signal, new, ptr::null_mut())
    };
    assert_eq!(answer, 0, "sigaction(2) fails only for signals that cannot be caught");
}

/// Blocks every signal of this thread and answers the mask before.
fn block_all() -> libc::sigset_t {
    let mut all = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: sigfillset initialises `all`, pthread_sigmask initialises
    // `before`; neither fails with a valid first argument.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        before.assume_init()
    }
}

fn set_mask(mask: &libc::sigset_t) {
    // SAFETY: `mask` is initialised.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, ptr::null_mut()) };
}

/// Unblocks `signals`: a mask is inherited from whoever started this process.
fn unblock(signals: &[c_int]) {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises `set` before it is used.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for &signal in signals {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), ptr::null_mut());
    }
}
