//! Counts that both sides write.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use rustix::fs::SealFlags;
use rustix::mm::ProtFlags;

use super::mapping::Mapping;
use super::seals::{self, Writable};
use super::word::{sleep_on, wake_at};
use crate::Error;

/// Words of 32 bits that both sides can write, at any time. Whatever one says is an allegation of the other side's.
pub(crate) struct SharedWords(Mapping);

impl SharedWords {
    /// Makes `count` words that are zero, and the descriptor to send to the other side. The descriptor may be closed after
    /// that.
    ///
    /// # Errors
    /// As [`super::OwnMemory::create`].
    pub(crate) fn create(count: usize) -> Result<(Self, OwnedFd), Error> {
        let length = length_of(count);
        let memory = seals::create(length)?;
        let mapping = Mapping::new(memory.as_fd(), length, ProtFlags::READ | ProtFlags::WRITE)?;
        seals::seal(&memory, SealFlags::SHRINK | SealFlags::GROW)?;
        Ok((Self(mapping), memory))
    }

    /// Takes `count` words that the other side made. The descriptor may be closed after that.
    ///
    /// # Errors
    /// `Protocol` if it is anything else; `Denied` if it cannot be read and written; `Resource` if no more can be mapped.
    pub(crate) fn attach(memory: BorrowedFd<'_>, count: usize) -> Result<Self, Error> {
        let length = length_of(count);
        seals::verify(memory, length, Writable::ByBoth)?;
        let mapping = Mapping::new(memory, length, ProtFlags::READ | ProtFlags::WRITE)?;
        Ok(Self(mapping))
    }

    /// Blocks until somebody wakes those who sleep at this word, or the time has passed; not at all if it is not `expected`. May also return
    /// for no reason.
    ///
    /// # Panics
    /// As [`SharedWords::word`].
    pub(crate) fn sleep(&self, index: usize, expected: u32, timeout: Duration) {
        sleep_on(self.word(index), expected, timeout);
    }

    /// Wakes all that sleep at this word, in both processes.
    ///
    /// # Panics
    /// As [`SharedWords::word`].
    pub(crate) fn wake(&self, index: usize) {
        wake_at(self.word(index));
    }

    /// One of them.
    ///
    /// # Panics
    /// If there are not so many.
    #[inline]
    pub(crate) fn word(&self, index: usize) -> &AtomicU32 {
        let word = self.0.word(index * size_of::<AtomicU32>());
        // SAFETY: the word is inside the mapping, which outlives the reference, can be written, and is aligned.
        unsafe { AtomicU32::from_ptr(word.as_ptr()) }
    }
}

/// Whole pages of 4 KiB.
fn length_of(count: usize) -> usize {
    (count * size_of::<AtomicU32>()).next_multiple_of(4096)
}
