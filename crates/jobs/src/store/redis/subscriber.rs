//! The bell: a thread that hears when something may start, and when a job of this keeper is cancelled elsewhere.
//!
//! What it misses costs time and nothing else: the keeper asks every second without a bell, and learns of cancelled jobs by
//! its next beat.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tenfold_client::Error;
use tenfold_client::redis::Client;

use super::super::engine::Notice;
use super::Listener;

/// How often the thread looks whether its session is over.
const LOOK: Duration = Duration::from_secs(1);

pub(super) struct Channels {
    bell: String,
    own: String,
    keeper: String,
}

impl Channels {
    pub(super) fn new(prefix: &str, keeper: &str) -> Channels {
        Channels {
            bell: format!("{prefix}:bell"),
            own: format!("{prefix}:to:{keeper}"),
            keeper: keeper.into(),
        }
    }
}

pub(super) fn start(
    client: &Client,
    channels: Channels,
    listener: Listener,
    is_over: Arc<AtomicBool>,
) -> Result<(), Error> {
    let mut subscription = client.subscribe([&channels.bell, &channels.own])?;
    let run = move || {
        while !is_over.load(Ordering::Acquire) {
            match subscription.receive_before(Instant::now() + LOOK) {
                Ok(Some(message)) if message.channel == channels.bell => {
                    if message.payload != channels.keeper.as_bytes() {
                        listener(Notice::Bell);
                    }
                }
                Ok(Some(message)) => {
                    let seq = std::str::from_utf8(&message.payload).ok().and_then(|text| text.parse().ok());
                    seq.into_iter().for_each(|seq| listener(Notice::Cancel(seq)));
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(target: "jobs", %error, "the bell of the engine is gone");
                    return;
                }
            }
        }
    };
    let thread = std::thread::Builder::new().name("jobs-bell".into()).spawn(run);
    thread.map(drop).map_err(|_| Error::Closed)
}
