//! What a format calls back, on its way to the type.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, Unexpected, Visitor};

use super::Guard;
use super::items::Items;
use super::ledger::Place;
use crate::codec::error::Brief;

/// How the content of a compound is paid for, and what is known of its names.
#[derive(Clone, Copy)]
pub(super) enum Content {
    /// As many elements as the message has, somewhere on the heap.
    Open,
    /// A number of elements that the type fixes, inside the value; their names if they have any.
    Fixed(&'static [&'static str]),
    /// Text or bytes that the type borrows or copies into its own place.
    Lent,
    /// The name of a field, an argument or a variant.
    Name,
    /// One number, one `bool` or nothing.
    Scalar,
}

impl Content {
    /// The content of a tuple: inside its value, unless the value is too small for that. Then the type builds a container
    /// from what only looks like a tuple, and the length may come from the message. serde's own tuples and arrays go up
    /// to 32 elements, which may be zero-sized.
    #[inline]
    pub(super) fn tuple<T>(length: usize) -> Self {
        if length > size_of::<T>().max(32) {
            Self::Open
        } else {
            Self::Fixed(&[])
        }
    }
}

/// What a format sees in place of the type's visitor.
pub(super) struct Watch<'l, 'de, V> {
    pub(super) visitor: V,
    pub(super) place: Place<'l, 'de>,
    pub(super) content: Content,
}

impl<'de, V: Visitor<'de>> Watch<'_, 'de, V> {
    /// Pays for text or bytes that the type will keep.
    #[inline]
    fn text<E: Error>(&mut self, length: usize) -> Result<(), E> {
        match self.content {
            Content::Open => {
                self.place.settle::<V::Value, E>()?;
                self.place.ledger.take_heap(length)
            }
            Content::Fixed(_) | Content::Lent | Content::Name | Content::Scalar => Ok(()),
        }
    }
}

impl<'l, 'de, V: Visitor<'de>> Watch<'l, 'de, V> {
    /// Enters a sequence, tuple, struct or map.
    #[inline]
    fn enter<E: Error>(&mut self) -> Result<(), E> {
        self.place.settle::<V::Value, E>()?;
        self.place.descend::<E>()
    }

    /// The elements of what was entered, of the length that the format claims, if it knows: to be paid for next. Made where they stay,
    /// see [`Parcel`](crate::link::Parcel).
    #[inline]
    fn items<A>(self, inner: A, claimed: Option<usize>) -> (V, Items<'l, 'de, A>) {
        let (fields, paid) = match self.content {
            Content::Fixed(fields) => (Some(fields), usize::MAX),
            Content::Open | Content::Lent | Content::Name | Content::Scalar => (None, claimed.unwrap_or(0)),
        };
        (self.visitor, Items::new(inner, self.place, fields, paid))
    }
}

macro_rules! pass_value {
    ($($method:ident $type:ty)*) => {$(
        #[inline]
        fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.visitor.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Watch<'_, 'de, V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(formatter)
    }

    pass_value! {
        visit_bool bool visit_i8 i8 visit_i16 i16 visit_i32 i32 visit_i64 i64 visit_i128 i128
        visit_u8 u8 visit_u16 u16 visit_u32 u32 visit_u64 u64 visit_u128 u128
        visit_f32 f32 visit_f64 f64 visit_char char
    }

    #[inline]
    fn visit_str<E: Error>(mut self, text: &str) -> Result<V::Value, E> {
        self.text(text.len())?;
        self.visitor.visit_str::<Brief>(text).map_err(E::custom)
    }

    #[inline]
    fn visit_borrowed_str<E: Error>(mut self, text: &'de str) -> Result<V::Value, E> {
        self.text(text.len())?;
        if let Content::Name = self.content {
            self.place.ledger.name = Some(text);
        }
        self.visitor.visit_borrowed_str::<Brief>(text).map_err(E::custom)
    }

    #[inline]
    fn visit_string<E: Error>(mut self, text: String) -> Result<V::Value, E> {
        self.text(text.len())?;
        self.visitor.visit_string::<Brief>(text).map_err(E::custom)
    }

    #[inline]
    fn visit_bytes<E: Error>(mut self, bytes: &[u8]) -> Result<V::Value, E> {
        self.text(bytes.len())?;
        self.visitor.visit_bytes(bytes)
    }

    #[inline]
    fn visit_borrowed_bytes<E: Error>(mut self, bytes: &'de [u8]) -> Result<V::Value, E> {
        self.text(bytes.len())?;
        self.visitor.visit_borrowed_bytes(bytes)
    }

    #[inline]
    fn visit_byte_buf<E: Error>(mut self, bytes: Vec<u8>) -> Result<V::Value, E> {
        self.text(bytes.len())?;
        self.visitor.visit_byte_buf(bytes)
    }

    #[inline]
    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none()
    }

    #[inline]
    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_unit()
    }

    #[inline]
    fn visit_some<D: Deserializer<'de>>(mut self, inner: D) -> Result<V::Value, D::Error> {
        self.place.settle::<V::Value, D::Error>()?;
        self.place.descend::<D::Error>()?;
        self.visitor.visit_some(Guard {
            inner,
            place: self.place,
        })
    }

    #[inline]
    fn visit_newtype_struct<D: Deserializer<'de>>(mut self, inner: D) -> Result<V::Value, D::Error> {
        self.place.settle::<V::Value, D::Error>()?;
        self.place.descend::<D::Error>()?;
        self.visitor.visit_newtype_struct(Guard {
            inner,
            place: self.place,
        })
    }

    #[inline]
    fn visit_seq<A: SeqAccess<'de>>(mut self, inner: A) -> Result<V::Value, A::Error> {
        self.enter::<A::Error>()?;
        let claimed = inner.size_hint();
        let (visitor, mut items) = self.items(inner, claimed);
        items.afford::<A::Error>()?;
        visitor.visit_seq(items)
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(mut self, inner: A) -> Result<V::Value, A::Error> {
        if let Content::Scalar = self.content {
            // With serde_json's `arbitrary_precision`, which any crate of the program may turn on, whoever asks what
            // comes gets a number as a map, which only its own type can read.
            let Ok(number) = serde_json::Number::deserialize(MapAccessDeserializer::new(inner)) else {
                return Err(A::Error::invalid_type(Unexpected::Map, &self));
            };
            return number.deserialize_any(self.visitor).map_err(A::Error::custom);
        }
        let claimed = inner.size_hint();
        self.enter::<A::Error>()?;
        let (visitor, mut items) = self.items(inner, claimed);
        items.afford::<A::Error>()?;
        visitor.visit_map(items)
    }

    #[inline]
    fn visit_enum<A: EnumAccess<'de>>(mut self, inner: A) -> Result<V::Value, A::Error> {
        self.place.settle::<V::Value, A::Error>()?;
        self.visitor.visit_enum(Guard {
            inner,
            place: self.place,
        })
    }
}
