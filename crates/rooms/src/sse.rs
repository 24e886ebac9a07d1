//! Server-sent events (HTML Living Standard, section 9.2): an answer that goes on for as long as its client listens.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, header};
use tenfold_server::{Held, Pause, Resident, Response, Roused, Stay, take_over};

use crate::envelope::Encoding;
use crate::hall::Hall;
use crate::socket::{Join, Shared, Socket};

/// A silent stream gets a comment this often, below the 60 s of nginx and most load balancers.
const COMMENT_EVERY: Duration = Duration::from_secs(25);
/// How long a client waits before it comes again, unless the connection was ended for a restart.
const RETRY: &[u8] = b"retry: 1000\n\n";

/// The answer's head says 200; then the client is a member of the room.
pub(crate) fn answer(hall: &Arc<Hall>, room: String, join: Join) -> Response {
    let mut response = Response::default();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Nginx would collect the stream.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    let hall = hall.clone();
    take_over(response, move |held| {
        let shared = hall.admit(held.stream(), Encoding::Event, *held.peer());
        let _ = shared.outlet.send(Bytes::from_static(RETRY));
        if let Err(error) = Socket(shared.clone()).join_with(&room, join) {
            tracing::warn!(target: "rooms", room, %error, "an event stream ends");
            shared.outlet.end(Bytes::new());
            shared.depart_all();
            return Stay::Over(held, Pause::Close);
        }
        Stay::With(held, Box::new(StreamResident(shared)), Pause::Rest(COMMENT_EVERY))
    })
}

struct StreamResident(Arc<Shared>);

impl Resident for StreamResident {
    fn roused(&mut self, held: &mut Held, news: Roused) -> Pause {
        match news {
            // A client of an event stream has nothing to say.
            Roused::Bytes => drop(held.take_early()),
            Roused::Quiet if self.0.outlet.is_over() => return Pause::Close,
            Roused::Quiet => drop(self.0.outlet.send(Bytes::from_static(b":\n\n"))),
            Roused::End => return Pause::Close,
        }
        Pause::Rest(COMMENT_EVERY)
    }
}

impl Drop for StreamResident {
    fn drop(&mut self) {
        self.0.depart_all();
    }
}
