//! What a UDP service gets and what can serve one.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use tenfold_runtime::net::UdpSocket;
use tenfold_runtime::park;

use crate::services::handler::{FromState, Outcome, WithLimits};
use crate::services::limits::ServiceLimits;
use crate::state::{Need, StateMap};

/// A datagram, and the way back to its sender.
///
/// Anybody can send one with somebody else's address: an answer should not be larger than what asks for it, or else the
/// service is an amplifier for attacks on others.
pub struct Datagram<'d> {
    pub(super) bytes: &'d [u8],
    pub(super) from: SocketAddr,
    pub(super) socket: &'d UdpSocket,
}

impl Datagram<'_> {
    /// What was sent.
    pub fn bytes(&self) -> &[u8] {
        self.bytes
    }

    /// Who says to have sent it.
    pub fn from(&self) -> SocketAddr {
        self.from
    }

    /// Sends a datagram back. May be called any number of times.
    ///
    /// # Errors
    /// The kernel's.
    pub fn reply(&self, bytes: &[u8]) -> io::Result<()> {
        park::parking(|| self.socket.send_to(bytes, self.from)).map(drop)
    }
}

impl fmt::Debug for Datagram<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Datagram({} bytes from {})", self.bytes.len(), self.from)
    }
}

/// A function that answers datagrams: `Fn(&Datagram<'_>, S1, …, S4) -> R`, as with [`crate::FrameHandler`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot answer datagrams",
    note = "a function takes `&Datagram<'_>` and at most four `State<T>`, and returns nothing or a result"
)]
pub trait UdpHandler<M>: Sized + Send + Sync + 'static {
    /// Forgets its type. For the server.
    fn erase(self) -> ErasedUdp;

    /// The same with bounds of its own.
    fn limits(self, limits: ServiceLimits) -> WithLimits<Self> {
        WithLimits { handler: self, limits }
    }
}

/// A handler whose type is forgotten.
pub struct ErasedUdp {
    pub(super) run: Box<Run>,
    pub(super) needs: Vec<Need>,
    pub(super) limits: ServiceLimits,
}

pub(super) type Run = dyn Fn(&Datagram<'_>, &StateMap) -> Result<(), String> + Send + Sync;

impl fmt::Debug for ErasedUdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErasedUdp").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl<M, H: UdpHandler<M>> UdpHandler<(WithLimits<()>, M)> for WithLimits<H> {
    fn erase(self) -> ErasedUdp {
        ErasedUdp { limits: self.limits, ..self.handler.erase() }
    }
}

macro_rules! udp_handlers {
    ($($value:ident)*) => {
        impl<F, R, $($value,)*> UdpHandler<fn($($value,)*)> for F
        where
            F: Fn(&Datagram<'_>, $($value),*) -> R + Send + Sync + 'static,
            R: Outcome,
            $($value: FromState,)*
        {
            fn erase(self) -> ErasedUdp {
                #[allow(unused_variables, reason = "one macro makes the functions of all lengths")]
                let run = move |datagram: &Datagram<'_>, state: &StateMap| {
                    self(datagram, $($value::from_state(state)),*).into_result()
                };
                let needs = vec![$($value::need()),*];
                ErasedUdp { run: Box::new(run), needs, limits: ServiceLimits::default() }
            }
        }
    };
}

udp_handlers!();
udp_handlers!(S1);
udp_handlers!(S1 S2);
udp_handlers!(S1 S2 S3);
udp_handlers!(S1 S2 S3 S4);
