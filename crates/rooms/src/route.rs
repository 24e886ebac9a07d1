//! `SocketHandler` and `SocketRoute`: from a request to a handler that has a [`WebSocket`].

use std::marker::PhantomData;
use std::sync::Arc;

use http::{HeaderValue, StatusCode, header};
use tenfold_http::websocket::{MessageLimits, handshake};
use tenfold_server::{
    Context, Error, FromRequest, Handler, HandlerFacts, IntoResponse, Need, Response, take_over,
};

use crate::envelope::Encoding;
use crate::input::Input;
use crate::rooms::Rooms;
use crate::websocket::{self, IntoSession, WebSocket};

/// What a handler runs once its connection is open.
pub type Run = Box<dyn FnOnce(WebSocket) -> Result<Option<websocket::Resting>, String> + Send>;

/// A function that has a WebSocket: `Fn(WebSocket, E1, …, E7) -> R`, where each further argument is [`FromRequest`].
///
/// The arguments are made before the handshake: one that cannot be made answers the request as it would elsewhere, with 401 for
/// instance. The function runs once the connection is open.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot have a WebSocket",
    note = "it takes a `WebSocket` and up to seven arguments that implement `FromRequest`, and returns nothing, a `Resting`, or a result of these"
)]
pub trait SocketHandler<M>: Send + Sync + 'static {
    /// Makes the arguments; what is returned runs once the connection is open.
    ///
    /// # Errors
    /// The answer instead of a handshake.
    fn prepare(self: &Arc<Self>, cx: &mut Context<'_>) -> Result<Run, Box<Response>>;

    /// What its arguments need from the app.
    fn needs() -> Vec<Need>;
}

macro_rules! socket_handlers {
    ($($extractor:ident)*) => {
        impl<F, R, $($extractor,)*> SocketHandler<($($extractor,)*)> for F
        where
            F: Fn(WebSocket, $($extractor),*) -> R + Send + Sync + 'static,
            R: IntoSession,
            $($extractor: FromRequest + Send + 'static,)*
        {
            #[allow(non_snake_case, unused_variables, reason = "one macro makes the functions of all lengths")]
            fn prepare(
                self: &Arc<Self>,
                cx: &mut Context<'_>,
            ) -> Result<Run, Box<Response>> {
                $(let $extractor = $extractor::from_request(cx).map_err(|rejection| Box::new(rejection.into_response()))?;)*
                let handler = self.clone();
                Ok(Box::new(move |ws| handler(ws, $($extractor),*).into_session()))
            }

            fn needs() -> Vec<Need> {
                let needs: &[fn() -> Vec<Need>] = &[$($extractor::needs),*];
                needs.iter().flat_map(|needs| needs()).collect()
            }
        }
    };
}

socket_handlers!();
socket_handlers!(E1);
socket_handlers!(E1 E2);
socket_handlers!(E1 E2 E3);
socket_handlers!(E1 E2 E3 E4);
socket_handlers!(E1 E2 E3 E4 E5);
socket_handlers!(E1 E2 E3 E4 E5 E6);
socket_handlers!(E1 E2 E3 E4 E5 E6 E7);

/// From which pages a WebSocket may be opened. Browsers say it (RFC 6455 section 10.2); programs need not, and are not asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origins {
    /// The pages of the same host.
    #[default]
    Same,
    /// Those, and the pages of these origins, for instance `https://shop.example`.
    List(Vec<String>),
    /// All pages of the world: only where a connection means nothing, since it comes with the cookies of its user.
    Any,
}

impl Origins {
    fn allow(&self, cx: &Context<'_>) -> bool {
        let head = cx.head();
        let Some(origin) = head.header("origin") else { return true };
        let Ok(origin) = std::str::from_utf8(origin) else { return false };
        let is_same = handshake::is_same_origin(origin, head.host());
        match self {
            Origins::Same => is_same,
            Origins::List(list) => is_same || list.iter().any(|one| one.eq_ignore_ascii_case(origin)),
            Origins::Any => true,
        }
    }
}

/// What holds for the WebSockets of a route.
#[derive(Clone, Debug, Default)]
pub struct SocketOptions {
    /// From which pages they may be opened.
    pub origins: Origins,
    /// How much a client may send.
    pub limits: MessageLimits,
    /// Leaves permessage-deflate out: it costs time and saves bytes.
    pub uncompressed: bool,
    /// The subprotocols that the handler speaks; the client's best one of them is chosen. With none, none is.
    pub protocols: Vec<&'static str>,
}

pub(crate) struct SocketRoute<H, M> {
    handler: Arc<H>,
    options: SocketOptions,
    marker: PhantomData<fn() -> M>,
}

impl<H, M> SocketRoute<H, M> {
    pub(crate) fn new(handler: H, options: SocketOptions) -> SocketRoute<H, M> {
        SocketRoute { handler: Arc::new(handler), options, marker: PhantomData }
    }
}

/// Marks the routes of WebSockets among handlers.
pub(crate) enum SocketMarker {}

impl<M: 'static, H: SocketHandler<M>> Handler<(SocketMarker, M)> for SocketRoute<H, M> {
    fn call(&self, cx: &mut Context<'_>) -> Response {
        let offer = match handshake::read(&cx.head()) {
            Ok(offer) => offer,
            Err(refusal) => return refuse(refusal.status, refusal.reason),
        };
        if !self.options.origins.allow(cx) {
            tracing::info!(target: "rooms", peer = %cx.peer(), "a page of another origin asks for a WebSocket");
            return refuse(StatusCode::FORBIDDEN, "pages of this origin may not open a WebSocket here");
        }
        let run = match self.handler.prepare(cx) {
            Ok(run) => run,
            Err(answer) => return *answer,
        };
        let Some(rooms) = cx.state().get::<Rooms>().cloned() else {
            return refuse(StatusCode::INTERNAL_SERVER_ERROR, "internal server error");
        };
        let deflate = offer.deflate.filter(|_| !self.options.uncompressed);
        let limits = self.options.limits;
        let mut response = Response::default();
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(accept) = HeaderValue::from_str(&offer.accept) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        if let Some(agreement) = deflate {
            headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, agreement.answer());
        }
        let spoken =
            offer.protocols.iter().find_map(|one| self.options.protocols.iter().find(|ours| *ours == one));
        if let Some(protocol) = spoken {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        }
        take_over(response, move |held| {
            let encoding = deflate.map_or(Encoding::Text, |agreement| Encoding::Deflated(agreement.window));
            let shared = rooms.hall.admit(held.stream(), encoding, *held.peer());
            websocket::open(held, shared, Input::new(deflate.is_some(), limits), run)
        })
    }

    fn facts(&self) -> HandlerFacts {
        HandlerFacts::keeping_connections(H::needs())
    }
}

fn refuse(status: StatusCode, reason: &'static str) -> Response {
    let mut response = Error::new(status, reason).logged().into_response();
    if status == StatusCode::METHOD_NOT_ALLOWED {
        // RFC 9110 section 15.5.6. The router lets HEAD come where GET may.
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
    }
    if status == StatusCode::UPGRADE_REQUIRED {
        response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    }
    response
}
