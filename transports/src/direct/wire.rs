//! What the two sides say to each other about bodies that are lent. The table is in the parent module.

use super::LONGEST_WORD;
use crate::Header;

/// In `ordinal`, beside a kind that is far from those of the floor above.
pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"direct\0\x01");

/// Bytes that are shown to see whether the other side can read them.
pub(super) const NONCE: usize = 32;

/// What a message is lent with: all of it but what lies in memory.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lending<'a> {
    pub(super) header: Header,
    /// The memory may be left before it is given back: a Move tells of that.
    pub(super) may_move: bool,
    /// Bytes of the body before those that lie in memory, and behind them.
    pub(super) head: &'a [u8],
    pub(super) tail: &'a [u8],
}

const MAY_MOVE: u32 = 1 << 31;

impl<'a> Lending<'a> {
    pub(super) fn write(&self) -> Vec<u8> {
        // A body is at most 1 GiB.
        let mut word = self.head.len() as u32;
        if self.may_move {
            word |= MAY_MOVE;
        }
        [
            &self.header.to_bytes(),
            &word.to_le_bytes()[..],
            self.head,
            self.tail,
        ]
        .concat()
    }

    /// Whether what stands before and behind a body leaves this short enough.
    pub(super) fn fits(head: &[u8], tail: &[u8]) -> bool {
        Header::SIZE + size_of::<u32>() + head.len() + tail.len() <= LONGEST_WORD
    }

    /// Reads what was written. `None`: it is too short.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk()?;
        let (word, rest) = rest.split_first_chunk()?;
        let word = u32::from_le_bytes(*word);
        let (head, tail) = rest.split_at_checked((word & !MAY_MOVE) as usize)?;
        Some(Self {
            header: Header::from_bytes(header),
            may_move: word & MAY_MOVE != 0,
            head,
            tail,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Offer = 0xe0,
    Proof = 0xe1,
    Lend = 0xe2,
    Done = 0xe3,
    Refuse = 0xe4,
    Copy = 0xe5,
    Move = 0xe6,
}

impl Kind {
    /// What a header means here, if it does.
    pub(super) fn of(header: &Header) -> Option<Self> {
        if header.ordinal != MAGIC {
            return None;
        }
        let kinds = [
            Self::Offer,
            Self::Proof,
            Self::Lend,
            Self::Done,
            Self::Refuse,
            Self::Copy,
            Self::Move,
        ];
        kinds.into_iter().find(|&kind| kind as u8 == header.kind)
    }

    /// A header of this kind. Each passes what has no place in the order, as what is lent does.
    pub(super) fn header(self, id: u64, extra: u64) -> Header {
        Header {
            kind: self as u8,
            flags: Header::UNORDERED,
            id,
            ordinal: MAGIC,
            extra,
            ..Header::default()
        }
    }
}
