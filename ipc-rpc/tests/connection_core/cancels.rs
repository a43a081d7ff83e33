//! Calls that nobody waits for any more, and peers that make too many of them.

use std::time::Duration;

use crate::connection::{Incoming, ReplyStatus, State};
use crate::pair::{Client, End, Pair, Server, client_config, server_config};
use crate::{ErrorKind, raw};

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_cancelled_call_is_stopped_and_answered_for_nobody() {
    for caller in End::BOTH {
        let mut pair = Pair::open();
        let key = pair.call(caller);
        pair.drive();
        pair.core(caller).cancel_call(key);
        pair.core(caller).cancel_call(key);
        assert_eq!(pair.core(caller).in_flight(), 1, "until the answer is here");
        pair.drive();
        let server = pair.side(caller.other());
        assert_eq!(
            server.incoming.pop().unwrap().0,
            Incoming::Cancel { id: key.id() }
        );
        assert_eq!(server.core.serving(), 1, "until its handler has ended");
        assert_eq!(pair.side(caller).replies(), []);
        assert_eq!(pair.core(caller).in_flight(), 0);
        assert!(!pair.finish(caller.other(), key.id(), ReplyStatus::Ok));
        assert_eq!(pair.core(caller.other()).serving(), 0);
        pair.core(caller).cancel_call(key);
        assert!(!pair.step(), "nothing more to say");
        pair.assert_no_errors();
    }
}

#[test]
fn cancel_and_reply_may_cross() {
    let mut pair = Pair::open();
    let key = pair.call(Client);
    pair.drive();
    assert!(pair.finish(Server, key.id(), ReplyStatus::Ok));
    pair.core(Client).cancel_call(key);
    pair.step();
    assert_eq!(pair.client.replies(), [], "it is dropped");
    pair.drive();
    assert_eq!(pair.server.incoming.len(), 1, "the cancel met nothing");
    assert_eq!(pair.core(Client).in_flight(), 0);
    pair.assert_no_errors();
}

#[test]
fn a_cancel_right_behind_its_request() {
    let mut pair = Pair::open();
    let key = pair.call(Client);
    pair.core(Client).cancel_call(key);
    pair.drive();
    let told: Vec<_> = pair
        .server
        .incoming
        .iter()
        .map(|(incoming, _)| incoming)
        .collect();
    assert!(
        matches!(told[..], [Incoming::Request { .. }, Incoming::Cancel { .. }]),
        "{told:?}"
    );
    assert_eq!(pair.core(Client).in_flight(), 0);
}

#[test]
fn cancel_of_what_cannot_be_cancelled() {
    for end in End::BOTH {
        // Never used: an ordered channel cannot bring the Cancel first.
        let mut pair = Pair::open();
        let now = pair.now;
        assert_eq!(
            pair.side(end).receive(now, raw::cancel(1)),
            Err(ErrorKind::Protocol)
        );
        // One-way.
        let mut pair = Pair::open();
        let id = pair.one_way(end.other(), None);
        pair.drive();
        assert_eq!(
            pair.side(end).receive(now, raw::cancel(id)),
            Err(ErrorKind::Protocol)
        );
        // Finished, or in a gap between ids: legal.
        let mut pair = Pair::open();
        pair.side(end).receive(now, raw::request(100)).unwrap();
        assert!(pair.finish(end, 100, ReplyStatus::Ok));
        for id in [100, 100, 99, 1, 0] {
            assert_eq!(pair.side(end).receive(now, raw::cancel(id)), Ok(()));
        }
        assert_eq!(
            pair.side(end).receive(now, raw::cancel(101)),
            Err(ErrorKind::Protocol)
        );
    }
}

/// Handlers that do not stop when they are told to still count: 64 of them are allowed, with one more the
/// peer has to wait.
#[test]
fn handlers_that_do_not_stop_slow_the_peer_down() {
    let mut pair = Pair::open();
    let mut stuck = Vec::new();
    for _ in 0..65 {
        let key = pair.call(Client);
        pair.drive();
        pair.core(Client).cancel_call(key);
        pair.drive();
        stuck.push(key);
        if stuck.len() == 64 {
            let fine = pair.call(Client);
            pair.drive();
            assert!(pair.finish(Server, fine.id(), ReplyStatus::Ok), "64 are allowed");
            pair.drive();
        }
    }
    let dropped = pair.one_way(Client, None);
    let refused = pair.call(Client);
    pair.drive();
    let reply = *pair.client.replies().last().unwrap();
    assert_eq!(
        (reply.0, reply.1),
        (refused, ReplyStatus::Refused(ErrorKind::Busy))
    );
    assert_eq!(
        reply.3,
        b"the peer runs as many calls of this connection as it allows; try again later"
    );
    assert_eq!(pair.core(Server).one_ways_dropped(), 1);
    assert!(!pair.finish(Server, dropped, ReplyStatus::Ok));
    assert!(
        !pair.finish(Server, refused.id(), ReplyStatus::Ok),
        "it never ran"
    );

    // However long it insists, slow handlers are no reason to close.
    for _ in 0..5000 {
        pair.call(Client);
        pair.drive();
    }
    assert!(!pair.finish(Server, stuck[0].id(), ReplyStatus::Ok));
    let fine = pair.call(Client);
    pair.drive();
    assert!(pair.finish(Server, fine.id(), ReplyStatus::Ok));
    pair.drive();
    assert_eq!(pair.core(Server).state(), State::Open);
    pair.assert_no_errors();
}

/// Expired calls whose handlers go on count the same.
#[test]
fn handlers_that_overrun_their_deadline_slow_the_peer_down() {
    let mut server = server_config();
    server.limits.max_cancels_pending = 2;
    let mut pair = Pair::open_with(client_config(), server);
    for _ in 0..3 {
        pair.call_within(Client, 1);
    }
    pair.drive();
    pair.advance(MS);
    let refused = pair.call(Client);
    pair.drive();
    let reply = *pair.client.replies().last().unwrap();
    assert_eq!(
        (reply.0, reply.1),
        (refused, ReplyStatus::Refused(ErrorKind::Busy))
    );
    pair.assert_no_errors();
}

/// Call, cancel, and at once again, for ever: 1,024 such calls run, 1,024 more are refused, the next ends it.
#[test]
fn rapid_reset_is_slowed_and_then_ended() {
    for end in End::BOTH {
        let mut pair = Pair::open();
        // Time in which nothing happens saves nothing up.
        pair.advance(Duration::from_secs(3600));
        let now = pair.now;
        let side = pair.side(end);
        let (mut ran, mut refused, mut sent) = (0, 0, 0u64);
        let ended = loop {
            sent += 1;
            assert!(sent < 1_000_000, "nobody stops it");
            if let Err(kind) = side.receive(now, raw::request(sent)) {
                break kind;
            }
            if side.incoming.pop().is_some() {
                ran += 1;
            } else {
                refused += 1;
            }
            side.receive(now, raw::cancel(sent)).unwrap();
            if side.incoming.pop().is_some() {
                // The handler stops at once, so nothing is pending.
                assert_eq!(side.core.finish(sent, ReplyStatus::Ok, 0), None);
            }
        };
        assert_eq!((ran, refused, ended), (1024, 1024, ErrorKind::Busy));
        let (header, body) = side.wire.pop_back().unwrap();
        assert_eq!(header.kind, raw::CLOSE);
        let sentence =
            "too many calls were cancelled, or made above the limit; connect again and do less at once";
        assert_eq!(String::from_utf8(body).unwrap(), sentence);
        assert_eq!(side.core.close_reason().unwrap().kind, ErrorKind::Busy);
        // Every call that ran or was refused was answered once.
        assert_eq!(side.wire.len(), 2048);
    }
}

/// The tokens come back with time, and with calls that are let finish.
#[test]
fn honest_cancelling_goes_on_for_ever() {
    let mut pair = Pair::open();
    for round in 0..20_000 {
        let key = pair.call(Client);
        pair.drive();
        pair.core(Client).cancel_call(key);
        pair.drive();
        pair.finish(Server, key.id(), ReplyStatus::Ok);
        if round < 10_000 {
            pair.now += Duration::from_micros(100);
        } else {
            let key = pair.call(Client);
            pair.drive();
            assert!(pair.finish(Server, key.id(), ReplyStatus::Ok), "round {round}");
            pair.drive();
            pair.client.incoming.clear();
        }
        assert!(
            pair.client.incoming.is_empty(),
            "round {round}: {:?}",
            pair.client.incoming
        );
        pair.server.incoming.clear();
    }
    pair.assert_no_errors();
}

/// A peer that ignores the limit is told, patiently, and then no more.
#[test]
fn calls_above_the_limit_are_refused() {
    for end in End::BOTH {
        let mut limited = (client_config(), server_config());
        limited.0.limits.max_in_flight = 4;
        limited.1.limits.max_in_flight = 4;
        let mut pair = Pair::open_with(limited.0, limited.1);
        let now = pair.now;
        let side = pair.side(end);
        for id in 1..=4 {
            side.receive(now, raw::request(id)).unwrap();
        }
        assert_eq!((side.core.serving(), side.wire.len()), (4, 0));
        side.receive(now, raw::request(5)).unwrap();
        assert_eq!(side.core.serving(), 4);
        let (header, _) = side.wire.pop_front().unwrap();
        assert_eq!((header.id, header.flags), (5, raw::FAILED | raw::REFUSED));

        // A cancelled call is answered, so another may come, though the handler still runs.
        side.receive(now, raw::cancel(1)).unwrap();
        side.receive(now, raw::request(6)).unwrap();
        assert_eq!((side.core.serving(), side.requests().len()), (5, 5));

        let mut id = 7;
        while side.receive(now, raw::request(id)).is_ok() {
            id += 1;
        }
        // One refusal was forgiven for the call that was let in.
        assert_eq!(id - 7, 1024);
        assert_eq!(side.error.as_ref().unwrap().kind(), ErrorKind::Busy);
    }
}

/// Answers that the peer does not read count as unanswered: they cannot pile up.
#[test]
fn a_peer_that_does_not_read_cannot_make_answers_pile_up() {
    let mut pair = Pair::open();
    let now = pair.now;
    let mut id = 0;
    let core = pair.core(Server);
    let error = loop {
        id += 1;
        assert!(id < 100_000, "nobody stops it");
        let (request, _) = raw::request(id);
        let (cancel, _) = raw::cancel(id);
        match core.handle_message(now, &request, &[]) {
            Ok(Incoming::Request { .. }) => {
                assert_eq!(
                    core.handle_message(now, &cancel, &[]).unwrap(),
                    Incoming::Cancel { id }
                );
                assert_eq!(core.finish(id, ReplyStatus::Ok, 0), None);
            }
            Ok(other) => assert_eq!(other, Incoming::Nothing),
            Err(error) => break error,
        }
        // One that is let finish, so that it is not the tokens that run out.
        id += 1;
        match core.handle_message(now, &raw::request(id).0, &[]) {
            Ok(Incoming::Request { .. }) => assert!(core.finish(id, ReplyStatus::Ok, 0).is_some()),
            Ok(other) => assert_eq!(other, Incoming::Nothing),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Busy);
    let mut queued = 0;
    let mut body = Vec::new();
    while core.poll_transmit(&mut body).is_some() {
        queued += 1;
    }
    // 1,024 answers to cancelled calls, as many refusals, and the reason.
    assert_eq!(queued, 1024 + 1024 + 1);
}

#[test]
fn one_way_calls_above_the_limit_are_dropped_and_counted() {
    let mut server = server_config();
    server.limits.max_in_flight = 3;
    let mut pair = Pair::open_with(client_config(), server);
    let ids: Vec<_> = (0..5).map(|_| pair.one_way(Client, None)).collect();
    pair.drive();
    assert_eq!(pair.server.requests(), ids[..3]);
    assert_eq!(pair.core(Server).one_ways(), 3);
    assert_eq!(pair.core(Server).one_ways_dropped(), 2);
    // They take no room from calls that somebody waits for.
    for _ in 0..3 {
        pair.call(Client);
    }
    pair.drive();
    assert_eq!(pair.core(Server).serving(), 6);
    pair.finish(Server, ids[0], ReplyStatus::Ok);
    let next = pair.one_way(Client, None);
    pair.drive();
    assert_eq!(pair.server.requests().last(), Some(&next));
    pair.assert_no_errors();
}
