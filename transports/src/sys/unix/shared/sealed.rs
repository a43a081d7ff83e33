//! Memory that nobody writes any more.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::slice;
use std::thread;
use std::time::Duration;

use rustix::fs::SealFlags;
use rustix::io::Errno;

use super::mapping::Mapping;
use super::seals::{self, Writable};
use crate::Error;

/// How often sealing is tried again, a millisecond apart, while the system says that somebody could still write: starting a program takes some
/// milliseconds at most. A fork that lives on without starting any keeps it from being sealed for good.
const TRIES: u32 = 100;

/// Memory that this process alone can write, until it is sealed.
pub(crate) struct Draft {
    mapping: Mapping,
    memory: OwnedFd,
    length: usize,
}

/// Memory that nobody can write, in any process.
pub(crate) struct SealedMemory {
    mapping: Mapping,
    length: usize,
}

impl Draft {
    /// Makes memory of `length` zeros, with all of its pages.
    ///
    /// # Errors
    /// As [`super::OwnMemory::create`].
    pub(crate) fn create(length: usize) -> Result<Self, Error> {
        let memory = seals::create(length)?;
        let mapping = Mapping::populated(memory.as_fd(), length)?;
        Ok(Self {
            mapping,
            memory,
            length,
        })
    }

    /// All of it, to read.
    pub(crate) fn bytes(&self) -> &[u8] {
        let base = self.mapping.at(0, self.length).as_ptr();
        // SAFETY: so many bytes are mapped as long as this value lives. No other process has the memory, and this one
        // writes to it through `bytes_mut` only, which borrows this value mutably.
        unsafe { slice::from_raw_parts(base, self.length) }
    }

    /// All of it, to write.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let base = self.mapping.at(0, self.length).as_ptr();
        // SAFETY: so many bytes are mapped, for writing, as long as this value lives; nobody else has the memory, and this
        // value is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(base, self.length) }
    }

    /// Ends the writing, for good; gives the descriptor to send to the other side.
    ///
    /// # Errors
    /// `Resource` if no more can be mapped; others if the system does not seal it.
    pub(crate) fn seal(self) -> Result<(SealedMemory, OwnedFd), Error> {
        let Self {
            mapping,
            memory,
            length,
        } = self;
        // The system refuses the seal as long as anybody could write through a mapping.
        drop(mapping);
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        let mut tries = 0;
        while let Err(errno) = seals::try_seal(&memory, seals) {
            // A child of ours between fork and exec has a copy of the mapping; nothing tells when it is gone.
            if errno != Errno::BUSY || tries == TRIES {
                return Err(Error::system("cannot seal shared memory", errno.into()));
            }
            tries += 1;
            thread::sleep(Duration::from_millis(1));
        }
        let mapping = Mapping::private(memory.as_fd(), length)?;
        Ok((SealedMemory { mapping, length }, memory))
    }
}

impl SealedMemory {
    /// Takes memory of this length that the other side has sealed. The descriptor may be closed after that.
    ///
    /// # Errors
    /// `Protocol` if it is anything else, could still be written, or has another length; `Denied` if it cannot be read; `Resource` if no more can be
    /// mapped.
    pub(crate) fn attach(memory: BorrowedFd<'_>, length: usize) -> Result<Self, Error> {
        seals::verify(memory, length, Writable::Never)?;
        let mapping = Mapping::private(memory, length)?;
        Ok(Self { mapping, length })
    }

    /// All of it.
    pub(crate) fn bytes(&self) -> &[u8] {
        let base = self.mapping.at(0, self.length).as_ptr();
        // SAFETY: so many bytes are mapped as long as this value lives, and the memory is sealed: nobody writes it or makes
        // it shorter.
        unsafe { slice::from_raw_parts(base, self.length) }
    }
}
