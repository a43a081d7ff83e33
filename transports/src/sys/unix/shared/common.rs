//! Memory that both sides write, in words of one size.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::slice;

use rustix::fs::SealFlags;
use rustix::mm::ProtFlags;

use super::mapping::Mapping;
use super::seals::{self, Writable};
use crate::Error;
use crate::section::Atom;

/// Memory that both sides write, at any time. All of its words have one size, so that no two accesses of this process to the
/// same bytes differ in what they take for a word.
pub(crate) struct CommonMemory {
    mapping: Mapping,
    /// Bytes of a word.
    word: usize,
}

impl CommonMemory {
    /// Makes memory of `length` zeros for words of type `A`, and the descriptor to send to the other side. An untouched page takes no
    /// room.
    ///
    /// # Errors
    /// As [`super::OwnMemory::create`].
    pub(crate) fn create<A: Atom>(length: usize) -> Result<(Self, OwnedFd), Error> {
        let memory = seals::create(length)?;
        let mapping = Mapping::new(memory.as_fd(), length, ProtFlags::READ | ProtFlags::WRITE)?;
        seals::seal(&memory, SealFlags::SHRINK | SealFlags::GROW)?;
        let word = size_of::<A>();
        Ok((Self { mapping, word }, memory))
    }

    /// Takes memory of this length that the other side made for words of `word` bytes. The descriptor may be closed after that.
    ///
    /// # Errors
    /// `Protocol` if it is anything else, or has another length; `Denied` if it cannot be read and written; `Resource` if no more can be
    /// mapped.
    pub(crate) fn attach(memory: BorrowedFd<'_>, length: usize, word: usize) -> Result<Self, Error> {
        seals::verify(memory, length, Writable::ByBoth)?;
        let mapping = Mapping::new(memory, length, ProtFlags::READ | ProtFlags::WRITE)?;
        Ok(Self { mapping, word })
    }

    /// Bytes of a word: 1, 2, 4 or 8.
    pub(crate) fn word(&self) -> u8 {
        self.word as u8
    }

    /// Where `length` bytes from `offset` on are, as long as this value lives.
    ///
    /// # Panics
    /// If they are not all inside.
    pub(crate) fn at(&self, offset: usize, length: usize) -> *const u8 {
        self.mapping.at(offset, length).as_ptr()
    }

    /// As many words as are in the `length` bytes from `offset` on; `None` if its words have another size than `A`, or do not begin there.
    ///
    /// # Panics
    /// If the bytes are not all inside.
    pub(crate) fn atoms<A: Atom>(&self, offset: usize, length: usize) -> Option<&[A]> {
        if self.word != size_of::<A>() || offset % self.word != 0 {
            return None;
        }
        let base = self.mapping.at(offset, length).cast::<A>();
        // SAFETY: so many bytes are mapped for reading and writing as long as this value lives, and nobody can take them away. A
        // mapping begins with a page, so the words are aligned. `Atom` is implemented for integers that are atomic alone,
        // whose every pattern of bits is a value; both processes change them by atomic accesses only, or, if the other side
        // does not, it has itself to blame: ours stay atomic. Within this process all accesses to one word have one size.
        Some(unsafe { slice::from_raw_parts(base.as_ptr(), length / size_of::<A>()) })
    }
}
