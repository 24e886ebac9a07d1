//! A request for tests of extractors, handlers and routers: raw bytes through the real parser, no connection.

use bytes::Bytes;
use tenfold_http::h1::{Head, Parse};
use tenfold_http::limits::HeadLimits;

use crate::body::Body;
use crate::context::{BodyGate, Context};
use crate::extract::FromRequest;
use crate::handler::Handler;
use crate::peer::Peer;
use crate::request_id::RequestId;
use crate::respond::Response;
use crate::route::Routes;
use crate::router::Router;
use crate::state::StateMap;

/// One request and what surrounds it.
pub(crate) struct Asked {
    method: String,
    target: String,
    pattern: &'static str,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    pub(crate) peer: Peer,
    pub(crate) state: StateMap,
}

/// Opens once, as a driver's does.
pub(crate) struct OneBody(pub(crate) Option<Body>);

impl BodyGate for OneBody {
    fn open(&mut self) -> Option<Body> {
        self.0.take()
    }
}

impl Asked {
    pub(crate) fn new(method: &str, target: &str) -> Asked {
        Asked {
            method: method.into(),
            target: target.into(),
            pattern: "/{*rest}",
            headers: Vec::new(),
            body: Vec::new(),
            peer: Peer::tcp(([192, 0, 2, 1], 4711).into()),
            state: StateMap::new(),
        }
    }

    pub(crate) fn get(target: &str) -> Asked {
        Asked::new("GET", target)
    }

    pub(crate) fn post(target: &str, content_type: &str, body: impl Into<Vec<u8>>) -> Asked {
        let mut asked = Asked::new("POST", target).header("Content-Type", content_type);
        asked.body = body.into();
        asked
    }

    /// The pattern under which extractors see the request.
    pub(crate) fn pattern(mut self, pattern: &'static str) -> Asked {
        self.pattern = pattern;
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Asked {
        self.headers.push((name.into(), value.into()));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: example.org\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !self.body.is_empty() {
            head += &format!("Content-Length: {}\r\n", self.body.len());
        }
        (head + "\r\n").into_bytes()
    }

    /// Runs `f` on the request's context in `router`.
    pub(crate) fn with<R>(&self, router: &Router, f: impl FnOnce(&mut Context<'_>) -> R) -> R {
        let bytes = self.bytes();
        let mut head = Head::new();
        let parsed = head.parse(&bytes, &HeadLimits::default());
        assert!(
            matches!(parsed, Ok(Parse::Complete { .. })),
            "{parsed:?}: {}",
            String::from_utf8_lossy(&bytes)
        );
        let view = head.view(&bytes);
        let found = router.find(view.method_str(), view.path());
        let mut gate = OneBody(Some(Bytes::from(self.body.clone()).into()));
        let sent_id = RequestId::sent_in(view);
        f(&mut Context::new(view, &found, &self.peer, &self.state, &mut gate, sent_id))
    }

    /// Extracts a value as a handler's argument.
    pub(crate) fn extract<E: FromRequest>(&self) -> Result<E, E::Rejection> {
        let routes = [self.pattern, "/"].into_iter().fold(Routes::new(), |r, path| r.any(path, || ()));
        self.with(&Router::of(routes), |cx| E::from_request(cx))
    }

    /// The status of the rejection of an extractor.
    pub(crate) fn refused<E: FromRequest>(&self) -> (u16, String) {
        match self.extract::<E>() {
            Ok(_) => panic!("it was not refused"),
            Err(rejection) => {
                let response = crate::respond::IntoResponse::into_response(rejection);
                let status = response.status().as_u16();
                (status, text_of(response))
            }
        }
    }

    /// The answer of a router.
    pub(crate) fn answer(&self, router: &Router) -> Response {
        self.with(router, |cx| router.answer(cx))
    }

    /// The answer of a handler.
    pub(crate) fn call<M: 'static>(&self, handler: impl Handler<M>) -> Response {
        let routes = Routes::new().any(self.pattern, handler);
        self.answer(&Router::of(routes))
    }
}

pub(crate) fn text_of(response: Response) -> String {
    let body = response.into_body().collect(1 << 20).expect("a test's answer is small");
    String::from_utf8(body.to_vec()).expect("a test's answer is text")
}
