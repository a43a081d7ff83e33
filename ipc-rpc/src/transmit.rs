//! What may stand in a service's signatures, checked where the macro has the user's own token to point at.
//!
//! One type that serde does not know would be an error in the client, in the server and in each shape around it. So the
//! macro asks first ([`Probe`]'s constant `SERDE`), wraps the shape of a type that fails in [`Checked`], which then
//! compiles for anything, and leaves it to [`assert_argument`] and [`assert_result`] to say, once, what is wrong.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde::ser::{Error as _, Serializer};
use serde::{Deserialize, Serialize};

use crate::codec::shape::{DecodeAs, EncodeAs, Leaf, Probe};

/// A type that can be encoded here and decoded in another process.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot cross a process boundary",
    label = "serde cannot both encode and decode this type",
    note = "if it is data, derive `serde::Serialize` and `serde::Deserialize` for `{Self}`",
    note = "if it is a large buffer of plain values, `Section` and `View` carry it; open files will come with a later version"
)]
pub trait Transmit<'de> {}

#[diagnostic::do_not_recommend]
impl<'de, T: Serialize + Deserialize<'de>> Transmit<'de> for T {}

/// Fails to compile for what cannot be an argument.
pub const fn assert_argument<'de, T: Transmit<'de> + ?Sized>() {}

/// Fails to compile for what cannot be a result.
pub const fn assert_result<T: for<'de> Transmit<'de> + ?Sized>() {}

impl<T: Serialize + DeserializeOwned> Probe<T> {
    /// serde knows the type, both ways.
    pub const SERDE: bool = true;
}

/// The answer of [`Probe`] for every other type.
pub trait TransmitFallback {
    /// serde does not know the type.
    const SERDE: bool = false;
}

impl<T: ?Sized> TransmitFallback for Probe<T> {}

/// [`Leaf<BYTES>`](Leaf) for a type that serde knows. `Checked<false, _>` is there for a program that does not compile
/// anyway.
pub struct Checked<const SERDE: bool, const BYTES: bool>;

impl<T: ?Sized, const BYTES: bool> EncodeAs<T> for Checked<true, BYTES>
where
    Leaf<BYTES>: EncodeAs<T>,
{
    #[inline]
    fn serialize<S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        <Leaf<BYTES>>::serialize(value, serializer)
    }

    #[inline]
    fn as_bytes(value: &T) -> Option<&[u8]> {
        <Leaf<BYTES>>::as_bytes(value)
    }

    fn into_bytes(value: T, lengths: RangeInclusive<usize>) -> Result<Vec<u8>, T>
    where
        T: Sized,
    {
        <Leaf<BYTES>>::into_bytes(value, lengths)
    }
}

impl<'de, T, const BYTES: bool> DecodeAs<'de, T> for Checked<true, BYTES>
where
    Leaf<BYTES>: DecodeAs<'de, T>,
{
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        <Leaf<BYTES>>::deserialize(deserializer)
    }

    fn from_bytes(body: Vec<u8>, start: usize) -> Result<T, Vec<u8>> {
        <Leaf<BYTES>>::from_bytes(body, start)
    }
}

impl<T: ?Sized, const BYTES: bool> EncodeAs<T> for Checked<false, BYTES> {
    fn serialize<S: Serializer>(_: &T, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("not a serde type"))
    }
}

impl<'de, T, const BYTES: bool> DecodeAs<'de, T> for Checked<false, BYTES> {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<T, D::Error> {
        Err(D::Error::custom("not a serde type"))
    }
}

/// A type that an argument can borrow: what is decoded for it, and how that lends it.
///
/// The macro knows a type by its name only, and `Path` may be the standard library's, which has no size, or the user's.
pub trait Lend {
    /// What the server decodes.
    type Owned;

    /// What the handler gets.
    fn lend(owned: &Self::Owned) -> &Self;
}

impl<T> Lend for T {
    type Owned = T;

    fn lend(owned: &T) -> &T {
        owned
    }
}

impl Lend for Path {
    type Owned = PathBuf;

    fn lend(owned: &PathBuf) -> &Self {
        owned
    }
}

impl Lend for OsStr {
    type Owned = OsString;

    fn lend(owned: &OsString) -> &Self {
        owned
    }
}

impl Lend for CStr {
    type Owned = CString;

    fn lend(owned: &CString) -> &Self {
        owned
    }
}
