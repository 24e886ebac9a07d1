//! From a request to a handler's arguments, with the names and the behaviour that axum's users know.
//!
//! Arguments are extracted in their order. Several may look at the head; only one may take the body.

mod body;
mod form;
mod head;
mod json;
mod optional;
mod path;
mod percent;
mod query;
mod state;

use crate::context::Context;
use crate::respond::IntoResponse;
use crate::state::Need;

pub use form::Form;
pub use head::{ClientAddr, MatchedPath};
pub use json::Json;
pub use path::Path;
pub use query::Query;
pub use state::State;

/// What a handler may take as an argument.
///
/// ```
/// use tenfold_server::{Context, FromRequest, Error, Handler, StatusCode};
///
/// /// The user that a token names.
/// struct User(String);
///
/// impl FromRequest for User {
///     type Rejection = Error;
///
///     fn from_request(cx: &mut Context<'_>) -> Result<User, Error> {
///         let token = cx.head().header("authorization").and_then(|value| value.strip_prefix(b"Bearer "));
///         let name = token.and_then(|token| std::str::from_utf8(token).ok());
///         name.map(|name| User(name.to_owned())).ok_or(Error::new(StatusCode::UNAUTHORIZED, "who are you?"))
///     }
/// }
///
/// fn greet(User(name): User) -> String {
///     format!("Hello, {name}!")
/// }
///
/// tenfold_server::App::new().get("/", greet).build().unwrap();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be made from a request",
    note = "`Path`, `Query`, `Json`, `Form`, `State`, `Body`, `Bytes`, `String`, `HeaderMap`, `Method`, `Uri` and others can"
)]
pub trait FromRequest: Sized {
    /// The answer if the request does not have it.
    type Rejection: IntoResponse;

    /// Whether it takes the whole body at once. Then nobody can tell whether that has come before the handler was called,
    /// and a short one does: a slow client holds none of the lane's places meanwhile (`limits.body_ahead_bytes_max`).
    const COLLECTS_BODY: bool = false;

    /// Makes the value. It may wait, for the body for instance.
    ///
    /// # Errors
    /// Become the answer; the handler is not called.
    fn from_request(cx: &mut Context<'_>) -> Result<Self, Self::Rejection>;

    /// What the app must have for it to work; checked when the app is built.
    fn needs() -> Vec<Need> {
        Vec::new()
    }
}

#[cfg(test)]
#[path = "extract/tests.rs"]
mod tests;
