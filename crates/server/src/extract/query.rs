//! What follows the "?" of a target.

use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::error::Rejection;
use crate::extract::FromRequest;

/// The query's fields as a struct or a map; 400 if they do not fit. A missing query is an empty one.
///
/// ```
/// use tenfold_server::Query;
/// #[derive(serde::Deserialize)]
/// struct Page { #[serde(default)] number: u32 }
///
/// fn list(Query(page): Query<Page>) -> String {
///     format!("page {}", page.number)
/// }
/// tenfold_server::App::new().get("/list", list).build().unwrap();
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Query<T> {
    type Rejection = Rejection;

    fn from_request(cx: &mut Context<'_>) -> Result<Query<T>, Rejection> {
        let query = cx.head().query().unwrap_or_default();
        serde_urlencoded::from_str(query)
            .map(Query)
            .map_err(|error| Rejection::InvalidQuery(error.to_string()))
    }
}
