//! Arguments that may be missing.

use std::convert::Infallible;

use crate::context::Context;
use crate::extract::FromRequest;

/// `None` instead of any rejection. Where the reason matters (a malformed body is not a missing one), take
/// `Result<E, E::Rejection>`.
impl<E: FromRequest> FromRequest for Option<E> {
    type Rejection = Infallible;
    const COLLECTS_BODY: bool = E::COLLECTS_BODY;

    fn from_request(cx: &mut Context<'_>) -> Result<Option<E>, Infallible> {
        Ok(E::from_request(cx).ok())
    }
}

/// The rejection is the handler's to answer.
impl<E: FromRequest> FromRequest for Result<E, E::Rejection> {
    type Rejection = Infallible;
    const COLLECTS_BODY: bool = E::COLLECTS_BODY;

    fn from_request(cx: &mut Context<'_>) -> Result<Self, Infallible> {
        Ok(E::from_request(cx))
    }
}
