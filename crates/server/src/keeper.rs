//! What a keeper and the workers of its machine talk with: messages in frames, over a Unix socket.
//!
//! In scope: bytes ↔ messages ([`encode`], [`decode`]), and one end of a socket that never waits ([`Link`]). Out of scope: what the
//! messages mean. The keeper of jobs and that of rooms are different processes of different crates, and both use this.
//!
//! ```text
//!   frame    length: u32, little-endian │ body: MessagePack, `length` bytes
//! ```
//!
//! Fields travel with their names: a reload or an upgrade has programs of two versions talk to one keeper.

mod frame;
mod link;

pub use frame::{BadFrame, decode, encode};
pub use link::{Link, LinkFault};
