//! The request's body while its handler runs: lent by the driver, read by whoever has the [`Body`](crate::Body), and
//! taken back when the handler is over.
//!
//! ```text
//! slot:   Here(inlet) --read--> Busy --done--> Here(inlet)
//!           |                    |
//!           | reclaim            | reclaim: the reader finds Gone and drops the inlet
//!           v                    v
//!          Gone                 Gone
//! ```
//!
//! A read takes the inlet out of the slot, because it may wait, and a lock must not be held while one waits.

use std::io;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderMap;

use crate::body::BodyReadError;

/// The connection's end of a request body; the driver implements it.
pub trait Inlet: Send {
    /// Reads decoded content into `buf`, waiting as long as the connection's limits allow; 0 at the end of the body, for
    /// good. Sends `100 Continue` first if that is owed.
    ///
    /// # Errors
    /// A [`BodyReadError`] inside of the `io::Error` where one fits; after any error all further reads fail.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize>;

    /// Bytes that are still to come, if they are known.
    fn remaining_hint(&self) -> Option<u64>;

    /// The trailer fields, once after the end of the body.
    fn take_trailers(&mut self) -> Option<HeaderMap>;

    /// For a driver that wants its own type back after [`Reclaim::reclaim`].
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any>;
}

enum Slot {
    Here(Box<dyn Inlet>),
    Busy,
    Gone,
}

/// A request body that is read from its connection.
pub struct Incoming(Arc<Mutex<Slot>>);

/// The driver's right to take the inlet back.
#[must_use = "the connection cannot go on without its inlet"]
pub struct Reclaim(Arc<Mutex<Slot>>);

impl Incoming {
    /// Lends `inlet` to a handler. Cost: one allocation.
    pub fn new(inlet: Box<dyn Inlet>) -> (Incoming, Reclaim) {
        let slot = Arc::new(Mutex::new(Slot::Here(inlet)));
        (Incoming(slot.clone()), Reclaim(slot))
    }

    /// Bytes that are still to come, if they are known.
    pub fn remaining_hint(&self) -> Option<u64> {
        match &*lock(&self.0) {
            Slot::Here(inlet) => inlet.remaining_hint(),
            Slot::Busy | Slot::Gone => None,
        }
    }

    /// The trailer fields, once after the end of the body.
    pub fn take_trailers(&mut self) -> Option<HeaderMap> {
        match &mut *lock(&self.0) {
            Slot::Here(inlet) => inlet.take_trailers(),
            Slot::Busy | Slot::Gone => None,
        }
    }

    /// Reads content; 0 at its end. Parks the fiber or blocks the thread.
    ///
    /// # Errors
    /// The inlet's; [`BodyReadError::Finished`] after the handler's end, [`BodyReadError::Busy`] during another read.
    /// # Cancel safety
    /// A cancelled read has consumed nothing.
    pub fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut lent = Lent { slot: &self.0, inlet: Some(take(&self.0)?) };
        let inlet = lent.inlet.as_mut().expect("it was put there just above");
        inlet.read(buf)
    }
}

impl Reclaim {
    /// Takes the inlet back; from now on reads of the body fail. `None` if somebody is reading at this moment (a fiber or
    /// thread that outlives its handler): then the state of the connection is not known, and it has to be closed.
    pub fn reclaim(self) -> Option<Box<dyn Inlet>> {
        match mem::replace(&mut *lock(&self.0), Slot::Gone) {
            Slot::Here(inlet) => Some(inlet),
            Slot::Busy | Slot::Gone => None,
        }
    }
}

/// Puts the inlet back when the read is over, also when it panics.
struct Lent<'a> {
    slot: &'a Mutex<Slot>,
    inlet: Option<Box<dyn Inlet>>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut slot = lock(self.slot);
        if let (Slot::Busy, Some(inlet)) = (&*slot, self.inlet.take()) {
            *slot = Slot::Here(inlet);
        }
    }
}

fn take(slot: &Mutex<Slot>) -> Result<Box<dyn Inlet>, BodyReadError> {
    let mut slot = lock(slot);
    match mem::replace(&mut *slot, Slot::Busy) {
        Slot::Here(inlet) => Ok(inlet),
        Slot::Busy => Err(BodyReadError::Busy),
        Slot::Gone => {
            *slot = Slot::Gone;
            Err(BodyReadError::Finished)
        }
    }
}

/// Nothing that can panic runs under this lock except an inlet's two getters, after which the slot is still whole.
fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Words(Vec<&'static str>);

    impl Inlet for Words {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let Some(word) = self.0.pop() else { return Ok(0) };
            buf[..word.len()].copy_from_slice(word.as_bytes());
            Ok(word.len())
        }

        fn remaining_hint(&self) -> Option<u64> {
            Some(self.0.iter().map(|word| word.len() as u64).sum())
        }

        fn take_trailers(&mut self) -> Option<HeaderMap> {
            None
        }

        fn into_any(self: Box<Self>) -> Box<dyn std::any::Any> {
            self
        }
    }

    fn kind_of(error: io::Error) -> BodyReadError {
        BodyReadError::from(error)
    }

    #[test]
    fn the_driver_gets_its_inlet_back_with_what_was_not_read() {
        let (mut incoming, reclaim) = Incoming::new(Box::new(Words(vec!["rest", "first"])));
        let mut buf = [0; 8];
        assert_eq!(incoming.read(&mut buf).unwrap(), 5);
        assert_eq!(incoming.remaining_hint(), Some(4));
        let inlet = reclaim.reclaim().expect("nobody reads");
        let words = inlet.into_any().downcast::<Words>().expect("it is what was lent");
        assert_eq!(words.0, ["rest"]);
    }

    #[test]
    fn a_body_that_outlives_its_request_says_so() {
        let (mut incoming, reclaim) = Incoming::new(Box::new(Words(vec!["word"])));
        assert!(reclaim.reclaim().is_some());
        for _ in 0..2 {
            assert!(matches!(kind_of(incoming.read(&mut [0; 8]).unwrap_err()), BodyReadError::Finished));
        }
        assert_eq!(incoming.remaining_hint(), None);
    }

    #[test]
    fn during_a_read_a_second_one_fails_and_the_inlet_cannot_be_reclaimed() {
        struct Probe(Option<Box<dyn FnOnce() + Send>>);
        impl Inlet for Probe {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                self.0.take().expect("it is read once")();
                Ok(0)
            }
            fn remaining_hint(&self) -> Option<u64> {
                None
            }
            fn take_trailers(&mut self) -> Option<HeaderMap> {
                None
            }
            fn into_any(self: Box<Self>) -> Box<dyn std::any::Any> {
                self
            }
        }
        let slot = Arc::new(Mutex::new(Slot::Busy));
        let inner = slot.clone();
        let during = move || {
            let second = Incoming(inner.clone()).read(&mut [0; 1]).unwrap_err();
            assert!(matches!(kind_of(second), BodyReadError::Busy));
            assert!(Reclaim(inner).reclaim().is_none());
        };
        *lock(&slot) = Slot::Here(Box::new(Probe(Some(Box::new(during)))));
        let mut incoming = Incoming(slot);
        assert_eq!(incoming.read(&mut [0; 1]).unwrap(), 0);
        assert!(matches!(kind_of(incoming.read(&mut [0; 1]).unwrap_err()), BodyReadError::Finished));
    }
}
