//! The values that handlers share: at most one per type, made in each worker after the fork, read by `State<T>`.

use std::any::{Any, TypeId, type_name};
use std::fmt;
use std::sync::Arc;

use crate::error::Error;

/// The values of one worker, by type. Cost of a look-up: a few comparisons; an app has a handful of state types, and a
/// hash would cost more than that.
#[derive(Default)]
pub struct StateMap(Vec<(TypeId, Box<dyn Any + Send + Sync>)>);

impl StateMap {
    /// An empty map.
    pub const fn new() -> StateMap {
        StateMap(Vec::new())
    }

    /// The value of type `T`.
    #[inline]
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<&T> {
        let wanted = TypeId::of::<T>();
        let (_, value) = self.0.iter().find(|(id, _)| *id == wanted)?;
        value.downcast_ref()
    }

    /// Puts a value in; a former one of its type is replaced.
    pub fn insert<T: Send + Sync + 'static>(&mut self, value: T) {
        self.put(TypeId::of::<T>(), Box::new(value));
    }

    fn put(&mut self, id: TypeId, value: Box<dyn Any + Send + Sync>) {
        match self.0.iter_mut().find(|(other, _)| *other == id) {
            Some((_, old)) => *old = value,
            None => self.0.push((id, value)),
        }
    }
}

impl fmt::Debug for StateMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StateMap({} values)", self.0.len())
    }
}

/// Makes a value of one type, once per worker.
#[derive(Clone)]
pub(crate) struct StateMaker {
    pub(crate) id: TypeId,
    pub(crate) type_name: &'static str,
    make: Arc<dyn Fn() -> Result<Box<dyn Any + Send + Sync>, Error> + Send + Sync>,
}

impl StateMaker {
    pub(crate) fn new<T, F>(make: F) -> StateMaker
    where
        T: Send + Sync + 'static,
        F: Fn() -> Result<T, Error> + Send + Sync + 'static,
    {
        StateMaker {
            id: TypeId::of::<T>(),
            type_name: type_name::<T>(),
            make: Arc::new(move || Ok(Box::new(make()?))),
        }
    }

    pub(crate) fn make_into(&self, map: &mut StateMap) -> Result<(), Error> {
        map.put(self.id, (self.make)()?);
        Ok(())
    }
}

impl fmt::Debug for StateMaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StateMaker({})", self.type_name)
    }
}

/// What an extractor needs from the app, so that a route that cannot work is refused at the start instead of answering
/// 500 at its first request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Need {
    /// A state value of a type.
    State {
        /// The type.
        id: TypeId,
        /// Its name, for the message.
        type_name: &'static str,
    },
}

impl Need {
    /// A state value of type `T`.
    pub fn state<T: 'static>() -> Need {
        Need::State { id: TypeId::of::<T>(), type_name: type_name::<T>() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_type_and_replaced() {
        let mut map = StateMap::new();
        map.insert(1_u32);
        map.insert("text");
        map.insert(2_u32);
        assert_eq!((map.get::<u32>(), map.get::<&str>(), map.get::<u64>()), (Some(&2), Some(&"text"), None));
    }
}
