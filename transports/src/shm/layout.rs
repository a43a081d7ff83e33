//! What lies where in the memory of one side.
//!
//! ```text
//! 0          128           256         384        512                        512 + capacity
//! | consumed | wants_space | processor | not used | records of this side's ring |
//! ```
//!
//! The first three are words of 64 bits, alone on their lines, since the other side polls them while the neighbours are written
//! (two lines each: processors fetch lines in pairs):
//! - `consumed`: up to which position this side has consumed the *other* side's ring;
//! - `wants_space`: not zero while this side waits for room in its own ring;
//! - `processor`: the number of the processor that this side last ran on, and one; zero at first.
//!
//! # Records
//! A position counts the bytes of a ring from the beginning of the connection and wraps at 2^64; the position in the ring is
//! its remainder by the capacity, a power of two. A record begins on a line of 64 bytes, and never goes on beyond the end
//! of the ring:
//!
//! ```text
//! 0             8    16          24        32                    a multiple of 64
//! | commit word | id | [ordinal] | [extra] | body ... | not used |
//!
//! commit word, from its lowest bit:
//! 0        24        25      26         28     31          32     40      48         56        64
//! | length | ordinal | extra | not used | mark | committed | kind | flags | sections | handles |
//! ```
//!
//! That is a [`Header`] whose length has lent its upper bits, and whose last two words are left out where they are zero:
//! the bits `ordinal` and `extra` say which are there. So a request with a body of up to 40 bytes fills one line, and a
//! reply with one of up to 48, and a consumer that polls gets all of it by one miss of the cache.
//!
//! The commit word is written last, and behind each record stands a commit word of zero, where the next record will be. If the
//! next record does not fit before the end of the ring, a commit word there says to go on at the start ("wrap"), and
//! nothing else.

use super::Corrupt;
use crate::Header;

/// Where `consumed` lies.
pub(super) const CONSUMED: usize = 0;
/// Where `wants_space` lies.
pub(super) const WANTS_SPACE: usize = 128;
/// Where `processor` lies.
pub(super) const PROCESSOR: usize = 256;
/// Where the records begin: on the first page, so that a connection which was used little has touched one.
const RECORDS: usize = 512;

/// What records begin at multiples of: a line of the cache.
pub(super) const LINE: usize = 64;

/// Bytes of the ring that the connection's two sides use, a power of two. It holds more small messages than a connection
/// allows calls in flight, and stays in the second level of most caches.
const CAPACITY: usize = 256 << 10;
/// Bytes of the longest body of a record. Longer messages travel in pieces, several of which fit in the ring, so that
/// both sides copy at the same time.
const LARGEST: usize = 32 << 10;

/// The smallest ring: four lines. A record of one line, after a gap of up to one and before the commit word behind it,
/// fits into three.
const LEAST: usize = 4 * LINE;
/// The largest ring: more would be wasted.
const MOST: usize = 64 << 20;
/// What a commit word has room for.
const LENGTH_MASK: u64 = (1 << 24) - 1;

/// How large a ring is. Both sides of a connection use the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    capacity: usize,
    largest: usize,
}

impl Layout {
    /// What connections use.
    pub(crate) const DEFAULT: Self = match Self::new(CAPACITY, LARGEST) {
        Some(layout) => layout,
        None => panic!("these sizes keep the rules"),
    };

    /// A ring of `capacity` bytes, a power of two from 256 to 64 Mi, for bodies of up to `largest` bytes, which must be at
    /// most about three eighths of it: a consumer that has read everything may not have said so for the last quarter, and
    /// in what remains the largest record has to fit, even behind a gap that is nearly as large.
    pub(crate) const fn new(capacity: usize, largest: usize) -> Option<Self> {
        let is_size = capacity.is_power_of_two() && capacity >= LEAST && capacity <= MOST;
        if !is_size || largest > capacity || largest as u64 > LENGTH_MASK {
            return None;
        }
        // A gap is at least a line shorter than the record that does not fit into it; one more line is the commit word behind.
        let needed = 2 * size_of_record(Header::SIZE, largest);
        if needed > capacity - capacity / 4 {
            return None;
        }
        Some(Self { capacity, largest })
    }

    /// Bytes of records, with all that belongs to them.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes of the longest body.
    pub(crate) const fn largest(&self) -> usize {
        self.largest
    }

    /// Bytes of the memory of one side: whole pages of 4 KiB.
    pub(crate) fn memory(&self) -> usize {
        (RECORDS + self.capacity).next_multiple_of(4096)
    }

    /// Where in the memory a position of the ring lies.
    #[inline]
    pub(super) fn at(&self, position: u64) -> usize {
        RECORDS + self.in_ring(position)
    }

    /// Bytes from a position to the end of the ring; the capacity at its start.
    #[inline]
    pub(super) fn left_from(&self, position: u64) -> usize {
        self.capacity - self.in_ring(position)
    }

    #[inline]
    fn in_ring(&self, position: u64) -> usize {
        // The remainder is below the capacity, whatever is cut off before.
        position as usize & (self.capacity - 1)
    }
}

/// Bytes that a record takes whose words and body have so many bytes.
#[inline]
pub(super) const fn size_of_record(words: usize, body: usize) -> usize {
    (words + body).next_multiple_of(LINE)
}

/// Bytes before the body of a record with this commit word.
#[inline]
pub(super) fn words_of(commit_word: u64) -> usize {
    16 + 8 * usize::from(has_ordinal(commit_word)) + 8 * usize::from(has_extra(commit_word))
}

/// Whether the record has a word for the ordinal: it follows the id.
#[inline]
pub(super) fn has_ordinal(commit_word: u64) -> bool {
    commit_word & ORDINAL != 0
}

/// Whether the record has a word for what is extra: it is the last before the body.
#[inline]
pub(super) fn has_extra(commit_word: u64) -> bool {
    commit_word & EXTRA != 0
}

/// What a record is of its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// All of it.
    Whole = 1,
    /// The first of several pieces.
    First = 2,
    /// A piece that is neither the first nor the last.
    Further = 3,
    /// The last of several pieces.
    Last = 4,
}

const COMMITTED: u64 = 1 << 31;
const MARK_AT: u32 = 28;
const ORDINAL: u64 = 1 << 24;
const EXTRA: u64 = 1 << 25;
const SPARE: u64 = 0b11 << 26;

/// The commit word that says to go on at the start of the ring.
pub(super) const WRAP: u64 = COMMITTED | 5 << MARK_AT;

/// Whether a commit word is there.
#[inline]
pub(super) fn is_committed(word: u64) -> bool {
    word & COMMITTED != 0
}

/// The commit word of a record with this header and a body of `length` bytes, which is at most the layout's largest. Of the flags,
/// [`Header::UNORDERED`] is the sender's own, and does not travel.
#[inline]
pub(super) fn commit_word(header: &Header, mark: Mark, length: usize) -> u64 {
    length as u64
        | (mark as u64) << MARK_AT
        | COMMITTED
        | if header.ordinal == 0 { 0 } else { ORDINAL }
        | if header.extra == 0 { 0 } else { EXTRA }
        | u64::from(header.kind) << 32
        | u64::from(header.flags & !Header::UNORDERED) << 40
        | u64::from(header.sections) << 48
        | u64::from(header.handles) << 56
}

/// What a commit word says: a header with all but its last three words, and the mark.
#[inline]
pub(super) fn read_commit_word(word: u64) -> Result<(Header, Mark), Corrupt> {
    let mark = match word >> MARK_AT & 7 {
        1 => Mark::Whole,
        2 => Mark::First,
        3 => Mark::Further,
        4 => Mark::Last,
        _ => return Err(Corrupt("a record has an unknown mark")),
    };
    if word & SPARE != 0 {
        return Err(Corrupt("a record has bits set that mean nothing"));
    }
    let header = Header {
        // These bits fit by construction, here and below.
        length: (word & LENGTH_MASK) as u32,
        kind: (word >> 32) as u8,
        flags: (word >> 40) as u8,
        sections: (word >> 48) as u8,
        handles: (word >> 56) as u8,
        ..Header::default()
    };
    Ok((header, mark))
}
