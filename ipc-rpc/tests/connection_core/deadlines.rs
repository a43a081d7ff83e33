//! Deadlines: what travels, who notices first, what comes after.

use std::time::Duration;

use crate::connection::{CancelReason, Event, Incoming, ReplyStatus, StartError, grace};
use crate::pair::{Client, End, LOG, Pair, Server};
use crate::{ErrorKind, Outcome, raw};

const MS: Duration = Duration::from_millis(1);

#[test]
fn the_time_left_travels() {
    for caller in End::BOTH {
        let mut pair = Pair::open();
        let key = pair.call_within(caller, 50);
        let header = pair.side(caller).wire[0].0;
        assert_eq!(header.extra, 50_000_000);
        // The message takes 20 ms: no clock is compared with another, so the server allows what was left when
        // it left.
        pair.now += 20 * MS;
        pair.step();
        let deadline = Some(pair.now + 50 * MS);
        let expected = Incoming::Request {
            id: key.id(),
            ordinal: header.ordinal,
            deadline,
            one_way: false,
        };
        assert_eq!(pair.side(caller.other()).incoming[0].0, expected);
        assert_eq!(pair.core(caller.other()).poll_timeout(), deadline);
    }
}

#[test]
fn the_server_reports_first() {
    for caller in End::BOTH {
        let mut pair = Pair::open();
        let key = pair.call_within(caller, 50);
        pair.now += MS;
        pair.drive();
        pair.advance(60 * MS);
        let server = pair.side(caller.other());
        let why = CancelReason::Deadline;
        assert_eq!(server.events, [Event::CancelServing { id: key.id(), why }]);
        assert_eq!(server.core.serving(), 1, "until its handler has ended");
        let client = pair.side(caller);
        // The report says how long the handler had it.
        let status = ReplyStatus::Failed(ErrorKind::Deadline);
        assert_eq!(client.replies(), [(key, status, 50_000_000, &b""[..])]);
        assert_eq!(client.core.in_flight(), 0);
        assert_eq!(client.events, [], "the call ends once");

        assert!(!pair.finish(caller.other(), key.id(), ReplyStatus::Ok));
        assert_eq!(pair.core(caller.other()).serving(), 0);
        pair.advance(1000 * MS);
        pair.assert_no_errors();
    }
}

#[test]
fn a_caller_does_not_wait_for_a_server_that_was_stopped() {
    let mut pair = Pair::open();
    let key = pair.call_within(Client, 64);
    // The server reads nothing. The deadline is at 64 ms, the grace is 4 ms.
    let stopped = std::mem::take(&mut pair.client.wire);
    assert_eq!(pair.core(Client).poll_timeout(), Some(pair.start + 68 * MS));
    pair.now = pair.start + 68 * MS - Duration::from_nanos(1);
    let now = pair.now;
    pair.core(Client).handle_timeout(now);
    assert_eq!(pair.core(Client).poll_event(), None);
    pair.now = pair.start + 68 * MS;
    let now = pair.now;
    pair.core(Client).handle_timeout(now);
    pair.client.poll();
    assert_eq!(pair.client.events, [Event::Expired(key)]);
    assert_eq!(
        pair.core(Client).in_flight(),
        1,
        "the server still owes an answer"
    );
    pair.core(Client).cancel_call(key);
    assert_eq!(pair.client.wire.len(), 1, "it is told once");

    // It goes on: the request and the cancel are there at once.
    let cancel = std::mem::replace(&mut pair.client.wire, stopped);
    pair.client.wire.extend(cancel);
    pair.drive();
    assert_eq!(
        pair.server.incoming.last().unwrap().0,
        Incoming::Cancel { id: key.id() }
    );
    assert_eq!(pair.client.replies(), [], "what comes late is dropped");
    assert_eq!(pair.core(Client).in_flight(), 0);
    pair.assert_no_errors();
}

#[test]
fn a_reply_within_the_grace_still_counts() {
    let mut pair = Pair::open();
    let key = pair.call_within(Client, 50);
    pair.drive();
    pair.finish(Server, key.id(), ReplyStatus::Ok);
    let reply = std::mem::take(&mut pair.server.wire);
    pair.advance(51 * MS);
    pair.server.wire = reply;
    pair.drive();
    assert_eq!(pair.client.replies().len(), 1);
    assert_eq!(pair.client.events, []);
    assert_eq!(pair.core(Client).poll_timeout(), None);
}

#[test]
fn the_grace_is_a_sixteenth_within_bounds() {
    let cases = [
        (0, 1_000),
        (1_000, 1_000),
        (16_000, 1_000),
        (16_016, 1_001),
        (32_000, 2_000),
        (159_984, 9_999),
    ];
    for (timeout, expected) in cases.into_iter().chain([(160_000, 10_000), (160_016, 10_000)]) {
        assert_eq!(
            grace(Duration::from_micros(timeout)),
            Duration::from_micros(expected),
            "{timeout} µs"
        );
    }
    assert_eq!(grace(Duration::MAX), 10 * MS);
}

#[test]
fn a_deadline_that_has_passed_is_not_sent() {
    let mut pair = Pair::open();
    let now = pair.now;
    for deadline in [now, now - MS] {
        assert_eq!(
            pair.core(Client).start_call(now, 1, Some(deadline)),
            Err(StartError::Expired)
        );
        assert_eq!(
            pair.core(Client).start_one_way(now, 1, Some(deadline)),
            Err(StartError::Expired)
        );
    }
    assert_eq!(pair.core(Client).in_flight(), 0);
    let error = pair.client.core.start_error(StartError::Expired);
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Deadline, Outcome::NotSent)
    );
    assert!(
        pair.core(Client)
            .start_call(now, 1, Some(now + Duration::from_nanos(1)))
            .is_ok()
    );
}

/// As far as the clock goes, and further: nothing overflows.
#[test]
fn deadlines_at_the_end_of_time() {
    let mut pair = Pair::open();
    let now = pair.now;
    let mut far = Duration::MAX;
    while now.checked_add(far).is_none() {
        far /= 2;
    }
    let deadline = now + far;
    let (key, header) = pair.core(Client).start_call(now, 1, Some(deadline)).unwrap();
    assert_eq!(header.extra, u64::try_from(far.as_nanos()).unwrap_or(u64::MAX));
    pair.core(Client).withdraw_call(key);
    for (id, extra) in [(1, u64::MAX), (2, u64::MAX - 1), (3, 1 << 63)] {
        let (header, body) = raw::request(id);
        let header = transports::Header { extra, ..header };
        pair.server.receive(now, (header, body)).unwrap();
        let Incoming::Request { deadline, .. } = pair.server.incoming.pop().unwrap().0 else {
            panic!("no request");
        };
        assert!(deadline.is_none_or(|deadline| deadline > now + Duration::from_secs(1 << 32)));
    }
    pair.advance(Duration::from_secs(3600));
    assert_eq!(pair.server.events, []);
}

#[test]
fn a_one_way_call_may_have_a_deadline() {
    let mut pair = Pair::open();
    let id = pair.one_way(Client, Some(5 * MS));
    pair.drive();
    let deadline = Some(pair.now + 5 * MS);
    let expected = Incoming::Request {
        id,
        ordinal: LOG.ordinal,
        deadline,
        one_way: true,
    };
    assert_eq!(pair.server.incoming[0].0, expected);
    pair.advance(5 * MS);
    assert_eq!(
        pair.server.events,
        [Event::CancelServing {
            id,
            why: CancelReason::Deadline
        }]
    );
    assert!(!pair.finish(Server, id, ReplyStatus::Ok));
    pair.drive();
    assert!(pair.client.incoming.is_empty());
    pair.assert_no_errors();
}

#[test]
fn deadlines_pass_in_their_order() {
    let mut pair = Pair::open();
    let times = [40, 10, 30, 10, 20, 50, 5];
    let keys: Vec<_> = times.iter().map(|time| pair.call_within(Client, *time)).collect();
    let untimed = pair.call(Client);
    pair.drive();
    pair.finish(Server, keys[4].id(), ReplyStatus::Ok);
    pair.advance(100 * MS);
    let expired: Vec<_> = pair
        .client
        .replies()
        .iter()
        .filter(|reply| reply.1 != ReplyStatus::Ok)
        .map(|reply| keys.iter().position(|key| *key == reply.0).unwrap())
        .map(|at| times[at])
        .collect();
    assert_eq!(expired, [5, 10, 10, 30, 40, 50]);
    assert_eq!(pair.core(Client).in_flight(), 1);
    assert!(pair.finish(Server, untimed.id(), ReplyStatus::Ok));
}
