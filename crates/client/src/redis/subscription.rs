//! `Subscription`: messages of channels, over a connection of their own.

use std::time::Instant;

use bytes::Bytes;

use crate::address::after;
use crate::error::Error;

use super::command::{Argument, Command};
use super::connection::Connection;
use super::value::{FromValue, Value};

/// Messages that are published to channels. Dropping it closes its connection.
///
/// A server forgets a subscription with its connection: after an error subscribe anew, and know that messages between are lost.
#[derive(Debug)]
pub struct Subscription {
    connection: Connection,
}

/// A published message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// Where it was published.
    pub channel: String,
    /// The pattern that it has matched, if that is how it was subscribed to.
    pub pattern: Option<String>,
    /// What was published.
    pub payload: Bytes,
}

impl Subscription {
    pub(super) fn new(connection: Connection) -> Subscription {
        Subscription { connection }
    }

    /// Subscribes to further channels. Messages may come before it has been confirmed.
    ///
    /// # Errors
    /// The connection's.
    pub fn subscribe<A: Argument>(&mut self, channels: impl IntoIterator<Item = A>) -> Result<(), Error> {
        self.tell("SUBSCRIBE", channels)
    }

    /// Subscribes to all channels whose names match a pattern such as `news.*`.
    ///
    /// # Errors
    /// The connection's.
    pub fn subscribe_pattern<A: Argument>(
        &mut self,
        patterns: impl IntoIterator<Item = A>,
    ) -> Result<(), Error> {
        self.tell("PSUBSCRIBE", patterns)
    }

    /// Ends the subscription to channels.
    ///
    /// # Errors
    /// The connection's.
    pub fn unsubscribe<A: Argument>(&mut self, channels: impl IntoIterator<Item = A>) -> Result<(), Error> {
        self.tell("UNSUBSCRIBE", channels)
    }

    /// The next message, however long it takes: until the task's deadline or its cancellation.
    ///
    /// # Errors
    /// The connection's. After a time-out or a cancellation the subscription is as good as before.
    pub fn receive(&mut self) -> Result<Message, Error> {
        self.next_until(None)
    }

    /// The next message, if it comes before `until`.
    ///
    /// # Errors
    /// `None` is no error; the connection's.
    pub fn receive_before(&mut self, until: Instant) -> Result<Option<Message>, Error> {
        match self.next_until(Some(until)) {
            Err(error) if error.is_timeout() && until <= Instant::now() => Ok(None),
            other => other.map(Some),
        }
    }

    fn next_until(&mut self, until: Option<Instant>) -> Result<Message, Error> {
        loop {
            if let Some(message) = message(self.connection.next(until)?.accepted()?)? {
                return Ok(message);
            }
        }
    }

    fn tell<A: Argument>(&mut self, name: &str, channels: impl IntoIterator<Item = A>) -> Result<(), Error> {
        let mut bytes = Vec::new();
        Command::new(name).args(channels).encode(&mut bytes);
        self.connection.send(&bytes, 0, after(self.connection.reply_timeout()))
    }
}

/// A message; `None` for a confirmation.
fn message(value: Value) -> Result<Option<Message>, Error> {
    let (Value::List(items) | Value::Push(items)) = value else {
        return Err(no_message());
    };
    let mut items = items.into_iter();
    let mut next = || items.next().ok_or_else(no_message);
    let kind: Bytes = Bytes::from_value(next()?)?;
    let pattern = match &kind[..] {
        b"message" | b"smessage" => None,
        b"pmessage" => Some(String::from_value(next()?)?),
        _ => return Ok(None),
    };
    Ok(Some(Message { pattern, channel: String::from_value(next()?)?, payload: Bytes::from_value(next()?)? }))
}

fn no_message() -> Error {
    Error::Unexpected("a message of a subscription is none")
}

// A subscription may be handed to another task.
const _: fn() = || {
    fn is_send<T: Send>() {}
    is_send::<Subscription>();
};
