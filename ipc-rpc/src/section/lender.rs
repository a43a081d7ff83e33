//! Where the sections of one connection come from.

use std::task::Waker;

use bytemuck::Pod;
use transports::{Block, Chunk, Endpoint, Pool};

use super::memory::Memory;
use super::shared::Word;
use super::{Section, SharedMut};
use crate::codec::Size;
use crate::{Error, ErrorKind};

/// The pool of a connection, for those who fill sections.
#[derive(Clone, Debug)]
pub(crate) struct Lender {
    /// The connection's number in this process.
    pub(super) origin: u64,
    pool: Pool,
    /// Sections below this many bytes travel inside the message.
    threshold: usize,
}

impl Lender {
    pub(crate) fn new(origin: u64, pool: Pool) -> Self {
        Self {
            origin,
            pool,
            threshold: Endpoint::SECTIONS_THRESHOLD,
        }
    }

    /// The connection's number.
    #[cfg(feature = "tokio")]
    pub(crate) fn origin(&self) -> u64 {
        self.origin
    }

    /// The same for sections of so many bytes and more.
    pub(crate) fn from(self, threshold: usize) -> Self {
        Self { threshold, ..self }
    }

    /// Whether a section of so many bytes is worth memory of the pool's.
    pub(super) fn takes(&self, bytes: usize) -> bool {
        bytes >= self.threshold
    }

    /// Memory for `count` values, zeros or what this side wrote before; private if there is no `lender`, or it is not worth it.
    ///
    /// # Errors
    /// `Resource` if the pool's budget is used up, or the memory of this process; `TooLarge` above the endpoint's limit.
    pub(crate) fn alloc<T: Pod>(
        lender: Option<&Self>,
        count: usize,
        sealed: bool,
    ) -> Result<Section<T>, Error> {
        let Some(bytes) = count.checked_mul(Memory::<T>::SIZE) else {
            let sentence = format!("a section of {count} values is above the address space of this machine");
            return Err(Error::new(ErrorKind::TooLarge, sentence));
        };
        match lender {
            Some(lender) if lender.takes(bytes) && align_of::<T>() <= Chunk::ALIGNMENT => {
                let chunk = lender
                    .chunk(bytes, sealed)
                    .map_err(|error| lender.explain(bytes, error))?;
                let origin = lender.origin;
                Ok(Section::new(Memory::Chunk { chunk, origin }))
            }
            _ => {
                let values = bytemuck::allocation::try_zeroed_vec(count).map_err(|()| {
                    let sentence = format!("no memory for a section of {}", Size(bytes));
                    Error::new(ErrorKind::Resource, sentence)
                })?;
                Ok(values.into())
            }
        }
    }

    /// Memory of `count` words that both sides write.
    ///
    /// # Errors
    /// `Unsupported` if there is no `lender`; otherwise as [`Lender::alloc`].
    pub(crate) fn alloc_shared<T: Word>(lender: Option<&Self>, count: usize) -> Result<SharedMut<T>, Error> {
        let Some(lender) = lender else {
            let sentence = "this connection carries no memory that both sides write: that takes `shm:`, `unix:` on Linux, or `mem:`, \
                 processes of one user, and the codec bincode";
            return Err(Error::new(ErrorKind::Unsupported, sentence));
        };
        match lender.pool.alloc_common::<T::Atomic>(count) {
            Ok(block) => Ok(SharedMut::made(block, lender.origin)),
            Err(error) => Err(lender.explain(count.saturating_mul(size_of::<T>()), error)),
        }
    }

    /// A copy in the pool's memory, if there is room for it and it is large enough to be worth it. The other side gets it to itself.
    pub(super) fn copy(&self, bytes: &[u8]) -> Option<Block> {
        let mut chunk = self.chunk(bytes.len(), false).ok()?;
        chunk.copy_from_slice(bytes);
        chunk.lend().ok()
    }

    /// Whether any of the pool's memory is in use: only then can some come back.
    pub(super) fn is_used(&self) -> bool {
        self.pool.usage().in_use > 0
    }

    /// See [`Pool::wake_on_return`].
    pub(super) fn wake_on_return(&self, waker: &Waker) {
        self.pool.wake_on_return(waker);
    }

    fn chunk(&self, bytes: usize, sealed: bool) -> Result<Chunk, transports::Error> {
        if sealed {
            self.pool.alloc_sealed(bytes)
        } else {
            self.pool.alloc(bytes)
        }
    }

    #[cold]
    fn explain(&self, bytes: usize, error: transports::Error) -> Error {
        let size = Size(bytes);
        let what_to_do = match error.kind() {
            transports::ErrorKind::Resource => format!(
                "{} of sections are in use on this connection. Drop those that are no longer needed, on both sides, and try \
                 again, or pass a Vec, which needs none",
                Size(self.pool.usage().in_use)
            ),
            _ => error.to_string(),
        };
        let sentence = format!("no section of {size}: {what_to_do}");
        Error::new(Error::from_transport_kind(error.kind()), sentence).with_source(error)
    }
}
