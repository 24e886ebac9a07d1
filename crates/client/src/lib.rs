//! Outbound connections: pools and protocols over the runtime's streams.

#![forbid(unsafe_code)]
