//! Every way to copy, for every length that its instructions could trip over, at every alignment.

use super::Random;
use crate::sys::shm::copy::append;
use crate::sys::shm::copy::ways;

#[test]
fn every_way_copies_all_and_no_more() {
    const ROOM: usize = 9000;
    let source = Random(1).bytes(ROOM);
    let mut target = vec![0xee; ROOM];
    let lengths = || (0..=300).chain([511, 512, 513, 1000, 1023, 1024, 1025, 4096, 4097, 8191]);
    for (way, range, copy) in ways::all() {
        for length in lengths().filter(|length| range.contains(length)) {
            for (from, to) in [
                (0, 0),
                (0, 1),
                (1, 0),
                (3, 8),
                (8, 5),
                (7, 7),
                (15, 31),
                (32, 16),
                (63, 64),
            ] {
                let (begin, end) = (&source[from..], &mut target[to..]);
                // SAFETY: both have room for the length behind where they begin, and are apart.
                unsafe { copy(begin.as_ptr(), end.as_mut_ptr(), length) };
                let told = format!("{way}: {length} bytes, from {from} to {to}");
                assert_eq!(target[to..to + length], source[from..from + length], "{told}");
                assert!(
                    target[..to]
                        .iter()
                        .chain(&target[to + length..])
                        .all(|&byte| byte == 0xee),
                    "{told}: something beside was written"
                );
                target[to..to + length].fill(0xee);
            }
        }
    }
}

#[test]
fn a_body_is_appended_to_wherever_it_ends() {
    const PIECE: usize = 8191;
    let source = Random(2).bytes(PIECE + 64);
    // Shorter than what is kept in the cache, just that, and longer.
    for there in [0, 1, (16 << 20) - 1, 16 << 20, (16 << 20) + 37] {
        let mut body = vec![0xee; there];
        for at in [0, 1, 64] {
            body.reserve_exact(PIECE);
            // SAFETY: the source has so many bytes behind `at`.
            unsafe { append(source[at..].as_ptr(), PIECE, &mut body) };
        }
        assert_eq!(body.len(), there + 3 * PIECE);
        let (before, pieces) = body.split_at(there);
        let end = &before[there.saturating_sub(4096)..];
        assert!(end.iter().all(|&byte| byte == 0xee), "{there}");
        for (piece, at) in pieces.chunks(PIECE).zip([0, 1, 64]) {
            assert_eq!(piece, &source[at..at + PIECE], "{there}, {at}");
        }
    }
}
