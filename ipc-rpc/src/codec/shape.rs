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

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;

use bytes::Bytes;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error, SeqAccess, VariantAccess, Visitor,
};
use serde::ser::{Serialize, SerializeTuple, Serializer};
use transports::buffers;

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

    /// Gets sections ready to be sent without a copy, before the value is lent to a serializer.
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

impl<T: AsRef<[u8]> + Into<Vec<u8>>> EncodeAs<T> for Leaf<true> {
    #[inline]
    fn serialize<S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(value.as_ref())
    }

    #[inline]
    fn as_bytes(value: &T) -> Option<&[u8]> {
        Some(value.as_ref())
    }

    fn into_bytes(value: T, lengths: RangeInclusive<usize>) -> Result<Vec<u8>, T> {
        if lengths.contains(&value.as_ref().len()) {
            Ok(value.into())
        } else {
            Err(value)
        }
    }
}

impl<'de, T: ByteString> DecodeAs<'de, T> for Leaf<true> {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_byte_buf(OwnedBytes(PhantomData))
    }

    fn from_bytes(body: Vec<u8>, start: usize) -> Result<T, Vec<u8>> {
        Ok(T::from_tail(body, start))
    }
}

/// The owned byte strings that [`Probe`] knows.
pub trait ByteString: From<Vec<u8>> {
    /// The bytes from `start` on. Moving them down within their memory takes half of what a copy takes.
    fn from_tail(mut bytes: Vec<u8>, start: usize) -> Self {
        bytes.drain(..start);
        bytes.into()
    }
}

impl ByteString for Vec<u8> {}

impl ByteString for Box<[u8]> {}

impl ByteString for Bytes {
    fn from_tail(bytes: Vec<u8>, start: usize) -> Self {
        if buffers::is_kept(&bytes) {
            Self::from_owner(Borrowed(bytes)).split_off(start)
        } else {
            Self::from(bytes).split_off(start)
        }
    }
}

/// A buffer that goes back to where large ones are kept.
struct Borrowed(Vec<u8>);

impl AsRef<[u8]> for Borrowed {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        buffers::give(std::mem::take(&mut self.0));
    }
}

struct OwnedBytes<T>(PhantomData<T>);

impl<'de, T: From<Vec<u8>>> Visitor<'de> for OwnedBytes<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("bytes")
    }

    #[inline]
    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<T, E> {
        Ok(bytes.to_vec().into())
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<T, E> {
        Ok(bytes.into())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        self.visit_bytes(text.as_bytes())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<T, A::Error> {
        Ok(collect(elements)?.into())
    }
}

/// Text that the handler borrows.
pub struct Text;

impl EncodeAs<str> for Text {
    #[inline]
    fn serialize<S: Serializer>(value: &str, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(value)
    }

    #[inline]
    fn as_bytes(value: &str) -> Option<&[u8]> {
        Some(value.as_bytes())
    }
}

impl EncodeAs<&str> for Text {
    #[inline]
    fn serialize<S: Serializer>(value: &&str, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(value)
    }
}

impl<'de> DecodeAs<'de, Cow<'de, str>> for Text {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(LentText)
    }
}

struct LentText;

impl<'de> Visitor<'de> for LentText {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("text")
    }

    #[inline]
    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text))
    }
}

/// Bytes that the handler borrows.
pub struct Blob;

impl EncodeAs<[u8]> for Blob {
    #[inline]
    fn serialize<S: Serializer>(value: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(value)
    }

    #[inline]
    fn as_bytes(value: &[u8]) -> Option<&[u8]> {
        Some(value)
    }
}

impl EncodeAs<&[u8]> for Blob {
    #[inline]
    fn serialize<S: Serializer>(value: &&[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(value)
    }
}

impl<'de> DecodeAs<'de, Cow<'de, [u8]>> for Blob {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'de, [u8]>, D::Error> {
        deserializer.deserialize_bytes(LentBytes)
    }
}

struct LentBytes;

impl<'de> Visitor<'de> for LentBytes {
    type Value = Cow<'de, [u8]>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("bytes")
    }

    #[inline]
    fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(bytes))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(Cow::Owned(bytes.to_vec()))
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Self::Value, E> {
        Ok(Cow::Owned(bytes))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text.as_bytes()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        self.visit_bytes(text.as_bytes())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<Self::Value, A::Error> {
        collect(elements).map(Cow::Owned)
    }
}

/// Bytes that come one by one, as in a JSON array.
fn collect<'de, A: SeqAccess<'de>>(mut elements: A) -> Result<Vec<u8>, A::Error> {
    let mut bytes = Vec::new();
    while let Some(byte) = elements.next_element()? {
        bytes.push(byte);
    }
    Ok(bytes)
}

/// An `Option` of what has the shape `S`.
pub struct OptionOf<S>(PhantomData<S>);

impl<S: EncodeAs<T>, T> EncodeAs<Option<T>> for OptionOf<S> {
    #[inline]
    fn serialize<Z: Serializer>(value: &Option<T>, serializer: Z) -> Result<Z::Ok, Z::Error> {
        match value {
            Some(value) => serializer.serialize_some(&Ref::<S, T>::new(value)),
            None => serializer.serialize_none(),
        }
    }

    #[inline]
    fn settle(value: &mut Option<T>) {
        if let Some(value) = value {
            S::settle(value);
        }
    }
}

impl<'de, S: DecodeAs<'de, T>, T> DecodeAs<'de, Option<T>> for OptionOf<S> {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
        deserializer.deserialize_option(OptionVisitor::<S, T>(PhantomData))
    }
}

struct OptionVisitor<S, T>(PhantomData<(S, T)>);

impl<'de, S: DecodeAs<'de, T>, T> Visitor<'de> for OptionVisitor<S, T> {
    type Value = Option<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("option")
    }

    #[inline]
    fn visit_none<E: Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    #[inline]
    fn visit_unit<E: Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    #[inline]
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        S::deserialize(deserializer).map(Some)
    }
}

/// A `Result` of what has the shapes `S` and `E`.
pub struct ResultOf<S, E>(PhantomData<(S, E)>);

/// The variants as serde names them.
const RESULT: &[&str] = &["Ok", "Err"];

impl<S: EncodeAs<T>, Z: EncodeAs<E>, T, E> EncodeAs<Result<T, E>> for ResultOf<S, Z> {
    #[inline]
    fn serialize<Y: Serializer>(value: &Result<T, E>, serializer: Y) -> Result<Y::Ok, Y::Error> {
        match value {
            Ok(value) => serializer.serialize_newtype_variant("Result", 0, "Ok", &Ref::<S, T>::new(value)),
            Err(error) => serializer.serialize_newtype_variant("Result", 1, "Err", &Ref::<Z, E>::new(error)),
        }
    }

    #[inline]
    fn settle(value: &mut Result<T, E>) {
        match value {
            Ok(value) => S::settle(value),
            Err(error) => Z::settle(error),
        }
    }
}

impl<'de, S: DecodeAs<'de, T>, Z: DecodeAs<'de, E>, T, E> DecodeAs<'de, Result<T, E>> for ResultOf<S, Z> {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Result<T, E>, D::Error> {
        deserializer.deserialize_enum("Result", RESULT, ResultVisitor::<S, Z, T, E>(PhantomData))
    }
}

struct ResultVisitor<S, Z, T, E>(PhantomData<(S, Z, T, E)>);

impl<'de, S: DecodeAs<'de, T>, Z: DecodeAs<'de, E>, T, E> Visitor<'de> for ResultVisitor<S, Z, T, E> {
    type Value = Result<T, E>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("enum Result")
    }

    #[inline]
    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Self::Value, A::Error> {
        let (is_ok, content) = data.variant_seed(IsOk)?;
        if is_ok {
            content.newtype_variant::<Owned<S, T>>().map(|value| Ok(value.0))
        } else {
            content.newtype_variant::<Owned<Z, E>>().map(|error| Err(error.0))
        }
    }
}

/// Reads which variant of a `Result` it is.
struct IsOk;

impl<'de> DeserializeSeed<'de> for IsOk {
    type Value = bool;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for IsOk {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("`Ok` or `Err`")
    }

    #[inline]
    fn visit_u64<E: Error>(self, index: u64) -> Result<bool, E> {
        match index {
            0 => Ok(true),
            1 => Ok(false),
            _ => Err(E::invalid_value(serde::de::Unexpected::Unsigned(index), &self)),
        }
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<bool, E> {
        match name {
            "Ok" => Ok(true),
            "Err" => Ok(false),
            _ => Err(E::unknown_variant(name, RESULT)),
        }
    }
}

/// A tuple of what has the shapes in the tuple `S`.
pub struct TupleOf<S>(PhantomData<S>);

impl EncodeAs<()> for TupleOf<()> {
    #[inline]
    fn serialize<S: Serializer>((): &(), serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de> DecodeAs<'de, ()> for TupleOf<()> {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
        <()>::deserialize(deserializer)
    }
}

macro_rules! tuples {
    ($($length:literal: $($index:tt $shape:ident $type:ident),*;)*) => {$(
        impl<$($shape: EncodeAs<$type>, $type),*> EncodeAs<($($type,)*)> for TupleOf<($($shape,)*)> {
            #[inline]
            fn serialize<S: Serializer>(value: &($($type,)*), serializer: S) -> Result<S::Ok, S::Error> {
                let mut tuple = serializer.serialize_tuple($length)?;
                $(tuple.serialize_element(&Ref::<$shape, $type>::new(&value.$index))?;)*
                tuple.end()
            }

            #[inline]
            fn settle(value: &mut ($($type,)*)) {
                $($shape::settle(&mut value.$index);)*
            }
        }

        impl<'de, $($shape: DecodeAs<'de, $type>, $type),*> DecodeAs<'de, ($($type,)*)> for TupleOf<($($shape,)*)> {
            #[inline]
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<($($type,)*), D::Error> {
                deserializer.deserialize_tuple($length, TupleVisitor::<($($shape,)*), ($($type,)*)>(PhantomData))
            }
        }

        impl<'de, $($shape: DecodeAs<'de, $type>, $type),*> Visitor<'de>
            for TupleVisitor<($($shape,)*), ($($type,)*)>
        {
            type Value = ($($type,)*);

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(concat!("a tuple of size ", $length))
            }

            #[inline]
            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
                Ok(($(
                    match elements.next_element::<Owned<$shape, $type>>()? {
                        Some(element) => element.0,
                        None => return Err(A::Error::invalid_length($index, &self)),
                    },
                )*))
            }
        }
    )*};
}

struct TupleVisitor<S, T>(PhantomData<(S, T)>);

tuples! {
    1: 0 S0 T0;
    2: 0 S0 T0, 1 S1 T1;
    3: 0 S0 T0, 1 S1 T1, 2 S2 T2;
    4: 0 S0 T0, 1 S1 T1, 2 S2 T2, 3 S3 T3;
    5: 0 S0 T0, 1 S1 T1, 2 S2 T2, 3 S3 T3, 4 S4 T4;
    6: 0 S0 T0, 1 S1 T1, 2 S2 T2, 3 S3 T3, 4 S4 T4, 5 S5 T5;
    7: 0 S0 T0, 1 S1 T1, 2 S2 T2, 3 S3 T3, 4 S4 T4, 5 S5 T5, 6 S6 T6;
    8: 0 S0 T0, 1 S1 T1, 2 S2 T2, 3 S3 T3, 4 S4 T4, 5 S5 T5, 6 S6 T6, 7 S7 T7;
    9: 0 S0 T0, 1 S1 T1, 2 S2 T2, 3 S3 T3, 4 S4 T4, 5 S5 T5, 6 S6 T6, 7 S7 T7, 8 S8 T8;
    10: 0 S0 T0, 1 S1 T1, 2 S2 T2, 3 S3 T3, 4 S4 T4, 5 S5 T5, 6 S6 T6, 7 S7 T7, 8 S8 T8, 9 S9 T9;
    11: 0 S0 T0, 1 S1 T1, 2 S2 T2, 3 S3 T3, 4 S4 T4, 5 S5 T5, 6 S6 T6, 7 S7 T7, 8 S8 T8, 9 S9 T9, 10 S10 T10;
    12: 0 S0 T0, 1 S1 T1, 2 S2 T2, 3 S3 T3, 4 S4 T4, 5 S5 T5, 6 S6 T6, 7 S7 T7, 8 S8 T8, 9 S9 T9, 10 S10 T10, 11 S11 T11;
}
