//! What memory that both sides write is made of.

use std::sync::atomic::{
    AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicU8, AtomicU16, AtomicU32, AtomicU64,
    AtomicUsize,
};

/// A word of memory that both sides write: one of the atomic integers of the standard library, and nothing else.
///
/// Only what is atomic may be accessed while another process writes it, and only what has a value for each pattern of bits
/// may be read from what another process wrote.
pub trait Atom: Sealed + Send + Sync + 'static {}

mod private {
    /// Nobody else can implement it.
    pub trait Sealed: Sized {
        /// A word that is zero.
        fn zero() -> Self;
    }
}

pub(crate) use private::Sealed;

macro_rules! atoms {
    ($($atom:ty)*) => {$(
        impl Sealed for $atom {
            fn zero() -> Self {
                Self::new(0)
            }
        }

        impl Atom for $atom {}
    )*};
}

atoms! { AtomicI8 AtomicI16 AtomicI32 AtomicI64 AtomicIsize AtomicU8 AtomicU16 AtomicU32 AtomicU64 AtomicUsize }
