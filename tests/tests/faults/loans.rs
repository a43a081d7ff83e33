//! Memory that one side has to itself and sends back, by hand: to servers in processes of their own that trust whoever connects, or do not. What
//! is said of it that is not so ends the connection of whoever says it, and nothing else.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{SealFlags, fcntl_get_seals};
use tests::fixture::Transport;
use tests::subject::Plan;

use crate::raw::{self, Frame, Stranger, id, ordinal};
use crate::sections::{FRAME, MIB, PLACE, attack_with, descriptors_of, entry, honest, introduced_at, memory};
use crate::shared::send;

/// The marks beside the number of a segment: it is the receiver's own, and it has it to itself.
const BACK: u32 = 1 << 31;
const ALONE: u32 = 1 << 30;

/// The kind of a frame that announces memory that is written in turn.
const ANNOUNCE_OPEN: u8 = 6;

/// What `Samples.make` makes, in bytes.
const LENGTH: u32 = 100_000;

fn plan(trusts: bool) -> Plan {
    Plan {
        trusts,
        ..Plan::at(Transport::UnixName.endpoint())
    }
}

/// Has the server make a section of its own.
fn make(sequence: u64) -> Frame {
    let mut body = u64::from(LENGTH).to_le_bytes().to_vec();
    body.push(0);
    Frame {
        id: id(sequence),
        ordinal: ordinal("Samples.make"),
        body,
        ..Frame::new(raw::REQUEST)
    }
}

/// Has it turn one around.
fn turn(sequence: u64, place: [u32; 4], length: u32) -> Frame {
    let words = place.into_iter().chain([1, length, 0, 0]);
    Frame {
        id: id(sequence),
        ordinal: ordinal("Samples.turn"),
        sections: 1,
        body: words.flat_map(u32::to_le_bytes).collect(),
        ..Frame::new(raw::REQUEST)
    }
}

/// The place that the answer to a call names, which came as this side's to have.
fn answered(stranger: &mut Stranger, sequence: u64) -> [u32; 4] {
    loop {
        let frame = stranger.hear().expect("the connection goes on");
        if frame.flags & FRAME != 0 {
            continue;
        }
        assert_eq!(
            (frame.kind, frame.id, frame.sections),
            (raw::REPLY, id(sequence), 1)
        );
        let word = |at: usize| u32::from_le_bytes(*frame.body[4 * at..].first_chunk().unwrap());
        return [0, 1, 2, 3].map(word);
    }
}

/// The connection ends with a sentence in which this stands.
fn refused(stranger: &mut Stranger, rule: &str) {
    let last = stranger.rest().pop().expect("a last word");
    assert_eq!((last.kind, last.extra), (raw::CLOSE, raw::PROTOCOL), "{rule}");
    let sentence = last.sentence();
    assert!(sentence.contains(rule), "{rule}: {sentence}");
}

/// What the server has lent whole comes back and goes again, and then comes back once more often.
#[test]
fn clients_that_send_back_what_they_had() {
    attack_with("clients that send back", plan(true), |endpoint| {
        // What is said of the place instead, added to what is true.
        let lies: [([u32; 4], &str); 6] = [
            ([5, 0, 0, 0], "never lent"),
            ([0, 1, 0, 0], "never lent"),
            ([0, 0, PLACE, 0], "never lent"),
            ([0, u32::MAX, u32::MAX, u32::MAX], "never lent"),
            ([0, 0, 0, 1], "not as long"),
            ([0, 0, 0, u32::MAX], "not as long"),
        ];
        for (lie, rule) in lies {
            let (mut stranger, _socket) = introduced_at(endpoint);
            stranger.say(&make(1));
            let mut place = answered(&mut stranger, 1);
            for sequence in 2..5 {
                assert_eq!(place[0] & (BACK | ALONE), ALONE);
                place[0] ^= BACK | ALONE;
                stranger.say(&turn(sequence, place, LENGTH));
                let again = answered(&mut stranger, sequence);
                assert_eq!(again[1..], place[1..], "it is the same place");
                place = again;
            }
            place[0] ^= BACK | ALONE;
            let lied = [0, 1, 2, 3].map(|at| lie[at].wrapping_add(place[at]));
            stranger.say(&turn(5, lied, lied[3]));
            refused(&mut stranger, rule);
        }
        // Twice, by which time the server itself has it.
        let (mut stranger, _socket) = introduced_at(endpoint);
        stranger.say(&make(1));
        let mut place = answered(&mut stranger, 1);
        place[0] ^= BACK | ALONE;
        let twice = [place, place].concat();
        let both = Frame {
            sections: 2,
            body: twice
                .into_iter()
                .chain([1, LENGTH, 0, 0])
                .flat_map(u32::to_le_bytes)
                .collect(),
            ..turn(2, place, LENGTH)
        };
        stranger.say(&both);
        refused(&mut stranger, "overlap");
    });
}

/// A server that trusts nobody lets nobody write, and takes nothing back.
#[test]
fn where_nobody_is_trusted_nothing_is_lent_whole() {
    attack_with("nobody is trusted", plan(false), |endpoint| {
        let (mut stranger, socket) = introduced_at(endpoint);
        stranger.say(&make(1));
        let came = descriptors_of(&socket);
        let seals = fcntl_get_seals(&came[0]).unwrap();
        assert!(seals.contains(SealFlags::FUTURE_WRITE));
        let [segment, generation, offset, length] = answered(&mut stranger, 1);
        assert_eq!(segment & (BACK | ALONE), 0);
        stranger.say(&turn(2, [segment | BACK, generation, offset, length], LENGTH));
        refused(&mut stranger, "never lent");
    });
}

/// Memory that is said to be written in turn and is none; and what is, twice at once.
#[test]
fn clients_that_lie_about_memory_that_is_written_in_turn() {
    let size = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    for trusts in [false, true] {
        attack_with("memory in turn", plan(trusts), move |endpoint| {
            let announce = Frame {
                flags: FRAME,
                handles: 2,
                id: 1 << 32,
                ordinal: MIB,
                ..Frame::new(ANNOUNCE_OPEN)
            };
            let tell = |memory: OwnedFd| {
                let (stranger, socket) = introduced_at(endpoint);
                let [_, words] = honest();
                send(&socket, &announce.bytes(), &[memory.as_fd(), words.as_fd()]);
                stranger
            };
            for (seals, rule) in [
                (SealFlags::empty(), "its size is not sealed"),
                (size - SealFlags::SHRINK, "its size is not sealed"),
                (size | SealFlags::FUTURE_WRITE, "sealed against writing"),
            ] {
                refused(&mut tell(memory(MIB, seals)), rule);
            }
            let whole = entry(ALONE, 1, 0, LENGTH);
            let mut stranger = tell(memory(MIB, size));
            stranger.say(&turn(1, whole, LENGTH));
            let [segment, ..] = answered(&mut stranger, 1);
            // It is answered where it is, if the server trusts this side.
            assert_eq!(segment & BACK != 0, trusts);
            for other in [whole, entry(0, 1, 0, LENGTH), entry(0, 1, PLACE, 1)] {
                let mut stranger = tell(memory(MIB, size));
                let table = [whole, other].concat();
                stranger.say(&Frame {
                    sections: 2,
                    body: table
                        .into_iter()
                        .chain([1, LENGTH, 0, 0])
                        .flat_map(u32::to_le_bytes)
                        .collect(),
                    ..turn(1, whole, LENGTH)
                });
                refused(&mut stranger, "overlap");
            }
        });
    }
}
