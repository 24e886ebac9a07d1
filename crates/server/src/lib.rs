//! App, routing, extractors, lanes, limits, and one file per concurrency model.

#![forbid(unsafe_code)]

mod app;
mod route;
mod router;

mod handler;

mod context;
mod extract;
mod respond;

mod aside;
mod drive;
mod guard;
pub mod keeper;
mod models;
mod part;
mod plan;
mod serve;
mod service;
mod services;
mod settings;
pub mod sight;
mod upgrade;

mod access_log;
mod body;
mod clock;
mod dump;
mod error;
mod lane;
mod limits;
mod logs;
mod panic;
mod peer;
mod request_id;
mod state;
mod template;

pub use access_log::{AccessLog, Entry, LogFormat, LogTarget};
pub use app::{App, Blueprint, BuildError, DEFAULT_LANE, LANES_MAX, Opened};
pub use body::{
    BINARY, Body, BodyKind, BodyReadError, BodySource, HTML, Incoming, Inlet, JSON, Producer, Reclaim, TEXT,
};
pub use bytes::Bytes;
pub use context::{BodyGate, Context, NoBody};
pub use drive::held::{Held, Pause, Resident, Roused, Stay};
pub use error::{Busy, Error, Failure, Rejection, Result};
pub use extract::{ClientAddr, Form, FromRequest, Json, MatchedPath, Path, Query, State};
pub use guard::Overrun;
pub use handler::{Async, Blocking, ErasedHandler, Handler, HandlerFacts, Limited, block_on};
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
pub use lane::{Lane, Placement, Priority};
pub use limits::Limits;
pub use logs::{LogControls, control_log};
pub use models::{Facts, MODELS, Model, find as find_model};
pub use panic::{Panicked, call_handler, install_hook};
pub use part::{Companion, Part};
pub use peer::Peer;
pub use request_id::{RequestId, X_REQUEST_ID};
pub use respond::{Html, IntoResponse, Redirect, Response, ResponseParts};
pub use route::{COLLECT_BYTES_MAX, Route, Routes};
pub use router::{Found, Params, ROUTES_MAX, RouteError, Router};
pub use serve::{Again, ServeError, Serving, serve, serve_with};
pub use services::{
    BadInput, Conn, Cut, Datagram, Delimiter, FixedHeader, FrameError, FrameHandler, Framed, Framing,
    FramingExt, FreeForm, FromState, Input, LengthPrefix, Outcome, Progress, Protocol, Reply, SansIo,
    ServiceLimits, TcpHandler, UdpHandler, WithLimits, fuzz_framing,
};
pub use settings::Settings;
pub use state::{Need, StateMap};
pub use template::Templates;
pub use tenfold_http::h1::HeadView as RequestHead;
pub use tenfold_runtime as runtime;
pub use tenfold_scoreboard as scoreboard;
pub use tenfold_supervisor as supervisor;
pub use upgrade::{Upgraded, take_over, upgrade_to};
