//! Giving back: words that both sides write, one for each place of each segment, and the one at which the sender sleeps.
//!
//! Whoever waits for memory says so in that word first, and looks then which places are back; whoever gives a place back counts first,
//! and looks then whether anybody waits. With a fence between the two on both sides, one of them sees the other. Like all that both sides
//! write it is a hint: a hostile side wakes for nothing, which costs it as much, or wakes nobody and gets no more sections.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use super::{PLACES, SEGMENTS};
use crate::Birthplace;
use crate::crash::crash_point;
use crate::sys::SharedWords;

/// How many words there are: one for each place, and the bell.
pub(crate) const WORDS: usize = BELL + 1;

/// Which of them is the bell: [`WANTED`] while the sender waits for memory.
const BELL: usize = SEGMENTS * PLACES;

const WANTED: u32 = 1;

/// How long nobody sleeps without having looked for himself, should the other side ring no bell: it costs next to nothing, and honest
/// sides ring.
const LOOK: Duration = Duration::from_millis(100);

/// The words, or a model of them.
pub(crate) trait Words {
    /// Looks at a word. What was done before the other side counted up to that is done.
    fn load(&self, index: usize) -> u32;

    /// Counts one up. What was done before is done for whoever sees that.
    fn add_one(&self, index: usize);

    /// Wakes those who wait for memory, if any do. To be called after that.
    fn ring(&self);
}

impl Words for SharedWords {
    fn load(&self, index: usize) -> u32 {
        self.word(index).load(Ordering::Acquire)
    }

    fn add_one(&self, index: usize) {
        self.word(index).fetch_add(1, Ordering::SeqCst);
    }

    fn ring(&self) {
        let bell = self.word(BELL);
        fence(Ordering::SeqCst);
        // A look before the swap: as long as nobody waits, all only read this word.
        if bell.load(Ordering::SeqCst) & WANTED != 0 && bell.swap(0, Ordering::SeqCst) & WANTED != 0 {
            self.wake(BELL);
        }
    }
}

/// Says that this side waits for memory; what is looked at after that tells of all that was given back without a ring. The word as it is now,
/// for [`sleep`].
pub(super) fn ask(words: &SharedWords) -> u32 {
    let asked = words.word(BELL).fetch_or(WANTED, Ordering::SeqCst) | WANTED;
    fence(Ordering::SeqCst);
    asked
}

/// Blocks until memory comes back that was not there when `asked` was taken, or for a while.
pub(super) fn sleep(words: &SharedWords, asked: u32) {
    words.sleep(BELL, asked, LOOK);
}

/// Wakes those of this side who sleep.
pub(super) fn rouse(words: &SharedWords) {
    words.word(BELL).store(0, Ordering::SeqCst);
    words.wake(BELL);
}

/// How often one place was sent, since the beginning. The count goes on when the place is used for something else.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent(u32);

impl Sent {
    /// It is sent once more.
    pub(crate) fn count(&mut self) {
        self.0 = self.0.wrapping_add(1);
    }

    /// It came back with a message, which stands for the word.
    pub(crate) fn came_back(&mut self) {
        self.0 = self.0.wrapping_sub(1);
    }

    /// Whether the other side says that it gave the place back as often: nobody there reads it any more, or whoever does
    /// has himself to blame.
    pub(crate) fn is_back(self, words: &impl Words, index: usize) -> bool {
        words.load(index) == self.0
    }
}

/// Gives a place back when it is dropped.
pub(crate) struct GivingBack<W: Words> {
    words: Arc<W>,
    index: usize,
    birthplace: Birthplace,
    /// A message says so instead.
    told: bool,
}

impl<W: Words> GivingBack<W> {
    /// At that word.
    pub(crate) fn new(words: &Arc<W>, index: usize) -> Self {
        Self {
            words: words.clone(),
            index,
            birthplace: Birthplace::here(),
            told: false,
        }
    }

    /// A message says that it is back, which is counted instead: nothing happens at the word.
    pub(crate) fn tell_instead(mut self) {
        self.told = true;
    }

    /// Whether this is the process that got it, and no fork.
    pub(crate) fn is_here(&self) -> bool {
        self.birthplace.is_here()
    }
}

impl<W: Words> Drop for GivingBack<W> {
    fn drop(&mut self) {
        if self.told {
            return;
        }
        crash_point!();
        // What a fork drops is a copy of what its parent still uses.
        if self.birthplace.is_here() {
            self.words.add_one(self.index);
            crash_point!();
            self.words.ring();
        }
        crash_point!();
    }
}
