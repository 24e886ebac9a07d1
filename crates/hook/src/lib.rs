//! Unmodified blocking drivers park a fiber instead of blocking its thread.
//!
//! In scope: the final binary's own `recv`, `send`, `read`, `write`, `connect`, `accept`, `poll`, `select`, the sleep family,
//! `getaddrinfo` and `close`, which take the place of libc's for Rust code, for linked C libraries and for libraries that
//! are opened at run time. Out of scope: how a fiber waits (`tenfold-runtime`), locks, threads, files.
//!
//! Nobody calls this crate; it has to be linked, once, in the binary:
//!
//! ```
//! use tenfold_hook as _;
//! ```
//!
//! # How it works
//!
//! The linker takes the first definition of a symbol that it finds, and the program's own come before the libraries'. A
//! call on a fiber is tried without waiting (`MSG_DONTWAIT`, `RWF_NOWAIT`, or a poll before it), and if it would wait the
//! fiber parks until the descriptor is ready and tries again. (A receive behind a send on the same socket waits for an answer,
//! and parks before it is tried.) Everywhere else – plain threads, processes, handlers that run inline – it is the plain
//! system call: no lock, no allocation, fit for a signal handler.
//!
//! There is no `dlsym` (it allocates and locks, and static programs have none): every function makes its system call
//! itself. `getaddrinfo` alone is not a system call; libc's own is reached through `getaddrinfo_a`.
//!
//! # What stays as it was
//!
//! - `O_NONBLOCK`, `SO_RCVTIMEO` and `SO_SNDTIMEO` are asked of the kernel when a call would wait. So `fcntl`, `ioctl`,
//!   `setsockopt`, `dup` and `socket` need no hooks, and a flag that a duplicate or another process has set counts.
//! - A blocking send writes everything; `MSG_WAITALL` reads everything; partial results come before errors.
//! - Descriptors 0 to 2 and regular files are never waited for.
//! - `errno` is written on failure only.
//!
//! # What differs, on a fiber
//!
//! - A cancelled task's call fails with `ECANCELED`, one whose deadline has passed with `ETIMEDOUT`. A sleep, which has no
//!   such errors, ends early and without one, after 10 ms at the least.
//! - Closing a descriptor ends its waiters' calls with `EBADF`. (The kernel lets them wait for ever.)
//! - With epoll `connect` sets `O_NONBLOCK` for the length of one system call: connect(2) has no flag for it. It is restored
//!   before anything waits. io_uring connects without.
//! - Every 64th call of a thread that may wait lets siblings run, whether it has to wait or not. Calls on regular files and on
//!   descriptors with `O_NONBLOCK` never do.
//! - A signal handler that interrupts a fiber and writes to something that is full parks that fiber. Handlers write to
//!   descriptors 0 to 2, to files, or to what does not block.
//! - `accept` on a blocking listener that other processes accept from as well may block, if one of them is faster between
//!   the poll and the accept.

#![allow(unsafe_code, reason = "defines libc's functions and makes their system calls")]

#[cfg(not(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
compile_error!("the hook is for Linux with glibc on x86_64 and aarch64");

mod sys;
mod wait;

mod close;
mod connect;
mod fortify;
mod message;
mod poll;
mod resolve;
mod select;
mod sleep;
mod stream;
mod vector;
