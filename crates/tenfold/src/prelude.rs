//! What nearly every application uses: `use tenfold::prelude::*;`.

pub use crate::jobs::{AppJobs, JobCx, JobError, JobHandler, JobResult, Jobs, Queue};
pub use crate::rooms::{AppRooms, Resting, Rooms, Rule, WebSocket};
pub use crate::{
    App, Body, Form, Handler, Html, IntoResponse, Json, Lane, Main, Path, Query, Redirect, Response, State,
    StatusCode, Templates, ms, secs,
};
