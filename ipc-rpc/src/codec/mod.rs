//! How values become bytes and bytes become values: the codecs, behind one seam.
//!
//! | codec | body | for |
//! |---|---|---|
//! | [`Codec::Bincode`] | fixed-width little-endian integers, no names, no padding | the default: small and fast |
//! | [`Codec::Json`] | JSON text | people and scripts, who can call a service with no schema |
//!
//! On the way out every value passes [`faithful`], which refuses what the format would change without a word; on the
//! way in every message passes [`guard`], which holds the sender to a [`Budget`]. Both are generic over the format,
//! so the files of the formats contain nothing but the format. [`shape`] and [`arguments`] put the types of a signature through
//! serde. What neither codec can carry is listed where users read it, at [`Codec`].

pub(crate) mod arguments;
mod bincode;
mod budget;
mod error;
mod faithful;
mod guard;
mod json;
mod path;
pub(crate) mod shape;
mod sink;

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::Serialize;
use serde::de::{Deserialize, DeserializeSeed};

pub use budget::Budget;
pub(crate) use error::Size;
pub use error::{CodecError, CodecErrorKind};

use crate::section::{Attached, Delivered, Lender};
use crate::{Error, ErrorKind};
use faithful::{Faithful, Frame};
use guard::{Ledger, Root};
use path::Path;
pub(crate) use sink::LENT;
use sink::Sink;

/// Byte strings that are a whole result are moved from this size on: sent from the memory that the handler had them in,
/// and given to the caller in the memory that they were received in. Smaller ones are copied, which takes less than a
/// microsecond and leaves the connection's buffers where they are.
pub(crate) const MOVED: usize = 16 << 10;

/// How the bodies of a connection's messages are written. The client names one in its handshake.
///
/// # What a codec cannot carry
///
/// Each of these is an error that says so, on the side named, and never a changed value.
///
/// | type | bincode | JSON |
/// |---|---|---|
/// | `#[serde(untagged)]`, `#[serde(tag = "..")]`, `serde_json::Value` | decoding: the bytes do not say what follows | carried |
/// | `#[serde(flatten)]`, maps and sequences of unknown length | encoding: the length comes first | carried |
/// | `#[serde(skip_serializing_if)]` where it skips a field | encoding: the fields have no names | carried |
/// | `serde::de::IgnoredAny` | decoding | carried |
/// | `#[serde(alias, default)]` for absent fields | decoding: every field is there, in order | carried |
/// | NaN and infinities | carried, every bit of them | encoding: JSON has no such number |
/// | `Some(None)`, `Some(())` | carried | encoding: both would be read back as `None` |
/// | maps whose keys are neither strings, chars, bools, numbers nor unit variants | carried | encoding: keys are strings |
/// | `&str` *fields* of your structs, where the text has escapes | borrowed | decoding: there is nothing to borrow; use `Cow` with `#[serde(borrow)]` |
/// | `&[u8]` *fields* of your structs | borrowed | decoding; use `Cow` or `Vec<u8>` with `serde_bytes` |
/// | a `Path` that is not UTF-8, a `SystemTime` before 1970 | encoding | encoding |
///
/// `&str` and `&[u8]` as *arguments* have no such exception.
///
/// # Byte strings
///
/// serde sees a `Vec<u8>` as a sequence of numbers and takes one step per byte. Where a byte string is an argument or a
/// result, or inside an `Option`, a `Result` or a tuple there, it moves with one copy and nothing is
/// asked of you. Inside your own structs serde decides, and `serde_bytes` is the way:
///
/// ```
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Block {
///     number: u64,
///     #[serde(with = "serde_bytes")]
///     content: Vec<u8>,
/// }
/// # let _ = |block: Block| (block.number, block.content);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// The `bincode` 2 format with fixed-width little-endian integers: the fastest, and the default.
    #[default]
    Bincode,
    /// JSON text, for callers that are not written in Rust or have no schema.
    Json,
}

impl Codec {
    /// Every codec of this build.
    pub(crate) const ALL: [Self; 2] = [Self::Bincode, Self::Json];

    /// The codec's number in the handshake. Never 0, so that a field that nobody filled is no codec.
    #[must_use]
    pub(crate) const fn id(self) -> u8 {
        match self {
            Self::Bincode => 1,
            Self::Json => 2,
        }
    }

    /// The codec that a handshake names, if this build knows it.
    #[must_use]
    pub(crate) fn from_id(id: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.id() == id)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Bincode => "bincode",
            Self::Json => "json",
        }
    }

    /// Appends `value` to `out`. Allocates nothing that `out` has room for.
    ///
    /// # Errors
    /// `TooLarge` if the value takes more than `limit` bytes: no more than that is ever written, the rest is only
    /// counted, and counting stops at 16 times the limit. `Encode` if the value or one inside it refuses, or if this
    /// codec would not give it back as it was. `out` is then as it was before.
    pub(crate) fn encode<T: Serialize + ?Sized>(
        self,
        value: &T,
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), CodecError> {
        self.encode_with(value, out, limit, Extras::default()).map(|_| ())
    }

    /// The same where not all of the value need be in `out`.
    ///
    /// # Errors
    /// As [`Codec::encode`].
    pub(crate) fn encode_with<T: Serialize + ?Sized>(
        self,
        value: &T,
        out: &mut Vec<u8>,
        limit: usize,
        extras: Extras<'_>,
    ) -> Result<Beside, CodecError> {
        let start = out.len();
        let length = Cell::new(0);
        let mut sink = Sink::new(out, limit, extras.lent, &length);
        let frame = Frame {
            path: Cell::new(Path::default()),
            lender: extras.lender,
            attached: Cell::default(),
            start,
            length: &length,
        };
        let value = Faithful::new(value, &frame);
        let result = match self {
            Self::Bincode => bincode::encode(&value, &mut sink),
            Self::Json => json::encode(&value, &mut sink),
        };
        let error = match (sink.overflow(), result) {
            (None, Ok(())) => {
                return Ok(Beside {
                    gap: sink.gap(),
                    attached: frame.attached.into_inner(),
                });
            }
            (Some(needed), _) => CodecError::too_large(needed, limit),
            (None, Err(rule)) => CodecError::encode(&frame.path.take(), &rule),
        };
        out.truncate(start);
        Err(error)
    }

    /// Reads one value, which may borrow from `bytes`, and expects that nothing follows it.
    ///
    /// # Errors
    /// `Decode`, if `bytes` are not exactly one such value, or if it is above the `budget`.
    pub(crate) fn decode<'de, T: Deserialize<'de>>(
        self,
        bytes: &'de [u8],
        budget: &Budget,
    ) -> Result<T, CodecError> {
        self.decode_seed(bytes, PhantomData::<T>, budget, None)
    }

    /// [`Codec::decode`] for a seed, a value that knows how to read another, and with the sections that came with the message. All of
    /// those have to belong to some value.
    pub(crate) fn decode_seed<'de, S: DeserializeSeed<'de>>(
        self,
        bytes: &'de [u8],
        seed: S,
        budget: &Budget,
        sections: Option<Delivered>,
    ) -> Result<S::Value, CodecError> {
        let mut ledger = Ledger::new(budget, bytes.len(), sections);
        let mut value = None;
        let root = Root::new(seed, &mut ledger, &mut value);
        let result = match self {
            Self::Bincode => bincode::decode(bytes, root),
            Self::Json => json::decode(bytes, root),
        };
        match (result, value) {
            (Ok(()), Some(_)) if ledger.has_sections_left() => {
                Err(ledger.explain("the message has sections that no value refers to"))
            }
            (Ok(()), Some(value)) if ledger.is_kept() => Ok(value),
            (Ok(()), _) => Err(ledger.explain("nothing was read")),
            (Err(rule), _) => Err(ledger.explain(&rule)),
        }
    }

    /// What precedes a byte string of `length` bytes where it is the whole body, if this codec writes bytes as they are.
    #[cfg(any(feature = "tokio", test))]
    pub(crate) fn bytes_head(self, length: usize) -> Option<[u8; 8]> {
        match self {
            Self::Bincode => Some(bincode::bytes_head(length)),
            Self::Json => None,
        }
    }

    /// Where the byte string begins of which `body` consists, if it consists of one, as it is.
    pub(crate) fn bytes_start(self, body: &[u8]) -> Option<usize> {
        match self {
            Self::Bincode => bincode::bytes_start(body),
            Self::Json => None,
        }
    }
}

/// What may be left out of an encoded value.
#[derive(Clone, Copy, Default)]
pub(crate) struct Extras<'a> {
    /// If the value hands on these very bytes, there where they are, as they are, they count, but are not copied.
    pub(crate) lent: Option<&'a [u8]>,
    /// Where memory comes from for sections that are to go beside the body.
    pub(crate) lender: Option<&'a Lender>,
}

/// What was left out.
pub(crate) struct Beside {
    /// The place where the bytes belong that were lent.
    pub(crate) gap: Option<usize>,
    pub(crate) attached: Attached,
}

impl fmt::Display for Codec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Codec {
    type Err = Error;

    /// Reads a name as [`Display`](fmt::Display) writes it.
    ///
    /// # Errors
    /// `Unsupported` if this build has no codec of that name.
    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|codec| codec.name() == name)
            .ok_or_else(|| {
                let name = error::brief(name);
                Error::new(
                    ErrorKind::Unsupported,
                    format!("there is no codec {name:?}; use \"bincode\" or \"json\""),
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_has_a_number_and_a_name_of_its_own() {
        for codec in Codec::ALL {
            assert_ne!(codec.id(), 0);
            assert_eq!(Codec::from_id(codec.id()), Some(codec));
            assert_eq!(codec.to_string().parse::<Codec>().unwrap(), codec);
        }
        assert_eq!(Codec::from_id(0), None);
        assert_eq!(Codec::from_id(3), None);
        assert_eq!(Codec::default(), Codec::Bincode);
    }

    #[test]
    fn a_byte_string_alone_is_its_head_and_itself() {
        for length in [0, 1, 70_000] {
            let bytes = vec![7; length];
            let mut body = Vec::new();
            let value = shape::Ref::<shape::Leaf<true>, _>::new(&bytes);
            Codec::Bincode.encode(&value, &mut body, usize::MAX).unwrap();
            let head = Codec::Bincode.bytes_head(length).unwrap();
            assert_eq!(body, [&head[..], &bytes[..]].concat());
            assert_eq!(Codec::Bincode.bytes_start(&body), Some(head.len()));
            body.push(0);
            assert_eq!(Codec::Bincode.bytes_start(&body), None);
            assert_eq!(Codec::Bincode.bytes_start(&body[..7]), None);
        }
        assert_eq!(Codec::Json.bytes_head(3), None);
        assert_eq!(Codec::Json.bytes_start(b"[1,2,3]"), None);
    }

    #[test]
    fn an_unknown_codec_is_named_in_the_error() {
        let error = "xml".parse::<Codec>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(
            error.to_string(),
            "there is no codec \"xml\"; use \"bincode\" or \"json\""
        );
    }
}
