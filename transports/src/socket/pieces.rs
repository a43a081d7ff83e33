//! What is said on a stream of large messages that travel in pieces.
//!
//! Such a message begins with a *frame*, a header with the flag that is no message's, and goes on with others, one for
//! each piece. Frames stand between whole messages, and those of several large messages between one another:
//!
//! ```text
//! 0        4      5      6       8      16              32
//! | length | kind | 0x80 | zeros | lane | zeros         |     and `length` bytes:
//! ```
//!
//! - Begin: the header of the message, and the first bytes of its body;
//! - Piece: the next bytes of its body.
//!
//! A piece in memory that both sides share has a frame of its own, with no bytes: see the sections' `wire`. So has one that lies in
//! a file (see `spool`), and the file itself:
//!
//! ```text
//! 0        4      5      6       8          16      20       24      32
//! | zeros  | kind | 0x80 | zeros | lane     | place | length | zeros |     a piece
//! | zeros  | kind | 0x80 | zeros | bytes of a place | zeros          |     the file
//! ```

use crate::{Error, ErrorKind, Header};

/// Bytes of a message's body at most that come with its beginning.
pub(super) const LONGEST_START: usize = 4 << 10;

/// A frame about a large message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// So many bytes of its body come first.
    Begin { lane: u64, start: usize },
    /// So many bytes come next.
    Piece { lane: u64, length: usize },
    /// There is a file, whose places have so many bytes.
    Spool { size: u64 },
    /// So many bytes lie in a place of it.
    Spooled { lane: u64, place: u32, length: u32 },
}

const FLAG: u8 = Header::UNORDERED;

/// Far from those of frames about memory.
const BEGIN: u8 = 0x10;
const PIECE: u8 = 0x11;
const SPOOL: u8 = 0x12;
const SPOOLED: u8 = 0x13;

/// Whether a header is of a frame of any kind, rather than of a message.
pub(super) fn is_frame(header: &Header) -> bool {
    header.flags & FLAG != 0
}

impl Frame {
    pub(super) fn header(self) -> Header {
        let (kind, id, ordinal, behind) = match self {
            Self::Begin { lane, start } => (BEGIN, lane, 0, Header::SIZE + start),
            Self::Piece { lane, length } => (PIECE, lane, 0, length),
            Self::Spool { size } => (SPOOL, size, 0, 0),
            Self::Spooled { lane, place, length } => {
                (SPOOLED, lane, u64::from(place) | u64::from(length) << 32, 0)
            }
        };
        Header {
            // A body is at most 1 GiB.
            length: behind as u32,
            kind,
            flags: FLAG,
            id,
            ordinal,
            ..Header::default()
        }
    }

    /// What a header says. `None`: it is of a frame of another kind.
    ///
    /// # Errors
    /// It is of a frame like these, and makes no sense.
    pub(super) fn read(header: &Header) -> Result<Option<Self>, Error> {
        let (lane, length) = (header.id, header.length as usize);
        let frame = match header.kind {
            BEGIN => length
                .checked_sub(Header::SIZE)
                .filter(|&start| start <= LONGEST_START)
                .map(|start| Self::Begin { lane, start }),
            PIECE => Some(Self::Piece { lane, length }),
            SPOOL => Some(Self::Spool { size: header.id }),
            SPOOLED => Some(Self::Spooled {
                lane,
                // The halves of a number of 64 bits.
                place: header.ordinal as u32,
                length: (header.ordinal >> 32) as u32,
            }),
            _ => return Ok(None),
        };
        // Nothing else in it may say anything.
        let frame = frame.filter(|frame| frame.header() == *header);
        frame.map(Some).ok_or_else(|| {
            let message = "what is said of a large message makes no sense";
            Error::new(ErrorKind::Protocol, message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Frame, LONGEST_START, is_frame};
    use crate::{ErrorKind, Header};

    #[test]
    fn what_is_written_is_read() {
        let frames = [
            Frame::Begin { lane: 0, start: 0 },
            Frame::Begin {
                lane: 7,
                start: LONGEST_START,
            },
            Frame::Piece { lane: 1, length: 0 },
            Frame::Piece {
                lane: u64::MAX,
                length: u32::MAX as usize,
            },
            Frame::Spool { size: u64::MAX },
            Frame::Spooled {
                lane: 2,
                place: 3,
                length: u32::MAX,
            },
        ];
        for frame in frames {
            let header = Header::from_bytes(&frame.header().to_bytes());
            assert!(is_frame(&header));
            assert_eq!(Frame::read(&header).unwrap(), Some(frame));
        }
    }

    #[test]
    fn what_says_something_else_makes_no_sense() {
        let begin = Frame::Begin { lane: 1, start: 9 }.header();
        let wrong = [
            Header { length: 31, ..begin },
            Frame::Begin {
                lane: 1,
                start: LONGEST_START + 1,
            }
            .header(),
            Header { flags: 0xff, ..begin },
            Header { sections: 1, ..begin },
            Header { handles: 1, ..begin },
            Header { ordinal: 1, ..begin },
            Header { extra: 1, ..begin },
            Header {
                length: 1,
                ..Frame::Spool { size: 4096 }.header()
            },
            Header {
                ordinal: 1,
                ..Frame::Spool { size: 4096 }.header()
            },
            Header {
                length: 9,
                ..Frame::Spooled {
                    lane: 0,
                    place: 0,
                    length: 9,
                }
                .header()
            },
        ];
        for header in wrong {
            let error = Frame::read(&header).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol, "{header:?}");
        }
        assert_eq!(Frame::read(&Header { kind: 1, ..begin }).unwrap(), None);
    }
}
