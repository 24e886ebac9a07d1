//! `Space`: reading and changing the tuples of one space.

use rmpv::Value;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;

use super::iproto::{Kind, key};
use super::{Client, Target, from_value, to_list, to_value};

/// Which tuples of an index a select begins with, and in which order they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Iterator {
    /// Equal to the key.
    Equal = 0,
    /// Equal to the key, the last one first.
    EqualReversed = 1,
    /// All, whatever the key.
    All = 2,
    /// Below the key, descending.
    Less = 3,
    /// Below the key or equal, descending.
    LessOrEqual = 4,
    /// Equal or above, ascending.
    GreaterOrEqual = 5,
    /// Above, ascending.
    Greater = 6,
}

/// What is selected.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Select {
    index: u32,
    iterator: Iterator,
    limit: u32,
    offset: u32,
}

impl Select {
    /// By an index's number; 0 is the primary one. Equal to the key, at most 1,000 tuples.
    pub fn index(number: u32) -> Select {
        Select { index: number, iterator: Iterator::Equal, limit: 1_000, offset: 0 }
    }

    /// Where it begins and in which order.
    pub fn iterator(mut self, iterator: Iterator) -> Select {
        self.iterator = iterator;
        self
    }

    /// Most tuples; default 1,000.
    pub fn limit(mut self, tuples: u32) -> Select {
        self.limit = tuples;
        self
    }

    /// How many are left out first.
    pub fn offset(mut self, tuples: u32) -> Select {
        self.offset = tuples;
        self
    }
}

/// A space by its number. Cheap to make; see [`Client::space`].
#[derive(Debug)]
pub struct Space<'a> {
    target: Target<'a>,
    number: u32,
}

impl<'a> Space<'a> {
    pub(super) fn new(target: Target<'a>, number: u32) -> Space<'a> {
        Space { target, number }
    }

    /// The space's number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Tuples by a key, which is a list: `&(7,)`.
    ///
    /// # Errors
    /// [`Error::Rejected`] with the error's number; [`Error::Type`]; as [`Client::call`].
    pub fn select<T: DeserializeOwned>(&self, select: Select, key: &impl Serialize) -> Result<Vec<T>, Error> {
        let body = vec![
            (key::INDEX, select.index.into()),
            (key::LIMIT, select.limit.into()),
            (key::OFFSET, select.offset.into()),
            (key::ITERATOR, (select.iterator as u32).into()),
            (key::KEY, to_list(key)?),
        ];
        self.run(Kind::Select, body)
    }

    /// Adds a tuple and returns it.
    ///
    /// # Errors
    /// [`Error::Rejected`] with number 3 if its key is taken; as [`Space::select`].
    pub fn insert<T: Serialize + DeserializeOwned>(&self, tuple: &T) -> Result<T, Error> {
        self.one(Kind::Insert, vec![(key::TUPLE, to_value(tuple)?)])
    }

    /// Adds a tuple in place of the one with the same key, and returns it.
    ///
    /// # Errors
    /// As [`Space::select`].
    pub fn replace<T: Serialize + DeserializeOwned>(&self, tuple: &T) -> Result<T, Error> {
        self.one(Kind::Replace, vec![(key::TUPLE, to_value(tuple)?)])
    }

    /// Changes the tuple of a primary key by operations such as `[("=", 1, "new"), …]`, where fields count from zero. Returns
    /// the new tuple, `None` if there is none.
    ///
    /// # Errors
    /// As [`Space::select`].
    pub fn update<T: DeserializeOwned>(
        &self,
        key: &impl Serialize,
        operations: &impl Serialize,
    ) -> Result<Option<T>, Error> {
        // An update's operations are in the field that a tuple has elsewhere.
        let body =
            vec![(key::INDEX, 0.into()), (key::KEY, to_list(key)?), (key::TUPLE, to_value(operations)?)];
        Ok(self.run(Kind::Update, body)?.pop())
    }

    /// Adds a tuple or, if its key is taken, runs operations on the one that is there.
    ///
    /// # Errors
    /// As [`Space::select`].
    pub fn upsert(&self, tuple: &impl Serialize, operations: &impl Serialize) -> Result<(), Error> {
        let body = vec![
            (key::INDEX_BASE, 0.into()),
            (key::TUPLE, to_value(tuple)?),
            (key::OPERATIONS, to_value(operations)?),
        ];
        self.run::<Value>(Kind::Upsert, body).map(drop)
    }

    /// Removes the tuple of a primary key and returns it, `None` if there is none.
    ///
    /// # Errors
    /// As [`Space::select`].
    pub fn delete<T: DeserializeOwned>(&self, key: &impl Serialize) -> Result<Option<T>, Error> {
        Ok(self.run(Kind::Delete, vec![(key::INDEX, 0.into()), (key::KEY, to_list(key)?)])?.pop())
    }

    fn one<T: DeserializeOwned>(&self, kind: Kind, body: Vec<(u64, Value)>) -> Result<T, Error> {
        let tuple = self.run(kind, body)?.pop();
        tuple.ok_or_else(|| Error::Type { expected: "a tuple", got: "none".into() })
    }

    fn run<T: DeserializeOwned>(&self, kind: Kind, mut body: Vec<(u64, Value)>) -> Result<Vec<T>, Error> {
        body.push((key::SPACE, self.number.into()));
        from_value(self.target.run(kind, body)?.take(key::DATA))
    }
}

impl Client {
    /// A space by its name. Its number is asked for once and remembered.
    ///
    /// # Errors
    /// [`Error::Rejected`] with number 36 if there is none; as [`Client::call`].
    pub fn space(&self, name: &str) -> Result<Space<'_>, Error> {
        Ok(Space::new(Target::Client(self), self.space_number(name)?))
    }
}
