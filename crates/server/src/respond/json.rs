//! JSON as an answer; as an argument it is in `extract/json.rs`.

use serde::Serialize;

use crate::body::{Body, JSON};
use crate::error::Error;
use crate::extract::Json;
use crate::respond::{IntoResponse, Response};

/// What small answers fit into without growing.
const CAPACITY_BYTES: usize = 128;

/// 200 with the value as JSON, or 500 if it cannot be serialised (a map whose keys are no strings, for instance).
impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let mut text = Vec::with_capacity(CAPACITY_BYTES);
        match serde_json::to_writer(&mut text, &self.0) {
            Ok(()) => Response::new(Body::from(text).with_content_type(JSON)),
            Err(error) => Error::internal(error).into_response(),
        }
    }
}
