//! The JSON format: UTF-8 text with no spaces; what is read may have them.
//!
//! Byte strings are arrays of numbers, as serde writes a `Vec<u8>`. Where a byte string is an argument, a JSON string is
//! read too, as the bytes of its UTF-8 text.

use serde::Serialize;
use serde::de::DeserializeSeed;

use super::error::brief;
use super::sink::Sink;

/// Writes one value; on failure, the rule that was broken.
pub(super) fn encode<T: Serialize>(value: &T, sink: &mut Sink<'_>) -> Result<(), String> {
    value
        .serialize(&mut serde_json::Serializer::new(sink))
        .map_err(|error| explain(&error))
}

/// Reads one value and expects that only blanks follow it; on failure, the rule that was broken.
pub(super) fn decode<'de, S: DeserializeSeed<'de>>(bytes: &'de [u8], seed: S) -> Result<S::Value, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    seed.deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| explain(&error))
}

#[cold]
fn explain(error: &serde_json::Error) -> String {
    brief(&error.to_string()).into_owned()
}
