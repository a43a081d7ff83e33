//! Calls and replies, in the ordinary course of things.

use std::time::Duration;

use crate::connection::{Event, Incoming, ReplyStatus, StartError};
use crate::pair::{Client, End, GET, LOG, Pair, Server, client_config, server_config};
use crate::{ErrorKind, Outcome};

#[test]
fn a_call_is_answered_either_way() {
    for caller in End::BOTH {
        let mut pair = Pair::open();
        let key = pair.call(caller);
        assert_eq!(pair.core(caller).in_flight(), 1);
        pair.drive();
        let (request, body) = pair.side(caller.other()).incoming.remove(0);
        let expected = Incoming::Request {
            id: key.id(),
            ordinal: GET.ordinal,
            deadline: None,
            one_way: false,
        };
        assert_eq!(request, expected);
        assert_eq!(body, format!("to {}", key.id()).into_bytes());
        assert_eq!(pair.core(caller.other()).serving(), 1);

        assert!(pair.finish(caller.other(), key.id(), ReplyStatus::Ok));
        assert_eq!(pair.core(caller.other()).serving(), 0);
        pair.drive();
        let answer = format!("from {}", key.id());
        assert_eq!(
            pair.side(caller).replies(),
            [(key, ReplyStatus::Ok, 5, answer.as_bytes())]
        );
        assert_eq!(pair.core(caller).in_flight(), 0);
        pair.assert_no_errors();
    }
}

#[test]
fn a_handler_ends_once() {
    let mut pair = Pair::open();
    let key = pair.call(Client);
    pair.drive();
    assert!(pair.finish(Server, key.id(), ReplyStatus::Ok));
    assert!(!pair.finish(Server, key.id(), ReplyStatus::Ok));
    assert!(!pair.finish(Server, 12345, ReplyStatus::Ok));
}

#[test]
fn a_reply_that_cannot_be_sent_becomes_an_error() {
    let mut pair = Pair::open();
    let key = pair.call(Client);
    pair.drive();
    assert!(pair.core(Server).finish(key.id(), ReplyStatus::Ok, 0).is_some());
    let header = pair.core(Server).failed_reply(key.id(), ErrorKind::TooLarge);
    pair.side(Server).wire.push_back((header, b"too large".to_vec()));
    pair.drive();
    assert_eq!(
        pair.side(Client).replies(),
        [(
            key,
            ReplyStatus::Failed(ErrorKind::TooLarge),
            0,
            &b"too large"[..]
        )]
    );
    pair.assert_no_errors();
}

#[test]
fn replies_come_in_any_order() {
    for caller in End::BOTH {
        let mut pair = Pair::open();
        let keys: Vec<_> = (0..5).map(|_| pair.call(caller)).collect();
        pair.drive();
        assert_eq!(
            pair.side(caller.other()).requests(),
            keys.iter().map(|key| key.id()).collect::<Vec<_>>()
        );
        let order = [3, 0, 4, 1, 2].map(|at| keys[at]);
        for key in order {
            assert!(pair.finish(caller.other(), key.id(), ReplyStatus::Ok));
        }
        pair.drive();
        let replies = pair
            .side(caller)
            .replies()
            .iter()
            .map(|reply| reply.0)
            .collect::<Vec<_>>();
        assert_eq!(replies, order);
        pair.assert_no_errors();
    }
}

#[test]
fn failures_and_refusals_say_how() {
    let mut pair = Pair::open();
    for status in [
        ReplyStatus::Ok,
        ReplyStatus::Failed(ErrorKind::Panicked),
        ReplyStatus::Refused(ErrorKind::UnknownMethod),
        ReplyStatus::Failed(ErrorKind::NotConnected),
        ReplyStatus::Refused(ErrorKind::Io),
    ] {
        let key = pair.call(Client);
        pair.drive();
        pair.finish(Server, key.id(), status);
        pair.drive();
        let last = pair.client.replies().last().map(|reply| (reply.0, reply.1));
        assert_eq!(last, Some((key, status)));
    }
}

#[test]
fn both_ends_call_at_once_with_the_same_ids() {
    let mut pair = Pair::open();
    let (ours, theirs) = (pair.call(Client), pair.call(Server));
    assert_eq!(ours.id(), theirs.id());
    pair.drive();
    assert!(pair.finish(Server, ours.id(), ReplyStatus::Ok));
    assert!(pair.finish(Client, theirs.id(), ReplyStatus::Ok));
    pair.drive();
    for end in End::BOTH {
        assert_eq!(pair.side(end).replies().len(), 1);
    }
    pair.assert_no_errors();
}

#[test]
fn ids_only_grow_and_slots_come_back() {
    let mut pair = Pair::open();
    let mut last = 0;
    for round in 0..100 {
        let key = pair.call(Client);
        let one_way = pair.one_way(Client, None);
        assert!(last < key.id() && key.id() < one_way, "round {round}");
        assert_eq!(key.slot(), 0, "the slot of the call before is free again");
        last = one_way;
        pair.drive();
        pair.finish(Server, key.id(), ReplyStatus::Ok);
        pair.finish(Server, one_way, ReplyStatus::Ok);
        pair.drive();
    }
    pair.assert_no_errors();
}

#[test]
fn a_one_way_call_has_no_reply() {
    let mut pair = Pair::open();
    let id = pair.one_way(Client, None);
    assert_eq!(pair.core(Client).in_flight(), 0);
    pair.drive();
    let expected = Incoming::Request {
        id,
        ordinal: LOG.ordinal,
        deadline: None,
        one_way: true,
    };
    assert_eq!(pair.server.incoming.remove(0).0, expected);
    assert_eq!(pair.core(Server).serving(), 1);
    assert!(!pair.finish(Server, id, ReplyStatus::Failed(ErrorKind::Panicked)));
    assert_eq!(pair.core(Server).serving(), 0);
    pair.drive();
    assert!(pair.client.incoming.is_empty());
}

/// At the peer's limit, and one more.
#[test]
fn as_many_calls_as_the_peer_allows() {
    let mut server = server_config();
    server.limits.max_in_flight = 3;
    let mut pair = Pair::open_with(client_config(), server);
    let keys: Vec<_> = (0..3).map(|_| pair.call(Client)).collect();
    assert!(keys.iter().all(|key| key.slot() < pair.client.core.max_calls()));
    assert!(!pair.core(Client).has_room());
    assert_eq!(pair.start(Client, None), Err(StartError::Full));
    let sentence = pair.client.core.start_error(StartError::Full).to_string();
    assert_eq!(
        sentence,
        "3 calls are unanswered on this connection, which is the peer's limit"
    );
    // Neither giving up nor one-way calls need or make room.
    pair.core(Client).cancel_call(keys[0]);
    assert_eq!(pair.start(Client, None), Err(StartError::Full));
    pair.one_way(Client, None);
    pair.drive();
    assert!(
        pair.core(Client).has_room(),
        "the answer to the cancelled call has made room"
    );
    assert_eq!(pair.core(Client).in_flight(), 2);
    pair.finish(Server, keys[1].id(), ReplyStatus::Ok);
    pair.drive();
    pair.call(Client);
    pair.call(Client);
    assert_eq!(pair.start(Client, None), Err(StartError::Full));
    pair.drive();
    pair.assert_no_errors();
}

#[test]
fn a_call_that_was_not_sent_has_never_been() {
    let mut pair = Pair::open();
    let now = pair.now;
    let (key, _) = pair.core(Client).start_call(now, 1, None).unwrap();
    pair.core(Client).withdraw_call(key);
    assert_eq!(pair.core(Client).in_flight(), 0);
    pair.core(Client).cancel_call(key);
    // Also one whose time was over before it could leave.
    let deadline = Some(now + Duration::from_millis(1));
    let (key, _) = pair.core(Client).start_call(now, 1, deadline).unwrap();
    pair.now += Duration::from_secs(1);
    let now = pair.now;
    pair.core(Client).handle_timeout(now);
    pair.core(Client).withdraw_call(key);
    let later = pair.call(Client);
    pair.core(Client).withdraw_call(key);
    assert_eq!(
        pair.core(Client).in_flight(),
        1,
        "an old key does not touch a new call"
    );
    pair.drive();
    assert_eq!(pair.server.requests(), [later.id()]);
    pair.assert_no_errors();
}

#[test]
fn a_connection_that_has_used_up_its_ids_closes() {
    let mut pair = Pair::open();
    let pending = pair.call(Client);
    pair.core(Client).skip_to_sequence((1 << 48) - 2);
    let last = pair.call(Client);
    assert_eq!(last.id(), u64::MAX - 0xffff + last.slot() as u64);
    pair.drive();
    assert_eq!(pair.server.requests(), [pending.id(), last.id()]);
    assert_eq!(pair.start(Client, None), Err(StartError::Closed));
    pair.drive();
    let sentence = "the connection has used up its ids for calls; connect again";
    assert_eq!(pair.client.core.close_reason().unwrap().sentence, sentence);
    assert_eq!(pair.server.core.close_reason().unwrap().sentence, sentence);
    assert_eq!(
        pair.client.events,
        [Event::Failed(pending), Event::Failed(last), Event::Closed]
    );
    let error = pair.client.core.start_error(StartError::Closed);
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Closed, Outcome::NotSent)
    );

    let mut pair = Pair::open();
    pair.core(Client).skip_to_sequence((1 << 48) - 1);
    let now = pair.now;
    assert_eq!(
        pair.core(Client).start_one_way(now, 1, None),
        Err(StartError::Closed)
    );
}

#[test]
fn pings_are_answered_in_order() {
    for end in End::BOTH {
        let mut pair = Pair::open();
        for token in 0..8 {
            assert!(pair.core(end).ping(token * 1000));
        }
        assert!(!pair.core(end).ping(8), "eight are unanswered");
        pair.drive();
        let pongs: Vec<_> = pair
            .side(end)
            .incoming
            .drain(..)
            .map(|(incoming, _)| incoming)
            .collect();
        assert_eq!(
            pongs,
            (0..8)
                .map(|token| Incoming::Pong { token: token * 1000 })
                .collect::<Vec<_>>()
        );
        assert!(pair.core(end).ping(u64::MAX));
        pair.drive();
        pair.assert_no_errors();
    }
}
