//! Sight: what goes on in all workers at the moment, for people and for collectors.
//!
//! Everything here reads the scoreboard, which nobody has to answer for: so it works while every worker is stuck, and says
//! what they are stuck in. It runs in the master (for the control socket's `status`), in the small process that
//! `listener` describes, and, as far as text is concerned, in `tenfold top`.

pub(crate) mod advice;
mod lanes;
pub(crate) mod listener;
pub(crate) mod metrics;
pub(crate) mod overflows;
pub(crate) mod picture;
mod rooms;
mod text;
pub(crate) mod title;

pub use lanes::lanes;
pub use rooms::rooms;
pub use text::{age, aligned, milliseconds, plain, queues, text};
