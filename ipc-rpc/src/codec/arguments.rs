//! The arguments of a call, as they travel: a struct whose fields are named as the arguments are.
//!
//! bincode writes them one after the other and nothing else. JSON writes an object by name, and reads an array in the
//! order of the declaration too, so that a person need not know the names. No arguments are no bytes in bincode, and
//! `{}` in JSON, where `[]` and `null` are read as well. A name that is unknown, missing or there twice is an error,
//! also where the argument is an `Option`: whoever calls with a wrong name learns of it.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{Error as _, Serialize, SerializeStruct, Serializer};

use super::error::brief;
use super::shape::{Argument, DecodeAs, Owned};

/// The name that serde is given for the struct; no codec writes it.
const NAME: &str = "Arguments";

/// Arguments with their names. `Serialize` for a tuple of [`Ref`](super::shape::Ref)s, or one lent;
/// `DeserializeSeed` for `PhantomData` of a tuple of [`Owned`]s.
pub struct Arguments<A> {
    names: &'static [&'static str],
    values: A,
}

impl<A> Arguments<A> {
    /// The arguments in the order of their declaration, as many as there are names.
    pub const fn new(names: &'static [&'static str], values: A) -> Self {
        Self { names, values }
    }
}

impl<A> Arguments<PhantomData<A>> {
    /// A seed that reads the arguments of these names; its value is [`ArgumentTuple::Values`].
    #[must_use]
    pub const fn expecting(names: &'static [&'static str]) -> Self {
        Self {
            names,
            values: PhantomData,
        }
    }
}

/// A tuple of values that can be written as arguments.
pub trait ArgumentValues {
    /// Writes them under these names.
    ///
    /// # Errors
    /// Whatever the serializer or a value complains about, or that there are not as many names as values.
    fn write<S: Serializer>(&self, names: &'static [&'static str], serializer: S) -> Result<S::Ok, S::Error>;

    /// The longest of those that are byte strings or texts.
    fn longest(&self) -> Option<&[u8]>;
}

impl<A: ArgumentValues> ArgumentValues for &A {
    #[inline]
    fn write<S: Serializer>(&self, names: &'static [&'static str], serializer: S) -> Result<S::Ok, S::Error> {
        (**self).write(names, serializer)
    }

    fn longest(&self) -> Option<&[u8]> {
        (**self).longest()
    }
}

impl<A: ArgumentValues> Serialize for Arguments<A> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.values.write(self.names, serializer)
    }
}

/// A tuple of [`Owned`]s: what the arguments of a method are read as.
pub trait ArgumentTuple<'de> {
    /// The tuple of the values inside.
    type Values;

    /// Reads arguments of these names.
    ///
    /// # Errors
    /// Whatever the deserializer or a value complains about, a name that is unknown, missing or there twice, or that there
    /// are not as many names as values.
    fn read<D: Deserializer<'de>>(
        names: &'static [&'static str],
        deserializer: D,
    ) -> Result<Self::Values, D::Error>;
}

impl<'de, A: ArgumentTuple<'de>> DeserializeSeed<'de> for Arguments<PhantomData<A>> {
    type Value = A::Values;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<A::Values, D::Error> {
        A::read(self.names, deserializer)
    }
}

impl ArgumentValues for () {
    #[inline]
    fn write<S: Serializer>(&self, names: &'static [&'static str], serializer: S) -> Result<S::Ok, S::Error> {
        let _: &[&str; 0] = exactly(names).map_err(S::Error::custom)?;
        serializer.serialize_struct(NAME, 0)?.end()
    }

    fn longest(&self) -> Option<&[u8]> {
        None
    }
}

impl<'de> ArgumentTuple<'de> for () {
    type Values = ();

    #[inline]
    fn read<D: Deserializer<'de>>(names: &'static [&'static str], deserializer: D) -> Result<(), D::Error> {
        let names: &[&str; 0] = exactly(names).map_err(D::Error::custom)?;
        if deserializer.is_human_readable() {
            // The only call that accepts a `null` as well as a struct.
            return deserializer.deserialize_option(NoArguments);
        }
        deserializer.deserialize_struct(NAME, names, NoArguments)
    }
}

struct NoArguments;

impl<'de> Visitor<'de> for NoArguments {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("no arguments: {}, [] or null")
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_struct(NAME, &[], self)
    }

    #[inline]
    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        finish(&mut elements, 0)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        // Any name is an unknown one, which is the error.
        entries.next_key_seed(Name(&[])).map(|_| ())
    }
}

/// As many names as values, which whoever wrote both has to see to.
fn exactly<const N: usize>(
    names: &'static [&'static str],
) -> Result<&'static [&'static str; N], &'static str> {
    names
        .try_into()
        .map_err(|_| "there are not as many argument names as arguments")
}

/// The end of arguments that came in order.
#[inline]
fn finish<'de, A: SeqAccess<'de>>(elements: &mut A, expected: usize) -> Result<(), A::Error> {
    match elements.next_element::<IgnoredAny>()? {
        None => Ok(()),
        Some(IgnoredAny) => Err(A::Error::custom(format_args!("more than {}", Count(expected)))),
    }
}

struct Count(usize);

impl fmt::Display for Count {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => formatter.write_str("1 argument"),
            count => write!(formatter, "{count} arguments"),
        }
    }
}

/// Names as an error lists them.
struct Names(&'static [&'static str]);

impl fmt::Display for Names {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            write!(formatter, "{}`{name}`", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// Reads the name of an argument as its position.
struct Name(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Name {
    type Value = usize;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of an argument")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<usize, E> {
        match self.0.iter().position(|name| *name == text) {
            Some(index) => Ok(index),
            None if self.0.is_empty() => Err(E::custom(format_args!(
                "unknown argument `{}`, there are none",
                brief(text)
            ))),
            None => Err(E::custom(format_args!(
                "unknown argument `{}`, expected {}",
                brief(text),
                Names(self.0)
            ))),
        }
    }
}

/// Reads an argument that may be there once.
fn fill<'de, A: MapAccess<'de>, S: DecodeAs<'de, T>, T>(
    place: &mut Option<T>,
    name: &'static str,
    entries: &mut A,
) -> Result<(), A::Error> {
    if place.is_some() {
        return Err(A::Error::custom(format_args!("argument `{name}` is there twice")));
    }
    *place = Some(entries.next_value::<Owned<S, T>>()?.into_inner());
    Ok(())
}

struct ArgumentsVisitor<A> {
    names: &'static [&'static str],
    values: PhantomData<A>,
}

macro_rules! arguments {
    ($($count:literal: $($index:tt $shape:ident $type:ident $value:ident),*;)*) => {$(
        impl<$($type: Argument),*> ArgumentValues for ($($type,)*) {
            #[inline]
            fn write<S: Serializer>(
                &self,
                names: &'static [&'static str],
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                let names: &[&str; $count] = exactly(names).map_err(S::Error::custom)?;
                let mut fields = serializer.serialize_struct(NAME, $count)?;
                $(fields.serialize_field(names[$index], &self.$index)?;)*
                fields.end()
            }

            #[inline]
            fn longest(&self) -> Option<&[u8]> {
                let bytes = [$(self.$index.as_bytes()),*];
                bytes.into_iter().flatten().max_by_key(|bytes| bytes.len())
            }
        }

        impl<'de, $($shape: DecodeAs<'de, $type>, $type),*> ArgumentTuple<'de> for ($(Owned<$shape, $type>,)*) {
            type Values = ($($type,)*);

            #[inline]
            fn read<D: Deserializer<'de>>(
                names: &'static [&'static str],
                deserializer: D,
            ) -> Result<Self::Values, D::Error> {
                let names: &[&str; $count] = exactly(names).map_err(D::Error::custom)?;
                let visitor = ArgumentsVisitor::<Self> { names, values: PhantomData };
                deserializer.deserialize_struct(NAME, names, visitor)
            }
        }

        impl<'de, $($shape: DecodeAs<'de, $type>, $type),*> Visitor<'de>
            for ArgumentsVisitor<($(Owned<$shape, $type>,)*)>
        {
            type Value = ($($type,)*);

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{}: {}", Count($count), Names(self.names))
            }

            #[inline]
            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
                let values = ($(
                    match elements.next_element::<Owned<$shape, $type>>()? {
                        Some(value) => value.into_inner(),
                        None => return Err(A::Error::invalid_length($index, &self)),
                    },
                )*);
                finish(&mut elements, $count)?;
                Ok(values)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                $(let mut $value: Option<$type> = None;)*
                while let Some(index) = entries.next_key_seed(Name(self.names))? {
                    let name = self.names.get(index).copied().unwrap_or_default();
                    match index {
                        $($index => fill::<A, $shape, $type>(&mut $value, name, &mut entries)?,)*
                        _ => return Err(A::Error::custom("there are not as many argument names as arguments")),
                    }
                }
                Ok(($(
                    match $value {
                        Some(value) => value,
                        None => return Err(missing(self.names, $index)),
                    },
                )*))
            }
        }
    )*};
}

#[cold]
fn missing<E: serde::de::Error>(names: &'static [&'static str], index: usize) -> E {
    let name = names.get(index).copied().unwrap_or_default();
    E::custom(format_args!("missing argument `{name}`"))
}

arguments! {
    1: 0 S0 T0 v0;
    2: 0 S0 T0 v0, 1 S1 T1 v1;
    3: 0 S0 T0 v0, 1 S1 T1 v1, 2 S2 T2 v2;
    4: 0 S0 T0 v0, 1 S1 T1 v1, 2 S2 T2 v2, 3 S3 T3 v3;
    5: 0 S0 T0 v0, 1 S1 T1 v1, 2 S2 T2 v2, 3 S3 T3 v3, 4 S4 T4 v4;
    6: 0 S0 T0 v0, 1 S1 T1 v1, 2 S2 T2 v2, 3 S3 T3 v3, 4 S4 T4 v4, 5 S5 T5 v5;
    7: 0 S0 T0 v0, 1 S1 T1 v1, 2 S2 T2 v2, 3 S3 T3 v3, 4 S4 T4 v4, 5 S5 T5 v5, 6 S6 T6 v6;
    8: 0 S0 T0 v0, 1 S1 T1 v1, 2 S2 T2 v2, 3 S3 T3 v3, 4 S4 T4 v4, 5 S5 T5 v5, 6 S6 T6 v6, 7 S7 T7 v7;
    9: 0 S0 T0 v0, 1 S1 T1 v1, 2 S2 T2 v2, 3 S3 T3 v3, 4 S4 T4 v4, 5 S5 T5 v5, 6 S6 T6 v6, 7 S7 T7 v7, 8 S8 T8 v8;
    10: 0 S0 T0 v0, 1 S1 T1 v1, 2 S2 T2 v2, 3 S3 T3 v3, 4 S4 T4 v4, 5 S5 T5 v5, 6 S6 T6 v6, 7 S7 T7 v7, 8 S8 T8 v8, 9 S9 T9 v9;
    11: 0 S0 T0 v0, 1 S1 T1 v1, 2 S2 T2 v2, 3 S3 T3 v3, 4 S4 T4 v4, 5 S5 T5 v5, 6 S6 T6 v6, 7 S7 T7 v7, 8 S8 T8 v8, 9 S9 T9 v9, 10 S10 T10 v10;
    12: 0 S0 T0 v0, 1 S1 T1 v1, 2 S2 T2 v2, 3 S3 T3 v3, 4 S4 T4 v4, 5 S5 T5 v5, 6 S6 T6 v6, 7 S7 T7 v7, 8 S8 T8 v8, 9 S9 T9 v9, 10 S10 T10 v10, 11 S11 T11 v11;
    13: 0 S0 T0 v0, 1 S1 T1 v1, 2 S2 T2 v2, 3 S3 T3 v3, 4 S4 T4 v4, 5 S5 T5 v5, 6 S6 T6 v6, 7 S7 T7 v7, 8 S8 T8 v8, 9 S9 T9 v9, 10 S10 T10 v10, 11 S11 T11 v11, 12 S12 T12 v12;
    14: 0 S0 T0 v0, 1 S1 T1 v1, 2 S2 T2 v2, 3 S3 T3 v3, 4 S4 T4 v4, 5 S5 T5 v5, 6 S6 T6 v6, 7 S7 T7 v7, 8 S8 T8 v8, 9 S9 T9 v9, 10 S10 T10 v10, 11 S11 T11 v11, 12 S12 T12 v12, 13 S13 T13 v13;
    15: 0 S0 T0 v0, 1 S1 T1 v1, 2 S2 T2 v2, 3 S3 T3 v3, 4 S4 T4 v4, 5 S5 T5 v5, 6 S6 T6 v6, 7 S7 T7 v7, 8 S8 T8 v8, 9 S9 T9 v9, 10 S10 T10 v10, 11 S11 T11 v11, 12 S12 T12 v12, 13 S13 T13 v13, 14 S14 T14 v14;
    16: 0 S0 T0 v0, 1 S1 T1 v1, 2 S2 T2 v2, 3 S3 T3 v3, 4 S4 T4 v4, 5 S5 T5 v5, 6 S6 T6 v6, 7 S7 T7 v7, 8 S8 T8 v8, 9 S9 T9 v9, 10 S10 T10 v10, 11 S11 T11 v11, 12 S12 T12 v12, 13 S13 T13 v13, 14 S14 T14 v14, 15 S15 T15 v15;
}
