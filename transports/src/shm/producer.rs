//! The end of a ring that writes it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::layout::{self, CONSUMED, LINE, WANTS_SPACE, WRAP, size_of_record};
use super::memory::{Read, Write};
use super::processors::told_by;
use super::sync::fence;
use super::{Corrupt, Layout, Mark};
use crate::Header;
use crate::crash::crash_point;
use crate::sys::{self, OwnMemory, PeerMemory};

/// The most lines that are written to in advance.
const TOUCHED: usize = 24;

/// Bodies of so many bytes are written past the cache, if the other side runs on another processor and both are of a kind for which
/// that is worth it (`memory_is_nearer` in [`super::copy`]): it would get them line by line out of this one's cache, each changed
/// here and asked for there. Where the two have no cache in common, that takes five times as long.
///
/// Microseconds for bodies from one processor to the other, by two threads that do nothing else, in pieces of up to 32 KiB, on an
/// AMD EPYC 9004 with 2 virtual processors, which the host places near one another or far apart, from one minute to the next:
///
/// | bytes | near, through the cache | near, past it | far, through the cache | far, past it |
/// |---|---|---|---|---|
/// | 4,096 | 0.86 | 0.98 | 2.9 | 1.5 |
/// | 8,192 | 1.8 | 1.6 | 5.1 | 2.0 |
/// | 16,384 | 2.9 | 2.3 | 9.4 | 3.0 |
/// | 65,536 | 10.2 | 7.2 | 33 | 7.9 |
/// | 1,048,576 | 142 | 93 | 495 | 90 |
///
/// On one and the same processor the other side finds them in the cache, and 1 MiB took 128 through it and 178 past it.
const FAR: usize = 8 << 10;

/// Puts records into this side's ring.
pub(crate) struct Producer<O = OwnMemory, P = PeerMemory> {
    own: Arc<O>,
    peer: Arc<P>,
    layout: Layout,
    /// The position of the next record.
    produced: u64,
    /// Up to where the other side has consumed, when that was last looked at; judged.
    consumed: u64,
    /// What stands in `wants_space`.
    wants_space: bool,
}

impl<O: Write, P: Read> Producer<O, P> {
    /// The producing end of the ring in `own`, which is new; both memories have [`Layout::memory`] bytes.
    pub(crate) fn new(own: Arc<O>, peer: Arc<P>, layout: Layout) -> Self {
        Self {
            own,
            peer,
            layout,
            produced: 0,
            consumed: 0,
            wants_space: false,
        }
    }

    /// As if so much had been produced and consumed already.
    #[cfg(test)]
    pub(super) fn starting_at(mut self, position: u64) -> Self {
        (self.produced, self.consumed) = (position, position);
        self
    }

    /// Puts one record into the ring: a header, whose length is left out of account, and a body in two parts. False: there
    /// is no room, and nothing was written. The other side is to be woken after that, if it sleeps: see
    /// [`super::Bell::ring`].
    ///
    /// There is always room for a record if the other side has taken all others.
    ///
    /// # Errors
    /// The other side says that it has consumed what it cannot have.
    ///
    /// # Panics
    /// If the body is longer than [`Layout::largest`].
    #[inline]
    pub(crate) fn push(&mut self, header: &Header, mark: Mark, parts: [&[u8]; 2]) -> Result<bool, Corrupt> {
        let [head, body] = parts;
        let length = head.len() + body.len();
        assert!(
            length <= self.layout.largest(),
            "who sends cuts long messages into pieces"
        );
        let word = layout::commit_word(header, mark, length);
        let words = layout::words_of(word);
        let size = size_of_record(words, length);
        let gap = self.gap_before(size);
        if !self.has_room(gap + size)? {
            return Ok(false);
        }
        let start = self.produced.wrapping_add(gap as u64);
        let next = start.wrapping_add(size as u64);
        let at = self.layout.at(start);
        crash_point!();
        self.own.store(at + 8, header.id, Ordering::Relaxed);
        if layout::has_ordinal(word) {
            self.own.store(at + 16, header.ordinal, Ordering::Relaxed);
        }
        if layout::has_extra(word) {
            self.own.store(at + words - 8, header.extra, Ordering::Relaxed);
        }
        if !head.is_empty() {
            self.copy_in(at + words, head);
        }
        crash_point!();
        if !body.is_empty() {
            self.copy_in(at + words + head.len(), body);
        }
        // What stands there is of a record that was consumed long ago.
        self.own.store(self.layout.at(next), 0, Ordering::Relaxed);
        crash_point!();
        if gap == 0 {
            // The one store that publishes everything above.
            self.own.store(at, word, Ordering::Release);
        } else {
            // The other side looks at the end of the ring, and comes here once it is told to go on at the start.
            self.own.store(at, word, Ordering::Relaxed);
            crash_point!();
            self.own
                .store(self.layout.at(self.produced), WRAP, Ordering::Release);
        }
        crash_point!();
        self.produced = next;
        self.touch_ahead(size);
        if self.wants_space {
            self.set_wants_space(false);
        }
        Ok(true)
    }

    /// Tells the other side that this one waits for room for a body of so many bytes, then looks once more. True: there is
    /// room, and nobody waits. False: the other side will ring the bell when it has consumed a part of the ring; look again
    /// then, and say again that one waits.
    ///
    /// # Errors
    /// As [`Producer::push`].
    pub(crate) fn wait_for_space(&mut self, bytes: usize) -> Result<bool, Corrupt> {
        let size = size_of_record(Header::SIZE, bytes.min(self.layout.largest()));
        let needed = self.gap_before(size) + size;
        if !self.wants_space {
            self.set_wants_space(true);
        }
        crash_point!();
        // Either this side sees what the other has consumed, or the other, which says that first and looks then, sees that
        // this one waits.
        fence(Ordering::SeqCst);
        let has_room = self.has_room(needed)?;
        if has_room {
            self.set_wants_space(false);
        }
        Ok(has_room)
    }

    /// Up to where the other side had consumed when that was last looked at.
    pub(crate) fn consumed(&self) -> u64 {
        self.consumed
    }

    #[inline]
    fn copy_in(&self, at: usize, bytes: &[u8]) {
        if bytes.len() >= FAR && self.is_far() {
            self.own.copy_far(at, bytes);
        } else {
            self.own.copy_in(at, bytes);
        }
    }

    /// Whether the other side last ran on another processor, as it says.
    fn is_far(&self) -> bool {
        told_by(&*self.peer).is_some_and(|there| there != sys::processor())
    }

    /// Writes to the lines that the next record will need, if it is like the last one of `size` bytes. The other side has read
    /// them a lap ago, so that the first write to each has to wait for its cache to give them up: better now, when nobody
    /// waits for the record, than then. Not the next line, which the other side polls.
    #[inline]
    fn touch_ahead(&self, size: usize) {
        let lines = size.min(TOUCHED * LINE);
        let free = self.unread() + (lines + 2 * LINE) as u64 <= self.layout.capacity() as u64;
        if free {
            for line in (LINE..=lines).step_by(LINE) {
                let position = self.produced.wrapping_add(line as u64);
                self.own.store(self.layout.at(position), 0, Ordering::Relaxed);
            }
        }
    }

    /// Bytes to leave out at the end of the ring, where a record of this size does not fit.
    #[inline]
    fn gap_before(&self, size: usize) -> usize {
        let left = self.layout.left_from(self.produced);
        if size > left { left } else { 0 }
    }

    /// Whether so many bytes can be written, and the commit word behind them.
    #[inline]
    fn has_room(&mut self, bytes: usize) -> Result<bool, Corrupt> {
        let needed = (bytes + LINE) as u64;
        let capacity = self.layout.capacity() as u64;
        if self.unread() + needed <= capacity {
            return Ok(true);
        }
        self.look()?;
        Ok(self.unread() + needed <= capacity)
    }

    /// Bytes of the ring that are not known to have been consumed: at most the capacity.
    #[inline]
    fn unread(&self) -> u64 {
        self.produced.wrapping_sub(self.consumed)
    }

    /// Looks up to where the other side has consumed, and judges what it says.
    fn look(&mut self) -> Result<(), Corrupt> {
        let consumed = self.peer.load(CONSUMED);
        // What is written from now on replaces only what was read before.
        fence(Ordering::Acquire);
        let advance = consumed.wrapping_sub(self.consumed);
        if advance > self.unread() {
            return Err(Corrupt(if advance > u64::MAX / 2 {
                "the index of what was consumed went backwards"
            } else {
                "the index of what was consumed is beyond what was produced"
            }));
        }
        if consumed % LINE as u64 != 0 {
            return Err(Corrupt("the index of what was consumed lies within a line"));
        }
        self.consumed = consumed;
        Ok(())
    }

    fn set_wants_space(&mut self, wants: bool) {
        self.wants_space = wants;
        self.own.store(WANTS_SPACE, wants.into(), Ordering::Relaxed);
    }
}
