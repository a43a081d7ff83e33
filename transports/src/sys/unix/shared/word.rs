//! A word that both sides write, and sleep on.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::fs::SealFlags;
use rustix::mm::ProtFlags;
use rustix::thread::futex;

use super::mapping::Mapping;
use super::seals::{self, Writable};
use crate::Error;

/// What a system calls a page at least, which is what a mapping takes anyway.
const LENGTH: usize = 4096;

/// A word in a memory of its own that both sides write, and on which threads of either can sleep. What it says is a hint:
/// the other side may write anything there, at any time, and wake those who sleep.
pub(crate) struct SharedWord(Mapping);

impl SharedWord {
    /// Makes a word that is zero, and the descriptor to send to the other side. The descriptor may be closed after that.
    ///
    /// # Errors
    /// As [`super::OwnMemory::create`].
    pub(crate) fn create() -> Result<(Self, OwnedFd), Error> {
        let memory = seals::create(LENGTH)?;
        let mapping = Mapping::new(memory.as_fd(), LENGTH, ProtFlags::READ | ProtFlags::WRITE)?;
        seals::seal(&memory, SealFlags::SHRINK | SealFlags::GROW)?;
        Ok((Self(mapping), memory))
    }

    /// Takes a word that the other side made. The descriptor may be closed after that.
    ///
    /// # Errors
    /// `Protocol` if it is anything else; `Denied` if it cannot be read and written; `Resource` if no more can be mapped.
    pub(crate) fn attach(memory: BorrowedFd<'_>) -> Result<Self, Error> {
        seals::verify(memory, LENGTH, Writable::ByBoth)?;
        let mapping = Mapping::new(memory, LENGTH, ProtFlags::READ | ProtFlags::WRITE)?;
        Ok(Self(mapping))
    }

    /// What it says now.
    #[inline]
    pub(crate) fn load(&self) -> u32 {
        self.word().load(Ordering::Relaxed)
    }

    /// Adds bits.
    #[inline]
    pub(crate) fn add(&self, bits: u32) {
        self.word().fetch_or(bits, Ordering::SeqCst);
    }

    /// Removes bits.
    #[inline]
    pub(crate) fn remove(&self, bits: u32) {
        self.word().fetch_and(!bits, Ordering::SeqCst);
    }

    /// Makes it zero, and says what it was.
    #[inline]
    pub(crate) fn take(&self) -> u32 {
        self.word().swap(0, Ordering::SeqCst)
    }

    /// Blocks until somebody wakes those who sleep here, or the time has passed; not at all if the word is not
    /// `expected`. May also return for no reason.
    pub(crate) fn sleep(&self, expected: u32, timeout: Duration) {
        sleep_on(self.word(), expected, timeout);
    }

    /// Wakes all that sleep here, in both processes.
    pub(crate) fn wake(&self) {
        wake_at(self.word());
    }

    #[inline]
    fn word(&self) -> &AtomicU32 {
        let word = self.0.word(0);
        // SAFETY: the word is inside the mapping, which outlives the reference, can be written, and is aligned.
        unsafe { AtomicU32::from_ptr(word.as_ptr()) }
    }
}

/// See [`SharedWord::sleep`].
pub(super) fn sleep_on(word: &AtomicU32, expected: u32, timeout: Duration) {
    // Even the longest time has fewer seconds than its type can count for billions of years.
    let timeout = futex::Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    // However it ends, the caller looks for itself why. Without the flag for private words: the other side is
    // another process.
    let _ = futex::wait(word, futex::Flags::empty(), expected, Some(&timeout));
}

/// See [`SharedWord::wake`].
pub(super) fn wake_at(word: &AtomicU32) {
    // It fails for no word that is mapped.
    let _ = futex::wake(word, futex::Flags::empty(), i32::MAX as u32);
}
