//! Bodies that stay with their owners, who may leave.

use super::{HEAD, LARGE, THRESHOLD, agreed, alone, body, busy, header, hear, next, send, usage};
use crate::direct::LONGEST_WORD;
use crate::{Flushed, Header, Message, Pieces, Port, Received};

/// Begins a message whose body the test keeps. Its number.
fn begin(port: &mut Port, id: u64, body: &[u8]) -> usize {
    let (head, rest) = body.split_at(HEAD);
    let header = header(id, Header::UNORDERED);
    let number = port.sender.try_lend(&header, head, rest.len()).unwrap().unwrap();
    assert_eq!(push(port, number, body), 0);
    number
}

/// Asks what became of it. All but the last seven bytes are in one part.
fn push(port: &mut Port, number: usize, body: &[u8]) -> usize {
    let (lent, tail) = body[HEAD..].split_at(body.len() - HEAD - 7);
    port.sender.push_lent(number, [lent, tail]).unwrap()
}

#[test]
fn a_body_may_stay_its_owners() {
    let _alone = alone();
    let [mut near, mut far] = agreed();
    for id in 0..5 {
        let body = body(id, LARGE);
        let number = begin(&mut near, id, &body);
        send(&mut near, id + 10, Header::UNORDERED, 50);
        let mut ids = [(); 2].map(|()| next(&mut near, &mut far).unwrap());
        ids.sort_unstable();
        assert_eq!(ids, [id, id + 10]);
        assert_eq!(hear(&mut near), Flushed::Done);
        assert_eq!(push(&mut near, number, &body), LARGE - HEAD);
    }
    assert_eq!((usage(&near).lent, usage(&far).fetched), (5, 5));
    // The smaller ones are no matter of this tier.
    let header = header(9, Header::UNORDERED);
    assert_eq!(near.sender.try_lend(&header, b"", THRESHOLD - 1).unwrap(), None);
}

/// What stands beside the owner's body is sent, and has to be short for that: else all of it is sent.
#[test]
fn a_body_with_much_beside_it_is_sent() {
    let _alone = alone();
    let [mut near, mut far] = agreed();
    for port in [&mut near, &mut far] {
        port.sender.offer_pieces(Pieces::InMemory);
    }
    let header = |id| header(id, Header::UNORDERED);
    for (id, head, tail) in [(1, 100_000, 7), (2, 7, 100_000), (3, LONGEST_WORD, 0)] {
        let body = body(id, LARGE + head + tail);
        let rest = &body[head..];
        let lent = near.sender.try_lend(&header(id), &body[..head], rest.len());
        let number = lent.unwrap().unwrap();
        let parts = rest.split_at(rest.len() - tail);
        let taken = near.sender.push_lent(number, [parts.0, parts.1]).unwrap();
        assert_eq!(taken, rest.len());
        assert_eq!(next(&mut near, &mut far).unwrap(), id);
    }
    assert_eq!(usage(&near).lent, 0);
}

#[test]
fn an_owner_who_leaves_leaves_a_copy() {
    let _alone = alone();
    let [mut near, mut far] = agreed();
    for id in 0..20 {
        let mut lent = body(id, LARGE);
        let number = begin(&mut near, id, &lent);
        if id % 2 == 0 {
            // The other side may have read some of it, or all.
            let received = far.receiver.try_recv(&mut Message::default()).unwrap();
            assert_eq!(received, Received::Begun);
        }
        near.sender.keep_lent(number, lent[HEAD..].to_vec());
        lent.fill(0xff);
        drop(lent);
        assert_eq!(next(&mut near, &mut far).unwrap(), id);
        while hear(&mut near) == Flushed::Blocked {}
    }
    // One that is done with is not needed.
    let lent = body(50, LARGE);
    let number = begin(&mut near, 50, &lent);
    assert_eq!(next(&mut near, &mut far).unwrap(), 50);
    assert_eq!(hear(&mut near), Flushed::Done);
    near.sender.keep_lent(number, lent[HEAD..].to_vec());
    assert!(!near.sender.waits());
}

#[test]
fn an_owners_body_that_nobody_can_copy_is_sent() {
    let _alone = alone();
    let [mut near, mut far] = agreed();
    let busy = busy();
    for (id, leaves) in [(1, false), (2, true), (3, false)] {
        let lent = body(id, LARGE);
        let number = begin(&mut near, id, &lent);
        let received = far.receiver.try_recv(&mut Message::default()).unwrap();
        assert_eq!(received, Received::Begun);
        let _ = far.sender.flush().unwrap();
        let _ = hear(&mut near);
        if leaves {
            near.sender.keep_lent(number, lent[HEAD..].to_vec());
        } else {
            assert_eq!(push(&mut near, number, &lent), LARGE - HEAD);
        }
        assert_eq!(next(&mut near, &mut far).unwrap(), id);
        assert_eq!(hear(&mut near), Flushed::Done);
    }
    assert_eq!((usage(&near).refused, usage(&far).fetched), (3, 0));
    drop(busy);
}
