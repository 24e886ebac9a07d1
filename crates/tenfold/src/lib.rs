//! A handler is written once, as plain blocking code; one word chooses how it runs.

#![forbid(unsafe_code)]
