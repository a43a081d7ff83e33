//! The end: closing, draining, losing the peer.

use std::time::Duration;

use crate::connection::{
    CancelReason, CloseReason, ClosedBy, DRAIN, Event, Incoming, MAX_SENTENCE, ReplyStatus, StartError,
    State, clipped, sentence_from_peer,
};
use crate::pair::{Client, End, Pair, Server, client_config, server_config};
use crate::{Error, ErrorKind, Outcome, raw};

const MS: Duration = Duration::from_millis(1);

#[test]
fn closing_says_why_and_ends_everything() {
    for end in End::BOTH {
        let mut pair = Pair::open();
        let (ours, theirs) = (pair.call(end), pair.call(end.other()));
        let given_up = pair.call(end);
        let stopped = pair.call(end.other());
        pair.drive();
        pair.core(end).cancel_call(given_up);
        pair.core(end.other()).cancel_call(stopped);
        pair.drive();
        pair.core(end).close(ErrorKind::Resource, "out of paper");
        pair.core(end).close(ErrorKind::Io, "a second reason is lost");
        pair.drive();
        let why = CancelReason::ConnectionLost;
        for (side, by, mine, served) in [
            (end, ClosedBy::Us, ours, theirs),
            (end.other(), ClosedBy::Peer, theirs, ours),
        ] {
            let side = pair.side(side);
            let sentence = "out of paper".to_owned();
            let reason = CloseReason {
                by,
                kind: ErrorKind::Resource,
                sentence,
            };
            assert_eq!(side.core.close_reason(), Some(&reason));
            let served = Event::CancelServing { id: served.id(), why };
            assert_eq!(side.events, [Event::Failed(mine), served, Event::Closed]);
            assert_eq!((side.core.in_flight(), side.core.serving()), (0, 0));
            assert_eq!(side.core.poll_timeout(), None);
        }
        let told = pair
            .side(end.other())
            .core
            .close_reason()
            .unwrap()
            .to_error(Outcome::Unknown);
        assert_eq!(told.to_string(), "the peer closed the connection: out of paper");
        assert_eq!(
            (told.kind(), told.outcome()),
            (ErrorKind::Resource, Outcome::Unknown)
        );
        // Late commands and messages meet nothing.
        let now = pair.now;
        for side in End::BOTH {
            assert!(!pair.finish(side, theirs.id(), ReplyStatus::Ok));
            pair.core(side).cancel_call(ours);
            pair.core(side).withdraw_call(ours);
            pair.core(side).drain(now, now);
            pair.core(side).accept();
            pair.core(side).reject(ErrorKind::Denied, "");
            assert!(!pair.core(side).ping(1));
            assert_eq!(pair.core(side).start_call(now, 1, None), Err(StartError::Closed));
            pair.side(side).receive(now, raw::request(1 << 40)).unwrap();
            pair.core(side).handle_timeout(now + Duration::from_secs(100));
            pair.core(side)
                .handle_end(&Error::new(ErrorKind::PeerDied, "gone"));
            assert_eq!(pair.side(side).events.len(), 3);
            assert_eq!(pair.core(side).close_reason().unwrap().kind, ErrorKind::Resource);
        }
        assert!(!pair.step());
        pair.assert_no_errors();
    }
}

#[test]
fn what_was_queued_before_leaves_before() {
    let mut pair = Pair::open();
    let key = pair.call_within(Client, 5);
    pair.step();
    pair.now += 5 * MS;
    let now = pair.now;
    pair.core(Server).handle_timeout(now);
    pair.core(Server).close(ErrorKind::Closed, "bye");
    pair.drive();
    assert_eq!(pair.client.replies().len(), 1);
    assert_eq!(pair.client.replies()[0].0, key);
    assert_eq!(pair.client.events, [Event::Closed]);
}

#[test]
fn long_sentences_are_cut_where_a_character_ends() {
    let mut pair = Pair::open();
    pair.core(Server).close(ErrorKind::Closed, &"é".repeat(600));
    pair.drive();
    assert_eq!(
        pair.client.core.close_reason().unwrap().sentence,
        "é".repeat(MAX_SENTENCE as usize / 2)
    );
    let mut pair = Pair::open();
    pair.core(Server)
        .close(ErrorKind::Closed, &format!("x{}", "é".repeat(600)));
    pair.drive();
    let sentence = &pair.client.core.close_reason().unwrap().sentence;
    assert_eq!(sentence.len(), 1023);
    assert_eq!(
        sentence,
        clipped(&format!("x{}", "é".repeat(600)), MAX_SENTENCE as usize)
    );
}

#[test]
fn a_peers_sentence_is_made_fit_for_a_terminal() {
    for end in End::BOTH {
        let mut pair = Pair::open();
        let now = pair.now;
        let message = (
            transports::Header {
                extra: 200,
                ..raw::bare(raw::CLOSE)
            },
            b"\x1b[2J red\xff\n".to_vec(),
        );
        pair.side(end).receive(now, message).unwrap();
        let reason = pair.core(end).close_reason().unwrap();
        assert_eq!(
            sentence_from_peer(b"\x1b[2J red\xff\n"),
            reason.sentence,
            "as for failed replies"
        );
        assert_eq!(reason.sentence, "\u{fffd}[2J red\u{fffd}\u{fffd}");
        assert_eq!(reason.kind, ErrorKind::Closed, "the code of a newer build");
        assert_eq!(pair.side(end).incoming.last().unwrap().0, Incoming::Closed);

        // A sentence grows threefold at worst, and still has its limit.
        let mut pair = Pair::open();
        let message = |length| (raw::bare(raw::CLOSE), vec![0xff; length]);
        assert_eq!(
            pair.side(end).receive(now, message(1025)),
            Err(ErrorKind::Protocol)
        );
        let mut pair = Pair::open();
        assert_eq!(pair.side(end).receive(now, message(1024)), Ok(()));
        assert!(pair.core(end).close_reason().unwrap().sentence.len() <= 1024);
        let mut pair = Pair::open();
        assert_eq!(pair.side(end).receive(now, message(0)), Ok(()));
        let text = pair.core(end).close_reason().unwrap().to_string();
        assert_eq!(text, "the peer closed the connection");
    }
}

#[test]
fn losing_the_peer_ends_everything() {
    for end in End::BOTH {
        let mut pair = Pair::open();
        let (ours, theirs) = (pair.call(end), pair.call(end.other()));
        pair.drive();
        assert!(pair.core(end).ping(1));
        pair.core(end)
            .handle_end(&Error::new(ErrorKind::PeerDied, "pid 4712 was killed by SIGSEGV"));
        let side = pair.side(end);
        side.poll();
        assert!(side.wire.is_empty(), "there is nobody to tell");
        let served = Event::CancelServing {
            id: theirs.id(),
            why: CancelReason::ConnectionLost,
        };
        assert_eq!(side.events, [Event::Failed(ours), served, Event::Closed]);
        let error = side.core.start_error(StartError::Closed);
        assert_eq!(error.to_string(), "pid 4712 was killed by SIGSEGV");
        assert_eq!(
            (error.kind(), error.outcome(), error.is_retryable()),
            (ErrorKind::PeerDied, Outcome::NotSent, true)
        );
        assert_eq!(side.core.close_reason().unwrap().by, ClosedBy::Transport);
    }
}

#[test]
fn what_the_transport_cannot_read_is_a_breach() {
    let error = || Error::new(ErrorKind::Protocol, "a message announces handles");
    for end in End::BOTH {
        let mut pair = Pair::open();
        let ours = pair.call(end);
        pair.drive();
        pair.core(end).handle_unreadable(&error());
        pair.core(end)
            .handle_unreadable(&Error::new(ErrorKind::Protocol, "more of it"));
        pair.drive();
        assert_eq!(pair.side(end).events, [Event::Failed(ours), Event::Closed]);
        for (side, by) in [(end, ClosedBy::Us), (end.other(), ClosedBy::Peer)] {
            let reason = pair.core(side).close_reason().unwrap();
            let sentence = "protocol broken: a message announces handles";
            assert_eq!(
                (reason.by, reason.kind, reason.sentence.as_str()),
                (by, ErrorKind::Protocol, sentence)
            );
        }
        // Whoever has not introduced itself is told nothing.
        let mut pair = Pair::new(client_config(), server_config());
        pair.core(end).handle_unreadable(&error());
        let side = pair.side(end);
        side.poll();
        assert!(side.wire.is_empty());
        assert_eq!(side.core.close_reason().unwrap().kind, ErrorKind::Protocol);
    }
}

#[test]
fn closing_before_it_is_open() {
    // Nothing was said yet.
    let mut pair = Pair::new(client_config(), server_config());
    pair.core(Client).close(ErrorKind::Cancelled, "never mind");
    pair.core(Server).close(ErrorKind::Closed, "never mind");
    assert!(!pair.step());

    // The Hello is on its way.
    let mut pair = Pair::new(client_config(), server_config());
    pair.client.poll();
    pair.core(Client).close(ErrorKind::Cancelled, "never mind");
    pair.drive();
    let reason = pair.server.core.close_reason().unwrap();
    assert_eq!(
        (reason.kind, reason.sentence.as_str()),
        (ErrorKind::Cancelled, "never mind")
    );
    pair.assert_no_errors();

    // The server closes instead of deciding, or after it, before the Welcome has left.
    for accept in [false, true] {
        let mut pair = Pair::new(client_config(), server_config());
        pair.drive();
        if accept {
            pair.core(Server).accept();
        }
        pair.core(Server).close(ErrorKind::Closed, "full");
        pair.drive();
        assert_eq!(pair.client.incoming.len(), 1);
        assert_eq!(pair.client.core.close_reason().unwrap().sentence, "full");
        pair.assert_no_errors();
    }

    // The Welcome and the client's change of mind cross.
    let mut pair = Pair::new(client_config(), server_config());
    pair.drive();
    pair.core(Client).close(ErrorKind::Cancelled, "never mind");
    pair.core(Server).accept();
    pair.drive();
    assert_eq!(pair.server.core.close_reason().unwrap().sentence, "never mind");
    pair.assert_no_errors();

    // Draining what is not open closes it.
    let mut pair = Pair::new(client_config(), server_config());
    pair.drive();
    let until = pair.now + DRAIN;
    let now = pair.now;
    pair.core(Server).drain(now, until);
    pair.drive();
    assert_eq!(pair.client.core.close_reason().unwrap().sentence, "shutting down");
    pair.assert_no_errors();
}

#[test]
fn a_drain_lets_calls_in_progress_finish() {
    for end in End::BOTH {
        let mut pair = Pair::open();
        let (ours, theirs) = (pair.call(end), pair.call(end.other()));
        let one_way = pair.one_way(end.other(), None);
        pair.drive();
        // This one crosses the announcement, and is served.
        let crossing = pair.call(end.other());
        let until = pair.now + DRAIN;
        let now = pair.now;
        pair.core(end).drain(now, until);
        assert_eq!(pair.core(end).state(), State::Draining);
        assert!(
            pair.core(end).poll_timeout().unwrap() < until,
            "it awaits the acknowledgment"
        );
        pair.drive();
        assert_eq!(pair.core(end).poll_timeout(), Some(until));
        let peer = pair.side(end.other());
        assert_eq!(peer.core.state(), State::Draining);
        assert_eq!(peer.incoming.last().unwrap().0, Incoming::Draining);
        assert_eq!(pair.start(end.other(), None), Err(StartError::Draining));
        let error = pair.core(end).start_error(StartError::Draining);
        assert_eq!(
            (error.kind(), error.outcome(), error.is_retryable()),
            (ErrorKind::Closed, Outcome::NotSent, true)
        );
        // A handler that ends may need a call of its own.
        let nested = pair.call(end);
        pair.drive();

        assert!(pair.finish(end, theirs.id(), ReplyStatus::Ok));
        assert!(pair.finish(end, crossing.id(), ReplyStatus::Ok));
        pair.finish(end, one_way, ReplyStatus::Ok);
        pair.drive();
        assert!(pair.finish(end.other(), ours.id(), ReplyStatus::Ok));
        pair.drive();
        assert_eq!(pair.core(end).state(), State::Draining, "one is left");
        assert!(pair.finish(end.other(), nested.id(), ReplyStatus::Ok));
        pair.drive();
        for side in End::BOTH {
            assert_eq!(pair.core(side).state(), State::Closed);
            assert_eq!(pair.side(side).replies().len(), 2);
            assert_eq!(pair.side(side).events, [Event::Closed], "no call has failed");
            let reason = pair.core(side).close_reason().unwrap();
            assert_eq!(
                (reason.kind, reason.sentence.as_str()),
                (ErrorKind::Closed, "shutting down")
            );
        }
        pair.assert_no_errors();
    }
}

#[test]
fn a_drain_does_not_wait_for_a_peer_that_does_not_read() {
    let mut pair = Pair::open();
    let (now, until) = (pair.now, pair.now + DRAIN);
    pair.core(Server).drain(now, until);
    pair.server.poll();
    // The client reads nothing, and calls: the server has closed before that call arrives.
    let patience = pair.core(Server).poll_timeout().unwrap();
    assert!(patience < until);
    pair.core(Server).handle_timeout(patience);
    pair.server.poll();
    assert_eq!(pair.core(Server).state(), State::Closed);
    let crossing = pair.call(Client);
    pair.drive();
    assert_eq!(pair.client.events, [Event::Failed(crossing), Event::Closed]);
    assert!(
        !pair.core(Client).may_have_run(crossing),
        "the Close says that it was not read"
    );
}

#[test]
fn a_call_that_was_read_before_the_close_may_have_run() {
    let mut pair = Pair::open();
    let read = pair.call(Client);
    pair.drive();
    pair.core(Server).close(ErrorKind::Closed, "enough");
    let unread = pair.call(Client);
    pair.drive();
    assert!(pair.core(Client).may_have_run(read));
    assert!(!pair.core(Client).may_have_run(unread));
}

#[test]
fn an_idle_connection_drains_at_once_but_not_before_the_peer_knows() {
    let mut pair = Pair::open();
    let until = pair.now + DRAIN;
    let now = pair.now;
    pair.core(Server).drain(now, until);
    pair.server.poll();
    assert_eq!(pair.core(Server).state(), State::Draining);
    pair.drive();
    assert_eq!(pair.core(Client).state(), State::Closed);
}

#[test]
fn a_drain_waits_for_one_way_calls_too() {
    let mut pair = Pair::open();
    let id = pair.one_way(Client, None);
    pair.drive();
    let until = pair.now + DRAIN;
    let now = pair.now;
    pair.core(Server).drain(now, until);
    pair.drive();
    assert_eq!(pair.core(Server).state(), State::Draining);
    pair.finish(Server, id, ReplyStatus::Ok);
    pair.drive();
    assert_eq!(pair.core(Server).state(), State::Closed);
}

#[test]
fn a_drain_ends_in_time() {
    let mut pair = Pair::open();
    let stuck = pair.call(Client);
    pair.drive();
    let until = pair.now + 10 * MS;
    let now = pair.now;
    pair.core(Server).drain(now, until + DRAIN);
    // A second time, only the time changes.
    let now = pair.now;
    pair.core(Server).drain(now, until);
    pair.drive();
    pair.advance(9 * MS);
    assert_eq!(pair.core(Server).state(), State::Draining);
    pair.advance(MS);
    assert_eq!(pair.client.events, [Event::Failed(stuck), Event::Closed]);
    assert_eq!(
        pair.client.core.close_reason().unwrap().sentence,
        "shutting down; calls still in progress: 1"
    );
    pair.assert_no_errors();
}

#[test]
fn calls_that_were_given_up_do_not_hold_a_drain_up() {
    let mut pair = Pair::open();
    let key = pair.call(Client);
    pair.drive();
    pair.core(Client).cancel_call(key);
    pair.drive();
    let until = pair.now + DRAIN;
    let now = pair.now;
    pair.core(Server).drain(now, until);
    pair.drive();
    assert_eq!(pair.core(Client).state(), State::Closed);
    assert_eq!(
        pair.server.events,
        [Event::Closed],
        "its handler has been told before"
    );
}

#[test]
fn both_ends_drain_at_once() {
    let mut pair = Pair::open();
    let keys = End::BOTH.map(|end| pair.call(end));
    pair.drive();
    let until = pair.now + DRAIN;
    for end in End::BOTH {
        let now = pair.now;
        pair.core(end).drain(now, until);
    }
    pair.drive();
    for end in End::BOTH {
        assert_eq!(pair.start(end, None), Err(StartError::Draining));
    }
    for (end, key) in End::BOTH.into_iter().zip(keys) {
        assert!(pair.finish(end.other(), key.id(), ReplyStatus::Ok));
    }
    pair.drive();
    for end in End::BOTH {
        assert_eq!(pair.core(end).state(), State::Closed);
        assert_eq!(pair.side(end).replies().len(), 1);
    }
    pair.assert_no_errors();
}

#[test]
fn a_drain_is_announced_and_acknowledged_once() {
    for end in End::BOTH {
        let drain = |flags| {
            raw::message(transports::Header {
                flags,
                ..raw::bare(raw::DRAIN)
            })
        };
        // Twice announced.
        let mut pair = Pair::open();
        let now = pair.now;
        pair.side(end).receive(now, drain(0)).unwrap();
        assert_eq!(pair.side(end).receive(now, drain(0)), Err(ErrorKind::Protocol));
        // Acknowledged without an announcement, and twice.
        let mut pair = Pair::open();
        assert_eq!(
            pair.side(end).receive(now, drain(raw::ACKNOWLEDGED)),
            Err(ErrorKind::Protocol)
        );
        let mut pair = Pair::open();
        pair.call(end);
        pair.core(end).drain(now, now + DRAIN);
        pair.side(end).receive(now, drain(raw::ACKNOWLEDGED)).unwrap();
        assert_eq!(
            pair.side(end).receive(now, drain(raw::ACKNOWLEDGED)),
            Err(ErrorKind::Protocol)
        );
        // A call after it was acknowledged.
        let mut pair = Pair::open();
        pair.call(end);
        pair.core(end).drain(now, now + DRAIN);
        pair.side(end).receive(now, raw::request(1)).unwrap();
        pair.side(end).receive(now, drain(raw::ACKNOWLEDGED)).unwrap();
        assert_eq!(
            pair.side(end).receive(now, raw::request(2)),
            Err(ErrorKind::Protocol)
        );
    }
}

#[test]
fn nothing_is_said_to_a_peer_that_is_gone() {
    // It has closed: what was queued for it is forgotten.
    let mut pair = Pair::open();
    let now = pair.now;
    assert!(pair.core(Client).ping(1));
    let close = raw::bare(raw::CLOSE);
    assert_eq!(
        pair.core(Client).handle_message(now, &close, &[]).unwrap(),
        Incoming::Closed
    );
    assert_eq!(pair.core(Client).poll_transmit(&mut Vec::new()), None);
    // The transport fails before our own reason has left.
    let mut pair = Pair::open();
    pair.core(Client).close(ErrorKind::Closed, "bye");
    pair.core(Client)
        .handle_end(&Error::new(ErrorKind::PeerDied, "gone"));
    assert_eq!(pair.core(Client).poll_transmit(&mut Vec::new()), None);
    assert_eq!(
        pair.core(Client).close_reason().unwrap().sentence,
        "bye",
        "the first reason counts"
    );
}
