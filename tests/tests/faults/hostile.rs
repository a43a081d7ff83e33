//! Bytes that are not ours, and messages that break the rules. Each ends the connection that they come by, or the call,
//! and nothing else: another connection makes a thousand calls meanwhile, and afterwards the server holds what it held.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ipc_rpc::Endpoint;
use tests::meter::Holdings;
use tests::process::Helper;
use tests::subject::{Plan, SubjectClient, pattern};
use tests::{fixture::Transport, watchdog};

use crate::raw::{self, Frame, Stranger, id};
use crate::serve;

/// Runs an attack on a server over each kind of socket, with a canary, and looks at what is left.
pub(crate) fn attack(name: &'static str, attack: fn(&Endpoint)) {
    attack_with(name, |_| {}, attack);
}

fn attack_with(name: &'static str, adjust: fn(&mut Plan), attack: fn(&Endpoint)) {
    for transport in [Transport::UnixName, Transport::Tcp] {
        let mut plan = Plan::at(transport.endpoint());
        // An honest stranger needs a fraction of it, also on a machine that is busy for a moment.
        plan.handshake = Some(1000);
        plan.message = Some(1000);
        adjust(&mut plan);
        watchdog::guard(&format!("{name} over {transport:?}"), move || {
            let mut server = serve(&plan);
            let endpoint = server.endpoint().clone();
            let canary = SubjectClient::connect(&endpoint).wait().unwrap();
            // What is made once, for whatever stranger, is not counted.
            drop(Stranger::introduced(&endpoint));
            canary.until_rundowns(1).wait().unwrap();
            sing(&canary, 100);
            let before = Holdings::of(server.pid());
            let over = Arc::new(AtomicBool::new(false));
            let singer = std::thread::spawn({
                let over = over.clone();
                move || {
                    // At least a thousand, and as long as the attack lasts.
                    sing(&canary, 1000);
                    while !over.load(Ordering::Relaxed) {
                        sing(&canary, 10);
                    }
                    canary
                }
            });
            attack(&endpoint);
            over.store(true, Ordering::Relaxed);
            let canary = singer.join().expect("the canary sings");
            sing(&canary, 10);
            settle(&mut server, &before);
        });
    }
}

/// Whatever takes longer than this hangs; far above what anything here takes on a busy machine.
pub(crate) const HANG: Duration = Duration::from_secs(25);

/// Calls that an undisturbed server answers.
pub(crate) fn sing(canary: &SubjectClient, calls: u64) {
    for value in 0..calls {
        let answered = canary.number(value).timeout(HANG).wait();
        assert_eq!(answered.expect("the canary is served"), value);
    }
}

/// Memory, in KiB, that an allocator may keep from the system once it was used: half of the 16 MiB that one client may leave
/// unread.
const ALLOCATOR_KEEPS: usize = 8 << 10;

/// The server comes back to what it held; connections take a moment to end.
pub(crate) fn settle(server: &mut Helper, before: &Holdings) {
    let began = Instant::now();
    loop {
        assert!(server.is_running(), "the server is gone");
        let after = Holdings::of(server.pid());
        let grown = after.resident_kib.saturating_sub(before.resident_kib);
        if after.descriptors <= before.descriptors
            && after.shared <= before.shared
            && after.threads <= before.threads
            && grown <= ALLOCATOR_KEEPS
        {
            return;
        }
        assert!(began.elapsed() < HANG, "{before:?} has become {after:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The stranger was told nothing, or a rejection, and the connection has ended.
fn turned_away(mut stranger: Stranger) {
    let heard = stranger.rest();
    assert!(
        heard.is_empty() || matches!(&heard[..], [only] if only.kind == raw::REJECT),
        "{heard:?}"
    );
}

/// The connection was closed for a breach of the protocol; what came before that.
fn closed_for_a_breach(mut stranger: Stranger) -> Vec<Frame> {
    let mut heard = stranger.rest();
    let last = heard.pop().expect("the server says why");
    assert_eq!((last.kind, last.extra), (raw::CLOSE, raw::PROTOCOL), "{last:?}");
    assert!(!last.sentence().is_empty());
    heard
}

#[test]
fn other_protocols() {
    attack("other_protocols", |endpoint| {
        let greetings: [&[u8]; 6] = [
            b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/8.0\r\nAccept: */*\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\x04\x40\0\0\0\0\x02\0\0\0\0",
            // A TLS 1.2 record with the beginning of a client hello.
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\0\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12",
            b"SSH-2.0-OpenSSH_9.9\r\nand something to make a header of it",
            b"{\"jsonrpc\": \"2.0\", \"method\": \"number\", \"params\": [1], \"id\": 1}",
            b"\0AUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n................",
        ];
        for greeting in greetings {
            let mut stranger = Stranger::connect(endpoint);
            stranger.write(greeting).unwrap();
            turned_away(stranger);
        }
    });
}

#[test]
fn random_bytes() {
    attack("random_bytes", |endpoint| {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for length in [1, 31, 32, 33, 64, 1000, 100_000] {
            for _ in 0..5 {
                let random = || {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    state as u8
                };
                let bytes: Vec<u8> = std::iter::repeat_with(random).take(length).collect();
                let mut stranger = Stranger::connect(endpoint);
                // The server may hang up before it has read all.
                let _ = stranger.write(&bytes);
                if length < 32 {
                    // Less than a header could still become one: the end of the stream decides.
                    stranger.0.end_writing().unwrap();
                }
                turned_away(stranger);
                // And as what a client says once it is in.
                let mut stranger = Stranger::introduced(endpoint);
                let _ = stranger.write(&bytes);
                stranger.0.end_writing().ok();
                stranger.rest();
            }
        }
    });
}

#[test]
fn silence_and_half_a_header() {
    attack("silence_and_half_a_header", |endpoint| {
        let hello = Frame::hello().bytes();
        for length in [0, 1, 4, 16, 31, 32, hello.len() - 1] {
            let mut stranger = Stranger::connect(endpoint);
            stranger.write(&hello[..length]).unwrap();
            // The server has a time for handshakes.
            turned_away(stranger);
        }
    });
}

#[test]
fn one_byte_after_the_other() {
    attack("one_byte_after_the_other", |endpoint| {
        // Each byte would be in time if it were given the whole time, and all of the shortest message take six times that.
        let drip = |mut stranger: Stranger, bytes: &[u8]| {
            let began = Instant::now();
            for byte in bytes {
                if stranger.write(&[*byte]).is_err() {
                    return stranger;
                }
                assert!(began.elapsed() < HANG, "the server goes on listening");
                std::thread::sleep(Duration::from_millis(150));
            }
            panic!("the server has listened to {} bytes", bytes.len());
        };
        turned_away(drip(Stranger::connect(endpoint), &Frame::hello().bytes()));
        // In the middle of a later message, small and large.
        let large = Frame {
            body: pattern(100_000),
            ordinal: raw::ordinal("Subject.take"),
            ..Frame::number(id(2), 0)
        };
        for message in [Frame::number(id(2), 7).bytes(), large.bytes()] {
            let mut stranger = Stranger::introduced(endpoint);
            stranger.say(&Frame::number(id(1), 6));
            assert_eq!(stranger.hear().unwrap().body, 6_u64.to_le_bytes());
            let heard = drip(stranger, &message).rest();
            if let Some(last) = heard.last() {
                assert_eq!(last.kind, raw::CLOSE, "{heard:?}");
                assert!(
                    last.sentence().starts_with("a message took longer than"),
                    "{last:?}"
                );
            }
        }
    });
}

#[test]
fn lengths_that_are_too_long() {
    attack("lengths_that_are_too_long", |endpoint| {
        for length in [64 << 20 | 1, 1 << 30, u32::MAX - 31, u32::MAX] {
            let mut stranger = Stranger::connect(endpoint);
            stranger.write(&Frame::hello().bytes_claiming(length)).unwrap();
            turned_away(stranger);
            let mut stranger = Stranger::introduced(endpoint);
            stranger
                .write(&Frame::number(id(1), 1).bytes_claiming(length))
                .unwrap();
            let heard = stranger.rest();
            assert!(heard.iter().all(|frame| frame.kind == raw::CLOSE), "{heard:?}");
        }
        // One that is allowed takes no memory before it comes.
        let strangers: Vec<_> = (0..50)
            .map(|_| {
                let mut stranger = Stranger::introduced(endpoint);
                stranger
                    .write(&Frame::number(id(1), 1).bytes_claiming(64 << 20))
                    .unwrap();
                stranger
            })
            .collect();
        // Each may make the server set aside a little, and none is answered.
        for mut stranger in strangers {
            stranger.0.end_writing().unwrap();
            let heard = stranger.rest();
            assert!(heard.iter().all(|frame| frame.kind == raw::CLOSE), "{heard:?}");
        }
    });
}

#[test]
fn handshakes_that_say_nonsense() {
    attack("handshakes_that_say_nonsense", |endpoint| {
        let hello = Frame::hello();
        // Cut at every byte, with a length that fits.
        for length in 0..hello.body.len() {
            let mut cut = hello.clone();
            cut.body.truncate(length);
            let mut stranger = Stranger::connect(endpoint);
            stranger.say(&cut);
            turned_away(stranger);
        }
        // Versions that nobody speaks, and a range that is none.
        for versions in [[2, 0, 9, 0], [0, 0, 0, 0], [255, 255, 255, 255], [1, 0, 0, 0]] {
            let mut other = hello.clone();
            other.body[..4].copy_from_slice(&versions);
            let mut stranger = Stranger::connect(endpoint);
            stranger.say(&other);
            let heard = stranger.rest();
            assert!(
                matches!(&heard[..], [only] if only.kind == raw::REJECT && only.extra == raw::INCOMPATIBLE),
                "{heard:?}"
            );
        }
        // A codec that nobody has; no codec; counts of what does not follow.
        for (at, byte) in [
            (5, 77),
            (4, 0),
            (4, 255),
            (14, 255),
            (15, 255),
            (16, 255),
            (17, 255),
        ] {
            let mut other = hello.clone();
            other.body[at] = byte;
            let mut stranger = Stranger::connect(endpoint);
            stranger.say(&other);
            turned_away(stranger);
        }
        // What follows the last field is for later versions.
        let mut longer = hello.clone();
        longer.body.extend(pattern(1000));
        let mut stranger = Stranger::connect(endpoint);
        stranger.say(&longer);
        assert_eq!(stranger.hear().unwrap().kind, raw::WELCOME);
    });
}

#[test]
fn handshakes_out_of_turn() {
    attack("handshakes_out_of_turn", |endpoint| {
        // No handshake at all.
        let mut stranger = Stranger::connect(endpoint);
        stranger.say(&Frame::number(id(1), 1));
        turned_away(stranger);
        // Two.
        let mut stranger = Stranger::introduced(endpoint);
        stranger.say(&Frame::hello());
        closed_for_a_breach(stranger);
        // Two at once, and a call right behind the first, before the answer.
        let mut stranger = Stranger::connect(endpoint);
        stranger
            .write(&[Frame::hello().bytes(), Frame::hello().bytes()].concat())
            .unwrap();
        let heard = stranger.rest();
        assert!(
            heard
                .last()
                .is_some_and(|last| [raw::REJECT, raw::CLOSE].contains(&last.kind)),
            "{heard:?}"
        );
        // The server's part.
        for kind in [raw::WELCOME, raw::REJECT] {
            let mut stranger = Stranger::connect(endpoint);
            stranger.say(&Frame {
                kind,
                ..Frame::hello()
            });
            turned_away(stranger);
            let mut stranger = Stranger::introduced(endpoint);
            stranger.say(&Frame {
                kind,
                ..Frame::hello()
            });
            closed_for_a_breach(stranger);
        }
    });
}

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

#[test]
fn floods_of_cancels_and_pings() {
    attack("floods_of_cancels_and_pings", |endpoint| {
        let mut stranger = Stranger::introduced(endpoint);
        stranger.say(&Frame::hold(id(1), 1));
        // The first is obeyed, the others mean a call that has ended: legal, and of no effect.
        let cancels = Frame::cancel(id(1)).bytes().repeat(20_000);
        stranger.write(&cancels).unwrap();
        let reply = stranger.hear().unwrap();
        assert_eq!(
            (reply.kind, reply.id, reply.flags),
            (raw::REPLY, id(1), 1),
            "{reply:?}"
        );
        stranger.say(&Frame::number(id(2), 5));
        assert_eq!(stranger.hear().unwrap().body, 5_u64.to_le_bytes());
        // Pings that nobody reads the answers of.
        let pings = Frame::new(raw::PING).bytes().repeat(100_000);
        let flooded = stranger.write(&pings);
        drop((flooded, stranger));
    });
}

/// 100,000 calls, each cancelled at once.
#[test]
fn rapid_reset() {
    attack("rapid_reset", |endpoint| {
        let mut stranger = Stranger::introduced(endpoint);
        let mut batch = Vec::new();
        let (mut hung_up, mut last) = (false, None);
        for sequence in 1..=100_000 {
            batch.extend(Frame::hold(id(sequence), sequence).bytes());
            batch.extend(Frame::cancel(id(sequence)).bytes());
            if batch.len() > 16 << 10 {
                if stranger.write(&batch).is_err() {
                    hung_up = true;
                    break;
                }
                batch.clear();
                // A server that cannot answer stops reading: that would be no test of the budget.
                last = hear_some(&mut stranger).or(last);
            }
        }
        let last = stranger.rest().pop().or(last);
        let gone_away = last
            .as_ref()
            .is_some_and(|last| (last.kind, last.extra) == (raw::CLOSE, raw::BUSY));
        assert!(gone_away || hung_up, "nobody objected: {last:?}");
    });
}

/// Hears some of the answers, and gives the last. Each call has one, and more than this were made since the last time.
fn hear_some(stranger: &mut Stranger) -> Option<Frame> {
    (0..64).map_while(|_| stranger.hear()).last()
}

#[test]
fn more_calls_than_allowed() {
    let adjust: fn(&mut Plan) = |plan| plan.max_in_flight = Some(8);
    attack_with("more_calls_than_allowed", adjust, |endpoint| {
        let mut stranger = Stranger::introduced(endpoint);
        for sequence in 1..=10 {
            stranger.say(&Frame::hold(id(sequence), 1000 + sequence));
        }
        // Two too many are refused, and nothing else happens for so few.
        for _ in 0..2 {
            let reply = stranger.hear().unwrap();
            assert_eq!(
                (reply.kind, reply.flags, reply.ordinal),
                (raw::REPLY, 3, raw::BUSY),
                "{reply:?}"
            );
        }
        // One who insists is sent away.
        for sequence in 11..5000 {
            if stranger.write(&Frame::hold(id(sequence), 1).bytes()).is_err() {
                break;
            }
            if sequence % 100 == 0 {
                hear_some(&mut stranger);
            }
        }
        stranger.rest();
    });
}

#[test]
fn a_client_that_reads_nothing() {
    let adjust: fn(&mut Plan) = |plan| plan.max_queued = Some(1 << 20);
    attack_with("a_client_that_reads_nothing", adjust, |endpoint| {
        let strangers: Vec<_> = (0..4)
            .map(|_| {
                let mut stranger = Stranger::introduced(endpoint);
                // Each answer is 256 KiB. The server stops reading when a little more than its limit waits.
                for sequence in 1..=100 {
                    let give = Frame {
                        ordinal: raw::ordinal("Subject.give"),
                        ..Frame::number(id(sequence), 256 << 10)
                    };
                    stranger.say(&give);
                }
                stranger
            })
            .collect();
        // One of them reads after all, and gets all that it asked for.
        let mut strangers = strangers.into_iter();
        let mut patient = strangers.next().unwrap();
        for _ in 0..100 {
            assert_eq!(patient.hear().unwrap().body.len(), (256 << 10) + 8);
        }
    });
}

/// Those who may not stay are told why, and may stay until they have read it: as many as the limit says.
#[test]
fn refusals_that_nobody_takes_note_of() {
    for transport in [Transport::UnixName, Transport::Tcp] {
        watchdog::guard(&format!("refusals over {transport:?}"), move || {
            let plan = Plan {
                max_connections: Some(1),
                max_refused: Some(2),
                // Far longer than this takes.
                handshake: Some(20_000),
                ..Plan::at(transport.endpoint())
            };
            let mut server = serve(&plan);
            let canary = SubjectClient::connect(server.endpoint()).wait().unwrap();
            sing(&canary, 10);
            let before = Holdings::of(server.pid());
            let refused = || {
                let mut stranger = Stranger::connect(server.endpoint());
                let told = stranger.hear().expect("the server says why");
                assert_eq!((told.kind, told.extra), (raw::REJECT, raw::BUSY), "{told:?}");
                assert_eq!(told.sentence(), "it has 1 connections already");
                stranger
            };
            let (mut first, mut second) = (refused(), refused());
            for _ in 0..100 {
                assert_eq!(refused().hear(), None, "one too many is not kept");
            }
            assert!(first.is_connected() && second.is_connected());
            // Whoever takes note makes room for another one.
            drop(first);
            let began = Instant::now();
            while !refused().is_connected() {
                assert!(began.elapsed() < HANG, "nobody is kept any more");
            }
            drop(second);
            sing(&canary, 10);
            settle(&mut server, &before);
        });
    }
}

#[test]
fn connections_that_are_dropped_at_once() {
    attack("connections_that_are_dropped_at_once", |endpoint| {
        for round in 0..200 {
            let mut stranger = Stranger::connect(endpoint);
            if round % 2 == 0 {
                let _ = stranger.write(&Frame::hello().bytes());
            }
        }
    });
}

#[test]
fn endings_in_the_middle() {
    attack("endings_in_the_middle", |endpoint| {
        let call = Frame {
            body: pattern(100_000),
            ordinal: raw::ordinal("Subject.take"),
            ..Frame::number(id(2), 0)
        };
        let bytes = call.bytes();
        for length in [1, 31, 32, 33, 1000, 99_999] {
            let mut stranger = Stranger::introduced(endpoint);
            stranger.say(&Frame::hold(id(1), 1));
            stranger.write(&bytes[..length]).unwrap();
            stranger.0.end_writing().unwrap();
            let heard = stranger.rest();
            assert!(heard.iter().all(|frame| frame.kind == raw::CLOSE), "{heard:?}");
        }
    });
}
