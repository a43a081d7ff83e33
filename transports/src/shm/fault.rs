//! What goes wrong in a ring.

use crate::lanes::Refusal;
use crate::{Error, ErrorKind};

/// The other side broke a rule of the ring, this one. The connection is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Corrupt(pub(crate) &'static str);

/// Why nothing was taken from a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// See [`Corrupt`].
    Corrupt(Corrupt),
    /// There is no memory for a body of this many bytes. The record stays in the ring.
    NoMemory(usize),
}

/// The error for what came from the other side and cannot be used: a descriptor that allows too little is its fault.
pub(crate) fn blamed(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Denied => Error::new(ErrorKind::Protocol, error.to_string()),
        _ => error,
    }
}

impl From<Corrupt> for Fault {
    fn from(corrupt: Corrupt) -> Self {
        Self::Corrupt(corrupt)
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Rule(rule) => Corrupt(rule).into(),
            Refusal::NoMemory(bytes) => Self::NoMemory(bytes),
        }
    }
}

impl From<Corrupt> for Error {
    fn from(Corrupt(rule): Corrupt) -> Self {
        let message = format!("the other side broke a rule of the shared ring: {rule}");
        Self::new(ErrorKind::Protocol, message)
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Corrupt(corrupt) => corrupt.into(),
            Fault::NoMemory(length) => {
                let message = format!("there is no memory for {length} bytes of a message");
                Self::new(ErrorKind::Resource, message)
            }
        }
    }
}
