//! The values that an app shares among its handlers.

use std::any::type_name;

use crate::context::Context;
use crate::error::Rejection;
use crate::extract::FromRequest;
use crate::state::Need;

/// A clone of the state value of type `T`; use `Arc` where a clone costs. Without `App::state` or `App::state_with` of this
/// type the app does not start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State<T>(pub T);

impl<T: Clone + Send + Sync + 'static> FromRequest for State<T> {
    type Rejection = Rejection;

    fn from_request(cx: &mut Context<'_>) -> Result<State<T>, Rejection> {
        let value = cx.state().get::<T>().cloned();
        value.map(State).ok_or(Rejection::MissingState { type_name: type_name::<T>() })
    }

    fn needs() -> Vec<Need> {
        vec![Need::state::<T>()]
    }
}
