//! The end of a ring that reads it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::layout::{self, CONSUMED, WANTS_SPACE, WRAP, size_of_record};
use super::memory::{Read, Write};
use super::sync::fence;
use super::{Corrupt, Fault, Layout, Mark};
use crate::Header;
use crate::crash::crash_point;
use crate::sys::{OwnMemory, PeerMemory};

/// Takes records out of the other side's ring.
pub(crate) struct Consumer<O = OwnMemory, P = PeerMemory> {
    own: Arc<O>,
    peer: Arc<P>,
    layout: Layout,
    /// The position of the next record.
    consumed: u64,
    /// What of it the other side was told.
    published: u64,
    /// The other side waited for space when it was last told.
    space_news: bool,
}

impl<O: Write, P: Read> Consumer<O, P> {
    /// The consuming end of the ring in `peer`, which is new; both memories have [`Layout::memory`] bytes.
    pub(crate) fn new(own: Arc<O>, peer: Arc<P>, layout: Layout) -> Self {
        Self {
            own,
            peer,
            layout,
            consumed: 0,
            published: 0,
            space_news: false,
        }
    }

    /// As if so much had been produced and consumed already.
    #[cfg(test)]
    pub(super) fn starting_at(mut self, position: u64) -> Self {
        (self.consumed, self.published) = (position, position);
        self.own.store(CONSUMED, position, Ordering::Release);
        self
    }

    /// Whether a record is there, told by one load.
    #[inline]
    pub(crate) fn ready(&self) -> bool {
        layout::is_committed(self.peer.load(self.layout.at(self.consumed)))
    }

    /// Takes one record, if one is there, and appends its body, `length` bytes by the header, to `body`.
    ///
    /// The other side is told of the space each quarter of the ring, or when [`Consumer::release`] is called. It may have
    /// waited for that: see [`Consumer::take_space_news`].
    ///
    /// # Errors
    /// The other side broke a rule of the ring, or there is no memory for the body: nothing was taken then.
    #[cfg(test)]
    pub(crate) fn pop(&mut self, body: &mut Vec<u8>) -> Result<Option<(Header, Mark)>, Fault> {
        let mut header = Header::default();
        let mark = self.pop_with(&mut header, |_, _| Ok(body))?;
        Ok(mark.map(|mark| (header, mark)))
    }

    /// As [`Consumer::pop`], with `choose` saying where the body goes. Where it fails, nothing was taken. The header is put where it
    /// stays, whatever comes of it: to copy words that were just written one by one is to wait for them.
    ///
    /// # Errors
    /// As [`Consumer::pop`], and those of `choose`.
    #[inline]
    pub(crate) fn pop_with<'a>(
        &mut self,
        header: &mut Header,
        choose: impl FnOnce(&Header, Mark) -> Result<&'a mut Vec<u8>, Fault>,
    ) -> Result<Option<Mark>, Fault> {
        let mut start = self.consumed;
        let mut word = self.peer.load(self.layout.at(start));
        if !layout::is_committed(word) {
            return Ok(None);
        }
        // The record was written before its commit word.
        fence(Ordering::Acquire);
        if word == WRAP {
            start = self.after_wrap(start)?;
            word = self.peer.load(self.layout.at(start));
            if !layout::is_committed(word) {
                return Err(
                    Corrupt("a mark to go on at the start of the ring has no record behind it").into(),
                );
            }
            if word == WRAP {
                return Err(Corrupt("two marks in a row say to go on at the start of the ring").into());
            }
        }
        let (committed, mark) = layout::read_commit_word(word)?;
        let at = self.layout.at(start);
        let length = committed.length as usize;
        if length > self.layout.largest() {
            return Err(Corrupt("a record is longer than any may be").into());
        }
        let words = layout::words_of(word);
        let size = size_of_record(words, length);
        if size > self.layout.left_from(start) {
            return Err(Corrupt("a record goes on beyond the end of the ring").into());
        }
        crash_point!();
        *header = Header {
            id: self.peer.load(at + 8),
            ordinal: if layout::has_ordinal(word) {
                self.peer.load(at + 16)
            } else {
                0
            },
            extra: if layout::has_extra(word) {
                self.peer.load(at + words - 8)
            } else {
                0
            },
            ..committed
        };
        let body = choose(header, mark)?;
        self.peer
            .copy_out(at + words, length, body)
            .map_err(|_| Fault::NoMemory(length))?;
        crash_point!();
        self.consumed = start.wrapping_add(size as u64);
        if self.consumed.wrapping_sub(self.published) >= self.layout.capacity() as u64 / 4 {
            self.space_news |= self.release();
        }
        Ok(Some(mark))
    }

    /// Up to where the other side has consumed this side's ring, as it says.
    #[inline]
    pub(crate) fn consumed_by_peer(&self) -> u64 {
        self.peer.load(CONSUMED)
    }

    /// Tells the other side up to where this one has consumed, to be done before one sleeps. True: the other side waits for
    /// space, ring its bell.
    pub(crate) fn release(&mut self) -> bool {
        if self.published == self.consumed {
            return false;
        }
        // What was read is not read again: the other side may replace it.
        self.own.store(CONSUMED, self.consumed, Ordering::Release);
        self.published = self.consumed;
        crash_point!();
        // See `Producer::wait_for_space`.
        fence(Ordering::SeqCst);
        self.peer.load(WANTS_SPACE) != 0
    }

    /// Whether the other side waited for space when [`Consumer::pop`] told it of some, since this was last asked. True: ring
    /// its bell.
    #[inline]
    pub(crate) fn take_space_news(&mut self) -> bool {
        std::mem::take(&mut self.space_news)
    }

    /// The start of the ring behind the gap at its end.
    fn after_wrap(&self, position: u64) -> Result<u64, Corrupt> {
        let gap = self.layout.left_from(position);
        if gap == self.layout.capacity() {
            return Err(Corrupt("the start of the ring says to go on at the start"));
        }
        Ok(position.wrapping_add(gap as u64))
    }
}
