//! What rooms add to an [`App`]: its methods, the keeper, and the end of the sockets when a worker stops.

use std::sync::Arc;
use std::time::Duration;

use tenfold_server::supervisor::Group;
use tenfold_server::{App, Companion, Context, Part, Result as AnswerResult, Settings};

use crate::endpoint::{self, Identity};
use crate::hall::Hall;
use crate::keeper;
use crate::rooms::Rooms;
use crate::route::{SocketHandler, SocketOptions, SocketRoute};
use crate::rule::{Rule, Rules, Visitor};

/// Over how long clients are told to come again when a worker stops, unless its patience is shorter.
const DRAIN_WINDOW: Duration = Duration::from_secs(5);

/// Gives an [`App`] WebSockets and rooms.
pub trait AppRooms {
    /// Gives requests for a WebSocket to `handler`. Pages of other hosts are refused; see [`AppRooms::websocket_with`].
    ///
    /// ```
    /// use tenfold_rooms::{AppRooms, Resting, Result, WebSocket};
    /// use tenfold_server::{App, Path};
    ///
    /// fn chat(ws: WebSocket, Path(room): Path<String>) -> Result<Resting> {
    ///     ws.join(&room)?;
    ///     Ok(ws.on_message(move |ws, message| ws.publish(&room, &message.as_text()).map(drop)))
    /// }
    ///
    /// App::new().websocket("/chat/{room}", chat);
    /// ```
    fn websocket<M: 'static>(self, path: &str, handler: impl SocketHandler<M>) -> App;

    /// The same with options.
    fn websocket_with<M: 'static>(
        self,
        path: &str,
        options: SocketOptions,
        handler: impl SocketHandler<M>,
    ) -> App;

    /// Sets the rule of some rooms; of several that match, the first counts.
    fn room(self, rule: Rule) -> App;

    /// Keeps the rooms in a Redis or Valkey (`redis://host:port`) or in NATS with JetStream (`nats://host:port`), where the settings
    /// name none: the same rooms on all machines that name it. Default: in the memory of this machine's keeper.
    fn rooms_in(self, url: &str) -> App;

    /// Serves the rooms that rules name under this path, over WebSocket, server-sent events and long-poll, with a client for
    /// pages at `PATH/client.js`.
    fn rooms(self, path: &str) -> App;

    /// Says who a request of the rooms endpoint comes from, for [`Rule::allow`]. An error is its answer.
    ///
    /// ```
    /// use tenfold_rooms::{AppRooms, Rule, Visitor};
    /// use tenfold_server::{App, Error, StatusCode};
    ///
    /// let app = App::new()
    ///     .room(Rule::new("user:*").allow(|visitor, room| room.strip_prefix("user:") == visitor.identity.as_str()))
    ///     .rooms("/rooms")
    ///     .visitors(|cx| match cx.head().header("x-user") {
    ///         Some(user) => Ok(Visitor { identity: String::from_utf8_lossy(user).into() }),
    ///         None => Err(Error::new(StatusCode::UNAUTHORIZED, "who are you?")),
    ///     });
    /// # let _ = app;
    /// ```
    fn visitors(
        self,
        identify: impl Fn(&mut Context<'_>) -> AnswerResult<Visitor> + Send + Sync + 'static,
    ) -> App;
}

/// The rooms of an app, while it is written.
#[derive(Default)]
struct RoomsPart {
    rules: Vec<Arc<Rule>>,
    identity: Option<Identity>,
    name: String,
    drain: Duration,
    /// Who gives messages their places, if it is not the keeper: the settings' word, else the app's.
    wished: Option<String>,
    engine: Option<String>,
}

impl AppRooms for App {
    fn websocket<M: 'static>(self, path: &str, handler: impl SocketHandler<M>) -> App {
        self.websocket_with(path, SocketOptions::default(), handler)
    }

    fn websocket_with<M: 'static>(
        mut self,
        path: &str,
        options: SocketOptions,
        handler: impl SocketHandler<M>,
    ) -> App {
        self.part::<RoomsPart>();
        self.get(path, SocketRoute::new(handler, options))
    }

    fn room(mut self, rule: Rule) -> App {
        self.part::<RoomsPart>().rules.push(Arc::new(rule));
        self
    }

    fn rooms_in(mut self, url: &str) -> App {
        self.part::<RoomsPart>().wished = Some(url.to_owned());
        self
    }

    fn rooms(mut self, path: &str) -> App {
        self.part::<RoomsPart>();
        endpoint::add(self, path)
    }

    fn visitors(
        mut self,
        identify: impl Fn(&mut Context<'_>) -> AnswerResult<Visitor> + Send + Sync + 'static,
    ) -> App {
        self.part::<RoomsPart>().identity = Some(Identity(Arc::new(identify)));
        self
    }
}

impl RoomsPart {
    /// The name of the keeper's socket: the master's process number, which nobody else has while it lives. The same after a
    /// reload, which makes the app anew and leaves the keeper as it is.
    fn socket_name(&mut self) -> String {
        self.name = keeper::socket_name(std::process::id());
        self.name.clone()
    }
}

impl Part for RoomsPart {
    fn prepare(&mut self, settings: &Settings) -> Result<(), String> {
        let patience = settings.graceful_timeout();
        self.drain = DRAIN_WINDOW.min(patience / 2);
        self.engine = settings.rooms.clone().or_else(|| self.wished.clone());
        if let Some(url) = &self.engine {
            keeper::check_engine(url)?;
        }
        self.socket_name();
        Ok(())
    }

    fn processes(&self) -> Vec<Group> {
        if self.name.is_empty() {
            return Vec::new();
        }
        vec![keeper::group(self.name.clone(), Rules(self.rules.clone()), self.engine.clone())]
    }

    fn finish(mut self: Box<Self>, app: App) -> Result<App, String> {
        let name = self.socket_name();
        let (rules, drain) = (Rules(self.rules), self.drain);
        let app = app.state_with(move || {
            let hall = Hall::new(rules.clone(), name.clone())?;
            Ok(Rooms { hall })
        });
        let app = match self.identity {
            Some(identity) => app.state_with(move || Ok(identity.clone())),
            None => app,
        };
        Ok(app.companion(move |state| {
            let rooms = state.get::<Rooms>().cloned().ok_or("the rooms are not among the state")?;
            Ok(Box::new(Leaving { rooms, drain }))
        }))
    }
}

/// Tells the sockets of a worker to go when it stops.
struct Leaving {
    rooms: Rooms,
    drain: Duration,
}

impl Companion for Leaving {
    fn stop(&self) {
        self.rooms.hall.drain(self.drain);
    }
}
