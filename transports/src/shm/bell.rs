//! Sleeping until the other side has something to say, and waking it.
//!
//! Each side has one bell, on which it sleeps and which the other rings. Whoever wants to sleep says so first and looks
//! then; whoever has news puts them first and looks then whether somebody sleeps. With a fence between the two, on both
//! sides, one of them sees the other:
//!
//! ```text
//! sleeper                         waker
//! arm: add a bit                  push, or release
//!      fence                      ring: fence
//! look at the ring                      look at the bits, take them
//! nothing there: sleep                  wake the sleepers
//! ```

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::sync::fence;
use crate::crash::crash_point;
use crate::sys::SharedWord;

/// A thread sleeps in [`Bell::sleep`].
pub(crate) const FUTEX: u32 = 1;
/// A task sleeps on the event, which whoever rings has to raise.
pub(crate) const EVENT: u32 = 2;

/// A task sleeps on the event until there is room to send; the same is due to it.
pub(crate) const SPACE: u32 = 4;

/// The word that says who sleeps, written by both sides: a hint. Whatever the other side writes there, at worst somebody
/// wakes for nothing, or when its time is over.
pub(crate) struct Bell<W = SharedWord>(W);

/// What a bell needs of its word.
pub(crate) trait Word {
    /// What it says now; relaxed.
    fn load(&self) -> u32;
    /// Adds bits; sequentially consistent.
    fn add(&self, bits: u32);
    /// Removes bits; sequentially consistent.
    fn remove(&self, bits: u32);
    /// Makes it zero and says what it was; sequentially consistent.
    fn take(&self) -> u32;
    /// Blocks until woken, or the time has passed; not at all if the word is not `expected`.
    fn sleep(&self, expected: u32, timeout: Duration);
    /// Ends all sleeps.
    fn wake(&self);
}

impl<W: Word> Bell<W> {
    /// The bell of a word that is zero at first.
    pub(crate) fn new(word: W) -> Self {
        Self(word)
    }

    /// Says that somebody is about to sleep. The ring is to be looked at after that, before one does.
    ///
    /// One thread at a time sleeps in [`Bell::sleep`]: a second one that says it is awake would silence the first.
    pub(crate) fn arm(&self, bits: u32) {
        self.0.add(bits);
        crash_point!();
        fence(Ordering::SeqCst);
    }

    /// Says that somebody does not sleep, or no longer. The bits are gone anyway if the bell was rung.
    pub(crate) fn disarm(&self, bits: u32) {
        self.0.remove(bits);
    }

    /// Whether somebody said that it sleeps, and was not woken since.
    #[inline]
    pub(crate) fn is_armed(&self, bits: u32) -> bool {
        self.0.load() & bits != 0
    }

    /// Wakes those who sleep, after something was put into a ring or taken out of it. Gives the bits taken: for [`EVENT`] and [`SPACE`] the
    /// caller has to raise the event. If nobody sleeps, that costs a fence and a load.
    #[inline]
    pub(crate) fn ring(&self) -> u32 {
        fence(Ordering::SeqCst);
        if self.0.load() == 0 {
            return 0;
        }
        self.wake_all()
    }

    /// Blocks the calling thread, which has armed the bell with [`FUTEX`], until it is rung, or the time has passed. May
    /// also return for no reason, and does so as often as the other side likes.
    pub(crate) fn sleep(&self, timeout: Duration) {
        let word = self.0.load();
        if word & FUTEX != 0 {
            crash_point!();
            self.0.sleep(word, timeout);
        }
    }

    #[cold]
    fn wake_all(&self) -> u32 {
        // Of several that ring at once, one takes the bits, and wakes.
        let bits = self.0.take();
        crash_point!();
        if bits & FUTEX != 0 {
            self.0.wake();
        }
        bits
    }
}

impl Word for SharedWord {
    #[inline]
    fn load(&self) -> u32 {
        self.load()
    }

    fn add(&self, bits: u32) {
        self.add(bits);
    }

    fn remove(&self, bits: u32) {
        self.remove(bits);
    }

    fn take(&self) -> u32 {
        self.take()
    }

    fn sleep(&self, expected: u32, timeout: Duration) {
        self.sleep(expected, timeout);
    }

    fn wake(&self) {
        self.wake();
    }
}
