//! Where no process can read another's memory as on Linux.

use std::io;

use super::Stream;

/// There is none.
#[allow(dead_code, reason = "nobody gets one here")]
pub(crate) struct Neighbour(());

/// Why memory was not read.
#[derive(Debug)]
#[allow(dead_code, reason = "the same as where it can be read")]
pub(crate) enum Unreadable {
    Denied(io::Error),
    Gone,
    Absent,
    Unwanted,
    Failed(io::Error),
}

impl Neighbour {
    /// Says that this platform has no such thing.
    pub(crate) fn of(_: &Stream) -> Result<Self, Unreadable> {
        Err(unsupported())
    }

    /// The same.
    pub(crate) fn copy(
        &self,
        _address: u64,
        _length: usize,
        _into: &mut Vec<u8>,
        _wanted: impl Fn() -> bool,
    ) -> Result<(), Unreadable> {
        Err(unsupported())
    }
}

fn unsupported() -> Unreadable {
    let message = "this platform lets no process read another's memory";
    Unreadable::Denied(io::Error::new(io::ErrorKind::Unsupported, message))
}

/// Not needed.
pub(crate) fn random() -> io::Result<[u8; 32]> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Not asked.
pub(crate) fn has_hung_up(_: &Stream) -> bool {
    true
}
