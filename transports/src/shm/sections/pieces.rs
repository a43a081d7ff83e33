//! Parts of a pool: while they are written, and when they can be sent.

use std::sync::Arc;

use super::handle::Handle;
use super::pool::{Place, SharedPool};
use super::wire::Access;
use crate::Error;
use crate::section::Atom;
use crate::sys::{CommonMemory, Draft, OwnMemory, SealedMemory};

/// A part that is being written.
pub(crate) struct SharedChunk {
    handle: Handle,
    memory: Writable,
    length: usize,
}

enum Writable {
    Pooled { memory: Arc<OwnMemory>, offset: usize },
    Draft(Draft),
}

/// A part that nobody on this side writes. A clone is another handle of it.
#[derive(Clone)]
pub(crate) struct SharedBlock(Arc<Inner>);

struct Inner {
    handle: Handle,
    memory: Frozen,
    length: usize,
}

enum Frozen {
    Pooled { memory: Arc<OwnMemory>, offset: usize },
    Sealed(SealedMemory),
    Common(CommonMemory),
}

impl SharedChunk {
    /// A place of a segment, which is this handle's alone.
    pub(super) fn pooled(handle: Handle, memory: Arc<OwnMemory>, offset: usize, length: usize) -> Self {
        Self {
            handle,
            memory: Writable::Pooled { memory, offset },
            length,
        }
    }

    pub(super) fn draft(handle: Handle, draft: Draft, length: usize) -> Self {
        Self {
            handle,
            memory: Writable::Draft(draft),
            length,
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.memory {
            // SAFETY: the place is this chunk's alone, which is written through `bytes_mut` only, and that borrows it
            // mutably.
            Writable::Pooled { memory, offset } => unsafe { memory.bytes(*offset, self.length) },
            Writable::Draft(draft) => &draft.bytes()[..self.length],
        }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            // SAFETY: the place is this chunk's alone, which is borrowed mutably.
            Writable::Pooled { memory, offset } => unsafe { memory.bytes_mut(*offset, self.length) },
            Writable::Draft(draft) => &mut draft.bytes_mut()[..self.length],
        }
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The place, which the other side is to have to itself.
    pub(super) fn give_up(self) -> Place {
        self.handle.give_up()
    }

    /// It is to be sealed when it is written.
    pub(crate) fn is_draft(&self) -> bool {
        matches!(self.memory, Writable::Draft(_))
    }

    /// Ends the writing.
    pub(crate) fn freeze(self) -> Result<SharedBlock, Error> {
        let Self {
            mut handle,
            memory,
            length,
        } = self;
        let memory = match memory {
            Writable::Pooled { memory, offset } => Frozen::Pooled { memory, offset },
            Writable::Draft(draft) => {
                let (memory, descriptor) = draft.seal()?;
                handle.shows(descriptor);
                Frozen::Sealed(memory)
            }
        };
        Ok(SharedBlock(Arc::new(Inner {
            handle,
            memory,
            length,
        })))
    }
}

impl SharedBlock {
    /// A memory that both sides write.
    pub(super) fn common(handle: Handle, memory: CommonMemory, length: usize) -> Self {
        Self(Arc::new(Inner {
            handle,
            memory: Frozen::Common(memory),
            length,
        }))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        let inner = &*self.0;
        match &inner.memory {
            // SAFETY: the place is this block's until its last handle is gone, and nobody writes to it from now on.
            Frozen::Pooled { memory, offset } => unsafe { memory.bytes(*offset, inner.length) },
            Frozen::Sealed(memory) => &memory.bytes()[..inner.length],
            // They change at any time.
            Frozen::Common(_) => &[],
        }
    }

    pub(crate) fn is_sealed(&self) -> bool {
        matches!(self.0.memory, Frozen::Sealed(_))
    }

    pub(crate) fn is_common(&self) -> bool {
        matches!(self.0.memory, Frozen::Common(_))
    }

    /// What both sides write, if that is what it is, and its words are of that type.
    pub(crate) fn atoms<A: Atom>(&self) -> Option<&[A]> {
        match &self.0.memory {
            Frozen::Common(memory) => memory.atoms(0, self.0.length),
            Frozen::Pooled { .. } | Frozen::Sealed(_) => None,
        }
    }

    /// Who can write to it, as the other side is told, if it has a memory of its own.
    pub(super) fn access(&self) -> Option<Access> {
        match &self.0.memory {
            Frozen::Pooled { .. } => None,
            Frozen::Sealed(_) => Some(Access::Nobody),
            Frozen::Common(memory) => Some(Access::Both(memory.word())),
        }
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.0.handle
    }

    /// Whether it was taken from that pool.
    pub(super) fn is_of(&self, pool: &SharedPool) -> bool {
        self.0.handle.is_of(pool)
    }
}
