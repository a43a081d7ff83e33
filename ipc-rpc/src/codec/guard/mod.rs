//! Holds a message to its [`Budget`] while it is decoded, in any format.
//!
//! The guard stands between a type and the format's deserializer, on both of serde's sides: what the type calls goes
//! through a [`Guard`], what the format calls back through a [`Watch`], and the elements of every compound through
//! [`Items`](items::Items). Limits are checked before the type gets what it would allocate for:
//!
//! * A sequence or map that says its length pays for it with its first element, before anything inside it is read,
//!   and what it may reserve beforehand is at most one element per byte of the body. One that does not say its length
//!   pays for each element before the type has it.
//! * Elements are paid for by the size of their type, which is known where the element's seed is. Fields of structs
//!   and tuples lie inside their parent and cost nothing, unless their type is larger than the place it was read for:
//!   then it lies behind a pointer, as in a `Box`, and is paid for there.
//! * Depth is a number that goes down with each [`Place`], so nothing is to be undone on any way out.
//!
//! Numbers and borrowed text pass untouched; JSON is asked what comes instead of being told what is expected, see
//! [`Guard::asks`]. serde's own buffer for untagged and flattened types (JSON only) is filled
//! through the guard, at 32 bytes a value; what is then built from the buffer is not seen.

mod items;
mod ledger;
mod watch;

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, VariantAccess, Visitor};

pub(super) use ledger::Ledger;

use crate::section::{self, MARK};
use ledger::Place;
use watch::{Content, Watch};

/// A seed for the value at the top. It leaves the value where it is to be: on its way through the results of the format
/// and the codec a small struct would be copied four times, and each copy has to wait for the one before.
pub(super) struct Root<'l, 'de, S: DeserializeSeed<'de>> {
    seed: S,
    ledger: &'l mut Ledger<'de>,
    value: &'l mut Option<S::Value>,
}

impl<'l, 'de, S: DeserializeSeed<'de>> Root<'l, 'de, S> {
    pub(super) fn new(seed: S, ledger: &'l mut Ledger<'de>, value: &'l mut Option<S::Value>) -> Self {
        Self { seed, ledger, value }
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Root<'_, 'de, S> {
    type Value = ();

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<(), D::Error> {
        let depth = self.ledger.budget.depth as usize;
        let place = Place {
            ledger: self.ledger,
            depth,
            room: size_of::<S::Value>(),
        };
        match self.seed.deserialize(Guard { inner, place }) {
            Ok(value) => {
                *self.value = Some(value);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// A seed for a value inside another. Small enough to travel in registers, since there is one for every element.
struct Seed<'l, 'de, S> {
    seed: S,
    ledger: &'l mut Ledger<'de>,
    depth: usize,
}

impl<'l, 'de, S: DeserializeSeed<'de>> Seed<'l, 'de, S> {
    #[inline]
    fn inside(seed: S, parent: &'l mut Place<'_, 'de>) -> Self {
        Self {
            seed,
            ledger: parent.ledger,
            depth: parent.depth,
        }
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Seed<'_, 'de, S> {
    type Value = S::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        let room = size_of::<S::Value>();
        let place = Place {
            ledger: self.ledger,
            depth: self.depth,
            room,
        };
        self.seed.deserialize(Guard { inner, place })
    }
}

/// What a type sees in place of the format's deserializer, enum or variant.
struct Guard<'l, 'de, X> {
    inner: X,
    place: Place<'l, 'de>,
}

impl<'l, 'de, X> Guard<'l, 'de, X> {
    #[inline]
    fn watch<V>(self, visitor: V, content: Content) -> (X, Watch<'l, 'de, V>) {
        (
            self.inner,
            Watch {
                visitor,
                place: self.place,
                content,
            },
        )
    }

    /// Whether to ask what comes instead of saying what is expected. Where text comes and something else was expected,
    /// serde_json makes an error of all of it, at up to six times its length; asked this way it gives the text to the
    /// [`Watch`], whose error is brief. A key has to be asked for by its type, or it would be taken for text.
    #[inline]
    fn asks(&self) -> bool
    where
        X: Deserializer<'de>,
    {
        self.inner.is_human_readable() && !self.place.ledger.key
    }

    #[inline]
    fn compound<V: Visitor<'de>>(
        self,
        visitor: V,
        content: Content,
        call: impl FnOnce(X, Watch<'l, 'de, V>) -> Result<V::Value, X::Error>,
    ) -> Result<V::Value, X::Error>
    where
        X: Deserializer<'de>,
    {
        let asks = self.asks();
        let (inner, watch) = self.watch(visitor, content);
        if asks {
            inner.deserialize_any(watch)
        } else {
            call(inner, watch)
        }
    }
}

/// Calls that cannot cost anything: the answer is one number, or nothing.
macro_rules! scalars {
    ($($method:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            if !self.asks() {
                return self.inner.$method(visitor);
            }
            let (inner, watch) = self.watch(visitor, Content::Scalar);
            inner.deserialize_any(watch)
        }
    )*};
}

/// Calls that are passed on as they are: no answer to them is longer than what it is read from.
macro_rules! pass {
    ($($method:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method(visitor)
        }
    )*};
}

/// Calls whose answer is watched: which call of the format stands for which, and what its content is.
macro_rules! watch {
    ($($method:ident => $call:ident, $content:ident;)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            let (inner, watch) = self.watch(visitor, Content::$content);
            inner.$call(watch)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Guard<'_, 'de, D> {
    type Error = D::Error;

    scalars! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_f64 deserialize_unit
    }

    // Asked without its type, an `f32` would be rounded twice, and 7.038531e-26 would come back as its neighbour. So
    // text in its place is the one case left where an error takes up to six times the text for a moment.
    pass! { deserialize_f32 deserialize_i128 deserialize_u128 deserialize_ignored_any }

    // The owned forms are asked for as borrowed ones: bincode would reserve whatever length the message claims, and
    // fill a buffer with zeros that is then overwritten.
    watch! {
        deserialize_char => deserialize_char, Lent;
        deserialize_str => deserialize_str, Lent;
        deserialize_string => deserialize_str, Open;
        deserialize_bytes => deserialize_bytes, Lent;
        deserialize_byte_buf => deserialize_bytes, Open;
        deserialize_identifier => deserialize_identifier, Name;
        deserialize_option => deserialize_option, Open;
        deserialize_any => deserialize_any, Open;
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.compound(visitor, Content::Open, |inner, watch| {
            inner.deserialize_seq(watch)
        })
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.compound(visitor, Content::Open, |inner, watch| {
            inner.deserialize_map(watch)
        })
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, D::Error> {
        self.compound(visitor, Content::tuple::<V::Value>(length), |inner, watch| {
            inner.deserialize_tuple(length, watch)
        })
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.compound(visitor, Content::tuple::<V::Value>(length), |inner, watch| {
            inner.deserialize_tuple_struct(name, length, watch)
        })
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.compound(visitor, Content::Fixed(fields), |inner, watch| {
            inner.deserialize_struct(name, fields, watch)
        })
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.compound(visitor, Content::Scalar, |inner, watch| {
            inner.deserialize_unit_struct(name, watch)
        })
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let is_section = name == MARK;
        if is_section {
            section::deliver_with(self.place.ledger.sections.clone());
        }
        let (inner, watch) = self.watch(visitor, Content::Fixed(&[]));
        let value = inner.deserialize_newtype_struct(name, watch);
        if is_section {
            section::forget();
        }
        value
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let (inner, watch) = self.watch(visitor, Content::Fixed(&[]));
        inner.deserialize_enum(name, variants, watch)
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

impl<'l, 'de, A: EnumAccess<'de>> EnumAccess<'de> for Guard<'l, 'de, A> {
    type Error = A::Error;
    type Variant = Guard<'l, 'de, A::Variant>;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(
        mut self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let (value, inner) = self.inner.variant_seed(Seed::inside(seed, &mut self.place))?;
        Ok((
            value,
            Guard {
                inner,
                place: self.place,
            },
        ))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Guard<'_, 'de, A> {
    type Error = A::Error;

    #[inline]
    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(mut self, seed: S) -> Result<S::Value, A::Error> {
        self.place.descend::<A::Error>()?;
        self.inner
            .newtype_variant_seed(Seed::inside(seed, &mut self.place))
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, A::Error> {
        let (inner, watch) = self.watch(visitor, Content::Fixed(&[]));
        inner.tuple_variant(length, watch)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let (inner, watch) = self.watch(visitor, Content::Fixed(fields));
        inner.struct_variant(fields, watch)
    }
}
