//! Bytes to messages and back. No I/O, no clock, no threads, no unsafe.

#![forbid(unsafe_code)]
