//! Memories and what is said to lie in them: one place twice, what belongs to another connection, memories without end, and
//! such as come and go.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{SealFlags, fcntl_add_seals};
use tests::meter::Holdings;

use crate::foes::{Foe, to_both_ends};
use crate::raw::Frame;
use crate::sections::{
    ANNOUNCE, ANNOUNCE_SEALED, FORGET, MIB, PLACE, WORDS, all_seals, announce, entry, honest, memory,
};

/// Bytes that sections of one connection may take together: 64 MiB, and a section of the largest size.
const MOST: u64 = 128 * MIB;

/// Memory as an honest side makes it, full of one byte, and the words by which its places are given back.
fn full_of(byte: u8, seals: SealFlags) -> [OwnedFd; 2] {
    let file = File::from(memory(MIB, SealFlags::empty()));
    file.write_all_at(&vec![byte; MIB as usize], 0).unwrap();
    fcntl_add_seals(&file, seals).unwrap();
    let [_, words] = honest();
    [file.into(), words]
}

/// How often a place was given back.
fn returned(words: &File, place: u64) -> u32 {
    let mut word = [0; 4];
    words.read_exact_at(&mut word, 4 * place).unwrap();
    u32::from_le_bytes(word)
}

#[test]
fn one_place_twice() {
    to_both_ends("one place twice", |victim| {
        let mut foe = victim.meets();
        let [memory, words] = full_of(5, all_seals());
        let watched = File::from(words.try_clone().unwrap());
        foe.tell(&announce(ANNOUNCE, 0, 1, MIB), &[memory, words]);
        let place = entry(0, 1, 3 * PLACE, 1000);
        // Each is a section of its own, and is given back by itself.
        let looks = victim.takes(&mut foe, &[place, place], &[(1000, 0), (1000, 1)]);
        assert_eq!(looks, Ok(vec![(5000, 5000); 2]));
        // Also if they differ in length.
        let shorter = entry(0, 1, 3 * PLACE, 10);
        let looks = victim.takes(&mut foe, &[place, shorter], &[(10, 1), (1000, 0)]);
        assert_eq!(looks, Ok(vec![(50, 50), (5000, 5000)]));
        while returned(&watched, 3) != 4 {
            std::thread::yield_now();
        }
        // One section that is two values is an error of the call, and so is one that is none.
        for values in [&[(1000, 0), (1000, 0)][..], &[(1000, 1)]] {
            let refused = victim.takes(&mut foe, &[place, place], values).unwrap_err();
            assert!(refused.contains("section"), "{refused}");
        }
        // It goes on, with everything given back.
        let looks = victim.takes(&mut foe, &[place], &[(1000, 0)]);
        assert_eq!(looks, Ok(vec![(5000, 5000)]));
        while returned(&watched, 3) != 9 {
            std::thread::yield_now();
        }
        victim.is_left_by(foe);
    });
}

/// What one connection was told of is nothing to another, though the same process has it mapped.
#[test]
fn a_block_of_another_connection() {
    to_both_ends("a block of another connection", |victim| {
        let [secret, words] = full_of(7, all_seals());
        let mut owner = victim.meets();
        owner.tell(&announce(ANNOUNCE, 5, 1, MIB), &[secret, words]);
        let place = entry(5, 1, 0, 1000);
        let seen = Ok(vec![(7000, 7000)]);
        assert_eq!(victim.takes(&mut owner, &[place], &[(1000, 0)]), seen);
        // From one that has none, and from one that has another memory of the same number.
        let mut stranger = victim.meets();
        let refused = victim.takes(&mut stranger, &[place], &[(1000, 0)]).unwrap_err();
        assert!(refused.contains("not known"), "{refused}");
        victim.is_left_by(stranger);
        let mut stranger = victim.meets();
        stranger.tell(&announce(ANNOUNCE, 5, 1, MIB), &full_of(1, all_seals()));
        let looks = victim.takes(&mut stranger, &[place], &[(1000, 0)]);
        assert_eq!(looks, Ok(vec![(1000, 1000)]), "it sees its own");
        // Who has forgotten its own has none, and who ends takes nobody else's along.
        let forgotten = Frame {
            handles: 0,
            ..announce(FORGET, 5, 1, 0)
        };
        stranger.tell(&forgotten, &[]);
        let refused = victim.takes(&mut stranger, &[place], &[(1000, 0)]).unwrap_err();
        assert!(refused.contains("not known"), "{refused}");
        victim.is_left_by(stranger);
        assert_eq!(victim.takes(&mut owner, &[place], &[(1000, 0)]), seen);
        victim.is_left_by(owner);
    });
}

/// Tells of one more memory: of the words, too, with the first.
fn tell_of(foe: &mut Foe, number: u32, length: u64, [memory, words]: [OwnedFd; 2]) {
    let first = number == 0;
    let frame = Frame {
        handles: if first { 2 } else { 1 },
        ..announce(ANNOUNCE, number, 1, length)
    };
    let both = [memory, words];
    foe.tell(&frame, if first { &both } else { &both[..1] });
}

/// There is an end to what is mapped, in number and in bytes.
#[test]
fn memories_without_end() {
    to_both_ends("memories without end", |victim| {
        for (length, rule) in [(MIB, "too high"), (4 * MIB, "larger than all")] {
            let most = (MOST / length).min(64) as u32;
            let mut foe = victim.meets();
            let make = || {
                let words = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
                [memory(length, all_seals()), memory(WORDS, words)]
            };
            for number in 0..most {
                tell_of(&mut foe, number, length, make());
            }
            // All of those are taken.
            let last = entry(most - 1, 1, 0, 10);
            assert_eq!(victim.takes(&mut foe, &[last], &[(10, 0)]), Ok(vec![(0, 0)]));
            assert!(Holdings::of(victim.pid()).shared >= most as usize);
            tell_of(&mut foe, most, length, make());
            let refused = victim.takes(&mut foe, &[last], &[(10, 0)]).unwrap_err();
            assert!(refused.contains(rule), "{refused}");
            victim.is_left_by(foe);
        }
    });
}

/// What was forgotten leaves nothing behind, however often.
#[test]
fn memories_that_come_and_go() {
    to_both_ends("memories that come and go", |victim| {
        let mut foe = victim.meets();
        let mut held = None;
        for generation in 1..=500 {
            // By turns memory that its owner may write, and memory that nobody may.
            let sealed = generation % 2 == 0;
            let seals = if sealed {
                all_seals() | SealFlags::WRITE
            } else {
                all_seals()
            };
            let [memory, words] = full_of(3, seals);
            let kind = if sealed { ANNOUNCE_SEALED } else { ANNOUNCE };
            let frame = Frame {
                handles: if generation == 1 { 2 } else { 1 },
                ..announce(kind, 9, generation, MIB)
            };
            let both = [memory, words];
            foe.tell(&frame, if generation == 1 { &both } else { &both[..1] });
            let looks = victim.takes(&mut foe, &[entry(9, generation, 0, 20_000)], &[(20_000, 0)]);
            assert_eq!(looks, Ok(vec![(60_000, 60_000)]));
            let forgotten = Frame {
                handles: 0,
                ..announce(FORGET, 9, generation, 0)
            };
            foe.tell(&forgotten, &[]);
            if generation % 100 == 0 {
                // What was forgotten is unmapped when the next message is looked at: that of the canary is on another connection.
                assert_eq!(victim.takes(&mut foe, &[], &[]), Ok(Vec::new()));
                let now = Holdings::of(victim.pid());
                let before = *held.get_or_insert(now);
                assert!(
                    now.descriptors <= before.descriptors && now.shared <= before.shared,
                    "{before:?} has become {now:?}"
                );
            }
        }
        victim.is_left_by(foe);
    });
}
