//! Sections through serde.
//!
//! In a message of ours in a binary codec, a section is an enum: `Inline` with its bytes, `Attached` with its number of values and its
//! index among the message's sections, or `Shared` with the same, which a [`SharedMut`] always is. Everywhere else it is its bytes: in JSON, and when somebody puts a struct with a section through a
//! serializer of his own, also one that is at work inside of a message of ours.
//!
//! So a section has to know whose serializer it meets, and serde has no way to ask. It makes itself known as a newtype struct
//! of a certain name, which other serializers pass over. The codec, who knows that name, leaves in a variable of the thread what the section
//! needs, calls it, and takes back what is left. Nothing else runs in between.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use bytemuck::Pod;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error as _, SeqAccess, VariantAccess, Visitor,
};
use serde::ser::{Error as _, Serialize, SerializeTupleVariant, Serializer};

use super::attached::{Attached, Delivered};
use super::lender::Lender;
use super::memory::Memory;
use super::shared::Word;
use super::{Section, SharedMut, View};
use transports::Lease;

use crate::codec::shape::{DecodeAs, EncodeAs};

/// The name by which the codec knows a section.
pub(crate) const MARK: &str = "ipc_rpc::Section";

const NAME: &str = "Section";
const VARIANTS: &[&str] = &["Inline", "Attached", "Shared"];

thread_local! {
    static OUTGOING: Cell<Option<Outgoing>> = const { Cell::new(None) };
    static INCOMING: Cell<Option<Option<Delivered>>> = const { Cell::new(None) };
}

/// What a section needs to be written.
pub(crate) struct Outgoing {
    /// Where memory to send comes from, if the connection has any.
    pub(crate) lender: Option<Lender>,
    pub(crate) attached: Attached,
    /// Where in the body the section begins.
    pub(crate) place: usize,
}

/// Has `write` write a section, which finds `outgoing`. Gives back what is attached then.
pub(crate) fn attach_with<R>(outgoing: Outgoing, write: impl FnOnce() -> R) -> (R, Attached) {
    OUTGOING.set(Some(outgoing));
    let result = write();
    let attached = OUTGOING.take().map(|outgoing| outgoing.attached);
    (result, attached.unwrap_or_default())
}

/// Has the section that is read next find what came with the message; `forget` when it has been read.
pub(crate) fn deliver_with(delivered: Option<Delivered>) {
    INCOMING.set(Some(delivered));
}

pub(crate) fn forget() {
    INCOMING.set(None);
}

/// How a section of `length` bytes begins that is not attached, in a binary codec: the variant, and the length of a byte string.
pub(super) fn inline_head(length: usize) -> [u8; 12] {
    let mut head = [0; 12];
    head[4..].copy_from_slice(&(length as u64).to_le_bytes());
    head
}

impl<T: Pod> Serialize for Section<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(MARK, &Content(&self.memory))
    }
}

impl<T: Pod> Serialize for View<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(MARK, &Content(&self.memory))
    }
}

struct Content<'a, T: Pod>(&'a Memory<T>);

impl<T: Pod> Serialize for Content<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut leaving = self.0.lock();
        let memory = leaving.as_deref().unwrap_or(self.0);
        memory.check().map_err(S::Error::custom)?;
        let count = memory.values().len() as u64;
        let Some(mut outgoing) = OUTGOING.take().filter(|_| !serializer.is_human_readable()) else {
            return serializer.serialize_bytes(memory.bytes());
        };
        let index = match &mut leaving {
            Some(leaving) => outgoing.attach_whole(leaving),
            None => outgoing.attach(self.0),
        };
        OUTGOING.set(Some(outgoing));
        match index {
            Some(index) => {
                let mut fields = serializer.serialize_tuple_variant(NAME, 1, VARIANTS[1], 2)?;
                fields.serialize_field(&count)?;
                fields.serialize_field(&index)?;
                fields.end()
            }
            None => {
                let memory = leaving.as_deref().unwrap_or(self.0);
                // It may have been lost by the attempt.
                memory.check().map_err(S::Error::custom)?;
                serializer.serialize_newtype_variant(NAME, 0, VARIANTS[0], &Bytes(memory.bytes()))
            }
        }
    }
}

impl<T: Word> Serialize for SharedMut<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(MARK, &Handle(self))
    }
}

struct Handle<'a, T: Word>(&'a SharedMut<T>);

impl<T: Word> Serialize for Handle<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(mut outgoing) = OUTGOING.take().filter(|_| !serializer.is_human_readable()) else {
            let sentence = "memory that both sides write travels in the messages of its connection only";
            return Err(S::Error::custom(sentence));
        };
        let index = outgoing.attach_shared(self.0);
        OUTGOING.set(Some(outgoing));
        let mut fields = serializer.serialize_tuple_variant(NAME, 2, VARIANTS[2], 2)?;
        fields.serialize_field(&(self.0.len() as u64))?;
        fields.serialize_field(&index.map_err(S::Error::custom)?)?;
        fields.end()
    }
}

impl Outgoing {
    /// Attaches memory that both sides write. Its index.
    fn attach_shared<T: Word>(&mut self, memory: &SharedMut<T>) -> Result<u32, &'static str> {
        let (block, origin) = memory.made_here().ok_or(
            "memory that both sides write is passed on by the side that made it, and this is the other",
        )?;
        if self.lender.as_ref().is_none_or(|lender| lender.origin != origin) {
            return Err("memory that both sides write belongs to one connection, and this is another");
        }
        if !self.attached.has_room() {
            return Err("a message has more sections than it may");
        }
        Ok(self.attached.push(self.place, block.clone()))
    }

    /// Attaches memory that may leave with all rights to it, if it is worth that. Its index.
    fn attach_whole<T: Pod>(&mut self, memory: &mut Memory<T>) -> Option<u32> {
        let lender = self.lender.as_ref()?;
        if lender.takes(memory.bytes().len()) && self.attached.has_room() {
            if let Some(block) = memory.take_block(lender.origin) {
                return Some(self.attached.push(self.place, block));
            }
        }
        self.attach(memory)
    }

    /// Attaches a section if it is worth it and there is memory for it. Its index.
    fn attach<T: Pod>(&mut self, memory: &Memory<T>) -> Option<u32> {
        let lender = self.lender.as_ref()?;
        let bytes = memory.bytes();
        if !lender.takes(bytes.len()) || !self.attached.has_room() {
            return None;
        }
        let block = match memory {
            Memory::Block { block, origin } if *origin == lender.origin => block.clone(),
            _ => lender.copy(bytes)?,
        };
        Some(self.attached.push(self.place, block))
    }
}

struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de, T: Pod> Deserialize<'de> for Section<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_newtype_struct(MARK, Marked(PhantomData))
            .map(Self::new)
    }
}

impl<'de, T: Pod> Deserialize<'de> for View<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Section::deserialize(deserializer).map(Self::from)
    }
}

impl<'de, T: Word> Deserialize<'de> for SharedMut<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(MARK, MarkedShared(PhantomData))
    }
}

/// Reads what stands behind the mark, where it has to be memory that both sides write.
struct MarkedShared<T>(PhantomData<T>);

impl<'de, T: Word> Visitor<'de> for MarkedShared<T> {
    type Value = SharedMut<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("memory that both sides write")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<SharedMut<T>, D::Error> {
        match INCOMING.take().filter(|_| !deserializer.is_human_readable()) {
            Some(delivered) => {
                deserializer.deserialize_enum(NAME, VARIANTS, OnlyShared(delivered, PhantomData))
            }
            None => Err(D::Error::custom(
                "memory that both sides write travels in the messages of its connection only",
            )),
        }
    }
}

struct OnlyShared<T>(Option<Delivered>, PhantomData<T>);

impl<'de, T: Word> Visitor<'de> for OnlyShared<T> {
    type Value = SharedMut<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("memory that both sides write")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<SharedMut<T>, A::Error> {
        let (variant, content) = data.variant::<u32>()?;
        if variant != 2 {
            return Err(A::Error::custom("a section is no memory that both sides write"));
        }
        let (lease, count, _) = content.tuple_variant(2, Descriptor(self.0))?;
        SharedMut::received(lease, count).map_err(A::Error::custom)
    }
}

/// Reads what stands behind the mark.
struct Marked<T>(PhantomData<T>);

impl<'de, T: Pod> Visitor<'de> for Marked<T> {
    type Value = Memory<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a section")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Memory<T>, D::Error> {
        match INCOMING.take().filter(|_| !deserializer.is_human_readable()) {
            Some(delivered) => deserializer.deserialize_enum(NAME, VARIANTS, Either(delivered, PhantomData)),
            None => deserializer.deserialize_byte_buf(Inline(PhantomData)),
        }
    }
}

/// Reads a section of one of our messages.
struct Either<T>(Option<Delivered>, PhantomData<T>);

impl<'de, T: Pod> Visitor<'de> for Either<T> {
    type Value = Memory<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a section")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Memory<T>, A::Error> {
        let (variant, content) = data.variant::<u32>()?;
        match variant {
            0 => content.newtype_variant_seed(Inline(PhantomData)),
            1 => {
                let (lease, count, delivered) = content.tuple_variant(2, Descriptor(self.0))?;
                let origin = delivered.origin();
                Memory::from_lease(lease, origin, count, |bytes| delivered.charge(bytes))
                    .map_err(A::Error::custom)
            }
            other => Err(A::Error::custom(format_args!("{other} is no kind of section"))),
        }
    }
}

/// Reads which section is attached: it, the number of its values, and where it was found.
struct Descriptor(Option<Delivered>);

impl<'de> Visitor<'de> for Descriptor {
    type Value = (Lease, u64, Delivered);

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the number of values of a section, and its index")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let count = fields
            .next_element()?
            .ok_or_else(|| A::Error::invalid_length(0, &self))?;
        let index = fields
            .next_element()?
            .ok_or_else(|| A::Error::invalid_length(1, &self))?;
        let Some(delivered) = self.0 else {
            return Err(A::Error::custom(format_args!(
                "there is no section {index}: the message has none"
            )));
        };
        let lease = delivered.take(index).map_err(A::Error::custom)?;
        Ok((lease, count, delivered))
    }
}

/// Reads the bytes of a section.
struct Inline<T>(PhantomData<T>);

impl<'de, T: Pod> DeserializeSeed<'de> for Inline<T> {
    type Value = Memory<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Memory<T>, D::Error> {
        deserializer.deserialize_byte_buf(self)
    }
}

impl<'de, T: Pod> Visitor<'de> for Inline<T> {
    type Value = Memory<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the bytes of a section")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Memory<T>, E> {
        Memory::from_bytes(bytes).map_err(E::custom)
    }

    fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Memory<T>, E> {
        Memory::from_buffer(bytes).map_err(E::custom)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Memory<T>, E> {
        self.visit_bytes(text.as_bytes())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Memory<T>, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = elements.next_element()? {
            bytes.push(byte);
        }
        self.visit_byte_buf(bytes)
    }
}

/// The shape of a `Section`: as serde has it, but ready to be sent without a copy.
pub struct SectionOf;

impl<T: Pod> EncodeAs<Section<T>> for SectionOf {
    fn serialize<S: Serializer>(value: &Section<T>, serializer: S) -> Result<S::Ok, S::Error> {
        value.serialize(serializer)
    }

    fn settle(value: &mut Section<T>) {
        value.memory.leave();
    }
}

impl<'de, T: Pod> DecodeAs<'de, Section<T>> for SectionOf {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Section<T>, D::Error> {
        Section::deserialize(deserializer)
    }
}
