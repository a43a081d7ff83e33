//! The shapes of options, results and tuples: those of what is inside.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error, SeqAccess, VariantAccess, Visitor,
};
use serde::ser::{SerializeTuple, Serializer};

use super::{DecodeAs, EncodeAs, Owned, Ref};

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
