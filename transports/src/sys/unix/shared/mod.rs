//! What two processes share, on Linux: memory, words to sleep on, events, and the descriptors by which they hand it over.

mod closing;
mod common;
mod descriptors;
mod event;
mod mapping;
mod memory;
mod sealed;
mod seals;
mod word;
mod words;

pub(crate) use closing::close_elsewhere;
pub(crate) use common::CommonMemory;
#[cfg(all(test, not(loom)))]
pub(crate) use descriptors::DESCRIPTORS;
#[cfg(test)]
pub(crate) use descriptors::stream_of;
pub(crate) use event::Event;
pub(crate) use memory::{OwnMemory, PeerMemory};
pub(crate) use sealed::{Draft, SealedMemory};
pub(crate) use word::SharedWord;
pub(crate) use words::SharedWords;

/// The number of the processor that this thread runs on. It may have moved by the time that one looks.
#[inline]
pub(crate) fn processor() -> u32 {
    // SAFETY: the call takes nothing. It reads a word that the C library shares with the system, or asks the system.
    let number = unsafe { libc::sched_getcpu() };
    u32::try_from(number).unwrap_or(0)
}

/// Whether this thread may run on more than one processor.
pub(crate) fn may_move() -> bool {
    rustix::thread::sched_getaffinity(None).is_ok_and(|allowed| allowed.count() > 1)
}
