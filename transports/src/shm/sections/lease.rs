//! Sections that came from the other side.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::returns::GivingBack;
use super::wire::Entry;
use crate::section::Atom;
use crate::sys::shm::copy;
use crate::sys::{CommonMemory, PeerMemory, SealedMemory, SharedWords};

/// A segment of the other side's, as this one has mapped it.
pub(super) struct PeerSegment {
    pub(super) memory: Memory,
    pub(super) length: usize,
    /// Bytes that are mapped of all segments of the other side's, this one among them.
    mapped: Arc<AtomicUsize>,
}

pub(super) enum Memory {
    /// The other side can write to it.
    Pooled(PeerMemory),
    /// Nobody can.
    Sealed(SealedMemory),
    /// Both sides can.
    Common(CommonMemory),
}

impl PeerSegment {
    pub(super) fn new(memory: Memory, length: usize, mapped: &Arc<AtomicUsize>) -> Self {
        mapped.fetch_add(length, Ordering::Relaxed);
        Self {
            memory,
            length,
            mapped: mapped.clone(),
        }
    }
}

impl Drop for PeerSegment {
    fn drop(&mut self) {
        self.mapped.fetch_sub(self.length, Ordering::Relaxed);
    }
}

/// A section of the other side's. A clone is another handle of it.
#[derive(Clone)]
pub(crate) struct SharedLease(Arc<Inner>);

struct Inner {
    /// Dropped first, so that a segment is gone here when the other side learns that nobody uses it.
    segment: Arc<PeerSegment>,
    entry: Entry,
    trust: Trust,
    giving_back: GivingBack<SharedWords>,
}

/// What the other side was declared to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// Anything, at any time.
    None,
    /// It changes nothing that it has sent.
    Constant,
    /// It does not even look at what it has sent, since this side has that to itself, and may write to it.
    Absent,
}

impl SharedLease {
    /// What an entry names, which the caller has checked to lie in the segment. It is given back at `word`.
    pub(super) fn new(
        segment: Arc<PeerSegment>,
        entry: Entry,
        trust: Trust,
        words: &Arc<SharedWords>,
        word: usize,
    ) -> Self {
        Self(Arc::new(Inner {
            segment,
            entry,
            trust,
            giving_back: GivingBack::new(words, word),
        }))
    }

    /// In place, where nobody can change them, or is trusted not to.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        let inner = &*self.0;
        let bytes = match &inner.segment.memory {
            Memory::Sealed(memory) => &memory.bytes()[inner.offset()..][..inner.length()],
            Memory::Pooled(memory) if inner.trust != Trust::None => {
                // SAFETY: whoever made the connection has promised that the other side changes nothing before it is given
                // back, which happens when this is dropped. This side writes to it through `bytes_mut` only, which borrows
                // mutably the one handle that there is then.
                unsafe { memory.bytes(inner.offset(), inner.length()) }
            }
            Memory::Pooled(_) | Memory::Common(_) => return None,
        };
        Some(bytes)
    }

    /// In place, to be written, if this side has it to itself, by this handle alone.
    pub(crate) fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        let inner = Arc::get_mut(&mut self.0)?;
        match &inner.segment.memory {
            // A fork has the same memory as its parent, who goes on to use it.
            Memory::Pooled(memory) if inner.trust == Trust::Absent && inner.giving_back.is_here() => {
                // SAFETY: whoever made the connection has promised that the other side neither reads nor writes what this one
                // has to itself, nor lends it a second time, before it is given or sent back. This is its only handle,
                // and borrowed mutably.
                Some(unsafe { memory.bytes_mut(inner.offset(), inner.length()) })
            }
            Memory::Pooled(_) | Memory::Sealed(_) | Memory::Common(_) => None,
        }
    }

    /// Whether it came from a side whose segments are counted there.
    pub(super) fn is_of(&self, mapped: &Arc<AtomicUsize>) -> bool {
        Arc::ptr_eq(&self.0.segment.mapped, mapped)
    }

    /// Where it is, as the other side is told.
    pub(super) fn entry(&self) -> Entry {
        self.0.entry
    }

    /// Ends it without giving it back: a message says that it is.
    pub(super) fn sent_back(self) {
        if let Some(inner) = Arc::into_inner(self.0) {
            inner.giving_back.tell_instead();
        }
    }

    /// Both sides write it.
    pub(crate) fn is_common(&self) -> bool {
        matches!(self.0.segment.memory, Memory::Common(_))
    }

    /// What both sides write, if its words are of that type.
    pub(crate) fn atoms<A: Atom>(&self) -> Option<&[A]> {
        let inner = &*self.0;
        match &inner.segment.memory {
            Memory::Common(memory) => memory.atoms(inner.offset(), inner.length()),
            Memory::Pooled(_) | Memory::Sealed(_) => None,
        }
    }

    /// Appends a copy of `length` bytes from `offset` on, which the caller has checked to be there, to `to`, which has
    /// room for them.
    pub(crate) fn append_to(&self, offset: usize, length: usize, to: &mut Vec<u8>) {
        let from = self.at(offset, length);
        // SAFETY: the bytes are mapped.
        unsafe { copy::append(from, length, to) };
    }

    /// Copies bytes from `offset` on, as many as `to` has, which the caller has checked to be there.
    pub(crate) fn copy_into(&self, offset: usize, to: &mut [u8]) {
        let from = self.at(offset, to.len());
        // SAFETY: the bytes are mapped, and `to` is as long.
        unsafe { copy::over(from, to) };
    }

    /// Where bytes of this section are. They stay mapped as long as it lives.
    ///
    /// # Panics
    /// If they are not all inside.
    fn at(&self, offset: usize, length: usize) -> *const u8 {
        let inner = &*self.0;
        assert!(
            offset <= inner.length() && length <= inner.length() - offset,
            "a section is read within its bounds"
        );
        match &inner.segment.memory {
            Memory::Pooled(memory) => memory.at(inner.offset() + offset, length),
            Memory::Sealed(memory) => memory.bytes()[inner.offset() + offset..][..length].as_ptr(),
            Memory::Common(memory) => memory.at(inner.offset() + offset, length),
        }
    }
}

impl Inner {
    fn offset(&self) -> usize {
        self.entry.offset as usize
    }

    /// Bytes.
    fn length(&self) -> usize {
        self.entry.length as usize
    }
}
