//! Between bytes and handlers: what every model does with a connection.
//!
//! [`exchange`] runs the requests that a connection has to offer, in plain blocking style; where it runs, and who waits
//! for a connection between requests, is what [`blocking`] and [`evented`] differ in.

pub(crate) mod exchange;

pub(crate) mod deadline;
pub(crate) mod turn;

pub(crate) mod connection;
pub(crate) mod read_pace;
pub(crate) mod workspace;
pub(crate) mod write_pace;

pub(crate) mod ahead;
pub(crate) mod answer;
pub(crate) mod balance;
pub(crate) mod crowd;
pub(crate) mod head_cache;
pub(crate) mod held;
pub(crate) mod inlet;
pub(crate) mod intake;
pub(crate) mod linger;
pub(crate) mod sight;
mod tally;

pub(crate) mod acceptor;
pub(crate) mod blocking;
pub(crate) mod evented;
pub(crate) mod shortage;
