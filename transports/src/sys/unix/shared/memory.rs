//! Memory that one side writes and the other reads; and, between sides that trust each other, memory whose parts each writes in turn.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::SealFlags;
use rustix::mm::ProtFlags;

use super::mapping::Mapping;
use super::seals::{self, Writable};
use crate::Error;

/// Memory that this process alone writes, and the other side reads.
///
/// This process maps it and seals it then, so that nobody, not even itself, gets a second mapping to write through; unless it is
/// [made open](OwnMemory::create_open), for a side that is trusted to write no other parts than those that it has to itself.
pub(crate) struct OwnMemory(Mapping);

/// Memory that the other side writes at any time, and this process can only read, unless it is [open to it](PeerMemory::attach_open).
pub(crate) struct PeerMemory {
    mapping: Mapping,
    /// It is mapped for writing, too.
    open: bool,
}

impl OwnMemory {
    /// Makes memory of `length` zeros, and the descriptor to send to the other side. The descriptor may be closed after that.
    /// An untouched page takes no room.
    ///
    /// # Errors
    /// `Resource` if memory or descriptors are used up, or files of this size are forbidden to this process; others if the
    /// system has no such memory.
    pub(crate) fn create(length: usize) -> Result<(Self, OwnedFd), Error> {
        Self::sealed(length, SealFlags::FUTURE_WRITE)
    }

    /// The same, but that the other side can map it for writing, too. For one that is trusted only.
    ///
    /// # Errors
    /// As [`OwnMemory::create`].
    pub(crate) fn create_open(length: usize) -> Result<(Self, OwnedFd), Error> {
        Self::sealed(length, SealFlags::empty())
    }

    /// Its size is sealed in any case.
    fn sealed(length: usize, seals: SealFlags) -> Result<(Self, OwnedFd), Error> {
        let memory = seals::create(length)?;
        let mapping = Mapping::new(memory.as_fd(), length, ProtFlags::READ | ProtFlags::WRITE)?;
        seals::seal(&memory, SealFlags::SHRINK | SealFlags::GROW | seals)?;
        Ok((Self(mapping), memory))
    }

    /// Bytes.
    #[cfg(test)]
    pub(crate) fn length(&self) -> usize {
        self.0.length()
    }

    /// Where `length` bytes from `offset` on can be written and read, as long as this value lives. The other side reads them
    /// at any time.
    ///
    /// # Panics
    /// If they are not all inside.
    #[inline]
    pub(crate) fn at(&self, offset: usize, length: usize) -> NonNull<u8> {
        self.0.at(offset, length)
    }

    /// The same bytes as a slice to read.
    ///
    /// # Safety
    /// As long as the slice lives, this process writes none of them. Nobody else can, or, where the memory is open, is trusted not to.
    ///
    /// # Panics
    /// If they are not all inside.
    pub(crate) unsafe fn bytes(&self, offset: usize, length: usize) -> &[u8] {
        let base = self.at(offset, length).as_ptr();
        // SAFETY: the bytes are mapped as long as this value lives, and nobody writes them, as the caller says: another
        // process has no mapping to write through, since the memory is sealed against making any, or was declared to write
        // only what it has to itself, which the caller rules out.
        unsafe { slice::from_raw_parts(base, length) }
    }

    /// The same bytes as a slice to write.
    ///
    /// # Safety
    /// As long as the slice lives, this process accesses them through it alone. The other side can read them, but not
    /// write, or, where the memory is open, is trusted not to.
    ///
    /// # Panics
    /// If they are not all inside.
    #[expect(clippy::mut_from_ref, reason = "the caller keeps parts of one memory apart")]
    pub(crate) unsafe fn bytes_mut(&self, offset: usize, length: usize) -> &mut [u8] {
        let base = self.at(offset, length).as_ptr();
        // SAFETY: the bytes are mapped for writing as long as this value lives, and nobody else in this process accesses
        // them, as the caller says; what other processes read is no matter of this one's.
        unsafe { slice::from_raw_parts_mut(base, length) }
    }

    /// The word at `offset`, a multiple of eight.
    ///
    /// # Panics
    /// If it is not inside, or not at a multiple of eight.
    #[inline]
    pub(crate) fn word(&self, offset: usize) -> &AtomicU64 {
        let word = self.0.word(offset);
        // SAFETY: the word is inside the mapping, which outlives the reference, can be written, and is aligned.
        unsafe { AtomicU64::from_ptr(word.as_ptr()) }
    }
}

impl PeerMemory {
    /// Takes memory that the other side made with [`OwnMemory::create`] of the same length. The descriptor may be closed
    /// after that.
    ///
    /// # Errors
    /// `Protocol` if it is anything else, or has another length; `Denied` if it cannot be read; `Resource` if no more can be mapped.
    pub(crate) fn attach(memory: BorrowedFd<'_>, length: usize) -> Result<Self, Error> {
        seals::verify(memory, length, Writable::ByItsOwner)?;
        let mapping = Mapping::new(memory, length, ProtFlags::READ)?;
        Ok(Self { mapping, open: false })
    }

    /// The same of memory that was made with [`OwnMemory::create_open`]; for writing only if `write` says so.
    ///
    /// # Errors
    /// As [`PeerMemory::attach`].
    pub(crate) fn attach_open(memory: BorrowedFd<'_>, length: usize, write: bool) -> Result<Self, Error> {
        seals::verify(memory, length, Writable::ByBoth)?;
        let access = if write {
            ProtFlags::READ | ProtFlags::WRITE
        } else {
            ProtFlags::READ
        };
        let mapping = Mapping::new(memory, length, access)?;
        Ok(Self { mapping, open: write })
    }

    /// Whether this process may write to it, where the other side lets it.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// Bytes.
    #[cfg(test)]
    pub(crate) fn length(&self) -> usize {
        self.mapping.length()
    }

    /// Where `length` bytes from `offset` on can be read, as long as this value lives. The other side changes them at any
    /// time.
    ///
    /// # Panics
    /// If they are not all inside.
    #[inline]
    pub(crate) fn at(&self, offset: usize, length: usize) -> *const u8 {
        self.mapping.at(offset, length).as_ptr()
    }

    /// The same bytes as a slice.
    ///
    /// # Safety
    /// As long as the slice lives, the other side changes none of them, and so is trusted not to.
    ///
    /// # Panics
    /// If they are not all inside.
    pub(crate) unsafe fn bytes(&self, offset: usize, length: usize) -> &[u8] {
        let base = self.at(offset, length);
        // SAFETY: the bytes are mapped as long as this value lives; nobody changes them, as the caller says.
        unsafe { slice::from_raw_parts(base, length) }
    }

    /// The same bytes as a slice to write.
    ///
    /// # Safety
    /// As long as the slice lives, this process accesses them through it alone, and the other side neither writes nor reads them, and
    /// so is trusted not to.
    ///
    /// # Panics
    /// If they are not all inside, or the memory is not [open](PeerMemory::is_open).
    #[expect(clippy::mut_from_ref, reason = "the caller keeps parts of one memory apart")]
    pub(crate) unsafe fn bytes_mut(&self, offset: usize, length: usize) -> &mut [u8] {
        assert!(self.open, "memory is written where it is mapped for that");
        let base = self.mapping.at(offset, length).as_ptr();
        // SAFETY: the bytes are mapped for writing as long as this value lives; nobody else accesses them, as the caller says.
        unsafe { slice::from_raw_parts_mut(base, length) }
    }

    /// Looks once at the word at `offset`, a multiple of eight.
    ///
    /// The load is relaxed, because only such ones are sure not to write: this memory cannot be written. A fence has to
    /// follow where more is read on the strength of it.
    ///
    /// # Panics
    /// If it is not inside, or not at a multiple of eight.
    #[inline]
    pub(crate) fn load(&self, offset: usize) -> u64 {
        let word = self.mapping.word(offset);
        // SAFETY: the word is inside the mapping, which outlives the reference, and aligned; it is only read here, by a
        // relaxed load no wider than a register.
        let word = unsafe { AtomicU64::from_ptr(word.as_ptr()) };
        word.load(Ordering::Relaxed)
    }
}
