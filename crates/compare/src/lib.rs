//! Measures instead of believing: drives load at a server and says what came back, how fast, and at what cost.
//!
//! In scope: workloads ([`workload`]), the load generator ([`load`]), the processes that are measured and what they take
//! ([`part`], [`measure`]), the comparison of all models ([`compare`](mod@compare)), its report ([`report`]), and the
//! arithmetic of capacity ([`plan`]). Out of scope: serving; how a handler runs is the business of `tenfold-server`.

#![forbid(unsafe_code)]

pub mod compare;

pub mod workload;

pub mod load;
pub mod plan;

pub mod measure;

pub mod report;

pub mod part;
pub mod simulator;
pub mod store;
pub mod units;

mod error;

pub use error::Error;

/// The guide's examples of this crate, run as doc tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/load.md")]
pub struct LoadPage;
