//! Sections that came.

use std::fmt;
use std::sync::Arc;

use super::private::Piece;
use super::{Atom, Block, Chunk, Loan, reserve, word_by_word};
use crate::sys::shm::SharedLease;
use crate::{Error, ErrorKind};

/// A section that came with a message. A clone is another handle of it.
///
/// It is given back when its last handle is dropped, on whichever thread. Whoever keeps it takes from the other side's
/// budget, but breaks nothing: it may outlive the message's call, and the connection.
#[derive(Clone)]
pub struct Lease {
    pub(super) memory: Leased,
    pub(super) length: usize,
}

#[derive(Clone)]
pub(super) enum Leased {
    Private(Arc<Piece>),
    Shared(SharedLease),
    /// This side's own, which the other one has sent back.
    Back(Arc<Chunk>),
}

impl Lease {
    /// One of another process's.
    #[allow(dead_code, reason = "only where memory is shared")]
    pub(crate) fn shared(lease: SharedLease, length: usize) -> Self {
        Self {
            memory: Leased::Shared(lease),
            length,
        }
    }

    /// Bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Whether it is memory that both sides write: see [`Lease::atoms`]. It has no bytes to lend or to copy.
    #[must_use]
    pub fn is_common(&self) -> bool {
        match &self.memory {
            Leased::Private(piece) => piece.is_common(),
            Leased::Shared(lease) => lease.is_common(),
            Leased::Back(_) => false,
        }
    }

    /// The words that both sides write, of memory that the other side took for that, in words of this size. `None` of any other.
    ///
    /// They have whatever values the other side gives them, at any time.
    #[must_use]
    pub fn atoms<A: Atom>(&self) -> Option<&[A]> {
        match &self.memory {
            Leased::Private(piece) => piece.atoms(),
            Leased::Shared(lease) => lease.atoms(),
            Leased::Back(_) => None,
        }
    }

    /// The bytes in place, where nobody can change them any more: sealed memory, and memory of this process; what this side has made
    /// and the other sent back; or where the other side was declared to change nothing ([`Endpoint::trust_peer`](crate::Endpoint::trust_peer)). They begin at a
    /// multiple of [`Chunk::ALIGNMENT`].
    ///
    /// `None` where the other side could change them while they are read: take a copy.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        match &self.memory {
            Leased::Private(piece) if piece.is_common() => None,
            Leased::Private(piece) => Some(&piece.bytes()[..self.length]),
            Leased::Shared(lease) => lease.bytes(),
            Leased::Back(chunk) => Some(chunk),
        }
    }

    /// The bytes in place, to be written, where this side has the memory to itself: the other one has sent it so ([`Chunk::lend`]), both trust
    /// each other or are one process, and this is its only handle. Also what the other side has sent back of this side's own.
    ///
    /// `None` everywhere else: take a copy.
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        let length = self.length;
        match &mut self.memory {
            Leased::Private(piece) => {
                let piece = Arc::get_mut(piece).filter(|piece| piece.is_writable())?;
                Some(&mut piece.bytes_mut()[..length])
            }
            Leased::Shared(lease) => lease.bytes_mut(),
            Leased::Back(chunk) => Arc::get_mut(chunk).map(|chunk| &mut **chunk),
        }
    }

    /// Makes it a block to send back, on the connection that it came from: that takes no memory and no copy, and gives it back at the same time. The
    /// other side finds its own memory then ([`Lease::into_chunk`]).
    ///
    /// # Errors
    /// The lease itself, where [`Lease::bytes_mut`] has nothing, and where it is memory of this side's own.
    pub fn send_back(mut self) -> Result<Block, Self> {
        if matches!(self.memory, Leased::Back(_)) || self.bytes_mut().is_none() {
            return Err(self);
        }
        let length = self.length;
        Ok(Block::of(Loan::Lease(self), length))
    }

    /// Memory that this side has made, and the other one has sent back: as it was taken from the pool, with what was written since.
    ///
    /// # Errors
    /// The lease itself, if it is the other side's, or has other handles.
    pub fn into_chunk(self) -> Result<Chunk, Self> {
        let Self { memory, length } = self;
        match memory {
            Leased::Back(chunk) => Arc::try_unwrap(chunk).map_err(|chunk| Self {
                memory: Leased::Back(chunk),
                length,
            }),
            memory => Err(Self { memory, length }),
        }
    }

    /// One of this side's, which came back.
    #[allow(dead_code, reason = "only where memory is shared")]
    pub(crate) fn back(chunk: Chunk) -> Self {
        Self {
            length: chunk.length,
            memory: Leased::Back(Arc::new(chunk)),
        }
    }

    /// Another process's.
    #[allow(dead_code, reason = "only where memory is shared")]
    pub(crate) fn as_shared(&self) -> Option<&SharedLease> {
        match &self.memory {
            Leased::Shared(lease) => Some(lease),
            Leased::Private(_) | Leased::Back(_) => None,
        }
    }

    /// The same for good.
    #[allow(dead_code, reason = "only where memory is shared")]
    pub(crate) fn into_shared(self) -> Option<SharedLease> {
        match self.memory {
            Leased::Shared(lease) => Some(lease),
            Leased::Private(_) | Leased::Back(_) => None,
        }
    }

    /// Copies the bytes from `offset` on, as many as `to` has. Two copies of the same bytes may differ where
    /// [`Lease::bytes`] is `None`: judge the copy that is used.
    ///
    /// # Errors
    /// `TooLarge` if the section does not have so many, `Unsupported` if both sides write it; nothing is copied then.
    pub fn copy_into(&self, offset: usize, to: &mut [u8]) -> Result<(), Error> {
        self.check(offset, to.len())?;
        match &self.memory {
            Leased::Private(piece) => to.copy_from_slice(&piece.bytes()[offset..][..to.len()]),
            Leased::Shared(lease) => lease.copy_into(offset, to),
            Leased::Back(chunk) => to.copy_from_slice(&chunk[offset..][..to.len()]),
        }
        Ok(())
    }

    /// Appends a copy of `length` bytes from `offset` on. As [`Lease::copy_into`], but the room need not be filled before.
    ///
    /// # Errors
    /// As [`Lease::copy_into`]; `Resource` if there is no memory for them.
    pub fn append_to(&self, offset: usize, length: usize, to: &mut Vec<u8>) -> Result<(), Error> {
        self.check(offset, length)?;
        reserve(to, length)?;
        match &self.memory {
            Leased::Private(piece) => to.extend_from_slice(&piece.bytes()[offset..][..length]),
            Leased::Shared(lease) => lease.append_to(offset, length, to),
            Leased::Back(chunk) => to.extend_from_slice(&chunk[offset..][..length]),
        }
        Ok(())
    }

    fn check(&self, offset: usize, length: usize) -> Result<(), Error> {
        if self.is_common() {
            return Err(word_by_word());
        }
        if offset <= self.length && length <= self.length - offset {
            return Ok(());
        }
        let message = format!(
            "a section of {} bytes has no {length} bytes from byte {offset} on",
            self.length
        );
        Err(Error::new(ErrorKind::TooLarge, message))
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Lease({} bytes)", self.length)
    }
}
