//! A cache that speaks memcached's text protocol: several event loops, one store.
//!
//! ```text
//!   main.rs, arguments.rs    command line → settings → tenfold::serve
//!   protocol.rs              bytes of a connection → commands, sans-io
//!     protocol/words.rs      a line in words, without a copy
//!     protocol/text.rs       get, set, incr, touch, …    protocol/meta.rs   mg, ms, md, ma, me, mn
//!     protocol/admin.rs      stats, version, verbosity, flush_all
//!   store.rs                 key → shard, under its lock for as long as it takes to find or swap an item
//!     store/shard.rs         hash table, least recently used order, bytes     store/item.rs
//!   clock.rs                 seconds, and when an item expires
//! ```

#![forbid(unsafe_code)]

pub mod arguments;
pub mod protocol;
pub mod store;

mod clock;
