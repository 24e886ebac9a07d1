//! `Input`: what a WebSocket's client has said, from bytes to events.

use std::collections::VecDeque;

use tenfold_http::websocket::{Decoder, Event, Inflater, MessageLimits, Role, WebSocketError};

use crate::spares;

/// The decoder and its limits. An idle connection keeps it, so it is small.
pub(crate) struct Input {
    decoder: Decoder,
    limits: MessageLimits,
    /// Bytes of a frame's head that is not whole.
    rest: Vec<u8>,
    /// It was asked whether it is there, and has said nothing since.
    pub(crate) asked: bool,
    /// It has broken the protocol: what it said before that still counts, and nothing behind it.
    pub(crate) broken: Option<WebSocketError>,
}

impl Input {
    pub(crate) fn new(deflate: bool, limits: MessageLimits) -> Input {
        let decoder = Decoder::new(Role::Server, deflate);
        Input { decoder, limits, rest: Vec::new(), asked: false, broken: None }
    }

    /// What these bytes say, up to where they break the protocol.
    pub(crate) fn decode(&mut self, bytes: Vec<u8>, events: &mut VecDeque<Event>) {
        self.asked = false;
        if let Err(error) = self.try_decode(bytes, events) {
            self.broken = Some(error);
        }
    }

    fn try_decode(
        &mut self,
        bytes: Vec<u8>,
        events: &mut VecDeque<Event>,
    ) -> std::result::Result<(), WebSocketError> {
        let mut input = std::mem::take(&mut self.rest);
        if input.is_empty() {
            input = bytes;
        } else {
            input.extend_from_slice(&bytes);
        }
        let used = if self.decoder.deflate() {
            spares::with_inflater(|inflater| self.decode_all(&input, inflater, events))?
        } else {
            self.decode_all(&input, &mut Inflater::new(), events)?
        };
        self.rest = input[used..].to_vec();
        Ok(())
    }

    /// The events of `input`, and how many bytes of it they were.
    fn decode_all(
        &mut self,
        input: &[u8],
        inflater: &mut Inflater,
        events: &mut VecDeque<Event>,
    ) -> std::result::Result<usize, WebSocketError> {
        let mut used = 0;
        loop {
            let (count, event) = self.decoder.decode(&input[used..], &self.limits, inflater)?;
            used += count;
            match event {
                Some(event) => events.push_back(event),
                None if count == 0 => return Ok(used),
                None => {}
            }
        }
    }
}
