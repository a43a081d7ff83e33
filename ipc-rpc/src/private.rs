//! What the expansion of `#[ipc_rpc::service]` and this project's own tests and benchmarks name. Not an interface:
//! anything here may change in any version.

#[cfg(feature = "tokio")]
pub use crate::dispatch::{Incoming, Payload, Reply, run_blocking};
#[cfg(feature = "tokio")]
pub use crate::in_process::in_process;

pub use crate::call::{Decode, Encode, Method, ResultType, flatten};
pub use crate::section::SectionOf;
pub use crate::transmit::{Checked, Lend, TransmitFallback, assert_argument, assert_result};

pub use crate::codec::arguments::{ArgumentTuple, ArgumentValues, Arguments};
pub use crate::codec::shape::{
    Blob, DecodeAs, EncodeAs, Leaf, OptionOf, Owned, Probe, ProbeFallback, Ref, ResultOf, Text, TupleOf,
};

/// The codecs by themselves, with no connection around them.
pub mod codec {
    use serde::Serialize;
    use serde::de::{Deserialize, DeserializeSeed};

    use crate::Codec;
    pub use crate::codec::{Budget, CodecError, CodecErrorKind};

    /// Appends `value` to `out`, at most `limit` bytes.
    ///
    /// # Errors
    /// `TooLarge` or `Encode`; `out` is then as it was.
    pub fn encode<T: Serialize + ?Sized>(
        codec: Codec,
        value: &T,
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), CodecError> {
        codec.encode(value, out, limit)
    }

    /// Reads one value from all of `bytes`.
    ///
    /// # Errors
    /// `Decode`.
    pub fn decode<'de, T: Deserialize<'de>>(
        codec: Codec,
        bytes: &'de [u8],
        budget: &Budget,
    ) -> Result<T, CodecError> {
        codec.decode(bytes, budget)
    }

    /// Reads what `seed` reads from all of `bytes`.
    ///
    /// # Errors
    /// `Decode`.
    pub fn decode_seed<'de, S: DeserializeSeed<'de>>(
        codec: Codec,
        bytes: &'de [u8],
        seed: S,
        budget: &Budget,
    ) -> Result<S::Value, CodecError> {
        codec.decode_seed(bytes, seed, budget, None)
    }
}
