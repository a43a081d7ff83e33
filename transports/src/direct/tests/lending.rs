//! Two ports that lend each other what is large.

use std::time::Instant;

use super::{HEAD, LARGE, THRESHOLD, WATCHDOG, agreed, alone, busy, ends, hear, next, send, usage};
use crate::direct::{DirectState, DirectUsage, LENT_LIMIT, MOST_LENT};
use crate::{Flushed, Header};

#[test]
fn a_body_is_lent_and_given_back() {
    let _alone = alone();
    let [mut near, mut far] = agreed();
    for id in 1..20 {
        send(&mut near, id, Header::UNORDERED, LARGE);
        assert_eq!(next(&mut near, &mut far).unwrap(), id);
        assert_eq!(hear(&mut near), Flushed::Done);
        assert!(near.sender.queued() == 0 && !near.sender.waits());
        // The other way, too.
        send(&mut far, id, Header::UNORDERED, LARGE);
        assert_eq!(next(&mut far, &mut near).unwrap(), id);
        assert_eq!(hear(&mut far), Flushed::Done);
    }
    for port in [&near, &far] {
        let usage = usage(port);
        assert_eq!((usage.lent, usage.fetched, usage.refused), (19, 19, 0));
        assert_eq!(usage.lent_bytes, 19 * (LARGE - HEAD) as u64);
        assert_eq!(usage.fetched_bytes, usage.lent_bytes);
    }
}

#[test]
fn small_ones_are_sent_as_ever_and_pass() {
    let _alone = alone();
    let [mut near, mut far] = agreed();
    send(&mut near, 1, Header::UNORDERED, LARGE);
    // What is lent waits, and keeps nobody else from sending.
    assert_eq!(near.sender.flush().unwrap(), Flushed::Done);
    assert!(near.sender.waits(), "it is lent");
    send(&mut near, 2, Header::UNORDERED, 100);
    send(&mut near, 3, Header::UNORDERED, THRESHOLD - 1);
    let mut ids = [(); 3].map(|()| next(&mut near, &mut far).unwrap());
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3]);
    assert_eq!((usage(&near).lent, usage(&far).fetched), (1, 1));
}

#[test]
fn what_has_a_place_in_the_order_keeps_it() {
    let _alone = alone();
    let [mut near, mut far] = agreed();
    let ordered = 0;
    for (id, flags, length) in [
        (1, ordered, LARGE),
        (2, Header::UNORDERED, LARGE),
        (3, ordered, 10),
        (4, Header::UNORDERED, 10),
        (5, Header::UNORDERED, LARGE),
        (6, ordered, LARGE),
    ] {
        send(&mut near, id, flags, length);
    }
    let ids = [(); 6].map(|()| next(&mut near, &mut far).unwrap());
    let place = |wanted| ids.iter().position(|id| *id == wanted).unwrap();
    assert_eq!(ids[..3], [1, 2, 3]);
    assert!(place(3) < place(4) && place(5) < place(6), "{ids:?}");
    assert_eq!(hear(&mut near), Flushed::Done);
}

#[test]
fn nothing_is_lent_before_it_is_agreed_on() {
    let _alone = alone();
    let [mut near, mut far] = ends([true, true]);
    send(&mut near, 1, Header::UNORDERED, LARGE);
    assert_eq!(next(&mut near, &mut far).unwrap(), 1);
    assert_eq!(usage(&near), DirectUsage::default());
    // One direction by itself.
    near.sender.offer_direct();
    while usage(&near).state == DirectState::Open {
        let _ = (hear(&mut near), hear(&mut far));
    }
    send(&mut near, 2, Header::UNORDERED, LARGE);
    assert_eq!(next(&mut near, &mut far).unwrap(), 2);
    send(&mut far, 3, Header::UNORDERED, LARGE);
    assert_eq!(next(&mut far, &mut near).unwrap(), 3);
    assert_eq!((usage(&near).lent, usage(&far).lent), (1, 0));
}

#[test]
fn a_body_that_nobody_can_copy_is_sent() {
    let _alone = alone();
    let [mut near, mut far] = agreed();
    let busy = busy();
    for id in 1..4 {
        send(&mut near, id, Header::UNORDERED, LARGE);
        send(&mut near, id + 10, 0, 20);
        assert_eq!(next(&mut near, &mut far).unwrap(), id);
        assert_eq!(next(&mut near, &mut far).unwrap(), id + 10);
    }
    assert_eq!((usage(&near).refused, usage(&far).fetched), (3, 0));
    assert_eq!(hear(&mut near), Flushed::Done);
    drop(busy);
    // The threads have to find out that nobody holds them up any more.
    let started = Instant::now();
    let mut id = 20;
    while usage(&far).fetched == 0 {
        send(&mut near, id, Header::UNORDERED, LARGE);
        assert_eq!(next(&mut near, &mut far).unwrap(), id);
        id += 1;
        assert!(started.elapsed() < WATCHDOG);
    }
}

#[test]
fn more_than_may_be_lent_is_sent() {
    let _alone = alone();
    let [mut near, mut far] = agreed();
    let count = MOST_LENT as u64 + 3;
    for id in 0..count {
        send(&mut near, id, Header::UNORDERED, LARGE);
    }
    assert_eq!(usage(&near).lent, MOST_LENT as u64);
    let mut ids: Vec<u64> = (0..count).map(|_| next(&mut near, &mut far).unwrap()).collect();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..count));
    while hear(&mut near) == Flushed::Blocked {}
    // Nor are that many bytes, unless it is one message.
    for (id, length, lent) in [(100, LENT_LIMIT - 5, 1), (101, LARGE, 0), (102, 20, 0)] {
        let before = usage(&near).lent;
        send(&mut near, id, Header::UNORDERED, length);
        assert_eq!(usage(&near).lent - before, lent, "{length}");
    }
    for _ in 0..3 {
        next(&mut near, &mut far).unwrap();
    }
    while hear(&mut near) == Flushed::Blocked {}
}
