//! Memory that two processes share, and copies in and out of it. The one place with pointers.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use rustix::fs::{MemfdFlags, fstat, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A shared mapping, all of its pages there from the start. Both processes write to it, so nobody ever has a
/// reference to its bytes: words are atomics, the rest is copied in and out.
pub(crate) struct Memory {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and lives until the drop.
unsafe impl Send for Memory {}
// SAFETY: through a shared reference its words are reached as atomics; who may copy which bytes at what time is for
// the protocol to say, as between processes.
unsafe impl Sync for Memory {}

impl Memory {
    /// New memory of at least `length` bytes, and the descriptor by which another process maps it.
    pub(crate) fn new(length: usize) -> io::Result<(Self, OwnedFd)> {
        let file = memfd_create("bench", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, length as u64)?;
        Ok((Self::map(&file)?, file))
    }

    /// Maps what another process made.
    pub(crate) fn map(file: impl AsFd) -> io::Result<Self> {
        Self::map_as(file, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED)
    }

    /// As [`Memory::new`], for memory that can be sealed.
    pub(crate) fn sealable(length: usize) -> io::Result<(Self, OwnedFd)> {
        let file = memfd_create("bench", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&file, length as u64)?;
        Ok((Self::map(&file)?, file))
    }

    /// Maps what nobody can write any more. Only what reads is called on it.
    pub(crate) fn map_sealed(file: impl AsFd) -> io::Result<Self> {
        // Linux before 6.7 shares memory that is sealed against writing with nobody.
        Self::map_as(file, ProtFlags::READ, MapFlags::PRIVATE)
    }

    fn map_as(file: impl AsFd, protection: ProtFlags, kind: MapFlags) -> io::Result<Self> {
        let length = usize::try_from(fstat(&file)?.st_size).map_err(io::Error::other)?;
        let flags = kind | MapFlags::POPULATE;
        // SAFETY: a new mapping at an address of the system's choice touches nothing that exists.
        let start = unsafe { mmap(ptr::null_mut(), length, protection, flags, file, 0)? };
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at zero"))?;
        Ok(Self { start, length })
    }

    /// The 32-bit word at `at`.
    pub(crate) fn word32(&self, at: usize) -> &AtomicU32 {
        let word = self.at(at, size_of::<AtomicU32>()).cast();
        assert!(at.is_multiple_of(align_of::<AtomicU32>()));
        // SAFETY: inside the mapping (checked by `at`), aligned (checked), and only ever reached as an atomic.
        unsafe { word.as_ref() }
    }

    /// The 64-bit word at `at`.
    pub(crate) fn word64(&self, at: usize) -> &AtomicU64 {
        let word = self.at(at, size_of::<AtomicU64>()).cast();
        assert!(at.is_multiple_of(align_of::<AtomicU64>()));
        // SAFETY: as in `word32`.
        unsafe { word.as_ref() }
    }

    /// The byte at `at`.
    pub(crate) fn byte(&self, at: usize) -> &AtomicU8 {
        // SAFETY: inside the mapping (checked by `at`), and a byte is always aligned.
        unsafe { self.at(at, 1).cast().as_ref() }
    }

    /// Copies bytes in.
    pub(crate) fn write(&self, at: usize, from: &[u8]) {
        let to = self.at(at, from.len());
        // SAFETY: `to` has room for all of `from` (checked by `at`), and no reference to it exists anywhere. The
        // protocol gives these bytes to this side until it publishes them.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), to.as_ptr(), from.len()) }
    }

    /// Copies bytes out.
    pub(crate) fn read(&self, at: usize, to: &mut [u8]) {
        let from = self.at(at, to.len());
        // SAFETY: as in `write`, the other way round.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), to.as_mut_ptr(), to.len()) }
    }

    /// Copies from one place of the memory to another; they do not overlap.
    pub(crate) fn copy(&self, from: usize, to: usize, length: usize) {
        assert!(from.abs_diff(to) >= length);
        let (from, to) = (self.at(from, length), self.at(to, length));
        // SAFETY: both are inside the mapping (checked by `at`) and apart (checked); both belong to this side now.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), to.as_ptr(), length) }
    }

    /// Writes `value` into one byte of each page from `at` on.
    pub(crate) fn touch(&self, at: usize, length: usize, value: u8) {
        for offset in (0..length).step_by(PAGE) {
            self.byte(at + offset).store(value, Ordering::Relaxed);
        }
    }

    /// Adds up one byte of each page from `at` on.
    pub(crate) fn sum(&self, at: usize, length: usize) -> u64 {
        (0..length)
            .step_by(PAGE)
            .map(|offset| u64::from(self.byte(at + offset).load(Ordering::Relaxed)))
            .sum()
    }

    fn at(&self, at: usize, length: usize) -> NonNull<u8> {
        assert!(
            at <= self.length && length <= self.length - at,
            "outside of the memory"
        );
        // SAFETY: `at` is inside the mapping, or just at its end for a length of zero.
        unsafe { self.start.add(at) }
    }
}

/// Bytes from one looked at to the next.
const PAGE: usize = 4096;

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: exactly what `map` mapped; references to it borrow `self`, so there are none left. That it fails is
        // impossible for a whole mapping, and would leave it mapped.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
    }
}
