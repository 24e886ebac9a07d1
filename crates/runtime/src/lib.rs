//! Schedules fibers on reactors; the same calls block a plain thread.

#![forbid(unsafe_code)]
