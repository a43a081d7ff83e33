//! A range of memory that is shared with another process.

use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};

use rustix::mm::{MapFlags, ProtFlags};

use crate::Error;

/// A range of memory that is shared with another process; unmapped when dropped.
///
/// Nothing ever refers to it but pointers, and atomics for the time of one access: whoever else has it mapped may write
/// to it at any time.
pub(super) struct Mapping {
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: the range belongs to no thread, and whoever accesses it reckons with others that do so at the same time.
unsafe impl Send for Mapping {}
// SAFETY: as above; a shared `Mapping` gives pointers only.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `length` bytes of what is behind a descriptor. Pages are made when they are first touched.
    pub(super) fn new(memory: BorrowedFd<'_>, length: usize, access: ProtFlags) -> Result<Self, Error> {
        Self::map(memory, length, access, MapFlags::SHARED)
    }

    /// As [`Mapping::new`], for writing all of it: its pages are made at once, which takes a fraction of the time that making
    /// each when it is touched does.
    pub(super) fn populated(memory: BorrowedFd<'_>, length: usize) -> Result<Self, Error> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        Self::map(memory, length, access, MapFlags::SHARED | MapFlags::POPULATE)
    }

    /// As [`Mapping::new`], for reading what nobody can write any more. Linux before 6.7 shares memory that is sealed against
    /// writing with nobody; a private mapping has the same pages as long as nobody writes to it.
    pub(super) fn private(memory: BorrowedFd<'_>, length: usize) -> Result<Self, Error> {
        Self::map(memory, length, ProtFlags::READ, MapFlags::PRIVATE)
    }

    fn map(memory: BorrowedFd<'_>, length: usize, access: ProtFlags, flags: MapFlags) -> Result<Self, Error> {
        // SAFETY: a new mapping at an address of the system's choice overlaps nothing that is in use.
        let base = unsafe { rustix::mm::mmap(ptr::null_mut(), length, access, flags, memory, 0) };
        let base = base.map_err(|error| Error::system("cannot map shared memory", error.into()))?;
        // The system never chooses the address zero.
        let base = NonNull::new(base.cast()).ok_or_else(|| {
            let nowhere = std::io::ErrorKind::OutOfMemory.into();
            Error::system("cannot map shared memory", nowhere)
        })?;
        Ok(Self { base, length })
    }

    #[cfg(test)]
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Where `length` bytes from `offset` on are. They stay mapped as long as this value lives.
    ///
    /// # Panics
    /// If they are not all inside. Who asks has checked whatever came from the other side.
    #[inline]
    pub(super) fn at(&self, offset: usize, length: usize) -> NonNull<u8> {
        assert!(
            offset <= self.length && length <= self.length - offset,
            "shared memory is used within its bounds"
        );
        // SAFETY: the offset is inside the mapping or just behind it, as checked above.
        unsafe { self.base.add(offset) }
    }

    /// Where the aligned word of type `T` at `offset` is; as [`Mapping::at`].
    #[inline]
    pub(super) fn word<T>(&self, offset: usize) -> NonNull<T> {
        assert!(
            offset % size_of::<T>() == 0,
            "words in shared memory lie at multiples of their size"
        );
        self.at(offset, size_of::<T>()).cast()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is the mapping that `new` made, and what `at` gave is used no longer than this value lives.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.length) };
    }
}
