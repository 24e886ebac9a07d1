//! What the tests share: raw clients and server processes.

#![forbid(unsafe_code)]
