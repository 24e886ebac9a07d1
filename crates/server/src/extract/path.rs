//! The parameters of a path.
//!
//! They are all text; what the handler wants to have decides how they are read. Single values take one parameter, tuples
//! and lists the parameters in their order, structs and maps the parameters by name.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{self, DeserializeOwned, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use crate::context::Context;
use crate::error::Rejection;
use crate::extract::{FromRequest, percent};

/// The path's parameters, percent-decoded.
///
/// 400 if one is not of the wanted type; 500 if the handler wants another number of them than its route has.
///
/// ```
/// use tenfold_server::Path;
/// fn comment(Path((article, comment)): Path<(u64, u32)>) -> String {
///     format!("comment {comment} on article {article}")
/// }
/// tenfold_server::App::new().get("/articles/{article}/comments/{comment}", comment).build().unwrap();
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Path<T> {
    type Rejection = Rejection;

    fn from_request(cx: &mut Context<'_>) -> Result<Path<T>, Rejection> {
        let params = cx.params();
        let mut decoded = Vec::with_capacity(params.len());
        for (name, value) in params.iter() {
            let invalid = || Rejection::InvalidPath(format!("\"{name}\" is not percent-encoded UTF-8"));
            decoded.push((name, percent::decode(value).ok_or_else(invalid)?));
        }
        T::deserialize(Parameters(&decoded)).map(Path).map_err(|error| match error {
            Mismatch::Value(text) => Rejection::InvalidPath(text),
            Mismatch::Shape(text) => Rejection::PathMismatch(text),
        })
    }
}

/// All parameters of a path.
struct Parameters<'p>(&'p [(&'p str, Cow<'p, str>)]);

/// One parameter.
#[derive(Clone, Copy)]
struct Parameter<'p> {
    name: &'p str,
    value: &'p str,
}

/// Why parameters do not become the wanted type.
#[derive(Debug)]
enum Mismatch {
    /// The client's mistake: the text of a parameter.
    Value(String),
    /// Ours: the type can never fit the route.
    Shape(String),
}

impl<'p> Parameters<'p> {
    fn iter(&self) -> impl ExactSizeIterator<Item = Parameter<'p>> + use<'p> {
        self.0.iter().map(|(name, value)| Parameter { name, value })
    }

    fn only(&self) -> Result<Parameter<'p>, Mismatch> {
        self.expect(1)?;
        self.iter().next().ok_or_else(|| Mismatch::Shape("there is no parameter".into()))
    }

    fn expect(&self, wanted: usize) -> Result<(), Mismatch> {
        let there = self.0.len();
        if there == wanted {
            return Ok(());
        }
        Err(Mismatch::Shape(format!("the handler wants {wanted} parameters, the route has {there}")))
    }
}

macro_rules! of_the_only_parameter {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
            self.only()?.$method(visitor)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Parameters<'_> {
    type Error = Mismatch;

    of_the_only_parameter!(deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32
        deserialize_i64 deserialize_i128 deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_u128 deserialize_f32 deserialize_f64 deserialize_char deserialize_str deserialize_string
        deserialize_bytes deserialize_byte_buf deserialize_identifier deserialize_option);

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_unit()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_seq(SeqDeserializer::new(self.iter()))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Mismatch> {
        self.expect(len)?;
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_map(MapDeserializer::new(self.iter().map(|parameter| (parameter.name, parameter))))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.only()?.deserialize_enum(name, variants, visitor)
    }
}

macro_rules! parsed {
    ($($method:ident $visit:ident $type:ty,)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
            let value: $type = self.value.parse().map_err(|_| self.is_no(stringify!($type)))?;
            visitor.$visit(value).map_err(|error| self.because(error))
        }
    )*};
}

impl Parameter<'_> {
    fn is_no(&self, wanted: &str) -> Mismatch {
        Mismatch::Value(format!("\"{}\" is no {wanted}: \"{}\"", self.name, self.value))
    }

    fn because(&self, error: Mismatch) -> Mismatch {
        match error {
            Mismatch::Value(text) => Mismatch::Value(format!("\"{}\": {text}", self.name)),
            shape => shape,
        }
    }
}

impl<'de> de::Deserializer<'de> for Parameter<'_> {
    type Error = Mismatch;

    parsed! {
        deserialize_bool visit_bool bool,
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
        deserialize_i128 visit_i128 i128,
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
        deserialize_u128 visit_u128 u128,
        deserialize_f32 visit_f32 f32,
        deserialize_f64 visit_f64 f64,
        deserialize_char visit_char char,
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_str(self.value).map_err(|error| self.because(error))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        let value: StrDeserializer<'_, Mismatch> = self.value.into_deserializer();
        value.deserialize_enum(name, variants, visitor).map_err(|error| self.because(error))
    }

    forward_to_deserialize_any! {
        str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de, 'p> IntoDeserializer<'de, Mismatch> for Parameter<'p> {
    type Deserializer = Parameter<'p>;

    fn into_deserializer(self) -> Parameter<'p> {
        self
    }
}

impl de::Error for Mismatch {
    fn custom<T: fmt::Display>(message: T) -> Mismatch {
        Mismatch::Value(message.to_string())
    }

    fn missing_field(field: &'static str) -> Mismatch {
        Mismatch::Shape(format!("the route has no parameter \"{field}\""))
    }

    fn invalid_length(len: usize, expected: &dyn de::Expected) -> Mismatch {
        Mismatch::Shape(format!("the route has {len} parameters, the handler wants {expected}"))
    }

    fn unknown_field(field: &str, _: &'static [&'static str]) -> Mismatch {
        Mismatch::Shape(format!("the handler has no field for the parameter \"{field}\""))
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mismatch::Value(text) | Mismatch::Shape(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Mismatch {}
