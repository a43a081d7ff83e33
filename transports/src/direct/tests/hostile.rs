//! A port of the tier whose other side speaks by hand.

use std::time::{Duration, Instant};

use super::{LARGE, agreed, alone, busy, deadline, ends, header, hear, next, send, usage};
use crate::direct::wire::{Kind, Lending};
use crate::direct::{DirectState, MOST_LENT};
use crate::{Endpoint, ErrorKind, Header, Message, Port, Received, Sent, sys};

/// One end of the tier, and one that speaks by hand.
fn hostile() -> [Port; 2] {
    let [mut victim, mut hostile] = ends([true, false]);
    victim.sender.offer_direct();
    let _ = victim.sender.flush().unwrap();
    let offer = heard(&mut hostile, Kind::Offer);
    assert_ne!(offer.header.extra, 0);
    [victim, hostile]
}

/// What the victim says next.
fn heard(hostile: &mut Port, kind: Kind) -> Message {
    let mut message = Message::default();
    hostile.receiver.park(false, deadline()).unwrap();
    let received = hostile.receiver.try_recv(&mut message).unwrap();
    assert_eq!(
        (received, Kind::of(&message.header)),
        (Received::Message, Some(kind))
    );
    message
}

fn say(hostile: &mut Port, kind: Kind, id: u64, extra: u64, body: &[u8]) {
    let sent = hostile
        .sender
        .try_send(&kind.header(id, extra), &mut body.to_vec());
    assert_eq!(sent.unwrap(), Sent::Accepted);
    let _ = hostile.sender.flush().unwrap();
}

/// What the victim says when it has read all that was said.
fn end_of(victim: &mut Port) -> crate::Error {
    let until = deadline();
    loop {
        match victim.receiver.try_recv(&mut Message::default()) {
            Ok(Received::Begun | Received::Message) => {}
            Ok(Received::Empty) => {
                assert!(Instant::now() < until.unwrap(), "nothing is wrong");
                let soon = Instant::now().checked_add(Duration::from_millis(1));
                victim.receiver.park(false, soon).unwrap();
            }
            Ok(Received::Closed) => panic!("nothing is wrong"),
            Err(error) => {
                let again = victim.receiver.try_recv(&mut Message::default()).unwrap_err();
                assert_eq!(again.to_string(), error.to_string());
                assert!(!victim.receiver.in_progress());
                return error;
            }
        }
    }
}

/// A message of `length` bytes as it is lent, with a first few of them.
fn lending(length: u32, head: &[u8]) -> Vec<u8> {
    let header = Header {
        length,
        ..header(1, 0)
    };
    Lending {
        header,
        may_move: false,
        head,
        tail: &[],
    }
    .write()
}

/// Shows something to read, as an honest side does.
fn offer(hostile: &mut Port) {
    static SHOWN: [u8; 32] = [3; 32];
    say(hostile, Kind::Offer, 0, SHOWN.as_ptr() as u64, b"");
}

#[test]
fn what_no_honest_side_says() {
    let _alone = alone();
    static MEMORY: [u8; 1000] = [5; 1000];
    let there = MEMORY.as_ptr() as u64;
    let limit = Endpoint::DEFAULT_MESSAGE_LIMIT as u32;
    type Said = (Kind, u64, u64, Vec<u8>);
    let twice = |said: Said| vec![said.clone(), said];
    let lend = |slot, address, body: Vec<u8>| (Kind::Lend, slot, address, body);
    let cases: Vec<(Vec<Said>, ErrorKind, &str)> = vec![
        (
            vec![(Kind::Done, 0, 0, vec![])],
            ErrorKind::Protocol,
            "holds nothing",
        ),
        (
            vec![(Kind::Done, u64::MAX, 0, vec![])],
            ErrorKind::Protocol,
            "holds nothing",
        ),
        (
            vec![(Kind::Refuse, 1, 0, vec![])],
            ErrorKind::Protocol,
            "holds nothing",
        ),
        (
            vec![(Kind::Copy, 0, 0, vec![1; 10])],
            ErrorKind::Protocol,
            "nobody asked for",
        ),
        (
            twice((Kind::Proof, 0, 0, vec![7; 32])),
            ErrorKind::Protocol,
            "nobody asked for",
        ),
        (
            vec![(Kind::Offer, 0, there, vec![])],
            ErrorKind::Protocol,
            "twice",
        ),
        (
            vec![lend(0, there, vec![])],
            ErrorKind::Protocol,
            "without a header",
        ),
        (
            vec![lend(0, there, lending(0, b""))],
            ErrorKind::Protocol,
            "without a body",
        ),
        (
            vec![lend(0, there, lending(4, b"four"))],
            ErrorKind::Protocol,
            "without a body",
        ),
        (
            vec![lend(0, there, lending(3, b"four"))],
            ErrorKind::Protocol,
            "without a body",
        ),
        (
            vec![lend(0, there, lending(limit + 1, b""))],
            ErrorKind::TooLarge,
            "67108865",
        ),
        (
            vec![lend(0, 0, lending(10, b""))],
            ErrorKind::Protocol,
            "no memory",
        ),
        (
            vec![lend(0, u64::MAX - 5, lending(limit, b""))],
            ErrorKind::Protocol,
            "no memory",
        ),
        (
            vec![lend(0, there, lending(10, b"")[..35].to_vec())],
            ErrorKind::Protocol,
            "without a header",
        ),
    ];
    for (said, kind, rule) in cases {
        let [mut victim, mut hostile] = hostile();
        offer(&mut hostile);
        for (kind, id, extra, body) in said {
            say(&mut hostile, kind, id, extra, &body);
        }
        let error = end_of(&mut victim);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(rule), "{error}: nothing of {rule:?}");
    }
    // Before anything was shown.
    let [mut victim, mut hostile] = hostile();
    say(&mut hostile, Kind::Lend, 0, there, &lending(10, b""));
    assert!(
        end_of(&mut victim)
            .to_string()
            .contains("more is lent than was agreed on")
    );
}

#[test]
fn slots_are_few_and_each_is_lent_once() {
    let _alone = alone();
    let busy = busy();
    static MEMORY: [u8; 10] = [5; 10];
    let there = MEMORY.as_ptr() as u64;
    for (slots, rule) in [
        (vec![5, 5], "lent twice"),
        (
            (0..=MOST_LENT as u64).collect(),
            "more is lent than was agreed on",
        ),
    ] {
        let [mut victim, mut hostile] = hostile();
        offer(&mut hostile);
        for slot in slots {
            say(&mut hostile, Kind::Lend, slot, there, &lending(10, b""));
        }
        let error = end_of(&mut victim);
        assert!(error.to_string().contains(rule), "{error}");
    }
    drop(busy);
}

#[test]
fn a_proof_has_to_be_right() {
    let _alone = alone();
    for (proof, why) in [
        (&[][..], "cannot read"),
        (&[9; 32], "another process"),
        (&[9; 31], "another process"),
    ] {
        let [mut victim, mut hostile] = hostile();
        say(&mut hostile, Kind::Proof, 0, 0, proof);
        victim.receiver.park(false, deadline()).unwrap();
        let _ = hear(&mut victim);
        let state = usage(&victim).state;
        assert!(
            matches!(&state, DirectState::Refused(reason) if reason.contains(why)),
            "{state:?}"
        );
        send(&mut victim, 1, Header::UNORDERED, LARGE);
        assert_eq!(usage(&victim).lent, 0);
    }
}

#[test]
fn nobody_sees_what_became_of_memory_whose_owner_is_gone() {
    let _alone = alone();
    static MEMORY: [u8; 1000] = [5; 1000];
    let [mut victim, mut hostile] = hostile();
    offer(&mut hostile);
    say(
        &mut hostile,
        Kind::Lend,
        0,
        MEMORY.as_ptr() as u64,
        &lending(1000, b""),
    );
    // The memory is still there, but its owner has said that it is not to be counted on any more.
    drop(hostile);
    let error = end_of(&mut victim);
    assert_eq!(error.kind(), ErrorKind::PeerDied, "{error}");
    assert!(
        error.to_string().contains("in the middle of a message"),
        "{error}"
    );
}

#[test]
fn what_is_lent_to_one_who_is_gone_is_not_waited_for() {
    let _alone = alone();
    let [mut near, far] = agreed();
    send(&mut near, 1, Header::UNORDERED, LARGE);
    assert!(near.sender.waits());
    drop(far);
    let mut message = Message::default();
    let until = deadline();
    while let Ok(Received::Empty) = near.receiver.try_recv(&mut message) {
        assert!(Instant::now() < until.unwrap(), "the end goes unnoticed");
        near.receiver.park(false, until).unwrap();
    }
    assert!(!near.sender.waits());
}

#[test]
fn memory_that_stalls_stalls_nobody_else() {
    let _alone = alone();
    let (userfault, address) = sys::stalled();
    let Some(userfault) = userfault else {
        eprintln!("skipped: this system gives this user no userfaultfd");
        return;
    };
    let [mut victim, mut hostile] = hostile();
    offer(&mut hostile);
    say(
        &mut hostile,
        Kind::Lend,
        0,
        address as u64,
        &lending(5000, b"abc"),
    );
    let mut message = Message::default();
    let mut received = Received::Empty;
    while received == Received::Empty {
        victim.receiver.park(false, deadline()).unwrap();
        received = victim.receiver.try_recv(&mut message).unwrap();
    }
    assert_eq!(
        (received, message.header.length, message.header.id),
        (Received::Begun, 5000, 1)
    );
    // This connection waits, as anybody can tell who gives up a message that takes too long, and others pass.
    for id in 10..20 {
        send(&mut hostile, id, 0, 100);
        victim.receiver.park(false, deadline()).unwrap();
        let received = victim.receiver.try_recv(&mut message).unwrap();
        assert_eq!((received, message.header.id), (Received::Message, id));
        assert!(victim.receiver.in_progress());
    }
    // Another one has its bodies copied.
    let [mut near, mut far] = agreed();
    for id in 1..5 {
        send(&mut near, id, Header::UNORDERED, LARGE);
        assert_eq!(next(&mut near, &mut far).unwrap(), id);
    }
    assert_eq!(usage(&far).fetched, 4);
    // The memory is served at last.
    drop(userfault);
    let until = deadline();
    loop {
        victim.receiver.park(false, until).unwrap();
        let received = victim.receiver.try_recv(&mut message).unwrap();
        if received == Received::Message {
            break;
        }
        assert!(Instant::now() < until.unwrap());
    }
    assert!(message.begun);
    assert_eq!((&message.body[..5], message.body.len()), (&b"abc\0\0"[..], 5000));
    let _ = victim.sender.flush().unwrap();
    let _ = heard(&mut hostile, Kind::Proof);
    let _ = heard(&mut hostile, Kind::Done);
}

#[test]
fn a_port_without_the_tier_knows_nothing_of_it() {
    let [mut plain, mut other] = ends([false, false]);
    assert!(plain.carrier.direct().is_none());
    plain.sender.offer_direct();
    send(&mut plain, 1, Header::UNORDERED, 10);
    assert_eq!(next(&mut plain, &mut other).unwrap(), 1);
    // What looks like a word about it is a message like any other.
    say(&mut plain, Kind::Offer, 0, 0, b"");
    let _ = heard(&mut other, Kind::Offer);
    // But not where it is one.
    let [mut direct, _other] = ends([true, true]);
    let refused = direct.sender.try_send(&Kind::Done.header(0, 0), &mut Vec::new());
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn what_has_moved_is_read_where_it_is() {
    let _alone = alone();
    let [mut victim, mut hostile] = hostile();
    offer(&mut hostile);
    let (before, after) = (vec![1; LARGE], vec![2; LARGE]);
    let header = Header {
        length: LARGE as u32,
        ..header(1, 0)
    };
    let lending = Lending {
        header,
        may_move: true,
        head: b"",
        tail: b"",
    };
    say(
        &mut hostile,
        Kind::Lend,
        3,
        before.as_ptr() as u64,
        &lending.write(),
    );
    say(&mut hostile, Kind::Move, 3, after.as_ptr() as u64, b"");
    // Of what nobody knows, or twice: nothing is moved.
    say(&mut hostile, Kind::Move, 3, 0, b"");
    say(&mut hostile, Kind::Move, 4, 0, b"");
    let mut message = Message::default();
    let until = deadline();
    while victim.receiver.try_recv(&mut message).unwrap() != Received::Message {
        assert!(Instant::now() < until.unwrap());
        victim.receiver.park(false, until).unwrap();
    }
    assert!(message.body == after);
}
