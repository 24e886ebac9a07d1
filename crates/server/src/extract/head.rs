//! The parts of a request's head, and the request as a whole.

use std::convert::Infallible;
use std::net::SocketAddr;

use http::{HeaderMap, Method, Uri, Version};

use crate::body::Body;
use crate::context::Context;
use crate::error::Rejection;
use crate::extract::FromRequest;
use crate::peer::Peer;

/// All headers. One allocation per value: a handler that wants one header of many may rather be given the [`Context`] by a
/// [`FromRequest`] of its own.
impl FromRequest for HeaderMap {
    type Rejection = Infallible;

    fn from_request(cx: &mut Context<'_>) -> Result<HeaderMap, Infallible> {
        Ok(cx.head().to_header_map())
    }
}

impl FromRequest for Method {
    type Rejection = Infallible;

    fn from_request(cx: &mut Context<'_>) -> Result<Method, Infallible> {
        Ok(cx.head().method())
    }
}

impl FromRequest for Version {
    type Rejection = Infallible;

    fn from_request(cx: &mut Context<'_>) -> Result<Version, Infallible> {
        Ok(cx.head().version())
    }
}

/// The target as it was sent: usually a path and a query. 400 if it is none that `http` can represent.
impl FromRequest for Uri {
    type Rejection = Rejection;

    fn from_request(cx: &mut Context<'_>) -> Result<Uri, Rejection> {
        Uri::try_from(cx.head().target()).map_err(|_| Rejection::InvalidUri)
    }
}

/// The request as the `http` crate has it, its body a stream.
impl FromRequest for http::Request<Body> {
    type Rejection = Rejection;

    fn from_request(cx: &mut Context<'_>) -> Result<Self, Rejection> {
        let uri = Uri::from_request(cx)?;
        let mut request = http::Request::new(cx.take_body()?);
        *request.uri_mut() = uri;
        *request.method_mut() = cx.head().method();
        *request.version_mut() = cx.head().version();
        *request.headers_mut() = cx.head().to_header_map();
        Ok(request)
    }
}

/// Who the client is, also over a Unix socket.
impl FromRequest for Peer {
    type Rejection = Infallible;

    fn from_request(cx: &mut Context<'_>) -> Result<Peer, Infallible> {
        Ok(*cx.peer())
    }
}

/// The client's address. It is the other end of the connection: behind a proxy, the proxy's.
///
/// Over a Unix socket there is none, and the answer is 500; an app that listens on one takes `Option<ClientAddr>` or
/// [`Peer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddr(pub SocketAddr);

impl FromRequest for ClientAddr {
    type Rejection = Rejection;

    fn from_request(cx: &mut Context<'_>) -> Result<ClientAddr, Rejection> {
        cx.peer().address.map(ClientAddr).ok_or(Rejection::NoAddress)
    }
}

/// The pattern of the route that answers, for instance `/users/{id}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MatchedPath(pub &'static str);

impl FromRequest for MatchedPath {
    type Rejection = Infallible;

    fn from_request(cx: &mut Context<'_>) -> Result<MatchedPath, Infallible> {
        Ok(MatchedPath(cx.route().pattern()))
    }
}
