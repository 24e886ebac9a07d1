//! The body as it is, or all of it in memory.

use bytes::Bytes;

use crate::body::Body;
use crate::context::Context;
use crate::error::Rejection;
use crate::extract::FromRequest;

/// The body as a stream: nothing of it is read before the handler reads.
impl FromRequest for Body {
    type Rejection = Rejection;

    fn from_request(cx: &mut Context<'_>) -> Result<Body, Rejection> {
        cx.take_body()
    }
}

/// The whole body; 413 if it is larger than 2 MiB or than the route's own limit.
impl FromRequest for Bytes {
    type Rejection = Rejection;
    const COLLECTS_BODY: bool = true;

    fn from_request(cx: &mut Context<'_>) -> Result<Bytes, Rejection> {
        cx.collect_body()
    }
}

/// As [`Bytes`].
impl FromRequest for Vec<u8> {
    type Rejection = Rejection;
    const COLLECTS_BODY: bool = true;

    fn from_request(cx: &mut Context<'_>) -> Result<Vec<u8>, Rejection> {
        Ok(cx.collect_body()?.into())
    }
}

/// The whole body as text; 400 if it is not UTF-8, 413 as for [`Bytes`].
impl FromRequest for String {
    type Rejection = Rejection;
    const COLLECTS_BODY: bool = true;

    fn from_request(cx: &mut Context<'_>) -> Result<String, Rejection> {
        String::from_utf8(cx.collect_body()?.into()).map_err(|_| Rejection::InvalidUtf8)
    }
}
