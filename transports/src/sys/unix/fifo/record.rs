//! What a client writes into a rendezvous, and what it is greeted with.

use crate::socket::Tag;

/// "A connection of version 1 is wanted". Where it does not stand there is no record: what others wrote is skipped
/// until it is found again.
const MAGIC: [u8; 8] = *b"ipc-rpc\x01";
const TOKEN: usize = 16;

/// Which pair of FIFOs a client made, and what its frames will bear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) token: [u8; TOKEN],
    pub(super) tag: Tag,
}

/// The greeting for a client that is turned away; one that is accepted is greeted with its tag, which is never this.
pub(super) const REFUSED: Tag = [0; 16];

impl Record {
    /// Far below 512, the least that `PIPE_BUF` can be.
    pub(super) const SIZE: usize = MAGIC.len() + TOKEN + size_of::<Tag>();

    pub(super) fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..24].copy_from_slice(&self.token);
        bytes[24..].copy_from_slice(&self.tag);
        bytes
    }

    /// The first record in `bytes` and how many bytes to drop before it; without one, how many cannot begin one.
    pub(super) fn find(bytes: &[u8]) -> (usize, Option<Self>) {
        let begins = |at: &usize| {
            let rest = &bytes[*at..];
            let known = rest.len().min(MAGIC.len());
            rest[..known] == MAGIC[..known]
        };
        let at = (0..bytes.len()).find(begins).unwrap_or(bytes.len());
        let Some(found) = bytes[at..].first_chunk::<{ Self::SIZE }>() else {
            return (at, None);
        };
        let mut record = Self {
            token: [0; TOKEN],
            tag: [0; 16],
        };
        record.token.copy_from_slice(&found[8..24]);
        record.tag.copy_from_slice(&found[24..]);
        (at, Some(record))
    }
}

#[cfg(test)]
mod tests {
    use super::{MAGIC, Record};

    const RECORD: Record = Record {
        token: [7; 16],
        tag: [9; 16],
    };

    #[test]
    fn a_record_is_read_back_and_found_behind_noise() {
        let bytes = RECORD.to_bytes();
        assert_eq!(Record::find(&bytes), (0, Some(RECORD)));
        for noise in [&b"x"[..], &MAGIC[..5], &bytes[..30], &[0; 100]] {
            let all = [noise, &bytes].concat();
            let (mut at, mut found) = Record::find(&all);
            // One that a torn record seems to begin is no real one: it is looked for again, behind its first byte.
            if found.is_some_and(|found| found != RECORD) {
                let (more, next) = Record::find(&all[at + 1..]);
                (at, found) = (at + 1 + more, next);
            }
            assert_eq!((at, found), (noise.len(), Some(RECORD)), "{noise:?}");
        }
    }

    #[test]
    fn a_part_of_a_record_is_kept_and_nothing_else() {
        let bytes = RECORD.to_bytes();
        for length in 0..Record::SIZE {
            assert_eq!(Record::find(&bytes[..length]), (0, None));
        }
        assert_eq!(Record::find(b"noise"), (5, None));
        assert_eq!(Record::find(b"noiseip"), (5, None));
    }
}
