//! Holds a message to its [`Budget`] while it is decoded, in any format.
//!
//! The guard stands between a type and the format's deserializer, on both of serde's sides: what the type calls goes
//! through a [`Guard`], what the format calls back through a [`Watch`], and the elements of every compound through
//! [`Items`]. Limits are checked before the type sees what it would allocate for:
//!
//! * A sequence or map that says its length pays for it with its first element, before anything inside it is read,
//!   and what it may reserve beforehand is at most one element per byte of the body. One that does not say its length
//!   pays element by element.
//! * Elements are paid for by the size of their type, which is known where the element's seed is. Fields of structs
//!   and tuples lie inside their parent and cost nothing, unless their type is larger than the place it was read for:
//!   then it lies behind a pointer, as in a `Box`, and is paid for there.
//! * Depth is a number that goes down with each [`Place`], so nothing is to be undone on any way out.
//!
//! Numbers and borrowed text pass untouched. serde's own buffer for untagged and flattened types (JSON only) is filled
//! through the guard, at 32 bytes a value; what is then built from the buffer is not seen.

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use std::fmt;

use super::budget::{Breach, Budget};
use super::error::{Brief, CodecError};
use super::path::{Path, Step};

/// What is left of a message's budget, and what went wrong.
pub(super) struct Ledger<'de> {
    budget: Budget,
    /// The length of the message in bytes.
    body: usize,
    elements: usize,
    heap: usize,
    breach: Option<Breach>,
    path: Path,
    /// The field name that was read last, for [`Items`] to pick up.
    name: Option<&'de str>,
}

impl<'de> Ledger<'de> {
    pub(super) fn new(budget: &Budget, body: usize) -> Self {
        let Budget { elements, heap, .. } = *budget;
        Self {
            budget: *budget,
            body,
            elements,
            heap,
            breach: None,
            path: Path::default(),
            name: None,
        }
    }

    /// The result of the whole message. A limit that was broken is an error even if a type ignored it.
    pub(super) fn close<T>(self, result: Result<T, String>) -> Result<T, CodecError> {
        match (self.breach, result) {
            (None, Ok(value)) => Ok(value),
            (None, Err(rule)) => Err(CodecError::decode(&self.path, &rule)),
            (Some(breach), _) => Err(CodecError::decode(
                &self.path,
                &breach.explain(&self.budget, self.body),
            )),
        }
    }

    #[inline]
    fn take_elements<E: Error>(&mut self, count: usize) -> Result<(), E> {
        match self.elements.checked_sub(count) {
            Some(left) => self.elements = left,
            None => return Err(self.breach(Breach::Elements)),
        }
        Ok(())
    }

    #[inline]
    fn take_heap<E: Error>(&mut self, bytes: usize) -> Result<(), E> {
        match self.heap.checked_sub(bytes) {
            Some(left) => self.heap = left,
            None => return Err(self.breach(Breach::Heap)),
        }
        Ok(())
    }

    #[cold]
    fn breach<E: Error>(&mut self, breach: Breach) -> E {
        self.breach.get_or_insert(breach);
        E::custom("the decoder's budget is used up")
    }
}

/// Where a value is being read to.
struct Place<'l, 'de> {
    ledger: &'l mut Ledger<'de>,
    /// Levels that may still be opened.
    depth: u32,
    /// The bytes that are there for the value already: in its parent, or on the stack.
    room: usize,
}

impl<'de> Place<'_, 'de> {
    /// A place inside this one for a `T`.
    #[inline]
    fn inner<T>(&mut self) -> Place<'_, 'de> {
        Place {
            ledger: self.ledger,
            depth: self.depth,
            room: size_of::<T>(),
        }
    }

    /// Pays for a `T` that does not fit into the room there is, so must lie elsewhere. Then there is no more room than
    /// the `T` itself offers.
    #[inline]
    fn settle<T, E: Error>(&mut self) -> Result<(), E> {
        if size_of::<T>() > self.room {
            self.ledger.take_heap(size_of::<T>())?;
        }
        self.room = size_of::<T>();
        Ok(())
    }

    /// Goes one level down.
    #[inline]
    fn descend<E: Error>(&mut self) -> Result<(), E> {
        match self.depth.checked_sub(1) {
            Some(depth) => self.depth = depth,
            None => return Err(self.ledger.breach(Breach::Depth)),
        }
        Ok(())
    }
}

/// A seed for the value at the top.
pub(super) struct Root<'l, 'de, S> {
    seed: S,
    ledger: &'l mut Ledger<'de>,
}

impl<'l, 'de, S> Root<'l, 'de, S> {
    pub(super) fn new(seed: S, ledger: &'l mut Ledger<'de>) -> Self {
        Self { seed, ledger }
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Root<'_, 'de, S> {
    type Value = S::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        let place = Place {
            depth: self.ledger.budget.depth,
            ledger: self.ledger,
            room: size_of::<S::Value>(),
        };
        self.seed.deserialize(Guard { inner, place })
    }
}

/// A seed for a value inside another, with what it still has to pay.
struct Seed<'l, 'de, S> {
    seed: S,
    place: Place<'l, 'de>,
    due: Option<Due>,
}

struct Due {
    elements: usize,
    heap: usize,
}

impl<'l, 'de, S: DeserializeSeed<'de>> Seed<'l, 'de, S> {
    /// A value that lies inside its parent.
    #[inline]
    fn field(seed: S, parent: &'l mut Place<'_, 'de>) -> Self {
        Self {
            seed,
            place: parent.inner::<S::Value>(),
            due: None,
        }
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Seed<'_, 'de, S> {
    type Value = S::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        if let Some(due) = self.due {
            self.place.ledger.take_elements(due.elements)?;
            self.place.ledger.take_heap(due.heap)?;
        }
        self.seed.deserialize(Guard {
            inner,
            place: self.place,
        })
    }
}

/// What a type sees in place of the format's deserializer, enum or variant.
struct Guard<'l, 'de, X> {
    inner: X,
    place: Place<'l, 'de>,
}

/// How the content of a compound is paid for, and what is known of its names.
#[derive(Clone, Copy)]
enum Content {
    /// As many elements as the message has, somewhere on the heap.
    Open,
    /// A number of elements that the type fixes, inside the value; their names if they have any.
    Fixed(&'static [&'static str]),
    /// Text or bytes that the type borrows or copies into its own place.
    Lent,
    /// The name of a field, an argument or a variant.
    Name,
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
}

/// Calls that cannot cost anything: the format answers with one number.
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

    pass! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64 deserialize_char deserialize_unit deserialize_ignored_any
    }

    // The owned forms are asked for as borrowed ones: bincode would reserve whatever length the message claims, and
    // fill a buffer with zeros that is then overwritten.
    watch! {
        deserialize_str => deserialize_str, Lent;
        deserialize_string => deserialize_str, Open;
        deserialize_bytes => deserialize_bytes, Lent;
        deserialize_byte_buf => deserialize_bytes, Open;
        deserialize_identifier => deserialize_identifier, Name;
        deserialize_option => deserialize_option, Open;
        deserialize_seq => deserialize_seq, Open;
        deserialize_map => deserialize_map, Open;
        deserialize_any => deserialize_any, Open;
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_unit_struct(name, visitor)
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let (inner, watch) = self.watch(visitor, Content::Fixed(&[]));
        inner.deserialize_newtype_struct(name, watch)
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, D::Error> {
        let (inner, watch) = self.watch(visitor, tuple::<V::Value>(length));
        inner.deserialize_tuple(length, watch)
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let (inner, watch) = self.watch(visitor, tuple::<V::Value>(length));
        inner.deserialize_tuple_struct(name, length, watch)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let (inner, watch) = self.watch(visitor, Content::Fixed(fields));
        inner.deserialize_struct(name, fields, watch)
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

/// The content of a tuple: inside its value, unless the value is too small for that. Then the type builds a container
/// from what only looks like a tuple, and the length may come from the message. serde's own tuples and arrays go up
/// to 32 elements, which may be zero-sized.
#[inline]
fn tuple<T>(length: usize) -> Content {
    if length > size_of::<T>().max(32) {
        Content::Open
    } else {
        Content::Fixed(&[])
    }
}

/// What a format sees in place of the type's visitor.
struct Watch<'l, 'de, V> {
    visitor: V,
    place: Place<'l, 'de>,
    content: Content,
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
            Content::Fixed(_) | Content::Lent | Content::Name => Ok(()),
        }
    }
}

impl<'l, 'de, V: Visitor<'de>> Watch<'l, 'de, V> {
    /// Opens a sequence, tuple, struct or map of the length that the format claims, if it knows.
    #[inline]
    fn open<E: Error, A>(mut self, inner: A, claimed: Option<usize>) -> Result<(V, Items<'l, 'de, A>), E> {
        self.place.settle::<V::Value, E>()?;
        self.place.descend::<E>()?;
        let (fields, counted) = match self.content {
            Content::Fixed(fields) => (Some(fields), usize::MAX),
            Content::Open | Content::Lent | Content::Name => (None, claimed.unwrap_or(0)),
        };
        let owed = if fields.is_some() { 0 } else { counted };
        self.place.ledger.take_elements::<E>(owed)?;
        let items = Items {
            inner,
            place: self.place,
            fields,
            index: 0,
            bill: Bill {
                paid: counted,
                keys: owed,
                values: owed,
            },
            name: None,
        };
        Ok((self.visitor, items))
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
    fn visit_seq<A: SeqAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let claimed = inner.size_hint();
        let (visitor, items) = self.open::<A::Error, A>(inner, claimed)?;
        visitor.visit_seq(items)
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let claimed = inner.size_hint();
        let (visitor, items) = self.open::<A::Error, A>(inner, claimed)?;
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

/// The elements of a sequence, tuple or struct, or the entries of a map or of a struct that is written as one.
struct Items<'l, 'de, A> {
    inner: A,
    place: Place<'l, 'de>,
    /// The names of the elements, if their number is fixed.
    fields: Option<&'static [&'static str]>,
    /// How many have been read.
    index: usize,
    bill: Bill,
    /// The name of the field that is being read, where the message says it.
    name: Option<&'de str>,
}

/// Who pays for the elements of a compound, and when.
struct Bill {
    /// How many more elements are counted already, or need no payment.
    paid: usize,
    /// For how many elements or keys the heap is to be paid as soon as their type is known.
    keys: usize,
    /// The same for the values of a map.
    values: usize,
}

impl Bill {
    /// A seed for the next element or key.
    #[inline]
    fn key<'l, 'de, S: DeserializeSeed<'de>, E: Error>(
        &mut self,
        seed: S,
        parent: &'l mut Place<'_, 'de>,
    ) -> Result<Seed<'l, 'de, S>, E> {
        let size = size_of::<S::Value>();
        if self.keys != 0 {
            let owed = std::mem::take(&mut self.keys);
            parent.ledger.take_heap::<E>(owed.saturating_mul(size))?;
        }
        let due = if self.paid == 0 {
            Some(Due {
                elements: 1,
                heap: size,
            })
        } else {
            None
        };
        Ok(Seed {
            seed,
            place: parent.inner::<S::Value>(),
            due,
        })
    }

    /// A seed for the value of the entry whose key came last.
    #[inline]
    fn value<'l, 'de, S: DeserializeSeed<'de>, E: Error>(
        &mut self,
        seed: S,
        parent: &'l mut Place<'_, 'de>,
    ) -> Result<Seed<'l, 'de, S>, E> {
        let size = size_of::<S::Value>();
        if self.values != 0 {
            let owed = std::mem::take(&mut self.values);
            parent.ledger.take_heap::<E>(owed.saturating_mul(size))?;
        }
        let due = if self.paid == 0 {
            Some(Due {
                elements: 0,
                heap: size,
            })
        } else {
            None
        };
        Ok(Seed {
            seed,
            place: parent.inner::<S::Value>(),
            due,
        })
    }

    /// One element, or one entry, has been read.
    #[inline]
    fn next(&mut self) {
        self.paid = self.paid.saturating_sub(1);
    }
}

impl<'de, A> Items<'_, 'de, A> {
    /// What may be reserved before anything has been read: an element takes a byte of the message, or no memory.
    #[inline]
    fn hint(&self, claimed: Option<usize>) -> Option<usize> {
        match self.fields {
            Some(_) => claimed,
            None => claimed.map(|length| length.min(self.place.ledger.body)),
        }
    }

    /// Notes where an error came from.
    #[cold]
    fn locate(&mut self, entries: bool) {
        let step = match (self.fields, self.name) {
            (Some(fields), Some(name)) => match fields.iter().find(|field| **field == name) {
                Some(field) => Step::Field(field),
                None => return,
            },
            (Some(fields), None) if !entries => Step::field(fields, self.index),
            (Some(_), None) => return,
            (None, _) if entries => Step::Entry(self.index),
            (None, _) => Step::Index(self.index),
        };
        self.place.ledger.path.push(step);
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Items<'_, 'de, A> {
    type Error = A::Error;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let seed = self.bill.key::<S, A::Error>(seed, &mut self.place)?;
        let result = self.inner.next_element_seed(seed);
        self.bill.next();
        match result {
            Ok(_) => self.index += 1,
            Err(_) => self.locate(false),
        }
        result
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.hint(self.inner.size_hint())
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Items<'_, 'de, A> {
    type Error = A::Error;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let seed = self.bill.key::<S, A::Error>(seed, &mut self.place)?;
        let result = self.inner.next_key_seed(seed);
        self.name = self.place.ledger.name.take();
        if result.is_err() {
            self.locate(true);
        }
        result
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let seed = self.bill.value::<S, A::Error>(seed, &mut self.place)?;
        let result = self.inner.next_value_seed(seed);
        self.bill.next();
        match result {
            Ok(_) => self.index += 1,
            Err(_) => self.locate(true),
        }
        result
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.hint(self.inner.size_hint())
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
        let (value, inner) = self.inner.variant_seed(Seed::field(seed, &mut self.place))?;
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
            .newtype_variant_seed(Seed::field(seed, &mut self.place))
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
