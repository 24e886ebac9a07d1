//! What can serve the connections of a TCP service, and what it may take from the app.

use std::any::Any;
use std::fmt::Display;

use crate::extract::State;
use crate::peer::Peer;
use crate::services::conn::Conn;
use crate::services::limits::ServiceLimits;
use crate::services::protocol::{BadInput, Input, Progress, Protocol};
use crate::services::reply::Reply;
use crate::state::{Need, StateMap};

/// What serves the connections of a service: a [`Protocol`], such as a framing with a function makes one, or a function of a
/// connection, `Fn(&mut Conn, S1, …, S4) -> R`. `M` only keeps the implementations apart and is always inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot serve connections",
    note = "a function takes `&mut Conn` and at most four `State<T>`, and returns nothing or a result",
    note = "a framing with a function for each frame is made by `FramingExt::each`"
)]
pub trait TcpHandler<M>: Sized + Send + Sync + 'static {
    /// Forgets its type. For the server.
    fn erase(self) -> Erased;

    /// The same with bounds of its own.
    ///
    /// ```
    /// use tenfold_server::{App, Conn, ServiceLimits, TcpHandler};
    /// fn talk(_conn: &mut Conn) {}
    /// let limits = ServiceLimits { connections_max: Some(10), ..ServiceLimits::default() };
    /// App::new().tcp("talk", "127.0.0.1:7000", talk.limits(limits));
    /// ```
    fn limits(self, limits: ServiceLimits) -> WithLimits<Self> {
        WithLimits { handler: self, limits }
    }
}

/// See [`TcpHandler::limits`] and [`crate::UdpHandler::limits`].
#[derive(Clone, Debug)]
pub struct WithLimits<H> {
    pub(crate) handler: H,
    pub(crate) limits: ServiceLimits,
}

/// Marks functions of a connection.
#[derive(Debug)]
pub enum FreeForm {}

/// Marks protocols.
#[derive(Debug)]
pub enum SansIo {}

/// A handler whose type is forgotten, as a service keeps it.
pub struct Erased {
    pub(crate) kind: Kind,
    pub(crate) needs: Vec<Need>,
    pub(crate) limits: ServiceLimits,
}

impl std::fmt::Debug for Erased {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Erased").field("limits", &self.limits).finish_non_exhaustive()
    }
}

pub(crate) enum Kind {
    Frames(Box<dyn ErasedProtocol>),
    Free(Box<Free>),
}

/// A function of a connection; its error is one line for the log.
pub(crate) type Free = dyn Fn(&mut Conn, &StateMap) -> Result<(), String> + Send + Sync;

/// A protocol whose session's type is forgotten.
pub(crate) trait ErasedProtocol: Send + Sync {
    fn open(&self, peer: Peer, state: &StateMap) -> Box<dyn Any + Send>;

    fn serve(
        &self,
        session: &mut dyn Any,
        input: Input<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Progress, BadInput>;
}

impl<P: Protocol> ErasedProtocol for P {
    fn open(&self, peer: Peer, state: &StateMap) -> Box<dyn Any + Send> {
        Box::new(Protocol::open(self, peer, state))
    }

    #[inline]
    fn serve(
        &self,
        session: &mut dyn Any,
        input: Input<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Progress, BadInput> {
        let session = session.downcast_mut().expect("a session comes back to the protocol that has made it");
        Protocol::serve(self, session, input, reply)
    }
}

impl<P: Protocol> TcpHandler<SansIo> for P {
    fn erase(self) -> Erased {
        let needs = self.needs();
        Erased { kind: Kind::Frames(Box::new(self)), needs, limits: ServiceLimits::default() }
    }
}

impl<M, H: TcpHandler<M>> TcpHandler<(WithLimits<()>, M)> for WithLimits<H> {
    fn erase(self) -> Erased {
        Erased { limits: self.limits, ..self.handler.erase() }
    }
}

/// What a service's function can take from the app beside what it serves.
pub trait FromState: Sized + 'static {
    /// Takes it.
    ///
    /// # Panics
    /// Without the value: an app that lacks it is refused at the start.
    fn from_state(state: &StateMap) -> Self;

    /// What that needs.
    fn need() -> Need;
}

impl<T: Clone + Send + Sync + 'static> FromState for State<T> {
    #[inline]
    fn from_state(state: &StateMap) -> State<T> {
        State(state.get::<T>().cloned().expect("an app without the value does not start"))
    }

    fn need() -> Need {
        Need::state::<T>()
    }
}

/// What a service's function returns: nothing, or a result whose error ends the connection and is logged.
pub trait Outcome {
    /// The error as one line.
    ///
    /// # Errors
    /// The function's.
    fn into_result(self) -> Result<(), String>;
}

impl Outcome for () {
    #[inline]
    fn into_result(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: Display> Outcome for Result<(), E> {
    #[inline]
    fn into_result(self) -> Result<(), String> {
        self.map_err(|error| error.to_string())
    }
}

macro_rules! free_handlers {
    ($($value:ident)*) => {
        impl<F, R, $($value,)*> TcpHandler<(FreeForm, fn($($value,)*))> for F
        where
            F: Fn(&mut Conn, $($value),*) -> R + Send + Sync + 'static,
            R: Outcome,
            $($value: FromState,)*
        {
            fn erase(self) -> Erased {
                #[allow(unused_variables, reason = "one macro makes the functions of all lengths")]
                let run = move |conn: &mut Conn, state: &StateMap| {
                    self(conn, $($value::from_state(state)),*).into_result()
                };
                let needs = vec![$($value::need()),*];
                Erased { kind: Kind::Free(Box::new(run)), needs, limits: ServiceLimits::default() }
            }
        }
    };
}

free_handlers!();
free_handlers!(S1);
free_handlers!(S1 S2);
free_handlers!(S1 S2 S3);
free_handlers!(S1 S2 S3 S4);
