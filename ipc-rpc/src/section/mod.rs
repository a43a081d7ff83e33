//! Values in memory that travels with a call: [`Section`] to write, [`View`] to read.
//!
//! `shared.rs` has [`SharedMut`], for both sides to write; `memory.rs` has the kinds of memory that the other two may stand for, `lender.rs` takes it from a connection's pool, `allocation.rs` waits
//! for it, `attached.rs` is what
//! a message carries of them beside its body, and `wire.rs` puts them through serde.

mod allocation;
mod attached;
mod lender;
mod memory;
mod shared;
#[cfg(all(test, feature = "tokio"))]
mod tests;
mod wire;

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use bytemuck::Pod;

pub use allocation::Allocation;
pub(crate) use attached::{Attached, Delivered};
pub(crate) use lender::Lender;
pub use shared::{SharedMut, Word};
pub use wire::SectionOf;
pub(crate) use wire::{MARK, Outgoing, attach_with, deliver_with, forget};

use crate::Error;
use memory::Memory;

/// A slice of plain values that can be handed to another process without being copied: a `[T]` to write, as an argument, as a
/// result, and inside of either.
///
/// Memory from [`Client::alloc`](crate::Client::alloc), or from [`Context::alloc`](crate::Context::alloc) in a handler, is filled in place
/// and sent as it is. What was made with `from` is copied when it is sent. Where the transport carries no memory, where there is none left
/// for a copy, in JSON and below 16 KiB the values travel in the message, and nobody notices.
///
/// ```
/// use ipc_rpc::{Section, View};
///
/// #[ipc_rpc::service]
/// trait Filter {
///     async fn negate(&self, samples: Section<f32>) -> Section<f32>;
///     async fn sum(&self, samples: View<f32>) -> f64;
/// }
///
/// struct Simple;
///
/// impl Filter for Simple {
///     async fn negate(&self, mut samples: Section<f32>) -> Section<f32> {
///         samples.iter_mut().for_each(|sample| *sample = -*sample);
///         samples
///     }
///
///     async fn sum(&self, samples: View<f32>) -> f64 {
///         samples.iter().copied().map(f64::from).sum()
///     }
/// }
///
/// # #[cfg(feature = "tokio")]
/// # fn main() -> Result<(), ipc_rpc::Error> {
/// let client = FilterClient::in_process(Simple).wait()?;
/// let mut samples = client.alloc::<f32>(100_000)?;
/// samples.fill(0.5);
/// let samples = View::from(samples);
/// assert_eq!(client.sum(&samples).wait()?, 50_000.0);
/// // Once more, the same memory.
/// assert_eq!(client.sum(&samples).wait()?, 50_000.0);
/// // Whatever can be made into a section goes, too, and is copied.
/// assert_eq!(client.negate(vec![1.0, -2.0]).wait()?[..], [-1.0, 2.0]);
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "tokio"))]
/// # fn main() {}
/// ```
///
/// # What is copied, and when
/// - A `Section` that is an argument or a result, also inside `Option`, `Result` and tuples there, is sent without a copy. Inside of your
///   own structs serde only lends it, so there it is copied: put a [`View`] there, which is not.
/// - One that was received is read in place where nobody can change it any more: memory from `alloc_sealed`, memory of this
///   process, and what comes from a peer that the endpoint trusts (`Endpoint::trust_peer`). Otherwise it was copied, once, when it
///   arrived, and was given back then.
/// - Writing to one that is read in place copies it first, and so does sending one that was received: but for what one side has to itself.
/// - A `Section` is handed over whole: nobody on the sending side looks at it any more. In one process, and between two that each trust the other,
///   the receiver writes to the very memory that was sent. If it sends that back on the same connection, as a `Section` that is a result or
///   an argument, nothing is copied, and no second memory is taken: `negate` above answers in the memory of the question. The first
///   sender finds its own memory, to write to and to send once more. A `View` in its place can have clones, and is copied when it is written to.
///
/// A section outlives its call if it is kept. It takes from the sender's budget as long as it is read in place, and comes back when
/// it is dropped, on whichever thread.
///
/// `T` is any type without padding or pointers whose every pattern of bits is a value: see [`bytemuck::Pod`]. Both sides see the same bytes,
/// so a `#[repr(C)]` struct must be the same on both. A type without a size is refused by the compiler.
pub struct Section<T: Plain> {
    memory: Memory<T>,
}

/// A slice of plain values that can be handed to another process without being copied: a `[T]` to read, and to send as often as
/// wanted. A clone is the same memory.
///
/// It is made of a [`Section`], or of a `Vec` or a slice, which is copied when it is sent. What is said there of memory, of copies and of `T`
/// holds here, too; inside of structs, in a `Vec` and everywhere else a view is sent without a copy.
pub struct View<T: Plain> {
    memory: Arc<Memory<T>>,
}

/// What a [`Section`] can hold: [`bytemuck::Pod`] under a name with a sentence for those who try something else.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not plain data, so it cannot lie in memory that travels",
    label = "a value of this type cannot be told from its bytes alone",
    note = "numbers and arrays of them are plain data; derive `bytemuck::Pod` and `bytemuck::Zeroable` for a `#[repr(C)]` struct of such",
    note = "anything else travels in a `Vec`"
)]
pub trait Plain: Pod {}

#[diagnostic::do_not_recommend]
impl<T: Pod> Plain for T {}

impl<T: Pod> Section<T> {
    pub(crate) fn new(memory: Memory<T>) -> Self {
        Self { memory }
    }

    /// Ends the writing. `View::from` does the same, and keeps what may go wrong for later. Memory of `alloc_sealed` cannot be sealed
    /// while a child of this process has yet to start its program: this blocks the thread until it has, for a tenth of a second at most.
    ///
    /// # Errors
    /// `Resource` and `Io` if the system refuses to seal memory of `alloc_sealed`; the values are lost then. Never for others.
    pub fn freeze(mut self) -> Result<View<T>, Error> {
        self.memory.freeze();
        self.memory.check()?;
        Ok(self.into())
    }
}

impl<T: Pod> Deref for Section<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.memory.values()
    }
}

impl<T: Pod> DerefMut for Section<T> {
    /// Copies the values first if somebody else may look at them: if they are read in place, and this side has them not to itself, or if they
    /// have been sent.
    fn deref_mut(&mut self) -> &mut [T] {
        self.memory.values_mut()
    }
}

impl<T: Pod> Deref for View<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.memory.values()
    }
}

impl<T: Pod> Clone for View<T> {
    fn clone(&self) -> Self {
        Self {
            memory: self.memory.clone(),
        }
    }
}

/// The same memory, without a copy. If the system refuses to seal memory of `alloc_sealed`, the view is empty, and a call
/// with it fails with the reason; [`Section::freeze`] tells it at once.
impl<T: Pod> From<Section<T>> for View<T> {
    fn from(mut section: Section<T>) -> Self {
        section.memory.freeze();
        Self {
            memory: Arc::new(section.memory),
        }
    }
}

/// The same memory, without a copy, until it is written to. Values that lie in no memory of a connection are copied if the view has clones.
impl<T: Pod> From<View<T>> for Section<T> {
    fn from(view: View<T>) -> Self {
        let memory = Arc::try_unwrap(view.memory).unwrap_or_else(|shared| shared.share());
        Self { memory }
    }
}

impl<T: Pod> From<&View<T>> for View<T> {
    fn from(view: &View<T>) -> Self {
        view.clone()
    }
}

impl<T: Pod> From<Vec<T>> for Section<T> {
    fn from(values: Vec<T>) -> Self {
        Self::new(Memory::Values(values))
    }
}

impl<T: Pod> From<Vec<T>> for View<T> {
    fn from(values: Vec<T>) -> Self {
        Section::from(values).into()
    }
}

macro_rules! from_borrowed {
    ($([$($parameter:tt)*] $type:ty;)*) => {$(
        /// A copy.
        impl<T: Pod, $($parameter)*> From<$type> for Section<T> {
            fn from(values: $type) -> Self {
                values.to_vec().into()
            }
        }

        /// A copy.
        impl<T: Pod, $($parameter)*> From<$type> for View<T> {
            fn from(values: $type) -> Self {
                values.to_vec().into()
            }
        }
    )*};
}

from_borrowed! {
    [] &[T];
    [] &Vec<T>;
    [const N: usize] &[T; N];
}

impl<T: Pod> Default for Section<T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<T: Pod> Default for View<T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<T: Pod> AsRef<[T]> for Section<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T: Pod> AsRef<[T]> for View<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T: Pod + PartialEq> PartialEq for Section<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Pod + PartialEq> PartialEq for View<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

/// How many values there are, and in what kind of memory: they may be millions.
impl<T: Pod> fmt::Debug for Section<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Section({:?})", self.memory)
    }
}

/// How many values there are, and in what kind of memory: they may be millions.
impl<T: Pod> fmt::Debug for View<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "View({:?})", self.memory)
    }
}
