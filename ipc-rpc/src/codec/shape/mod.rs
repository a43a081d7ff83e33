//! Shapes: how a value of a signature's type is put through serde so that byte strings and text move with one copy.
//!
//! serde cannot tell a `Vec<u8>` from any other sequence, and its derive has no place to say so in a signature. The
//! attribute macro writes a *shape* beside each type instead: a type without values that mirrors its tuples, options
//! and results down to the byte strings. The bytes on the wire are the same with and without it.
//!
//! | type in the signature | shape | read as |
//! |---|---|---|
//! | `&str` | [`Text`] | `Cow<str>`, borrowed from the message where it has no escapes |
//! | `&[u8]` | [`Blob`] | `Cow<[u8]>`, borrowed from the message where the format allows |
//! | `Vec<u8>`, `Bytes`, `Box<[u8]>` | [`Leaf<true>`](Leaf), found by [`Probe`] | itself, by one copy, or none where it is a large result |
//! | `Section<T>` | [`SectionOf`](crate::section::SectionOf) | itself |
//! | `Option<X>`, `Result<X, Y>`, `(X, Y)` | [`OptionOf`], [`ResultOf`], [`TupleOf`] | the same of what is inside |
//! | anything else | [`Leaf<false>`](Leaf) | itself, as serde does |

mod nested;
mod strings;

use std::marker::PhantomData;
use std::ops::RangeInclusive;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

pub use nested::{OptionOf, ResultOf, TupleOf};
pub use strings::{Blob, Text};

/// A shape that can write a `T`.
#[diagnostic::on_unimplemented(
    message = "`{T}` cannot be sent as a section",
    label = "it is not `ipc_rpc::Section`",
    note = "a type of yours that has one type as its argument needs another name than `Section`"
)]
pub trait EncodeAs<T: ?Sized> {
    /// Writes `value` as `T`'s own `Serialize` would, byte strings in one piece.
    ///
    /// # Errors
    /// Whatever the serializer or the value complains about.
    fn serialize<S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error>;

    /// Gets sections ready to be sent without a copy, before the value is lent to a serializer: which takes them out of it, so that it is no
    /// value to look at any more.
    fn settle(value: &mut T) {
        let _ = value;
    }

    /// What a byte string or a text holds, which goes to the serializer as it is.
    fn as_bytes(value: &T) -> Option<&[u8]> {
        let _ = value;
        None
    }

    /// Gives away what a byte string holds, so that it is sent from where it is, if it holds a number of bytes that is in
    /// `lengths`.
    ///
    /// # Errors
    /// The value itself, if it is no byte string or of another length.
    fn into_bytes(value: T, lengths: RangeInclusive<usize>) -> Result<Vec<u8>, T>
    where
        T: Sized,
    {
        let _ = lengths;
        Err(value)
    }
}

/// A shape that can read a `T`, which may borrow from the message.
#[diagnostic::on_unimplemented(
    message = "`{T}` cannot be received as a section",
    label = "it is not `ipc_rpc::Section`",
    note = "a type of yours that has one type as its argument needs another name than `Section`"
)]
pub trait DecodeAs<'de, T>: Sized {
    /// Reads what [`EncodeAs::serialize`] wrote.
    ///
    /// # Errors
    /// Whatever the deserializer or the type complains about.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error>;

    /// Makes a byte string of the message that it came in: of `body` from `start` on.
    ///
    /// # Errors
    /// The message itself, if `T` is no byte string.
    fn from_bytes(body: Vec<u8>, start: usize) -> Result<T, Vec<u8>> {
        let _ = start;
        Err(body)
    }
}

/// A value lent to a serializer in a shape.
pub struct Ref<'a, S, T: ?Sized>(&'a T, PhantomData<fn() -> S>);

impl<'a, S, T: ?Sized> Ref<'a, S, T> {
    /// Lends `value`.
    #[must_use]
    pub const fn new(value: &'a T) -> Self {
        Self(value, PhantomData)
    }
}

impl<S: EncodeAs<T>, T: ?Sized> Serialize for Ref<'_, S, T> {
    #[inline]
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        S::serialize(self.0, serializer)
    }
}

/// One of the arguments of a call.
pub trait Argument: Serialize {
    /// What it holds, if it is a byte string or a text.
    fn as_bytes(&self) -> Option<&[u8]>;
}

impl<S: EncodeAs<T>, T: ?Sized> Argument for Ref<'_, S, T> {
    #[inline]
    fn as_bytes(&self) -> Option<&[u8]> {
        S::as_bytes(self.0)
    }
}

/// A value read in a shape.
pub struct Owned<S, T>(pub T, PhantomData<fn() -> S>);

impl<S, T> Owned<S, T> {
    /// The value itself.
    #[inline]
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<'de, S: DecodeAs<'de, T>, T> Deserialize<'de> for Owned<S, T> {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(S::deserialize(deserializer)?, PhantomData))
    }
}

/// Tells at compile time whether `T` is a byte string: `<Probe<T>>::BYTES`, with [`ProbeFallback`] in scope, where `T` is
/// concrete. An inherent constant wins over a trait's.
pub struct Probe<T: ?Sized>(PhantomData<T>);

impl Probe<Vec<u8>> {
    /// It is a byte string.
    pub const BYTES: bool = true;
}

impl Probe<Bytes> {
    /// It is a byte string.
    pub const BYTES: bool = true;
}

impl Probe<Box<[u8]>> {
    /// It is a byte string.
    pub const BYTES: bool = true;
}

/// The answer of [`Probe`] for every other type.
pub trait ProbeFallback {
    /// It is no byte string.
    const BYTES: bool = false;
}

impl<T: ?Sized> ProbeFallback for Probe<T> {}

/// `Leaf<false>`: a type that serde handles. `Leaf<true>`: an owned byte string.
pub struct Leaf<const BYTES: bool>;

impl<T: Serialize + ?Sized> EncodeAs<T> for Leaf<false> {
    #[inline]
    fn serialize<S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        value.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> DecodeAs<'de, T> for Leaf<false> {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        T::deserialize(deserializer)
    }
}
