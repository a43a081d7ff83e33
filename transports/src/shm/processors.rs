//! Which processor each side runs on: a thread that polls makes sense only beside one that runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::layout::PROCESSOR;
use super::memory::{Read, Write};
use crate::sys::{OwnMemory, PeerMemory};

/// Tells the other side where this one runs, and the reverse. What the other side says is a hint, like all that it says.
pub(crate) struct Processors<O = OwnMemory, P = PeerMemory> {
    own: Arc<O>,
    peer: Arc<P>,
    /// What was told, and one; zero at first.
    told: AtomicU32,
}

impl<O: Write, P: Read> Processors<O, P> {
    /// Nothing was told yet.
    pub(crate) fn new(own: Arc<O>, peer: Arc<P>) -> Self {
        Self {
            own,
            peer,
            told: AtomicU32::new(0),
        }
    }

    /// Tells the other side that this one runs on processor number `cpu`. Shared memory is written only if that is news,
    /// since the other side's copy of the line is lost by that.
    #[inline]
    pub(crate) fn publish_processor(&self, cpu: u32) {
        let word = cpu.wrapping_add(1);
        if self.told.load(Ordering::Relaxed) != word {
            self.told.store(word, Ordering::Relaxed);
            self.own.store(PROCESSOR, word.into(), Ordering::Relaxed);
        }
    }

    /// The processor that the other side last said it ran on; `None` if it has said nothing yet.
    #[inline]
    pub(crate) fn peer_processor(&self) -> Option<u32> {
        told_by(&*self.peer)
    }
}

/// The processor that the side with this memory last said it ran on; `None` if it has said nothing yet.
#[inline]
pub(super) fn told_by(memory: &impl Read) -> Option<u32> {
    u32::try_from(memory.load(PROCESSOR)).ok()?.checked_sub(1)
}
