//! An app as its author writes it: routes, lanes, state. Building it checks everything that can be checked before a
//! request comes; opening it, in each worker after the fork, makes the state.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use http::Method;
use tenfold_http::h1::HeadView;

use crate::aside::{Aside, Count};
use crate::error::{Error, Failure, Result};
use crate::handler::Handler;
use crate::lane::Lane;
use crate::part::{Companion, LastWords, Part, StartCompanion};
use crate::respond::Response;
use crate::route::{Route, Routes};
use crate::router::{OnError, RouteError, Router};
use crate::services::{Catalogue, TcpHandler, UdpHandler};
use crate::settings::Settings;
use crate::state::{Need, StateMaker, StateMap};
use crate::template::Templates;

/// The name of the lane of all routes that are in no other.
pub const DEFAULT_LANE: &str = "default";

/// Most lanes of an app: each has queues and counters of its own in every worker.
pub const LANES_MAX: usize = 64;

/// A web application.
///
/// ```
/// use tenfold_server::{App, Lane, Path, State};
///
/// let app = App::new()
///     .state("Hello")
///     .get("/", |State(greeting): State<&'static str>| format!("{greeting}, world!"))
///     .lane("reports", Lane::pool(4).queue(64), |r| {
///         r.get("/reports/{id}", |Path(id): Path<u64>| format!("report {id}"))
///     })
///     .health("/health", || "up");
/// let blueprint = app.build()?;
/// assert_eq!(blueprint.lanes().len(), 2);
/// # Ok::<(), tenfold_server::BuildError>(())
/// ```
#[derive(Default)]
#[must_use]
pub struct App {
    routes: Routes,
    default_lane: Lane,
    /// The other lanes in their order; the index of one is that of its routes, less one.
    lanes: Vec<(String, Lane)>,
    makers: Vec<StateMaker>,
    fallback: Option<(Route, Vec<Need>)>,
    on_error: Option<OnError>,
    request_ids: bool,
    parts: Vec<Box<dyn Part>>,
    companions: Vec<StartCompanion>,
    asides: Vec<Aside>,
    last_words: Vec<LastWords>,
    services: Catalogue,
}

/// Why an app cannot start. Each is one clear line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A route is wrong.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// Two lanes have the same name, or one has that of the default lane.
    #[error("there are two lanes of the name \"{name}\"")]
    DuplicateLane {
        /// The name.
        name: String,
    },
    /// There are more than [`LANES_MAX`] lanes.
    #[error("there are more than {LANES_MAX} lanes")]
    TooManyLanes,
    /// Two state values have one type.
    #[error("there are two state values of type {type_name}; wrap one in a type of its own")]
    DuplicateState {
        /// The type.
        type_name: &'static str,
    },
    /// A handler takes a state that the app does not have.
    #[error("the handler of \"{pattern}\" takes State<{type_name}>, but the app has no state of this type")]
    MissingState {
        /// The route.
        pattern: String,
        /// The type.
        type_name: &'static str,
    },
    /// A TCP or UDP service cannot be.
    #[error("{0}")]
    Service(String),
    /// What another crate has added to the app cannot be.
    #[error("{0}")]
    Part(String),
    /// A state value could not be made; the worker ends.
    #[error("cannot make the state of type {type_name}: {reason}")]
    State {
        /// The type.
        type_name: &'static str,
        /// The maker's error.
        reason: Error,
    },
}

impl App {
    /// An app that answers everything with 404.
    pub fn new() -> App {
        App::default()
    }

    /// A state value, made in each worker after the fork: the place to connect to databases, to start threads, to open
    /// files. All values are made in the order in which they are given; one per type.
    ///
    /// An error ends the worker with one line.
    pub fn state_with<T, F>(mut self, make: F) -> App
    where
        T: Clone + Send + Sync + 'static,
        F: Fn() -> Result<T> + Send + Sync + 'static,
    {
        self.makers.push(StateMaker::new(make));
        self
    }

    /// A state value that all workers get a clone of. It is made in the master before the fork: nothing with a thread or a
    /// connection may be in it.
    pub fn state<T: Clone + Send + Sync + 'static>(self, value: T) -> App {
        self.state_with(move || Ok(value.clone()))
    }

    /// The templates of `State<Templates>`.
    pub fn templates(self, templates: Templates) -> App {
        self.state(templates)
    }

    /// Answers GET, and HEAD unless that has a route of its own.
    pub fn get<M: 'static>(self, path: &str, handler: impl Handler<M>) -> App {
        self.route(Method::GET, path, handler)
    }

    /// Answers POST.
    pub fn post<M: 'static>(self, path: &str, handler: impl Handler<M>) -> App {
        self.route(Method::POST, path, handler)
    }

    /// Answers PUT.
    pub fn put<M: 'static>(self, path: &str, handler: impl Handler<M>) -> App {
        self.route(Method::PUT, path, handler)
    }

    /// Answers DELETE.
    pub fn delete<M: 'static>(self, path: &str, handler: impl Handler<M>) -> App {
        self.route(Method::DELETE, path, handler)
    }

    /// Answers PATCH.
    pub fn patch<M: 'static>(self, path: &str, handler: impl Handler<M>) -> App {
        self.route(Method::PATCH, path, handler)
    }

    /// Answers every method that has no route of its own.
    pub fn any<M: 'static>(mut self, path: &str, handler: impl Handler<M>) -> App {
        self.routes = self.routes.any(path, handler);
        self
    }

    /// Answers one method.
    pub fn route<M: 'static>(mut self, method: Method, path: &str, handler: impl Handler<M>) -> App {
        self.routes = self.routes.route(method, path, handler);
        self
    }

    /// Answers GET past all lanes: a health check has to work when everything is full.
    pub fn health<M: 'static>(mut self, path: &str, handler: impl Handler<M>) -> App {
        self.routes = self.routes.push(Some(Method::GET), path, true, handler);
        self
    }

    /// Routes of a lane of their own.
    pub fn lane(mut self, name: &str, lane: Lane, routes: impl FnOnce(Routes) -> Routes) -> App {
        self.lanes.push((name.into(), lane));
        let index = self.lanes.len();
        let mut list = routes(Routes::new()).list;
        list.iter_mut().for_each(|route| route.lane = index);
        self.routes.list.append(&mut list);
        self
    }

    /// The lane of all routes that are in no other.
    pub fn default_lane(mut self, lane: Lane) -> App {
        self.default_lane = lane;
        self
    }

    /// Answers paths that no route matches, instead of 404.
    pub fn fallback<M: 'static>(mut self, handler: impl Handler<M>) -> App {
        let needs = handler.facts().needs;
        self.fallback = Some((Route::new("(fallback)", 0, handler), needs));
        self
    }

    /// Renders errors: every typed error, of a handler, an extractor or the server itself, comes here once before it is
    /// sent. `None` leaves it as it is: its message as text, or problem details (RFC 9457) for clients that accept JSON.
    /// The head is not there if it could not be parsed.
    ///
    /// ```
    /// use tenfold_server::{App, Html, IntoResponse};
    /// App::new().on_error(|failure, _head| {
    ///     let page = format!("<h1>{}</h1>", failure.status);
    ///     Some((failure.status, Html(page)).into_response())
    /// });
    /// ```
    pub fn on_error<F>(mut self, render: F) -> App
    where
        F: Fn(&Failure, Option<HeadView<'_>>) -> Option<Response> + Send + Sync + 'static,
    {
        self.on_error = Some(Box::new(render));
        self
    }

    /// Whether every response has an `X-Request-Id`; default: those to requests that had one, and of handlers that take
    /// [`crate::RequestId`].
    pub fn request_ids(mut self, always: bool) -> App {
        self.request_ids = always;
        self
    }

    /// Serves the connections that come to `address` by a protocol that is not HTTP. The settings may say another address
    /// under this name (`[services]`). See [`crate::TcpHandler`] for what may serve them.
    ///
    /// ```
    /// use tenfold_server::{App, FramingExt, LengthPrefix, Reply, State};
    ///
    /// fn answer(frame: &[u8], reply: &mut Reply<'_>, State(greeting): State<&'static str>) {
    ///     let name = String::from_utf8_lossy(frame);
    ///     reply.frame(format!("{greeting}, {name}!").as_bytes()).expect("it is short");
    /// }
    ///
    /// App::new().state("Hello").tcp("greeter", "127.0.0.1:7000", LengthPrefix::u32().each(answer)).build()?;
    /// # Ok::<(), tenfold_server::BuildError>(())
    /// ```
    pub fn tcp<M: 'static>(mut self, name: &str, address: &str, handler: impl TcpHandler<M>) -> App {
        self.services.add_tcp(name, address, handler.erase());
        self
    }

    /// Answers the datagrams that come to `address`; as [`App::tcp`].
    ///
    /// ```
    /// use tenfold_server::{App, Datagram};
    ///
    /// App::new().udp("echo", "127.0.0.1:7000", |datagram: &Datagram<'_>| datagram.reply(datagram.bytes()));
    /// ```
    pub fn udp<M: 'static>(mut self, name: &str, address: &str, handler: impl UdpHandler<M>) -> App {
        self.services.add_udp(name, address, handler.erase());
        self
    }

    /// What another crate keeps with this app, made at the first call: the way by which that crate gives the app methods of
    /// its own.
    pub fn part<P: Part + Default>(&mut self) -> &mut P {
        let known = self.parts.iter().position(|part| (part.as_ref() as &dyn Any).is::<P>());
        let index = known.unwrap_or(self.parts.len());
        if known.is_none() {
            self.parts.push(Box::<P>::default());
        }
        let part: &mut dyn Any = self.parts[index].as_mut();
        part.downcast_mut().expect("it was looked for by its type")
    }

    /// Starts something in each worker beside its requests: after the state is made and before the worker is ready. For
    /// parts; an error ends the worker with one line.
    pub fn companion<F>(mut self, start: F) -> App
    where
        F: Fn(&Arc<StateMap>) -> Result<Box<dyn Companion>, String> + Send + Sync + 'static,
    {
        self.companions.push(Arc::new(start));
        self
    }

    /// Starts something in `count` processes of its own beside the workers, which have the app's state and serve no request. They
    /// come with each generation and go with it. For parts; an error ends the process with one line.
    pub fn aside<F>(mut self, name: &str, count: usize, start: F) -> App
    where
        F: Fn(&Arc<StateMap>) -> Result<Box<dyn Companion>, String> + Send + Sync + 'static,
    {
        self.asides.push(Aside::new(name, Count::Always(count), Arc::new(start)));
        self
    }

    /// As [`App::aside`], in as many processes as each generation's settings say; where that is 0, in each worker, as
    /// [`App::companion`].
    pub fn aside_or_companion<F>(mut self, name: &str, count: fn(&Settings) -> usize, start: F) -> App
    where
        F: Fn(&Arc<StateMap>) -> Result<Box<dyn Companion>, String> + Send + Sync + 'static,
    {
        self.asides.push(Aside::new(name, Count::Settings(count), Arc::new(start)));
        self
    }

    /// Has `say` called in each process that has the app's state, in good order at its end: after the last request, and after all
    /// companions. For parts that write what others have given them; it must be brief.
    pub fn last_words(mut self, say: impl Fn(&StateMap) + Send + Sync + 'static) -> App {
        self.last_words.push(Arc::new(say));
        self
    }

    /// Tells the parts how the server runs; a part that cannot do what the settings say refuses them. Has no effect outside of the
    /// app, so that a check can do it as well.
    ///
    /// # Errors
    /// [`BuildError::Part`].
    pub fn prepare(&mut self, settings: &Settings) -> Result<(), BuildError> {
        self.parts.iter_mut().try_for_each(|part| part.prepare(settings)).map_err(BuildError::Part)
    }

    /// The processes of its parts.
    pub(crate) fn processes(&self) -> Vec<tenfold_supervisor::Group> {
        self.parts.iter().flat_map(|part| part.processes()).collect()
    }

    /// Checks the app.
    ///
    /// # Errors
    /// The first mistake that is found; all of [`BuildError`] except `State`.
    pub fn build(mut self) -> Result<Blueprint, BuildError> {
        for part in std::mem::take(&mut self.parts) {
            self = part.finish(self).map_err(BuildError::Part)?;
        }
        let mut lanes = vec![(DEFAULT_LANE.to_owned(), self.default_lane)];
        for (name, lane) in self.lanes {
            if lanes.iter().any(|(other, _)| *other == name) {
                return Err(BuildError::DuplicateLane { name });
            }
            lanes.push((name, lane));
        }
        if lanes.len() > LANES_MAX {
            return Err(BuildError::TooManyLanes);
        }
        for (at, maker) in self.makers.iter().enumerate() {
            if self.makers[..at].iter().any(|other| other.id == maker.id) {
                return Err(BuildError::DuplicateState { type_name: maker.type_name });
            }
        }
        for route in &self.routes.list {
            check_needs(&route.path, &route.facts.needs, &self.makers)?;
        }
        self.services.check().map_err(BuildError::Service)?;
        for (name, needs) in self.services.needs() {
            check_needs(name, needs, &self.makers)?;
        }
        let fallback = match self.fallback {
            Some((route, needs)) => {
                check_needs(route.pattern(), &needs, &self.makers)?;
                Some(route)
            }
            None => None,
        };
        let router = Router::new(self.routes.list, fallback, self.on_error, self.request_ids)?;
        Ok(Blueprint {
            router: Arc::new(router),
            lanes,
            makers: self.makers,
            companions: self.companions,
            asides: self.asides,
            last_words: self.last_words,
            services: self.services,
        })
    }
}

fn check_needs(pattern: &str, needs: &[Need], makers: &[StateMaker]) -> Result<(), BuildError> {
    for Need::State { id, type_name } in needs {
        if !makers.iter().any(|maker| maker.id == *id) {
            return Err(BuildError::MissingState { pattern: pattern.into(), type_name });
        }
    }
    Ok(())
}

/// A checked app; made in the master, opened in each worker.
pub struct Blueprint {
    router: Arc<Router>,
    lanes: Vec<(String, Lane)>,
    makers: Vec<StateMaker>,
    companions: Vec<StartCompanion>,
    asides: Vec<Aside>,
    last_words: Vec<LastWords>,
    services: Catalogue,
}

/// What a worker serves.
#[derive(Debug)]
#[non_exhaustive]
pub struct Opened {
    /// The routes.
    pub router: Arc<Router>,
    /// The worker's state values.
    pub state: StateMap,
    /// All lanes by their index; the first one is "default".
    pub lanes: Vec<(String, Lane)>,
}

impl Blueprint {
    /// Makes the state of this worker.
    ///
    /// # Errors
    /// [`BuildError::State`] with the first error of a maker.
    pub fn open(&self) -> Result<Opened, BuildError> {
        let mut state = StateMap::new();
        for maker in &self.makers {
            maker
                .make_into(&mut state)
                .map_err(|reason| BuildError::State { type_name: maker.type_name, reason })?;
        }
        Ok(Opened { router: self.router.clone(), state, lanes: self.lanes.clone() })
    }

    /// The lanes, for a model to check what it can honour; the first one is "default".
    pub fn lanes(&self) -> &[(String, Lane)] {
        &self.lanes
    }

    /// What starts beside the requests of each worker.
    pub(crate) fn companions(&self, settings: &Settings) -> impl Iterator<Item = &StartCompanion> {
        self.companions.iter().chain(self.asides.iter().filter_map(|aside| aside.in_workers(settings)))
    }

    /// What is done last in each process.
    pub(crate) fn last_words(&self) -> &[LastWords] {
        &self.last_words
    }

    /// What has processes of its own.
    pub(crate) fn asides(&self) -> &[Aside] {
        &self.asides
    }

    /// How many processes those are in a generation.
    pub(crate) fn aside_processes(&self, settings: &Settings) -> usize {
        self.asides.iter().map(|aside| aside.count(settings)).sum()
    }

    /// What is served beside HTTP.
    pub(crate) fn services(&self) -> &Catalogue {
        &self.services
    }

    /// The routes.
    pub fn router(&self) -> &Arc<Router> {
        &self.router
    }
}

impl fmt::Debug for Blueprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blueprint")
            .field("router", &self.router)
            .field("lanes", &self.lanes)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("routes", &self.routes.list)
            .field("lanes", &self.lanes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "app/tests.rs"]
mod tests;
