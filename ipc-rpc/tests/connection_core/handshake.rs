//! How two ends meet, and how they refuse each other.

use std::time::Duration;

use crate::connection::{CloseReason, ClosedBy, Config, DIRECT, Incoming, PIECES, PIECES_IN_MEMORY, State};
use crate::pair::{BINCODE, Client, End, GET, JSON, Pair, Sent, Server, Side, client_config, server_config};
use crate::raw::{self, Hello, Listed};
use crate::{ErrorKind, Outcome};

pub(crate) fn accepting() -> Side {
    Side::new(server_config(), std::time::Instant::now())
}

/// What a new accepting end makes of a first message, and its answer.
pub(crate) fn meet(message: Sent) -> (Side, Result<(), ErrorKind>) {
    let mut side = accepting();
    let now = std::time::Instant::now();
    let result = side.receive(now, message);
    (side, result)
}

/// What a connecting end makes of an answer.
pub(crate) fn answer(message: Sent) -> (Side, Result<(), ErrorKind>) {
    let now = std::time::Instant::now();
    let mut side = Side::new(client_config(), now);
    side.poll();
    side.wire.clear();
    let result = side.receive(now, message);
    (side, result)
}

#[test]
fn a_wish_counts_if_both_ends_have_it() {
    for (client, server, both) in [
        (0, 0, false),
        (DIRECT, 0, false),
        (0, DIRECT, false),
        (DIRECT, DIRECT, true),
        (DIRECT, !DIRECT, false),
        (PIECES, DIRECT, false),
        (PIECES, PIECES, false),
        (PIECES, PIECES_IN_MEMORY, false),
        (PIECES_IN_MEMORY | PIECES, PIECES, false),
        (u32::MAX, DIRECT | 1 << 31, true),
    ] {
        let with = |wishes, config| Config { wishes, ..config };
        let mut pair = Pair::new(with(client, client_config()), with(server, server_config()));
        assert!(!pair.core(Client).both_wish(DIRECT) && !pair.core(Server).both_wish(DIRECT));
        pair.drive();
        assert_eq!(pair.core(Server).both_wish(DIRECT), both, "{client} {server}");
        pair.core(Server).accept();
        pair.drive();
        assert_eq!(pair.core(Client).state(), State::Open);
        assert_eq!(pair.core(Client).both_wish(DIRECT), both, "{client} {server}");
        // One wish is no other.
        for wish in [PIECES, PIECES_IN_MEMORY] {
            let both = client & server & wish != 0;
            assert_eq!(pair.core(Client).both_wish(wish), both, "{client} {server}");
        }
    }
}

#[test]
fn both_ends_learn_what_the_other_is() {
    let mut pair = Pair::new(client_config(), server_config());
    pair.server.core.accept();
    assert_eq!(
        pair.core(Server).state(),
        State::Handshaking,
        "there is nothing to accept yet"
    );
    pair.drive();
    assert_eq!(pair.core(Server).state(), State::AwaitingDecision);
    assert_eq!(
        pair.server.incoming,
        [(
            Incoming::Connect {
                blob: b"let me in".to_vec()
            },
            Hello::hello_of_client()
        )]
    );
    assert_eq!(pair.core(Client).state(), State::Handshaking);

    pair.core(Server).accept();
    pair.drive();
    assert_eq!(pair.client.incoming.len(), 1);
    assert_eq!(pair.client.incoming[0].0, Incoming::Opened);
    for end in End::BOTH {
        let core = pair.core(end);
        assert_eq!(core.state(), State::Open);
        assert_eq!(
            core.codec_id(),
            BINCODE,
            "the connecting end's preference decides"
        );
        assert_eq!(core.max_body_to_send(), 64 << 20);
        assert_eq!(core.max_body_to_receive(), 64 << 20);
        assert_eq!(core.max_calls(), 1024);
        assert_eq!(core.close_reason(), None);
        assert_eq!(core.poll_timeout(), None, "the handshake's time no longer runs");
    }
    let services = pair.client.core.peer_services();
    assert_eq!(
        ["Store", "Stor", "Stores"].map(|name| services.version(name)),
        [Some(2), None, None]
    );
    let get = services.method(GET.ordinal).unwrap();
    assert_eq!((get.fingerprint, get.signature), (GET.fingerprint, GET.signature));
    assert_eq!(pair.server.core.peer_services().version("Store"), None);
}

impl Hello {
    fn hello_of_client() -> Vec<u8> {
        Hello {
            codecs: vec![BINCODE, JSON],
            max_body: 64 << 20,
            max_in_flight: 1024,
            blob: b"let me in".to_vec(),
            ..Hello::default()
        }
        .body()
    }
}

/// The very bytes: a change here is a change of the wire.
#[test]
fn the_bytes_of_the_handshake() {
    let mut pair = Pair::new(client_config(), server_config());
    pair.client.poll();
    let (header, body) = pair.client.wire[0].clone();
    assert_eq!(header.to_bytes()[4..16], *b"\x01\0\0\0ipc-rpc\0");
    assert_eq!(header.to_bytes()[16..], [0; 16]);
    assert_eq!(
        body,
        b"\x01\0\x01\0\x02\x01\x02\0\0\0\x04\0\x04\0\0\x09\0let me in\0\0"
    );

    pair.drive();
    pair.core(Server).accept();
    pair.server.poll();
    let (header, body) = pair.server.wire[0].clone();
    assert_eq!(header.to_bytes()[4..16], *b"\x02\0\0\0ipc-rpc\0");
    let mut expected = b"\x01\0\x01\0\0\0\x04\0\x04\0\0\x01\0\x05\0Store\x02\0\0\0\x02\0".to_vec();
    expected.extend(b"\xf0\xde\xbc\x9a\x78\x56\x34\x12\x0b\0\0\0\0\0\0\0\x1c\0get(&str) -> Option<Vec<u8>>");
    expected.extend(b"\x07\0\0\0\0\0\0\0\x0c\0\0\0\0\0\0\0\x09\0log(&str)");
    assert_eq!(body, expected);
}

#[test]
fn the_accepting_end_may_say_no() {
    let mut pair = Pair::new(client_config(), server_config());
    pair.drive();
    pair.core(Server)
        .reject(ErrorKind::Denied, "it only accepts uid 1000");
    pair.drive();
    assert_eq!(pair.client.incoming.last().unwrap().0, Incoming::Closed);
    for (end, by) in [(Client, ClosedBy::Peer), (Server, ClosedBy::Us)] {
        let sentence = "it only accepts uid 1000".to_owned();
        assert_eq!(pair.core(end).state(), State::Closed);
        assert_eq!(
            pair.core(end).close_reason(),
            Some(&CloseReason {
                by,
                kind: ErrorKind::Denied,
                sentence
            })
        );
    }
    let error = pair
        .client
        .core
        .close_reason()
        .unwrap()
        .to_error(Outcome::NotSent);
    assert_eq!(
        error.to_string(),
        "the peer closed the connection: it only accepts uid 1000"
    );
    pair.assert_no_errors();
}

/// A peer that is refused for what it is, by its user say, need not have spoken.
#[test]
fn the_accepting_end_may_say_no_before_it_is_asked() {
    let mut pair = Pair::new(client_config(), server_config());
    pair.core(Server)
        .reject(ErrorKind::Denied, "it only accepts uid 1000");
    pair.server.poll();
    assert_eq!(pair.server.wire[0].0.kind, raw::REJECT);
    pair.drive();
    let reason = pair.client.core.close_reason().unwrap();
    assert_eq!(
        (reason.kind, reason.sentence.as_str()),
        (ErrorKind::Denied, "it only accepts uid 1000")
    );
    pair.assert_no_errors();
}

#[test]
fn nothing_is_sent_before_the_welcome() {
    let mut pair = Pair::new(client_config(), server_config());
    pair.drive();
    pair.core(Server).accept();
    let now = pair.now;
    // The Welcome has not been handed out, so nothing may overtake it.
    assert!(pair.core(Server).start_call(now, 1, None).is_err());
    assert!(!pair.core(Server).ping(1));
    pair.server.poll();
    assert!(pair.core(Server).start_call(now, 1, None).is_ok());
    assert!(pair.core(Client).start_call(now, 1, None).is_err());
}

#[test]
fn versions_are_chosen_or_refused() {
    for (versions, good) in [
        ((1, 1), true),
        ((0, 1), true),
        ((1, 9), true),
        ((2, 9), false),
        ((0, 0), false),
        ((2, 1), false),
    ] {
        let (mut side, result) = meet(
            Hello {
                versions,
                ..Hello::default()
            }
            .message(),
        );
        if good {
            assert_eq!(result, Ok(()), "{versions:?}");
            side.core.accept();
            side.poll();
            let (_, welcome) = side.wire.pop_front().unwrap();
            assert_eq!(welcome[..2], [1, 0], "{versions:?}");
            continue;
        }
        assert_eq!(result, Err(ErrorKind::Incompatible), "{versions:?}");
        let (header, body) = side.wire.pop_front().unwrap();
        assert_eq!((header.kind, header.id), (raw::REJECT, raw::MAGIC));
        let text = String::from_utf8(body).unwrap();
        assert!(
            text.starts_with("no protocol version in common: this side speaks 1 to 1, the peer "),
            "{text}"
        );
        // The rest of such a Hello may be anything: it is not read.
        let start = [versions.0.to_le_bytes(), versions.1.to_le_bytes()].concat();
        assert_eq!(
            meet(raw::handshake(raw::HELLO, start)).1,
            Err(ErrorKind::Incompatible)
        );
    }
    for version in [0, 2] {
        let (_, result) = answer(raw::handshake(raw::WELCOME, raw::welcome(version, BINCODE, &[])));
        assert_eq!(result, Err(ErrorKind::Protocol));
    }
}

#[test]
fn codecs_are_chosen_or_refused() {
    for (codecs, chosen) in [(vec![9, JSON, BINCODE], JSON), (vec![BINCODE; 16], BINCODE)] {
        assert_eq!(
            meet(
                Hello {
                    codecs,
                    ..Hello::default()
                }
                .message()
            )
            .0
            .core
            .codec_id(),
            chosen
        );
    }
    let (side, result) = meet(
        Hello {
            codecs: vec![9, 8],
            ..Hello::default()
        }
        .message(),
    );
    assert_eq!(result, Err(ErrorKind::Incompatible));
    let text = side.error.unwrap().to_string();
    assert_eq!(
        text,
        "no codec in common: this side speaks [2, 1], the peer [9, 8] (by number)"
    );
    for codecs in [vec![], vec![1; 17]] {
        assert_eq!(
            meet(
                Hello {
                    codecs,
                    ..Hello::default()
                }
                .message()
            )
            .1,
            Err(ErrorKind::Protocol)
        );
    }
    let (_, result) = answer(raw::handshake(raw::WELCOME, raw::welcome(1, 9, &[])));
    assert_eq!(result, Err(ErrorKind::Protocol));
}

#[test]
fn a_silent_peer_is_given_up() {
    let mut pair = Pair::new(client_config(), server_config());
    pair.client.poll();
    pair.client.wire.clear();
    pair.advance(Duration::from_millis(999));
    assert_eq!(pair.core(Server).state(), State::Handshaking);
    pair.advance(Duration::from_millis(1));
    assert_eq!(pair.core(Server).state(), State::Closed);
    assert!(pair.server.wire.is_empty(), "a stranger is told nothing");
    let reason = pair.core(Server).close_reason().unwrap().clone();
    assert_eq!((reason.by, reason.kind), (ClosedBy::Us, ErrorKind::Deadline));
    assert_eq!(reason.sentence, "the handshake took longer than 1s");

    pair.advance(Duration::from_millis(3999));
    assert_eq!(pair.core(Client).state(), State::Handshaking);
    pair.advance(Duration::from_millis(1));
    assert_eq!(
        pair.core(Client).close_reason().unwrap().sentence,
        "the handshake took longer than 5s"
    );
    assert_eq!(pair.client.events, [crate::connection::Event::Closed]);
}

#[test]
fn a_slow_decision_is_not_the_peers_fault() {
    let mut pair = Pair::new(client_config(), server_config());
    pair.drive();
    pair.advance(Duration::from_millis(4900));
    assert_eq!(pair.core(Server).state(), State::AwaitingDecision);
    // The client loses patience and says so.
    pair.advance(Duration::from_millis(200));
    assert_eq!(pair.core(Server).state(), State::Closed);
    assert_eq!(pair.core(Server).close_reason().unwrap().by, ClosedBy::Peer);
    pair.core(Server).accept();
    pair.drive();
    pair.assert_no_errors();
}

#[test]
fn strangers_are_refused_from_their_first_bytes_and_told_nothing() {
    let firsts: [&[u8; 32]; 5] = [
        b"GET / HTTP/1.1\r\nHost: localhost\r",
        b"HTTP/1.1 400 Bad Request\r\nServer",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\x5e\xc1\x8f\xd5\x2b\
          \x91\x07\xaa\x13\x01\x13\x02\x13\x03\xc0+\xc0/\xc0,\0",
        &[0; 32],
        &[0xff; 32],
    ];
    for first in firsts {
        let header = transports::Header::from_bytes(first);
        for (side, result) in [meet((header, Vec::new())), answer((header, Vec::new()))] {
            assert_eq!(result, Err(ErrorKind::Protocol));
            assert!(side.wire.is_empty());
            assert_eq!(side.core.state(), State::Closed);
            let text = side.error.unwrap().to_string();
            assert_eq!(text, "whoever is at the other end does not speak ipc-rpc");
        }
        // With the length that they claim, too: it is not believed.
        let now = std::time::Instant::now();
        assert!(accepting().core.handle_message(now, &header, &[]).is_err());
    }
}

#[test]
fn a_hello_with_another_magic_is_no_hello() {
    for (kind, body) in [
        (raw::HELLO, Hello::default().body()),
        (raw::WELCOME, raw::welcome(1, BINCODE, &[])),
    ] {
        let wrong = transports::Header {
            id: raw::MAGIC + 1,
            ..raw::bare(kind)
        };
        let (side, result) = if kind == raw::HELLO {
            meet((wrong, body))
        } else {
            answer((wrong, body))
        };
        assert_eq!(result, Err(ErrorKind::Protocol));
        assert!(side.wire.is_empty(), "a stranger is told nothing");
    }
}

#[test]
fn a_handshake_leaves_unused_fields_alone() {
    let hello = raw::handshake(raw::HELLO, Hello::default().body());
    let welcome = raw::handshake(raw::WELCOME, raw::welcome(1, BINCODE, &[]));
    let changes: [fn(&mut transports::Header); 5] = [
        |header| header.flags = 1,
        |header| header.sections = 1,
        |header| header.handles = 1,
        |header| header.ordinal = 1,
        |header| header.extra = 1,
    ];
    for change in changes {
        let (mut hello, mut welcome) = (hello.clone(), welcome.clone());
        change(&mut hello.0);
        change(&mut welcome.0);
        assert_eq!(meet(hello).1, Err(ErrorKind::Protocol));
        assert_eq!(answer(welcome).1, Err(ErrorKind::Protocol));
    }
    let reject = |ordinal, extra| {
        raw::message(transports::Header {
            ordinal,
            extra,
            ..raw::handshake(raw::REJECT, vec![]).0
        })
    };
    assert_eq!(answer(reject(0, 255)).1, Ok(()));
    assert_eq!(answer(reject(0, 256)).1, Err(ErrorKind::Protocol));
    assert_eq!(answer(reject(1, 0)).1, Err(ErrorKind::Protocol));
}

#[test]
fn a_handshake_begins_with_the_right_message() {
    for kind in 0..=255 {
        let header = transports::Header {
            id: raw::MAGIC,
            ..raw::bare(kind)
        };
        let (_, result) = meet((header, Hello::default().body()));
        assert_eq!(result.is_ok(), kind == raw::HELLO, "kind {kind}");
        let (side, result) = answer((header, Vec::new()));
        match kind {
            raw::REJECT => assert_eq!((result, side.core.state()), (Ok(()), State::Closed)),
            _ => assert_eq!(result, Err(ErrorKind::Protocol), "kind {kind}"),
        }
    }
}

#[test]
fn there_is_one_handshake() {
    let (mut side, result) = meet(Hello::default().message());
    assert_eq!(result, Ok(()));
    let now = std::time::Instant::now();
    assert_eq!(
        side.receive(now, Hello::default().message()),
        Err(ErrorKind::Protocol)
    );
    assert_eq!(side.wire.pop_front().unwrap().0.kind, raw::REJECT);

    for end in End::BOTH {
        for kind in [raw::HELLO, raw::WELCOME, raw::REJECT] {
            let mut pair = Pair::open();
            let now = pair.now;
            let result = pair
                .side(end)
                .receive(now, raw::handshake(kind, Hello::default().body()));
            assert_eq!(result, Err(ErrorKind::Protocol));
            assert_eq!(pair.side(end).wire.pop_front().unwrap().0.kind, raw::CLOSE);
        }
    }
}

pub(crate) fn listed() -> Vec<Listed> {
    let methods = vec![(1, 10, b"a()".to_vec()), (2, 20, b"b(&str) -> u8".to_vec())];
    vec![
        Listed {
            methods,
            ..Listed::named("One")
        },
        Listed::named("Two"),
    ]
}

#[test]
fn later_builds_may_append_fields() {
    let hello = Hello {
        services: listed(),
        blob: vec![7; 3],
        ..Hello::default()
    };
    for more in [&[0u8][..], &[0xff; 100]] {
        let body = [hello.body(), more.to_vec()].concat();
        let (side, result) = meet(raw::handshake(raw::HELLO, body));
        assert_eq!(result, Ok(()));
        assert_eq!(
            ["One", "Two"].map(|name| side.core.peer_services().version(name)),
            [Some(1); 2]
        );
        let body = [raw::welcome(1, BINCODE, &listed()), more.to_vec()].concat();
        let (side, result) = answer(raw::handshake(raw::WELCOME, body));
        assert_eq!(result, Ok(()));
        assert_eq!(
            ["One", "Two"].map(|name| side.core.peer_services().version(name)),
            [Some(1); 2]
        );
    }
}

#[test]
fn no_part_of_a_handshake_may_be_missing() {
    let hello = Hello {
        services: listed(),
        blob: vec![7; 3],
        ..Hello::default()
    }
    .body();
    for length in 0..hello.len() {
        let (side, result) = meet(raw::handshake(raw::HELLO, hello[..length].to_vec()));
        assert_eq!(result, Err(ErrorKind::Protocol), "{length}");
        assert_eq!(side.wire.len(), 1, "it speaks our protocol, so it is told");
    }
    let welcome = raw::welcome(1, BINCODE, &listed());
    for length in 0..welcome.len() {
        let (_, result) = answer(raw::handshake(raw::WELCOME, welcome[..length].to_vec()));
        assert_eq!(result, Err(ErrorKind::Protocol), "{length}");
    }
    assert_eq!(meet(raw::handshake(raw::HELLO, hello)).1, Ok(()));
    assert_eq!(answer(raw::handshake(raw::WELCOME, welcome)).1, Ok(()));
}

/// Whatever comes of it, it is judged, and an end that was refused says so.
#[test]
fn any_bit_of_a_handshake_may_be_wrong() {
    let hello = Hello {
        services: listed(),
        blob: vec![7; 3],
        ..Hello::default()
    }
    .body();
    for bit in 0..hello.len() * 8 {
        let mut body = hello.clone();
        body[bit / 8] ^= 1 << (bit % 8);
        let (side, result) = meet(raw::handshake(raw::HELLO, body));
        assert_eq!(side.core.state() == State::Closed, result.is_err());
        assert_eq!(side.wire.len(), usize::from(result.is_err()));
    }
}
