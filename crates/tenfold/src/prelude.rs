//! What nearly every application uses: `use tenfold::prelude::*;`.

pub use crate::jobs::{AppJobs, JobCx, JobError, JobHandler, JobResult, Jobs, Queue};
pub use crate::rooms::{AppRooms, Resting, Rooms, Rule, WebSocket};
pub use crate::{
    App, Body, Conn, Datagram, Delimiter, Form, FramingExt, Handler, Html, IntoResponse, Json, Lane,
    LengthPrefix, Main, Path, Query, Redirect, Reply, Response, State, StatusCode, TcpHandler, Templates,
    UdpHandler, ms, secs,
};
