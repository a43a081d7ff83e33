//! Refuses to write what would be read back as something else, in any format.
//!
//! Each format has values that it takes and changes without a word: bincode has no names for fields, so a skipped one
//! shifts all that follow; JSON has one `null` for `None`, `()` and every float that is not a number. The formats'
//! serializers do not look; this one stands before them, looks, and notes where it was when something fails.

use std::cell::Cell;
use std::fmt::Display;

use serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::path::{Path, Step};
use crate::section::{self, Attached, Lender, MARK, Outgoing};

/// What all parts of a value have in common while it is written.
pub(super) struct Frame<'f> {
    /// Where something failed.
    pub(super) path: Cell<Path>,
    /// Where memory for sections comes from.
    pub(super) lender: Option<&'f Lender>,
    /// The sections that go beside the body.
    pub(super) attached: Cell<Attached>,
    /// What comes before the value in its buffer, and how much of the value has been written since, in bytes.
    pub(super) start: usize,
    pub(super) length: &'f Cell<usize>,
}

impl Frame<'_> {
    /// Writes a section.
    #[cold]
    fn attach<R>(&self, write: impl FnOnce() -> R) -> R {
        let outgoing = Outgoing {
            lender: self.lender.cloned(),
            attached: self.attached.take(),
            place: self.start + self.length.get(),
        };
        let (result, attached) = section::attach_with(outgoing, write);
        self.attached.set(attached);
        result
    }
}

/// A value that is written faithfully or not at all.
pub(super) struct Faithful<'v, T: ?Sized> {
    value: &'v T,
    frame: &'v Frame<'v>,
    /// It is the content of a `Some`.
    some: bool,
}

impl<'v, T: ?Sized> Faithful<'v, T> {
    pub(super) fn new(value: &'v T, frame: &'v Frame<'v>) -> Self {
        Self {
            value,
            frame,
            some: false,
        }
    }
}

impl<T: Serialize + ?Sized> Serialize for Faithful<'_, T> {
    #[inline]
    fn serialize<S: Serializer>(&self, inner: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Check {
            inner,
            frame: self.frame,
            some: self.some,
        })
    }
}

/// What a value sees in place of the format's serializer.
struct Check<'v, S> {
    inner: S,
    frame: &'v Frame<'v>,
    some: bool,
}

impl<'v, S: Serializer> Check<'v, S> {
    /// JSON, or another format that names its fields and has one `null` for all that is absent.
    #[inline]
    fn is_text(&self) -> bool {
        self.inner.is_human_readable()
    }

    /// Whether what is to be written as `null` would be taken for the `None` around it.
    #[inline]
    fn null(&self) -> Result<(), S::Error> {
        if self.some && self.is_text() {
            return Err(S::Error::custom(
                "JSON writes a Some around nothing as null, and null is read as None; use bincode, or an enum",
            ));
        }
        Ok(())
    }

    #[inline]
    fn finite(&self, is_finite: bool) -> Result<(), S::Error> {
        if !is_finite && self.is_text() {
            return Err(S::Error::custom(
                "JSON has no NaN and no infinity; use bincode, or an Option",
            ));
        }
        Ok(())
    }

    #[inline]
    fn compound<C>(self, open: impl FnOnce(S) -> Result<C, S::Error>) -> Result<Parts<'v, C>, S::Error> {
        let named = self.is_text();
        Ok(Parts {
            frame: self.frame,
            named,
            index: 0,
            inner: open(self.inner)?,
        })
    }
}

macro_rules! pass {
    ($($method:ident $type:ty)*) => {$(
        #[inline]
        fn $method(self, value: $type) -> Result<S::Ok, S::Error> {
            self.inner.$method(value)
        }
    )*};
}

impl<'v, S: Serializer> Serializer for Check<'v, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Parts<'v, S::SerializeSeq>;
    type SerializeTuple = Parts<'v, S::SerializeTuple>;
    type SerializeTupleStruct = Parts<'v, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Parts<'v, S::SerializeTupleVariant>;
    type SerializeMap = Parts<'v, S::SerializeMap>;
    type SerializeStruct = Parts<'v, S::SerializeStruct>;
    type SerializeStructVariant = Parts<'v, S::SerializeStructVariant>;

    pass! {
        serialize_bool bool serialize_i8 i8 serialize_i16 i16 serialize_i32 i32 serialize_i64 i64
        serialize_i128 i128 serialize_u8 u8 serialize_u16 u16 serialize_u32 u32 serialize_u64 u64
        serialize_u128 u128 serialize_char char serialize_str &str serialize_bytes &[u8]
    }

    #[inline]
    fn serialize_f32(self, value: f32) -> Result<S::Ok, S::Error> {
        self.finite(value.is_finite())?;
        self.inner.serialize_f32(value)
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<S::Ok, S::Error> {
        self.finite(value.is_finite())?;
        self.inner.serialize_f64(value)
    }

    #[inline]
    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.null()?;
        self.inner.serialize_none()
    }

    #[inline]
    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.null()?;
        self.inner.serialize_unit()
    }

    #[inline]
    fn serialize_unit_struct(self, name: &'static str) -> Result<S::Ok, S::Error> {
        self.null()?;
        self.inner.serialize_unit_struct(name)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        let value = Faithful {
            value,
            frame: self.frame,
            some: true,
        };
        self.inner.serialize_some(&value)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        if name == MARK {
            return self
                .frame
                .attach(|| self.inner.serialize_newtype_struct(name, value));
        }
        // JSON writes a newtype as its content.
        let value = Faithful {
            value,
            frame: self.frame,
            some: self.some,
        };
        self.inner.serialize_newtype_struct(name, &value)
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit_variant(name, index, variant)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let value = Faithful::new(value, self.frame);
        self.inner.serialize_newtype_variant(name, index, variant, &value)
    }

    #[inline]
    fn serialize_seq(self, length: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        self.compound(|inner| inner.serialize_seq(length))
    }

    #[inline]
    fn serialize_tuple(self, length: usize) -> Result<Self::SerializeTuple, S::Error> {
        self.compound(|inner| inner.serialize_tuple(length))
    }

    #[inline]
    fn serialize_tuple_struct(
        self,
        name: &'static str,
        length: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        self.compound(|inner| inner.serialize_tuple_struct(name, length))
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        self.compound(|inner| inner.serialize_tuple_variant(name, index, variant, length))
    }

    #[inline]
    fn serialize_map(self, length: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        self.compound(|inner| inner.serialize_map(length))
    }

    #[inline]
    fn serialize_struct(self, name: &'static str, length: usize) -> Result<Self::SerializeStruct, S::Error> {
        self.compound(|inner| inner.serialize_struct(name, length))
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        self.compound(|inner| inner.serialize_struct_variant(name, index, variant, length))
    }

    #[inline]
    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.collect_str(value)
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// The elements, entries or fields of a compound value.
struct Parts<'v, C> {
    inner: C,
    frame: &'v Frame<'v>,
    /// The format writes the names of fields, so that one may be absent.
    named: bool,
    /// How many have been written.
    index: usize,
}

impl<C> Parts<'_, C> {
    /// Writes one part; if that fails, notes where it was.
    #[inline]
    fn part<T: Serialize + ?Sized, E>(
        &mut self,
        value: &T,
        step: impl FnOnce(usize) -> Step,
        write: impl FnOnce(&mut C, &Faithful<'_, T>) -> Result<(), E>,
    ) -> Result<(), E> {
        let result = write(&mut self.inner, &Faithful::new(value, self.frame));
        if result.is_err() {
            note(&self.frame.path, step(self.index));
        }
        self.index += 1;
        result
    }

    /// A field that is not written, which only a format with names can tell from one that is.
    fn skip<E: Error>(&self, name: &'static str) -> Result<(), E> {
        if self.named {
            return Ok(());
        }
        note(&self.frame.path, Step::Field(name));
        Err(E::custom(
            "bincode has no names for fields, so none can be left out (#[serde(skip_serializing_if)]); write it always, \
             or use the JSON codec",
        ))
    }
}

#[cold]
fn note(path: &Cell<Path>, step: Step) {
    let mut steps = path.take();
    steps.push(step);
    path.set(steps);
}

impl<C: SerializeSeq> SerializeSeq for Parts<'_, C> {
    type Ok = C::Ok;
    type Error = C::Error;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        self.part(value, Step::Index, |inner, value| inner.serialize_element(value))
    }

    #[inline]
    fn end(self) -> Result<C::Ok, C::Error> {
        self.inner.end()
    }
}

impl<C: SerializeTuple> SerializeTuple for Parts<'_, C> {
    type Ok = C::Ok;
    type Error = C::Error;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        self.part(value, Step::Index, |inner, value| inner.serialize_element(value))
    }

    #[inline]
    fn end(self) -> Result<C::Ok, C::Error> {
        self.inner.end()
    }
}

impl<C: SerializeTupleStruct> SerializeTupleStruct for Parts<'_, C> {
    type Ok = C::Ok;
    type Error = C::Error;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        self.part(value, Step::Index, |inner, value| inner.serialize_field(value))
    }

    #[inline]
    fn end(self) -> Result<C::Ok, C::Error> {
        self.inner.end()
    }
}

impl<C: SerializeTupleVariant> SerializeTupleVariant for Parts<'_, C> {
    type Ok = C::Ok;
    type Error = C::Error;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        self.part(value, Step::Index, |inner, value| inner.serialize_field(value))
    }

    #[inline]
    fn end(self) -> Result<C::Ok, C::Error> {
        self.inner.end()
    }
}

impl<C: SerializeMap> SerializeMap for Parts<'_, C> {
    type Ok = C::Ok;
    type Error = C::Error;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), C::Error> {
        let index = self.index;
        let result = self.part(key, Step::Entry, |inner, key| inner.serialize_key(key));
        self.index = index;
        result
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        self.part(value, Step::Entry, |inner, value| inner.serialize_value(value))
    }

    #[inline]
    fn end(self) -> Result<C::Ok, C::Error> {
        self.inner.end()
    }
}

impl<C: SerializeStruct> SerializeStruct for Parts<'_, C> {
    type Ok = C::Ok;
    type Error = C::Error;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), C::Error> {
        self.part(
            value,
            |_| Step::Field(name),
            |inner, value| inner.serialize_field(name, value),
        )
    }

    fn skip_field(&mut self, name: &'static str) -> Result<(), C::Error> {
        self.skip(name)?;
        self.inner.skip_field(name)
    }

    #[inline]
    fn end(self) -> Result<C::Ok, C::Error> {
        self.inner.end()
    }
}

impl<C: SerializeStructVariant> SerializeStructVariant for Parts<'_, C> {
    type Ok = C::Ok;
    type Error = C::Error;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), C::Error> {
        self.part(
            value,
            |_| Step::Field(name),
            |inner, value| inner.serialize_field(name, value),
        )
    }

    fn skip_field(&mut self, name: &'static str) -> Result<(), C::Error> {
        self.skip(name)?;
        self.inner.skip_field(name)
    }

    #[inline]
    fn end(self) -> Result<C::Ok, C::Error> {
        self.inner.end()
    }
}
