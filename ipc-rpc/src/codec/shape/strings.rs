//! The shapes of byte strings and text, which move in one piece.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;

use bytes::Bytes;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::ser::Serializer;
use transports::buffers;

use super::{DecodeAs, EncodeAs, Leaf};

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
