//! The operations contract, against the binary: nothing is lost while it is reloaded, upgraded, recycled, scaled or killed,
//! and whatever does not come up changes nothing.
//!
//! Black box: real processes, sockets, signals, and the command line's own words. A client counts every connection and
//! every response meanwhile (`testkit::Traffic`). `TENFOLD_LONG=1` runs the loops at the length of the contract.

mod changes;
mod clock;
mod commands;
mod deaths;
mod interrupt;
mod page;
mod pitfalls;
mod service_manager;
mod site;
mod stuck;
mod terminal;
mod wrk;
