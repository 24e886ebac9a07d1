//! `Framed`: a framing and a function make a protocol.

use std::fmt;
use std::marker::PhantomData;

use crate::peer::Peer;
use crate::services::framing::{Cut, Framing};
use crate::services::handler::{FromState, Outcome};
use crate::services::protocol::{BadInput, Input, Progress, Protocol};
use crate::services::reply::Reply;
use crate::state::{Need, StateMap};

/// A function that answers frames: `Fn(&[u8], &mut Reply<'_>, S1, …, S4) -> R`, where each `S` is a [`FromState`] such as
/// `State<T>`, and `R` is an [`Outcome`]. `M` only keeps the implementations apart and is always inferred.
pub trait FrameHandler<M>: Send + Sync + 'static {
    /// Answers one frame.
    ///
    /// # Errors
    /// The function's.
    fn call(&self, frame: &[u8], reply: &mut Reply<'_>, state: &StateMap) -> Result<(), BadInput>;

    /// What it takes from the app.
    fn needs(&self) -> Vec<Need>;
}

macro_rules! frame_handlers {
    ($($value:ident)*) => {
        impl<F, R, $($value,)*> FrameHandler<fn($($value,)*)> for F
        where
            F: Fn(&[u8], &mut Reply<'_>, $($value),*) -> R + Send + Sync + 'static,
            R: Outcome,
            $($value: FromState,)*
        {
            #[inline]
            #[allow(unused_variables, reason = "one macro makes the functions of all lengths")]
            fn call(&self, frame: &[u8], reply: &mut Reply<'_>, state: &StateMap) -> Result<(), BadInput> {
                self(frame, reply, $($value::from_state(state)),*).into_result().map_err(BadInput::new)
            }

            fn needs(&self) -> Vec<Need> {
                vec![$($value::need()),*]
            }
        }
    };
}

frame_handlers!();
frame_handlers!(S1);
frame_handlers!(S1 S2);
frame_handlers!(S1 S2 S3);
frame_handlers!(S1 S2 S3 S4);

/// See [`crate::FramingExt::each`].
pub struct Framed<F, H, M> {
    framing: F,
    handler: H,
    marker: PhantomData<fn() -> M>,
}

impl<F, H, M> Framed<F, H, M> {
    pub(crate) fn new(framing: F, handler: H) -> Framed<F, H, M> {
        Framed { framing, handler, marker: PhantomData }
    }
}

impl<F: Framing, M: 'static, H: FrameHandler<M>> Protocol for Framed<F, H, M> {
    type Session = ();

    fn open(&self, _peer: Peer, _state: &StateMap) {}

    #[inline]
    fn serve(&self, (): &mut (), input: Input<'_>, reply: &mut Reply<'_>) -> Result<Progress, BadInput> {
        let bytes = input.bytes();
        match self.framing.find(bytes, input.seen(), input.bytes_max())? {
            Cut::Partial => Ok(Progress::Partial),
            Cut::Frame { start, end, used } => {
                let framing: Option<&dyn Framing> = Some(&self.framing);
                let mut framed =
                    Reply { framing, out: &mut *reply.out, peer: reply.peer, closes: reply.closes };
                let outcome = self.handler.call(&bytes[start..end], &mut framed, input.state());
                reply.closes = framed.closes;
                outcome.map(|()| Progress::Frame(used))
            }
        }
    }

    fn needs(&self) -> Vec<Need> {
        self.handler.needs()
    }
}

impl<F: fmt::Debug, H, M> fmt::Debug for Framed<F, H, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Framed").field("framing", &self.framing).finish_non_exhaustive()
    }
}
