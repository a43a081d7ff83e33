//! The bincode format. The crate is frozen upstream (RUSTSEC-2025-0141), so nothing outside this file names it.
//!
//! Integers are fixed-width and little-endian: every value has one encoding, and its length is known from its type.
//! Lengths are `u64`, variant numbers `u32`, the tag of an `Option` and a `bool` one byte, a `char` is UTF-8.

use bincode::config::{self, Configuration, Fixint, LittleEndian, NoLimit};
use bincode::enc::write::Writer;
use bincode::error::{DecodeError, EncodeError};
use bincode::serde::{DecodeError as SerdeDecodeError, EncodeError as SerdeEncodeError};
use serde::Serialize;
use serde::de::DeserializeSeed;

use super::error::brief;
use super::sink::{Full, Sink};

/// No limit of bincode's own: it knows bytes alone, and the budget of `guard` is stricter.
const CONFIG: Configuration<LittleEndian, Fixint, NoLimit> = config::legacy();

/// Writes one value; on failure, the rule that was broken.
pub(super) fn encode<T: Serialize>(value: &T, sink: &mut Sink<'_>) -> Result<(), String> {
    bincode::serde::encode_into_writer(value, sink, CONFIG).map_err(|error| explain_encode(&error))
}

/// Reads one value and expects that nothing follows it; on failure, the rule that was broken.
pub(super) fn decode<'de, S: DeserializeSeed<'de>>(bytes: &'de [u8], seed: S) -> Result<S::Value, String> {
    let (value, read) = bincode::serde::seed_decode_from_slice(seed, bytes, CONFIG)
        .map_err(|error| explain_decode(&error))?;
    match bytes.len() - read {
        0 => Ok(value),
        left => Err(format!("{left} bytes are left over after the value")),
    }
}

/// What precedes a byte string of `length` bytes.
pub(super) fn bytes_head(length: usize) -> [u8; 8] {
    (length as u64).to_le_bytes()
}

/// Where the byte string begins of which `body` consists, if it consists of one.
pub(super) fn bytes_start(body: &[u8]) -> Option<usize> {
    let (head, bytes) = body.split_first_chunk()?;
    (*head == bytes_head(bytes.len())).then_some(head.len())
}

impl Writer for Sink<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.push(bytes).map_err(|Full| EncodeError::UnexpectedEnd)
    }
}

#[cold]
fn explain_encode(error: &EncodeError) -> String {
    match error {
        EncodeError::OtherString(text) => brief(text).into_owned(),
        EncodeError::Other(text) => (*text).to_owned(),
        EncodeError::Serde(SerdeEncodeError::SequenceMustHaveLength) => {
            "bincode writes the length of a sequence \
             or map before its elements, and this one does not know it (#[serde(flatten)] makes such maps); \
             the JSON codec can carry it"
                .to_owned()
        }
        other => brief(&other.to_string()).into_owned(),
    }
}

#[cold]
fn explain_decode(error: &DecodeError) -> String {
    match error {
        DecodeError::UnexpectedEnd { additional } => {
            format!("the message ends too early: {additional} more bytes are needed here")
        }
        DecodeError::UnexpectedVariant { found, type_name, .. } => {
            format!("{found} is not a tag of {type_name}")
        }
        DecodeError::Utf8 { inner } => format!("a string is not UTF-8: {inner}"),
        DecodeError::InvalidCharEncoding(_) => "a char is not UTF-8".to_owned(),
        DecodeError::InvalidBooleanValue(value) => format!("{value} is not a bool"),
        DecodeError::OutsideUsizeRange(value) => {
            format!("{value} is above the address space of this machine")
        }
        DecodeError::OtherString(text) => brief(text).into_owned(),
        DecodeError::Other(text) => (*text).to_owned(),
        DecodeError::Serde(
            SerdeDecodeError::AnyNotSupported
            | SerdeDecodeError::IdentifierNotSupported
            | SerdeDecodeError::IgnoredAnyNotSupported,
        ) => "bincode does not say what comes next, so it cannot carry #[serde(untagged)], #[serde(tag)], \
              #[serde(flatten)] or IgnoredAny; use an ordinary enum or struct, or the JSON codec"
            .to_owned(),
        other => brief(&other.to_string()).into_owned(),
    }
}
