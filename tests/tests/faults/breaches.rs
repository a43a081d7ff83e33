//! Messages of somebody who was let in that break the rules: each ends its connection, or its call.

use crate::hostile::{attack, closed_for_a_breach};
use crate::raw::{self, Frame, Stranger, id};

#[test]
fn headers_that_mean_nothing() {
    attack("headers_that_mean_nothing", |endpoint| {
        let ping = Frame::new(raw::PING);
        let number = Frame::number(id(1), 1);
        let breaches = [
            // Kinds.
            Frame::new(0),
            Frame::new(11),
            Frame::new(255),
            // Flags.
            Frame {
                flags: 2,
                ..number.clone()
            },
            Frame {
                flags: 128,
                ..number.clone()
            },
            Frame {
                flags: 1,
                ..ping.clone()
            },
            Frame {
                flags: 2,
                ..Frame::new(raw::DRAIN)
            },
            // Fields that are not used, and bodies of what has none.
            Frame {
                id: 1,
                ..ping.clone()
            },
            Frame {
                ordinal: 1,
                ..ping.clone()
            },
            Frame {
                body: vec![0],
                ..ping.clone()
            },
            Frame {
                body: vec![0],
                ..Frame::cancel(id(1))
            },
            Frame {
                extra: 256,
                ..Frame::new(raw::CLOSE)
            },
            Frame {
                body: vec![b'x'; 1025],
                ..Frame::new(raw::CLOSE)
            },
        ];
        for breach in breaches {
            let mut stranger = Stranger::introduced(endpoint);
            stranger.say(&number);
            assert_eq!(stranger.hear().unwrap().kind, raw::REPLY);
            stranger.say(&breach);
            let heard = stranger.rest();
            let last = heard.last().unwrap_or_else(|| panic!("no reason for {breach:?}"));
            assert_eq!(
                (last.kind, last.extra),
                (raw::CLOSE, raw::PROTOCOL),
                "{breach:?}: {last:?}"
            );
        }
        // Attachments that are announced and cannot be there.
        let attached = [
            Frame {
                sections: 1,
                ..number.clone()
            },
            Frame {
                handles: 1,
                ..number.clone()
            },
            Frame {
                handles: 255,
                ..Frame::new(raw::PING)
            },
        ];
        for breach in attached {
            let mut stranger = Stranger::introduced(endpoint);
            stranger.say(&number);
            assert_eq!(stranger.hear().unwrap().kind, raw::REPLY);
            stranger.say(&breach);
            let heard = stranger.rest();
            let last = heard.last().unwrap_or_else(|| panic!("no reason for {breach:?}"));
            assert_eq!((last.kind, last.extra), (raw::CLOSE, raw::PROTOCOL), "{last:?}");
            // A socket of one's own user carries sections, but none is where this says.
            let sentence = last.sentence();
            assert!(
                sentence.starts_with("protocol broken: ") && sentence.contains("sections"),
                "{sentence}"
            );
        }
    });
}

#[test]
fn answers_that_nobody_asked_for() {
    attack("answers_that_nobody_asked_for", |endpoint| {
        let reply = Frame {
            id: id(1),
            ..Frame::new(raw::REPLY)
        };
        let breaches = [
            reply.clone(),
            Frame {
                id: 0,
                ..reply.clone()
            },
            Frame {
                id: u64::MAX,
                flags: 1,
                ordinal: 3,
                ..reply
            },
            Frame {
                extra: 7,
                ..Frame::new(raw::PONG)
            },
            Frame {
                flags: 1,
                ..Frame::new(raw::DRAIN)
            },
            // Cancelling what was never called.
            Frame::cancel(id(5)),
            Frame::cancel(u64::MAX),
        ];
        for breach in breaches {
            let mut stranger = Stranger::introduced(endpoint);
            stranger.say(&breach);
            closed_for_a_breach(stranger);
        }
    });
}

#[test]
fn ids_that_were_used() {
    attack("ids_that_were_used", |endpoint| {
        // In flight, answered, and older than one that was seen.
        for (first, second) in [
            (Frame::hold(id(2), 1), id(2)),
            (Frame::number(id(2), 1), id(2)),
            (Frame::number(id(2), 1), id(1)),
        ] {
            let mut stranger = Stranger::introduced(endpoint);
            stranger.say(&first);
            stranger.say(&Frame::number(second, 1));
            closed_for_a_breach(stranger);
        }
        let mut stranger = Stranger::introduced(endpoint);
        stranger.say(&Frame::number(0, 1));
        closed_for_a_breach(stranger);
        // The last id there is.
        let mut stranger = Stranger::introduced(endpoint);
        stranger.say(&Frame::number(u64::MAX, 1));
        assert_eq!(stranger.hear().unwrap().id, u64::MAX);
    });
}

#[test]
fn calls_of_nothing_and_with_nonsense() {
    attack("calls_of_nothing_and_with_nonsense", |endpoint| {
        // They are errors of the call, and the connection is kept.
        let mut stranger = Stranger::introduced(endpoint);
        let mut sequence = 0;
        let mut call = |stranger: &mut Stranger, frame: Frame| {
            sequence += 1;
            stranger.say(&Frame {
                id: id(sequence),
                ..frame
            });
            let reply = stranger.hear().expect("the connection is kept");
            assert_eq!((reply.kind, reply.id), (raw::REPLY, id(sequence)), "{reply:?}");
            reply
        };
        for _ in 0..3 {
            let reply = call(
                &mut stranger,
                Frame {
                    ordinal: 1,
                    ..Frame::number(0, 1)
                },
            );
            assert_eq!(
                (reply.flags, reply.ordinal),
                (3, raw::UNKNOWN_METHOD),
                "{reply:?}"
            );
            for length in (0..8).chain(9..12) {
                let reply = call(
                    &mut stranger,
                    Frame {
                        body: vec![0; length],
                        ..Frame::number(0, 1)
                    },
                );
                assert_eq!(
                    (reply.flags, reply.ordinal),
                    (3, raw::DECODE),
                    "{length} bytes: {reply:?}"
                );
            }
            // A text of 2^63 bytes.
            let body = [&(1_u64 << 63).to_le_bytes()[..], b"x"].concat();
            let text = Frame {
                body,
                ordinal: raw::ordinal("Subject.text"),
                ..Frame::number(0, 1)
            };
            let reply = call(&mut stranger, text);
            assert_eq!((reply.flags, reply.ordinal), (3, raw::DECODE), "{reply:?}");
            let reply = call(&mut stranger, Frame::number(0, 9));
            assert_eq!((reply.flags, reply.body), (0, 9_u64.to_le_bytes().to_vec()));
        }
        // A deadline in the farthest future, and one in a nanosecond.
        let reply = call(
            &mut stranger,
            Frame {
                extra: u64::MAX,
                ..Frame::number(0, 3)
            },
        );
        assert_eq!(reply.flags, 0, "{reply:?}");
        let reply = call(
            &mut stranger,
            Frame {
                extra: 1,
                ..Frame::hold(0, 4)
            },
        );
        assert_eq!((reply.flags, reply.ordinal), (1, 6), "{reply:?}");
    });
}
