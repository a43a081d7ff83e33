//! Messages that no honest peer sends, to either end.

use std::time::Instant;

use proptest::prelude::*;
use transports::Header;

use crate::ErrorKind;
use crate::connection::{ReplyStatus, State};
use crate::pair::{Client, End, Pair, Sent, Server, Side, client_config, server_config};
use crate::raw;

/// A new pair, one end of which gets these messages from a peer that forgot the rules. The last must be a
/// breach, the others not.
fn breach(end: End, messages: &[Sent]) -> String {
    let mut pair = Pair::open();
    let now = pair.now;
    let side = pair.side(end);
    let (last, before) = messages.split_last().unwrap();
    for message in before {
        side.receive(now, message.clone()).unwrap();
    }
    assert_eq!(
        side.receive(now, last.clone()),
        Err(ErrorKind::Protocol),
        "{last:?}"
    );
    assert_eq!(side.core.state(), State::Closed);
    let (farewell, sentence) = side.wire.back().unwrap();
    assert_eq!(farewell.kind, raw::CLOSE, "the peer is told");
    let text = side.error.as_ref().unwrap().to_string();
    assert_eq!(text.as_bytes(), sentence, "and told the same");
    text
}

#[test]
fn unknown_kinds() {
    for end in End::BOTH {
        for kind in (11..=255).chain([0]) {
            let text = breach(end, &[raw::message(raw::bare(kind))]);
            assert_eq!(
                text,
                format!("protocol broken: a message of the unknown kind {kind}")
            );
        }
    }
}

/// For each kind: the flags that it has, whether it carries an id, an ordinal, an extra word, a body.
const KINDS: [(u8, u8, bool, bool, bool, bool); 7] = [
    (raw::REQUEST, raw::ONE_WAY, true, true, true, true),
    (raw::REPLY, raw::FAILED | raw::REFUSED, true, true, true, true),
    (raw::CANCEL, 0, true, false, false, false),
    (raw::PING, 0, false, false, true, false),
    (raw::PONG, 0, false, false, true, false),
    (raw::DRAIN, raw::ACKNOWLEDGED, false, false, false, false),
    (raw::CLOSE, 0, true, false, true, true),
];

#[test]
fn unknown_flags_and_unused_fields() {
    for end in End::BOTH {
        for (kind, flags, id, ordinal, extra, body) in KINDS {
            for flag in (0..8).map(|bit| 1 << bit).filter(|flag| flags & flag == 0) {
                let text = breach(
                    end,
                    &[raw::message(Header {
                        flags: flag,
                        ..raw::bare(kind)
                    })],
                );
                assert!(
                    text.ends_with("with a flag that its kind does not have"),
                    "{text}"
                );
            }
            let mut unused = Vec::new();
            if !id {
                unused.push(Header {
                    id: 1,
                    ..raw::bare(kind)
                });
            }
            if !ordinal {
                unused.push(Header {
                    ordinal: 1,
                    ..raw::bare(kind)
                });
            }
            if !extra {
                unused.push(Header {
                    extra: 1,
                    ..raw::bare(kind)
                });
            }
            for header in unused {
                let text = breach(end, &[raw::message(header)]);
                assert!(
                    text.ends_with("with a value in a field that its kind does not use"),
                    "{text}"
                );
            }
            if !body {
                let text = breach(end, &[(raw::bare(kind), vec![0])]);
                assert!(
                    text.ends_with("with a body longer than its kind may have"),
                    "{text}"
                );
            }
            if !matches!(kind, raw::REQUEST | raw::REPLY) {
                for header in [
                    Header {
                        sections: 1,
                        ..raw::bare(kind)
                    },
                    Header {
                        handles: 1,
                        ..raw::bare(kind)
                    },
                ] {
                    let text = breach(end, &[raw::message(header)]);
                    assert!(
                        text.ends_with("with attachments on a kind that has none"),
                        "{text}"
                    );
                }
            }
        }
        breach(
            end,
            &[raw::message(Header {
                extra: 256,
                ..raw::bare(raw::CLOSE)
            })],
        );
    }
}

#[test]
fn replies_must_fit_their_calls() {
    for end in End::BOTH {
        // To no call at all.
        assert_eq!(
            breach(end, &[raw::reply(0x10000)]),
            "protocol broken: a Reply to 0x10000, which is not unanswered"
        );
        breach(end, &[raw::reply(0)]);
        breach(end, &[raw::reply(u64::MAX)]);

        let mut pair = Pair::open();
        let (first, second) = (pair.call(end), pair.call(end));
        let one_way = pair.one_way(end, None);
        let now = pair.now;
        let wrong = |id: u64| {
            // A pair that stands where this one stands.
            let mut pair = Pair::open();
            assert_eq!(
                (pair.call(end), pair.call(end), pair.one_way(end, None)),
                (first, second, one_way)
            );
            assert_eq!(
                pair.side(end).receive(now, raw::reply(id)),
                Err(ErrorKind::Protocol),
                "{id:#x}"
            );
        };
        wrong(first.id() - 1);
        wrong(first.id() + 1);
        wrong(first.id() + (1 << 16));
        wrong(one_way);
        wrong(second.id() + (1 << 40));
        // Twice.
        pair.side(end).receive(now, raw::reply(first.id())).unwrap();
        assert_eq!(
            pair.side(end).receive(now, raw::reply(first.id())),
            Err(ErrorKind::Protocol)
        );
        // Twice, to a call that was given up: the first was legal.
        let mut pair = Pair::open();
        let key = pair.call(end);
        pair.core(end).cancel_call(key);
        pair.side(end).receive(now, raw::reply(key.id())).unwrap();
        assert_eq!(
            pair.side(end).receive(now, raw::reply(key.id())),
            Err(ErrorKind::Protocol)
        );
        // The old id in a slot that a new call has.
        let mut pair = Pair::open();
        let old = pair.call(end);
        pair.side(end).receive(now, raw::reply(old.id())).unwrap();
        let new = pair.call(end);
        assert_eq!(old.slot(), new.slot());
        assert_eq!(
            pair.side(end).receive(now, raw::reply(old.id())),
            Err(ErrorKind::Protocol)
        );
    }
}

#[test]
fn replies_must_say_how_they_failed() {
    for end in End::BOTH {
        for (flags, ordinal) in [
            (0, 1),
            (raw::REFUSED, 0),
            (raw::REFUSED, 1),
            (raw::FAILED, 256),
            (raw::FAILED, u64::MAX),
        ] {
            let mut pair = Pair::open();
            let key = pair.call(end);
            let now = pair.now;
            let header = Header {
                id: key.id(),
                flags,
                ordinal,
                ..raw::bare(raw::REPLY)
            };
            assert_eq!(
                pair.side(end).receive(now, raw::message(header)),
                Err(ErrorKind::Protocol)
            );
        }
        for ordinal in [0, 21, 255] {
            let mut pair = Pair::open();
            let key = pair.call(end);
            let now = pair.now;
            let header = Header {
                id: key.id(),
                flags: raw::FAILED,
                ordinal,
                ..raw::bare(raw::REPLY)
            };
            pair.side(end).receive(now, raw::message(header)).unwrap();
            // The code of a newer build.
            assert_eq!(
                pair.side(end).replies()[0].1,
                ReplyStatus::Failed(ErrorKind::Closed)
            );
        }
    }
}

#[test]
fn request_ids_must_be_new() {
    for end in End::BOTH {
        assert_eq!(
            breach(end, &[raw::request(0)]),
            "protocol broken: a Request whose id 0x0 is not new"
        );
        breach(end, &[raw::request(7), raw::request(7)]);
        breach(end, &[raw::request(7), raw::request(6)]);
        breach(end, &[raw::request(u64::MAX), raw::request(1)]);
        // Also when the call is over, and for one-way calls.
        let mut pair = Pair::open();
        let now = pair.now;
        pair.side(end).receive(now, raw::request(7)).unwrap();
        assert!(pair.finish(end, 7, ReplyStatus::Ok));
        let (header, body) = raw::request(7);
        let again = (
            Header {
                flags: raw::ONE_WAY,
                ..header
            },
            body,
        );
        assert_eq!(pair.side(end).receive(now, again), Err(ErrorKind::Protocol));
    }
}

#[test]
fn bodies_have_a_limit() {
    let mut configs = (client_config(), server_config());
    configs.0.limits.max_body = 5000;
    configs.1.limits.max_body = 5000;
    for end in End::BOTH {
        for kind in [raw::REQUEST, raw::REPLY] {
            let mut pair = Pair::open_with(configs.0.clone(), configs.1.clone());
            let key = pair.call(end);
            assert_eq!(pair.core(end).max_body_to_receive(), 5000);
            let now = pair.now;
            let message = |length| {
                (
                    Header {
                        id: key.id(),
                        ..raw::bare(kind)
                    },
                    vec![0; length],
                )
            };
            assert_eq!(pair.side(end).receive(now, message(5000)), Ok(()));
            let mut pair = Pair::open_with(configs.0.clone(), configs.1.clone());
            let key = pair.call(end);
            assert_eq!(
                pair.side(end).receive(
                    now,
                    (
                        Header {
                            id: key.id(),
                            ..raw::bare(kind)
                        },
                        vec![0; 5001]
                    )
                ),
                Err(ErrorKind::Protocol)
            );
            let text = pair.side(end).error.as_ref().unwrap().to_string();
            assert_eq!(text, "protocol broken: a body of 5001 bytes, above the limit");
        }
    }
}

#[test]
fn pings_and_pongs_are_counted() {
    for end in End::BOTH {
        let mut pair = Pair::open();
        let now = pair.now;
        // Nobody reads the answers.
        for token in 0..8 {
            assert!(
                pair.core(end)
                    .handle_message(now, &raw::ping(token).0, &[])
                    .is_ok()
            );
        }
        let error = pair
            .core(end)
            .handle_message(now, &raw::ping(8).0, &[])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "protocol broken: more Pings than may be unanswered"
        );
        breach(end, &[raw::pong(0)]);
        let mut pair = Pair::open();
        assert!(pair.core(end).ping(1) && pair.core(end).ping(2));
        assert_eq!(
            pair.side(end).receive(now, raw::pong(2)),
            Err(ErrorKind::Protocol),
            "out of order"
        );
    }
}

#[test]
fn nothing_but_giving_up_may_follow_a_hello() {
    for kind in 0..=255 {
        let mut pair = Pair::new(client_config(), server_config());
        pair.drive();
        let now = pair.now;
        let result = pair
            .server
            .receive(now, raw::message(Header { ..raw::bare(kind) }));
        if kind == raw::CLOSE {
            assert_eq!(result, Ok(()));
        } else {
            assert_eq!(result, Err(ErrorKind::Protocol));
            assert_eq!(pair.server.wire[0].0.kind, raw::REJECT);
        }
        assert_eq!(pair.core(Server).state(), State::Closed);
        pair.core(Client).close(ErrorKind::Closed, "");
    }
}

/// Headers that are mostly nearly right, since those that are not are refused at the first field.
fn any_header() -> impl Strategy<Value = Header> {
    let word = || prop_oneof![4 => 0u64..4, 2 => (0u64..4).prop_map(|n| n << 16), 1 => any::<u64>()];
    let byte = || prop_oneof![6 => Just(0u8), 2 => 0u8..4, 1 => any::<u8>()];
    let kind = prop_oneof![20 => 0u8..12, 1 => any::<u8>()];
    let id = prop_oneof![6 => (1u64..6).prop_map(|n| n << 16), 2 => word(), 2 => Just(raw::MAGIC)];
    (kind, byte(), byte(), byte(), id, word(), word()).prop_map(
        |(kind, flags, sections, handles, id, ordinal, extra)| Header {
            length: 0,
            kind,
            flags,
            sections,
            handles,
            id,
            ordinal,
            extra,
        },
    )
}

/// What must hold of any end, whatever it was told.
fn assert_sound(side: &mut Side, now: Instant) {
    side.poll();
    assert!(side.core.in_flight() <= 65_536 && side.core.serving() <= 4096);
    if side.core.state() == State::Closed {
        assert!(side.core.close_reason().is_some());
        assert_eq!((side.core.in_flight(), side.core.serving()), (0, 0));
        assert_eq!(side.core.poll_timeout(), None);
        assert!(side.core.start_call(now, 1, None).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// Anything at all, in any state: nothing panics, nothing grows, and an end that has closed stays closed.
    #[test]
    fn any_messages_in_any_state(
        stage in 0u8..4,
        at_server: bool,
        messages in proptest::collection::vec(
            (any_header(), proptest::collection::vec(any::<u8>(), 0..40), 0u64..3_000_000),
            1..60,
        ),
    ) {
        let end = if at_server { Server } else { Client };
        let mut pair = if stage == 3 {
            let mut pair = Pair::open();
            for _ in 0..3 {
                pair.call_within(end, 2);
            }
            pair
        } else {
            Pair::new(client_config(), server_config())
        };
        if stage >= 1 {
            pair.drive();
        }
        if stage == 2 {
            pair.core(Server).accept();
        }
        let mut now = pair.now;
        let side = pair.side(end);
        for (header, body, nanoseconds) in messages {
            let _ = side.receive(now, (header, body));
            now += std::time::Duration::from_nanos(nanoseconds);
            side.core.handle_timeout(now);
            assert_sound(side, now);
        }
    }

    /// The same with bodies of a handshake that are nearly right.
    #[test]
    fn any_bytes_in_a_handshake(
        start in proptest::collection::vec(any::<u8>(), 0..30),
        cut in 0usize..60,
        at_server: bool,
    ) {
        let methods = || vec![(1, 2, b"a()".to_vec())];
        let listed = || vec![raw::Listed { methods: methods(), ..raw::Listed::named("One") }];
        let (kind, good, end) = if at_server {
            let hello = raw::Hello { services: listed(), blob: vec![1, 2], ..raw::Hello::default() };
            (raw::HELLO, hello.body(), Server)
        } else {
            (raw::WELCOME, raw::welcome(1, 1, &listed()), Client)
        };
        let mut body = good[..cut.min(good.len())].to_vec();
        body.extend(&start);
        body.extend(&good[body.len().min(good.len())..]);
        let mut pair = Pair::new(client_config(), server_config());
        pair.client.poll();
        let now = pair.now;
        let side = pair.side(end);
        let _ = side.receive(now, raw::handshake(kind, body));
        assert_sound(side, now);
    }
}
