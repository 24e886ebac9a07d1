//! A small web shop as thousands of them are: blocking code, a database, a cache, a partner's service over HTTP.
//!
//! It knows nothing of Tenfold. `src/bin/before.rs` serves it with a loop over std's sockets in a number of processes, as
//! PHP-FPM or Unicorn would; `src/bin/after.rs` serves the same functions on Tenfold. Nothing else differs.

pub mod cart;
pub mod catalogue;
pub mod checkout;
pub mod error;
pub mod http;
pub mod money;
pub mod pages;
pub mod partner;
pub mod pricing;
pub mod router;
pub mod session;
pub mod stores;

pub use error::Error;
pub use http::{Request, Response};
pub use router::handle;
pub use stores::{Config, Stores};
