//! How rings access memory: over the system's, or over private memory that models of them make.

use std::collections::TryReserveError;
use std::sync::atomic::Ordering;

use super::copy;
use crate::sys::{OwnMemory, PeerMemory};

/// Memory that the other side writes.
pub(crate) trait Read {
    /// Looks once at the word at `offset`, a multiple of eight. Relaxed: a fence has to follow where more is read on the
    /// strength of it.
    fn load(&self, offset: usize) -> u64;

    /// Appends a copy of the `length` bytes from `offset` on.
    fn copy_out(&self, offset: usize, length: usize, body: &mut Vec<u8>) -> Result<(), TryReserveError>;
}

/// Memory that this side writes, and nobody else.
pub(crate) trait Write {
    /// Stores the word at `offset`, a multiple of eight.
    fn store(&self, offset: usize, word: u64, ordering: Ordering);

    /// Copies bytes to `offset`.
    fn copy_in(&self, offset: usize, bytes: &[u8]);

    /// The same, for who reads them on another processor.
    fn copy_far(&self, offset: usize, bytes: &[u8]) {
        self.copy_in(offset, bytes);
    }
}

impl Read for PeerMemory {
    #[inline]
    fn load(&self, offset: usize) -> u64 {
        self.load(offset)
    }

    #[inline]
    fn copy_out(&self, offset: usize, length: usize, body: &mut Vec<u8>) -> Result<(), TryReserveError> {
        body.try_reserve(length)?;
        let from = self.at(offset, length);
        // SAFETY: the `length` bytes at `from` are mapped.
        unsafe { copy::append(from, length, body) };
        Ok(())
    }
}

impl Write for OwnMemory {
    #[inline]
    fn store(&self, offset: usize, word: u64, ordering: Ordering) {
        self.word(offset).store(word, ordering);
    }

    #[inline]
    fn copy_in(&self, offset: usize, bytes: &[u8]) {
        let to = self.at(offset, bytes.len());
        // SAFETY: as many bytes as are copied are mapped at `to`, for writing.
        unsafe { copy::into(bytes, to.as_ptr()) };
    }

    fn copy_far(&self, offset: usize, bytes: &[u8]) {
        let to = self.at(offset, bytes.len());
        // SAFETY: as many bytes as are copied are mapped at `to`, for writing.
        unsafe { copy::into_far(bytes, to.as_ptr()) };
    }
}
