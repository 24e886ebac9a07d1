//! Measuring: processes and what they take from the machine, rounds of load, and honest statistics.

mod machine;

mod child;
mod sampler;
mod stages;
mod tree;

mod round;

mod statistics;

pub use machine::Machine;
pub use stages::{Ceiling, Stages};
pub use statistics::Figure;

pub(crate) use child::Child;
pub(crate) use round::{Round, Server};
