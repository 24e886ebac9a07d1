//! `Value`: a reply, and what it can be turned into.

use std::collections::HashMap;
use std::hash::Hash;

use bytes::Bytes;

use crate::error::Error;

/// A reply as it came.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Nothing.
    Nil,
    /// A number; a boolean is 1 or 0.
    Int(i64),
    /// A short text, such as `OK`.
    Text(Bytes),
    /// A string of bytes.
    Bulk(Bytes),
    /// A list, a set, or a map as keys and values in turn.
    List(Vec<Value>),
    /// What was not asked for: a message of a subscription.
    Push(Vec<Value>),
    /// The server's refusal: its code, a space, its words.
    Error(String),
}

/// What a reply can be turned into. A refusal was turned into [`Error::Rejected`] before.
pub trait FromValue: Sized {
    /// # Errors
    /// [`Error::Type`].
    fn from_value(value: Value) -> Result<Self, Error>;
}

impl Value {
    /// A refusal as an error, everything else as it is.
    pub(super) fn accepted(self) -> Result<Value, Error> {
        match self {
            Value::Error(text) => {
                let (code, message) = text.split_once(' ').unwrap_or((&text, ""));
                Err(Error::Rejected { code: code.into(), message: message.into() })
            }
            other => Ok(other),
        }
    }

    fn into_bytes(self) -> Result<Bytes, Error> {
        match self {
            Value::Bulk(bytes) | Value::Text(bytes) => Ok(bytes),
            Value::Int(number) => Ok(number.to_string().into()),
            other => Err(other.is_no("a string")),
        }
    }

    fn is_no(&self, expected: &'static str) -> Error {
        let got = match self {
            Value::Nil => "nothing",
            Value::Int(_) => "a number",
            Value::Text(_) | Value::Bulk(_) => "a string",
            Value::List(_) => "a list",
            Value::Push(_) => "a message",
            Value::Error(_) => "an error",
        };
        Error::Type { expected, got: got.into() }
    }
}

impl FromValue for Value {
    fn from_value(value: Value) -> Result<Value, Error> {
        Ok(value)
    }
}

/// Takes whatever comes.
impl FromValue for () {
    fn from_value(_: Value) -> Result<(), Error> {
        Ok(())
    }
}

impl FromValue for Bytes {
    fn from_value(value: Value) -> Result<Bytes, Error> {
        value.into_bytes()
    }
}

impl FromValue for String {
    fn from_value(value: Value) -> Result<String, Error> {
        String::from_utf8(value.into_bytes()?.into()).map_err(Error::Text)
    }
}

impl FromValue for bool {
    fn from_value(value: Value) -> Result<bool, Error> {
        match &value {
            Value::Int(number) => Ok(*number != 0),
            Value::Nil => Ok(false),
            Value::Text(bytes) if *bytes == "OK" => Ok(true),
            other => Err(other.is_no("a boolean")),
        }
    }
}

macro_rules! numbers {
    ($($number:ty),*) => {
        $(impl FromValue for $number {
            fn from_value(value: Value) -> Result<$number, Error> {
                let parsed = match &value {
                    // By way of text for the bounds of each type.
                    Value::Int(number) => number.to_string().parse().ok(),
                    Value::Bulk(bytes) | Value::Text(bytes) => {
                        std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok())
                    }
                    _ => None,
                };
                parsed.ok_or_else(|| value.is_no(concat!("a number of type ", stringify!($number))))
            }
        })*
    };
}

numbers!(i64, i32, u64, u32, usize, f64);

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Value) -> Result<Option<T>, Error> {
        if value == Value::Nil { Ok(None) } else { T::from_value(value).map(Some) }
    }
}

impl<T: FromValue> FromValue for Vec<T> {
    fn from_value(value: Value) -> Result<Vec<T>, Error> {
        match value {
            Value::List(items) => items.into_iter().map(T::from_value).collect(),
            Value::Nil => Ok(Vec::new()),
            other => Err(other.is_no("a list")),
        }
    }
}

impl<K: FromValue + Eq + Hash, V: FromValue> FromValue for HashMap<K, V> {
    fn from_value(value: Value) -> Result<HashMap<K, V>, Error> {
        let Value::List(items) = value else { return Err(value.is_no("keys and values")) };
        if items.len() % 2 != 0 {
            return Err(Error::Type { expected: "keys and values", got: "an odd number of items".into() });
        }
        let mut items = items.into_iter();
        let mut map = HashMap::with_capacity(items.len() / 2);
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            map.insert(K::from_value(key)?, V::from_value(value)?);
        }
        Ok(map)
    }
}
