//! `Value`, `Row`: parameters and results.

use std::sync::Arc;

use bytes::Bytes;

use crate::error::Error;

use super::packet::Column;

/// A parameter or a field.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// NULL.
    Null,
    /// A number.
    Int(i64),
    /// A number of an unsigned column.
    Unsigned(u64),
    /// A FLOAT or DOUBLE.
    Float(f64),
    /// Text, bytes, a DECIMAL, and dates and times as text.
    Bytes(Bytes),
}

/// A row of a result.
#[derive(Clone, Debug)]
pub struct Row {
    pub(super) columns: Arc<[Column]>,
    pub(super) values: Vec<Value>,
}

/// What a field can be turned into.
pub trait FromField: Sized {
    /// # Errors
    /// [`Error::Type`].
    fn from_field(value: &Value) -> Result<Self, Error>;
}

impl Row {
    /// A field by its number, from zero.
    ///
    /// # Errors
    /// [`Error::Type`] if there is none, or it cannot be a `T`.
    pub fn get<T: FromField>(&self, index: usize) -> Result<T, Error> {
        let missing = || Error::Type { expected: "a field", got: "fewer fields".into() };
        T::from_field(self.values.get(index).ok_or_else(missing)?)
    }

    /// A field by its name.
    ///
    /// # Errors
    /// As [`Row::get`].
    pub fn get_named<T: FromField>(&self, name: &str) -> Result<T, Error> {
        let index = self.columns.iter().position(|column| column.name == name);
        self.get(index.ok_or_else(|| Error::Type { expected: "a field", got: format!("no field {name:?}") })?)
    }

    /// All fields.
    pub fn values(&self) -> &[Value] {
        &self.values
    }
}

impl Value {
    fn is_no(&self, expected: &'static str) -> Error {
        let got = match self {
            Value::Null => "NULL",
            Value::Int(_) | Value::Unsigned(_) => "a number",
            Value::Float(_) => "a floating-point number",
            Value::Bytes(_) => "text or bytes",
        };
        Error::Type { expected, got: got.into() }
    }
}

impl FromField for Value {
    fn from_field(value: &Value) -> Result<Value, Error> {
        Ok(value.clone())
    }
}

impl FromField for Bytes {
    fn from_field(value: &Value) -> Result<Bytes, Error> {
        match value {
            Value::Bytes(bytes) => Ok(bytes.clone()),
            other => Err(other.is_no("text or bytes")),
        }
    }
}

impl FromField for String {
    fn from_field(value: &Value) -> Result<String, Error> {
        String::from_utf8(Bytes::from_field(value)?.into()).map_err(Error::Text)
    }
}

impl<T: FromField> FromField for Option<T> {
    fn from_field(value: &Value) -> Result<Option<T>, Error> {
        if *value == Value::Null { Ok(None) } else { T::from_field(value).map(Some) }
    }
}

impl FromField for f64 {
    fn from_field(value: &Value) -> Result<f64, Error> {
        match value {
            Value::Float(number) => Ok(*number),
            other => Err(other.is_no("a floating-point number")),
        }
    }
}

macro_rules! integers {
    ($($number:ty),*) => {
        $(
            impl FromField for $number {
                fn from_field(value: &Value) -> Result<$number, Error> {
                    let fits = match value {
                        Value::Int(number) => <$number>::try_from(*number).ok(),
                        Value::Unsigned(number) => <$number>::try_from(*number).ok(),
                        _ => None,
                    };
                    fits.ok_or_else(|| value.is_no(concat!("a number of type ", stringify!($number))))
                }
            }
        )*
    };
}

integers!(i64, i32, u64, u32, u8);

macro_rules! parameters {
    ($($from:ty => $variant:ident $convert:expr;)*) => {
        $(
            impl From<$from> for Value {
                fn from(value: $from) -> Value {
                    Value::$variant($convert(value))
                }
            }
        )*
    };
}

parameters! {
    i64 => Int i64::from;
    i32 => Int i64::from;
    u32 => Int i64::from;
    u64 => Unsigned u64::from;
    f64 => Float f64::from;
    Bytes => Bytes Bytes::from;
    String => Bytes Bytes::from;
    Vec<u8> => Bytes Bytes::from;
    &str => Bytes (|text: &str| Bytes::copy_from_slice(text.as_bytes()));
    &[u8] => Bytes Bytes::copy_from_slice;
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}
