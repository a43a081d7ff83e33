//! Memory that both sides write.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::atomic::{
    AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicU8, AtomicU16, AtomicU32, AtomicU64,
    AtomicUsize, Ordering,
};

use bytemuck::Pod;
use transports::{Atom, Block, Lease};

use crate::{Error, ErrorKind};

/// Numbers in memory that both sides of a connection read and write at any time: a slice of atomics, such as `[AtomicU64]` for a
/// `SharedMut<u64>`. It is an argument, a result, and may be a part of either. A clone is another handle of the same memory.
///
/// One side takes it from [`Client::alloc_shared`](crate::Client::alloc_shared), or from
/// [`Context::alloc_shared`](crate::Context::alloc_shared) in a handler, and passes it on once; from then on what one writes is there for the
/// other, with no call. Counters, progress, flags, a ring of one's own: whatever is to be seen while a call is under way or between
/// calls.
///
/// ```
/// use std::sync::atomic::Ordering::Relaxed;
///
/// use ipc_rpc::{ErrorKind, SharedMut};
///
/// #[ipc_rpc::service]
/// trait Importer {
///     async fn import(&self, rows: u64, progress: SharedMut<u64>) -> u64;
/// }
///
/// struct Quick;
///
/// impl Importer for Quick {
///     async fn import(&self, rows: u64, progress: SharedMut<u64>) -> u64 {
///         for row in 1..=rows {
///             // Whoever called sees it at once. A cell of the other side's says when to stop.
///             progress[0].store(row, Relaxed);
///             if progress[1].load(Relaxed) != 0 {
///                 return row;
///             }
///         }
///         rows
///     }
/// }
///
/// # #[cfg(feature = "tokio")]
/// # fn main() -> Result<(), ipc_rpc::Error> {
/// let client = ImporterClient::in_process(Quick).wait()?;
/// let progress = client.alloc_shared::<u64>(2)?;
/// assert_eq!(client.import(1000, &progress).wait()?, 1000);
/// assert_eq!(progress[0].load(Relaxed), 1000);
/// // The same memory, once more.
/// progress[1].store(1, Relaxed);
/// assert_eq!(client.import(1000, &progress).wait()?, 1);
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "tokio"))]
/// # fn main() {}
/// ```
///
/// # What the other side may do
/// Write whatever it likes, whenever it likes; so nobody ever gets a `&[T]` of it, but atomics, and copies of what was there at the moment
/// ([`SharedMut::read`]). Load a value once, judge it, and use what was judged: a second load may give another. The other
/// side cannot take the memory away, or make it shorter.
///
/// # Where it goes
/// Between processes of one user over `shm:`, and over `unix:` on Linux, and inside of one process; elsewhere, and in JSON, there is none, and
/// `alloc_shared` says so. It is sent on the connection that it was taken from, by the side that took it, any number of times, and never
/// copied. It stays when the connection ends, for both, and is given up by a side that has dropped its handles.
///
/// Each access to an element is one of the standard library's, with its orderings: `Release` and `Acquire` pair across the two
/// processes as they do across threads. Going through `SharedMut` for each costs some nanoseconds: a loop takes the slice before
/// (`let cells = &*shared`).
pub struct SharedMut<T: Word> {
    memory: Held,
    values: PhantomData<fn() -> T>,
}

#[derive(Clone)]
enum Held {
    /// From the pool of the connection `origin`.
    Made {
        block: Block,
        origin: u64,
    },
    Received(Lease),
}

/// What [`SharedMut`] holds: the integers that have an atomic.
pub trait Word: Pod + sealed::Sealed {
    /// The atomic of it.
    type Atomic: Atom;

    /// What it says now, relaxed.
    #[doc(hidden)]
    fn look(atomic: &Self::Atomic) -> Self;

    /// Makes it say something else, relaxed.
    #[doc(hidden)]
    fn say(self, atomic: &Self::Atomic);
}

mod sealed {
    /// Nobody else can implement it.
    pub trait Sealed {}
}

macro_rules! words {
    ($($word:ty: $atomic:ty,)*) => {$(
        impl sealed::Sealed for $word {}

        impl Word for $word {
            type Atomic = $atomic;

            #[inline]
            fn look(atomic: &$atomic) -> Self {
                atomic.load(Ordering::Relaxed)
            }

            #[inline]
            fn say(self, atomic: &$atomic) {
                atomic.store(self, Ordering::Relaxed);
            }
        }
    )*};
}

words! {
    u8: AtomicU8,
    u16: AtomicU16,
    u32: AtomicU32,
    u64: AtomicU64,
    usize: AtomicUsize,
    i8: AtomicI8,
    i16: AtomicI16,
    i32: AtomicI32,
    i64: AtomicI64,
    isize: AtomicIsize,
}

impl<T: Word> SharedMut<T> {
    pub(super) fn made(block: Block, origin: u64) -> Self {
        Self {
            memory: Held::Made { block, origin },
            values: PhantomData,
        }
    }

    /// What came with a message as memory of `count` words.
    pub(super) fn received(lease: Lease, count: u64) -> Result<Self, Error> {
        let refused = |sentence: String| Err(Error::new(ErrorKind::Decode, sentence));
        let Some(words) = lease.atoms::<T::Atomic>() else {
            return refused(format!(
                "the memory is not one that both sides write as words of {} bytes",
                size_of::<T>()
            ));
        };
        if words.len() as u64 != count || lease.len() % size_of::<T>() != 0 {
            return refused(format!(
                "{count} words of {} bytes do not make a memory of {}",
                size_of::<T>(),
                lease.len()
            ));
        }
        Ok(Self {
            memory: Held::Received(lease),
            values: PhantomData,
        })
    }

    /// What can be sent, and the connection on which, if this side made it.
    pub(super) fn made_here(&self) -> Option<(&Block, u64)> {
        match &self.memory {
            Held::Made { block, origin } => Some((block, *origin)),
            Held::Received(_) => None,
        }
    }

    /// Copies values from the one at `start` on, as many as `to` has, each by a relaxed load: what the other side writes meanwhile may be among
    /// them or not, value by value.
    ///
    /// # Panics
    /// If there are not so many, as indexing does.
    pub fn read(&self, start: usize, to: &mut [T]) {
        let words = &self[start..][..to.len()];
        for (to, word) in to.iter_mut().zip(words) {
            *to = T::look(word);
        }
    }

    /// Writes values from the one at `start` on, each by a relaxed store: the other side may see some of them and not the others. Tell it
    /// afterwards, with a call or by a store with `Release` that it loads with `Acquire`.
    ///
    /// # Panics
    /// If there is no room for so many, as indexing does.
    pub fn write(&self, start: usize, from: &[T]) {
        let words = &self[start..][..from.len()];
        for (from, word) in from.iter().zip(words) {
            from.say(word);
        }
    }
}

impl<T: Word> Deref for SharedMut<T> {
    type Target = [T::Atomic];

    fn deref(&self) -> &[T::Atomic] {
        let words = match &self.memory {
            Held::Made { block, .. } => block.atoms(),
            Held::Received(lease) => lease.atoms(),
        };
        // They are of this type, or there would be no such value.
        words.unwrap_or(&[])
    }
}

impl<T: Word> Clone for SharedMut<T> {
    fn clone(&self) -> Self {
        Self {
            memory: self.memory.clone(),
            values: PhantomData,
        }
    }
}

/// Another handle of the same memory.
impl<T: Word> From<&SharedMut<T>> for SharedMut<T> {
    fn from(shared: &SharedMut<T>) -> Self {
        shared.clone()
    }
}

/// How many values there are, and who made the memory: they may be millions.
impl<T: Word> fmt::Debug for SharedMut<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = match &self.memory {
            Held::Made { .. } => "of this side",
            Held::Received(_) => "of the other side",
        };
        write!(formatter, "SharedMut({} values, {whose})", self.len())
    }
}
