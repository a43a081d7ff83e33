//! What the two sides say to each other about sections.
//!
//! A message with sections begins with a table of so many entries as its header says, and its length counts them:
//!
//! ```text
//! 0         4            8        12       16
//! | segment | generation | offset | length |      32 bits each, little-endian
//! ```
//!
//! The highest bit of `segment` says that the place is one of the *receiver's* segments, which it had lent whole and gets back; the next
//! one, that the receiver has a place to itself until it gives it back or sends it back.
//!
//! What is said about segments are *frames*: headers with the flag that is no message's, and without a body.
//!
//! ```text
//! 0        4      5      6      7             8         12           16       24      32
//! | zeros  | kind | 0x80 | zero | descriptors | segment | generation | length | word   |
//! ```
//!
//! `word` is how many bytes each of its words has, of memory that both sides write, else zero.
//!
//! A piece of a body that lies in such a segment is a frame, too:
//!
//! ```text
//! 0        4      5      6       8         12           16       20       24     32
//! | zeros  | kind | 0x80 | zeros | segment | generation | offset | length | lane |
//! ```
//!
//! With an announcement come the descriptor of the segment, and with the first also that of the words by which places are
//! given back. The generation is another whenever a number is used for a new segment.

use crate::Header;
pub(crate) use crate::section::ENTRY;

/// Where a section is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) segment: u32,
    pub(crate) generation: u32,
    pub(crate) offset: u32,
    pub(crate) length: u32,
}

impl Entry {
    /// The same place, as a table names it that is lent in this way.
    pub(crate) fn lent(self, lending: Lending) -> Self {
        let mark = match lending {
            Lending::Shared => 0,
            Lending::Alone => ALONE,
            Lending::Back => BACK,
        };
        let segment = self.segment | mark;
        Self { segment, ..self }
    }

    /// What a table says: how a place is lent, and which.
    pub(crate) fn lending(self) -> (Lending, Self) {
        let lending = match self.segment & (BACK | ALONE) {
            0 => Lending::Shared,
            ALONE => Lending::Alone,
            // With both marks its number is still one that is too high.
            _ => Lending::Back,
        };
        let mark = if lending == Lending::Back { BACK } else { ALONE };
        let segment = self.segment & !mark;
        (lending, Self { segment, ..self })
    }

    pub(crate) fn to_bytes(self) -> [u8; ENTRY] {
        let mut bytes = [0; ENTRY];
        let words = [self.segment, self.generation, self.offset, self.length];
        for (to, word) in bytes.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; ENTRY]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *bytes;
        Self {
            segment: u32::from_le_bytes([a, b, c, d]),
            generation: u32::from_le_bytes([e, f, g, h]),
            offset: u32::from_le_bytes([i, j, k, l]),
            length: u32::from_le_bytes([m, n, o, p]),
        }
    }
}

/// What the table of a message says of a place, beside where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lending {
    /// To read. Others may read it meanwhile.
    Shared,
    /// The receiver has it to itself: nobody else looks at it before it is back.
    Alone,
    /// It is the receiver's own, which the sender has had to itself, and has no more.
    Back,
}

/// In the number of a segment, of which there are 64.
const BACK: u32 = 1 << 31;
const ALONE: u32 = 1 << 30;

/// What is said about a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Announce {
        segment: u32,
        generation: u32,
        /// Bytes of its memory.
        length: u64,
        access: Access,
        /// So many come with it.
        descriptors: u8,
    },
    /// It is not used any more.
    Forget { segment: u32, generation: u32 },
    /// The next bytes of the large message on a lane.
    Piece { lane: u64, entry: Entry },
}

/// Who may write to a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// The side that made it.
    Owner,
    /// Nobody any more.
    Nobody,
    /// Both sides, in words of so many bytes: 1, 2, 4 or 8.
    Both(u8),
    /// The side that made it, and what it lends whole whoever has that, if both trust each other.
    InTurn,
}

/// In the flags of a header that is of a frame.
const FRAME: u8 = Header::UNORDERED;

const ANNOUNCE: u8 = 1;
const ANNOUNCE_SEALED: u8 = 2;
const FORGET: u8 = 3;
const ANNOUNCE_COMMON: u8 = 4;
const PIECE: u8 = 5;
const ANNOUNCE_OPEN: u8 = 6;

/// Whether a header is of a frame about a piece.
pub(crate) fn is_piece(header: &Header) -> bool {
    is_frame(header) && header.kind == PIECE
}

/// Whether a header is of a frame, rather than of a message.
pub(crate) fn is_frame(header: &Header) -> bool {
    header.flags & FRAME != 0
}

impl Frame {
    pub(crate) fn header(self) -> Header {
        let both = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        match self {
            Self::Announce {
                segment,
                generation,
                length,
                access,
                descriptors,
            } => {
                let (kind, word) = match access {
                    Access::Owner => (ANNOUNCE, 0),
                    Access::Nobody => (ANNOUNCE_SEALED, 0),
                    Access::Both(word) => (ANNOUNCE_COMMON, word),
                    Access::InTurn => (ANNOUNCE_OPEN, 0),
                };
                Header {
                    kind,
                    flags: FRAME,
                    handles: descriptors,
                    id: both(segment, generation),
                    ordinal: length,
                    extra: u64::from(word),
                    ..Header::default()
                }
            }
            Self::Forget { segment, generation } => Header {
                kind: FORGET,
                flags: FRAME,
                id: both(segment, generation),
                ..Header::default()
            },
            Self::Piece { lane, entry } => Header {
                kind: PIECE,
                flags: FRAME,
                id: both(entry.segment, entry.generation),
                ordinal: both(entry.offset, entry.length),
                extra: lane,
                ..Header::default()
            },
        }
    }

    /// What a header says, if it says anything that can be meant.
    pub(crate) fn read(header: &Header) -> Option<Self> {
        // The halves of a number of 64 bits.
        let (segment, generation) = (header.id as u32, (header.id >> 32) as u32);
        let frame = match header.kind {
            kind @ (ANNOUNCE | ANNOUNCE_SEALED | ANNOUNCE_COMMON | ANNOUNCE_OPEN) => Self::Announce {
                segment,
                generation,
                length: header.ordinal,
                access: match (kind, header.extra) {
                    (ANNOUNCE, _) => Access::Owner,
                    (ANNOUNCE_SEALED, _) => Access::Nobody,
                    (ANNOUNCE_OPEN, _) => Access::InTurn,
                    (_, word @ (1 | 2 | 4 | 8)) => Access::Both(word as u8),
                    _ => return None,
                },
                descriptors: header.handles,
            },
            FORGET => Self::Forget { segment, generation },
            PIECE => Self::Piece {
                lane: header.extra,
                entry: Entry {
                    segment,
                    generation,
                    offset: header.ordinal as u32,
                    length: (header.ordinal >> 32) as u32,
                },
            },
            _ => return None,
        };
        // Nothing else in it may say anything.
        (frame.header() == *header).then_some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::{Access, Entry, Frame, Lending, is_frame};
    use crate::Header;

    #[test]
    fn what_is_written_is_read() {
        let entry = Entry {
            segment: 1,
            generation: 0x0203_0405,
            offset: u32::MAX,
            length: 7,
        };
        let bytes = entry.to_bytes();
        assert_eq!(bytes[..5], [1, 0, 0, 0, 5]);
        assert_eq!(Entry::from_bytes(&bytes), entry);
        for lending in [Lending::Shared, Lending::Alone, Lending::Back] {
            assert_eq!(entry.lent(lending).lending(), (lending, entry));
        }
        let both = entry.lent(Lending::Alone).lent(Lending::Back);
        assert!(
            both.lending().1.segment > 63,
            "nobody has a memory of that number"
        );
        let frames = [
            Frame::Announce {
                segment: 63,
                generation: u32::MAX,
                length: 1 << 40,
                access: Access::Owner,
                descriptors: 2,
            },
            Frame::Announce {
                segment: 1,
                generation: 2,
                length: 8192,
                access: Access::Both(4),
                descriptors: 1,
            },
            Frame::Announce {
                segment: 0,
                generation: 1,
                length: 4096,
                access: Access::Nobody,
                descriptors: 1,
            },
            Frame::Announce {
                segment: 3,
                generation: 2,
                length: 1 << 20,
                access: Access::InTurn,
                descriptors: 1,
            },
            Frame::Forget {
                segment: 5,
                generation: 6,
            },
        ];
        let piece = Frame::Piece { lane: 7, entry };
        for frame in frames.into_iter().chain([piece]) {
            let header = Header::from_bytes(&frame.header().to_bytes());
            assert!(is_frame(&header));
            assert_eq!(Frame::read(&header), Some(frame));
        }
    }

    #[test]
    fn what_says_more_is_no_frame() {
        let forget = Frame::Forget {
            segment: 5,
            generation: 6,
        };
        let plain = forget.header();
        let common = Frame::Announce {
            segment: 1,
            generation: 2,
            length: 8192,
            access: Access::Both(4),
            descriptors: 1,
        };
        let wrong = [
            Header { length: 1, ..plain },
            Header { kind: 7, ..plain },
            Header { kind: 0, ..plain },
            Header { flags: 0xff, ..plain },
            Header { sections: 1, ..plain },
            Header { handles: 1, ..plain },
            Header { ordinal: 1, ..plain },
            Header { extra: 1, ..plain },
            // A word of that many bytes has no atomic.
            Header {
                extra: 3,
                ..common.header()
            },
            Header {
                extra: 1 << 40 | 4,
                ..common.header()
            },
            Header {
                kind: 1,
                ..common.header()
            },
        ];
        for header in wrong {
            assert_eq!(Frame::read(&header), None, "{header:?}");
        }
    }
}
