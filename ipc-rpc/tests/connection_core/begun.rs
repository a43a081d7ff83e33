//! Messages that arrive in pieces: the beginning gives a call its place, and what comes between it and the rest counts.

use std::time::{Duration, Instant};

use transports::Header;

use crate::connection::{CancelReason, Event, Incoming, Kind, ReplyStatus, State};
use crate::pair::{Client, End, GET, LOG, Pair, Sent, Server, Side, client_config, server_config};
use crate::{ErrorKind, raw};

const REFUSED: u8 = raw::FAILED | raw::REFUSED;
const MS: Duration = Duration::from_millis(1);

/// More than fits into one piece.
const LARGE: usize = 100_000;

/// Tells the core of the beginning of a message.
fn begin(side: &mut Side, now: Instant, header: &Header) -> Result<(), ErrorKind> {
    let begun = side.core.handle_begun(now, header);
    side.poll();
    begun.map_err(|error| error.kind())
}

/// Hands the core all of a message that it was told of before.
fn rest(side: &mut Side, now: Instant, (header, body): &Sent) -> Result<Incoming, ErrorKind> {
    let arrived = side.core.handle_rest(now, header, body);
    side.poll();
    arrived.map_err(|error| error.kind())
}

fn large(mut header: Header) -> Sent {
    header.length = LARGE as u32;
    (header, vec![7; LARGE])
}

/// Starts a call with large arguments, of which the other side has seen the beginning.
fn begun(pair: &mut Pair, caller: End, timeout: Option<Duration>) -> (u64, Sent) {
    let key = pair.start(caller, timeout).unwrap();
    let (header, _) = pair.side(caller).wire.pop_back().unwrap();
    let sent = large(header);
    let now = pair.now;
    begin(pair.side(caller.other()), now, &sent.0).unwrap();
    (key.id(), sent)
}

#[test]
fn small_calls_pass_a_large_one() {
    for caller in End::BOTH {
        let mut pair = Pair::open();
        let (id, sent) = begun(&mut pair, caller, Some(1000 * MS));
        let small = [pair.call(caller), pair.call(caller)].map(|key| key.id());
        assert!(small[0] > id, "it has its place before them");
        pair.drive();
        let now = pair.now;
        let server = pair.side(caller.other());
        assert_eq!(server.requests(), small);
        assert_eq!(server.core.serving(), 3, "it counts from its beginning");
        // The deadline counts from the beginning, too.
        let later = now + 400 * MS;
        assert_eq!(
            rest(server, later, &sent),
            Ok(Incoming::Request {
                id,
                ordinal: GET.ordinal,
                deadline: Some(now + 1000 * MS),
                one_way: false,
            })
        );
        for id in [small[1], id, small[0]] {
            assert!(pair.finish(caller.other(), id, ReplyStatus::Ok));
        }
        pair.drive();
        let answered: Vec<_> = pair
            .side(caller)
            .replies()
            .iter()
            .map(|reply| reply.0.id())
            .collect();
        assert_eq!(answered, [small[1], id, small[0]]);
        assert_eq!(pair.core(caller).in_flight(), 0);
        assert_eq!(pair.core(caller.other()).serving(), 0);
        pair.assert_no_errors();
    }
}

#[test]
fn a_large_one_way_call() {
    let mut pair = Pair::open();
    let id = pair.one_way(Client, None);
    let sent = large(pair.client.wire.pop_back().unwrap().0);
    let now = pair.now;
    assert_eq!(begin(&mut pair.server, now, &sent.0), Ok(()));
    assert_eq!(pair.server.core.serving(), 1);
    assert_eq!(
        rest(&mut pair.server, now, &sent),
        Ok(Incoming::Request {
            id,
            ordinal: LOG.ordinal,
            deadline: None,
            one_way: true,
        })
    );
    assert!(
        !pair.finish(Server, id, ReplyStatus::Ok),
        "nobody waits for an answer"
    );
    assert_eq!(pair.server.core.serving(), 0);
}

#[test]
fn cancelled_before_the_rest() {
    for caller in End::BOTH {
        let mut pair = Pair::open();
        let key = pair.start(caller, None).unwrap();
        let sent = large(pair.side(caller).wire.pop_back().unwrap().0);
        let now = pair.now;
        begin(pair.side(caller.other()), now, &sent.0).unwrap();
        pair.core(caller).cancel_call(key);
        pair.drive();
        assert_eq!(pair.core(caller).in_flight(), 0, "it was answered at once");
        let server = pair.side(caller.other());
        assert_eq!(
            server.incoming.pop().map(|(incoming, _)| incoming),
            Some(Incoming::Cancel { id: key.id() })
        );
        assert_eq!(server.core.serving(), 1, "what is on its way still counts");
        assert_eq!(
            rest(server, now, &sent),
            Ok(Incoming::Nothing),
            "no handler is started"
        );
        assert_eq!(server.core.serving(), 0);
        assert_eq!(server.wire.len(), 0, "and nothing is answered twice");
        // The id is used up.
        assert_eq!(
            server.receive(now, raw::request(key.id())),
            Err(ErrorKind::Protocol)
        );
    }
}

#[test]
fn the_deadline_passes_before_the_rest() {
    for caller in End::BOTH {
        let mut pair = Pair::open();
        let (id, sent) = begun(&mut pair, caller, Some(50 * MS));
        pair.advance(60 * MS);
        let now = pair.now;
        let server = pair.side(caller.other());
        let given_up = Event::CancelServing {
            id,
            why: CancelReason::Deadline,
        };
        let told = server.events.iter().filter(|event| **event == given_up).count();
        assert_eq!(told, 1, "{:?}", server.events);
        assert_eq!(rest(server, now, &sent), Ok(Incoming::Nothing));
        assert_eq!(server.core.serving(), 0);
        assert_eq!(pair.core(caller).in_flight(), 0);
        // The connection goes on.
        let key = pair.call(caller);
        pair.drive();
        assert_eq!(pair.side(caller.other()).requests(), [key.id()]);
        pair.assert_no_errors();
    }
}

#[test]
fn closed_before_the_rest() {
    for closer in End::BOTH {
        let mut pair = Pair::open();
        let (_, sent) = begun(&mut pair, Client, None);
        pair.core(closer).close(ErrorKind::Closed, "that is all");
        pair.drive();
        let now = pair.now;
        assert_eq!(pair.server.core.state(), State::Closed);
        assert_eq!(pair.server.core.serving(), 0);
        assert_eq!(rest(&mut pair.server, now, &sent), Ok(Incoming::Nothing));
        assert_eq!(begin(&mut pair.server, now, &raw::request(u64::MAX).0), Ok(()));
        assert_eq!(
            rest(&mut pair.server, now, &large(raw::request(u64::MAX).0)),
            Ok(Incoming::Nothing)
        );
        assert!(pair.server.requests().is_empty());
    }
}

#[test]
fn refused_at_the_beginning() {
    let mut config = server_config();
    config.limits.max_in_flight = 1;
    let mut pair = Pair::open_with(client_config(), config);
    let now = pair.now;
    let server = &mut pair.server;
    server.receive(now, raw::request(1)).unwrap();
    // A client that does not keep to the limit.
    let sent = large(raw::request(2).0);
    assert_eq!(begin(server, now, &sent.0), Ok(()));
    let refusals: Vec<_> = server.wire.drain(..).map(|(header, _)| header).collect();
    assert!(
        matches!(
            refusals[..],
            [Header {
                kind: raw::REPLY,
                flags: REFUSED,
                id: 2,
                ..
            }]
        ),
        "before the rest is there: {refusals:?}"
    );
    assert_eq!(rest(server, now, &sent), Ok(Incoming::Nothing));
    assert_eq!((server.requests(), server.wire.len()), (vec![1], 0));
    assert_eq!(server.core.serving(), 1);
    // The same for calls that nobody waits for, of which none is told.
    let one_way = |id| {
        large(Header {
            id,
            flags: raw::ONE_WAY,
            ..raw::bare(raw::REQUEST)
        })
    };
    let (first, second) = (one_way(3), one_way(4));
    assert_eq!(begin(server, now, &first.0), Ok(()));
    assert_eq!(begin(server, now, &second.0), Ok(()));
    assert_eq!(server.core.serving(), 2);
    assert_eq!(
        rest(server, now, &second),
        Ok(Incoming::Nothing),
        "it was dropped"
    );
    assert!(matches!(
        rest(server, now, &first),
        Ok(Incoming::Request {
            id: 3,
            one_way: true,
            ..
        })
    ));
    assert_eq!(server.wire.len(), 0);
}

#[test]
fn ids_are_in_the_order_of_beginnings() {
    // Older than the one that has begun; the same once more, in pieces or whole.
    for (id, in_pieces) in [(4, false), (4, true), (5, false), (5, true)] {
        let mut pair = Pair::open();
        let now = pair.now;
        let server = &mut pair.server;
        begin(server, now, &large(raw::request(5).0).0).unwrap();
        let told = if in_pieces {
            begin(server, now, &large(raw::request(id).0).0)
        } else {
            server.receive(now, raw::request(id))
        };
        assert_eq!(told, Err(ErrorKind::Protocol), "{id}, in pieces: {in_pieces}");
        assert_eq!(server.core.state(), State::Closed);
        assert!(server.requests().is_empty());
    }
}

#[test]
fn several_arrive_at_once_and_end_in_any_order() {
    let mut pair = Pair::open();
    let calls: Vec<_> = (0..8).map(|_| begun(&mut pair, Client, None)).collect();
    let now = pair.now;
    for at in [3, 0, 7, 1, 6, 2, 5, 4] {
        let (id, sent) = &calls[at];
        let arrived = rest(&mut pair.server, now, sent);
        assert!(
            matches!(arrived, Ok(Incoming::Request { id: told, .. }) if told == *id),
            "{arrived:?}"
        );
    }
    assert_eq!(pair.server.core.serving(), 8);
    for (id, _) in calls {
        assert!(pair.finish(Server, id, ReplyStatus::Ok));
    }
    pair.drive();
    assert_eq!(pair.client.replies().len(), 8);
    pair.assert_no_errors();
}

#[test]
fn a_large_answer_ends_its_call_with_its_rest() {
    for caller in End::BOTH {
        let mut pair = Pair::open();
        let [slow, quick] = [pair.call(caller), pair.call(caller)];
        pair.drive();
        let now = pair.now;
        assert!(pair.finish(caller.other(), slow.id(), ReplyStatus::Ok));
        let sent = large(pair.side(caller.other()).wire.pop_back().unwrap().0);
        let side = pair.side(caller);
        assert_eq!(begin(side, now, &sent.0), Ok(()));
        assert_eq!((side.core.in_flight(), side.replies().len()), (2, 0));
        assert!(pair.finish(caller.other(), quick.id(), ReplyStatus::Ok));
        pair.drive();
        let side = pair.side(caller);
        assert_eq!(side.replies().len(), 1, "a small answer passes it");
        assert_eq!(
            rest(side, now, &sent),
            Ok(Incoming::Reply {
                key: slow,
                status: ReplyStatus::Ok,
                extra: sent.0.extra,
            })
        );
        assert_eq!(side.core.in_flight(), 0);
        assert_eq!(
            rest(side, now, &sent),
            Err(ErrorKind::Protocol),
            "a second answer"
        );
    }
}

#[test]
fn a_large_answer_to_a_call_that_was_given_up_meanwhile() {
    let mut pair = Pair::open();
    let key = pair.call(Client);
    pair.drive();
    let now = pair.now;
    assert!(pair.finish(Server, key.id(), ReplyStatus::Ok));
    let sent = large(pair.server.wire.pop_back().unwrap().0);
    begin(&mut pair.client, now, &sent.0).unwrap();
    pair.core(Client).cancel_call(key);
    pair.drive();
    assert_eq!(rest(&mut pair.client, now, &sent), Ok(Incoming::Nothing));
    assert_eq!(
        (pair.core(Client).in_flight(), pair.client.replies().len()),
        (0, 0)
    );
    pair.assert_no_errors();
}

#[test]
fn beginnings_are_judged() {
    let breaches = [
        raw::bare(0),
        raw::bare(77),
        raw::bare(raw::HELLO),
        raw::bare(raw::PING),
        Header {
            flags: 2,
            ..raw::request(1).0
        },
    ];
    for breach in breaches {
        let mut pair = Pair::open();
        let now = pair.now;
        assert_eq!(
            begin(&mut pair.server, now, &large(breach).0),
            Err(ErrorKind::Protocol),
            "{breach:?}"
        );
        assert_eq!(pair.server.core.state(), State::Closed);
    }
    // Longer than what this side takes.
    let mut pair = Pair::open();
    let now = pair.now;
    let mut header = raw::request(1).0;
    header.length = pair.server.core.max_body_to_receive() + 1;
    assert!(begin(&mut pair.server, now, &header).is_err());
    assert_eq!(pair.server.core.state(), State::Closed);
    // A stranger that has said nothing before.
    let mut pair = Pair::new(client_config(), server_config());
    let now = pair.now;
    assert_eq!(
        begin(&mut pair.server, now, &large(raw::request(1).0).0),
        Err(ErrorKind::Protocol)
    );
}

#[test]
fn what_may_pass_a_large_message() {
    for kind in [raw::REQUEST, raw::REPLY, raw::CANCEL, raw::PING, raw::PONG] {
        assert!(Kind::is_unordered(&raw::bare(kind)));
    }
    // One-way calls arrive in the order in which they were made.
    let one_way = Header {
        flags: raw::ONE_WAY,
        ..raw::bare(raw::REQUEST)
    };
    assert!(!Kind::is_unordered(&one_way));
    for kind in [raw::HELLO, raw::WELCOME, raw::REJECT, raw::DRAIN, raw::CLOSE] {
        assert!(!Kind::is_unordered(&raw::bare(kind)), "kind {kind}");
    }
}
