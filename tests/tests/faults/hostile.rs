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

pub(crate) fn attack_with(name: &'static str, adjust: fn(&mut Plan), attack: fn(&Endpoint)) {
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
pub(crate) fn closed_for_a_breach(mut stranger: Stranger) -> Vec<Frame> {
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
