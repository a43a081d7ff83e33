//! Large bodies in pieces through the stream itself, over every transport that is one.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::time::Instant;

use common::{Place, body, connected, flush, receive, together, watchdog};
use transports::{Endpoint, Flushed, Header, Message, Pieces, Port, Received, Scheme, Sent};

const MIB: usize = 1 << 20;

/// Two ports that have agreed on pieces, over every stream.
fn over_every_stream(settings: impl Fn(Endpoint) -> Endpoint, test: impl Fn(Port, Port)) {
    let place = Place::new();
    for endpoint in place.endpoints() {
        if endpoint.scheme() == Scheme::Memory {
            continue;
        }
        println!("over {endpoint}");
        let (mut client, mut server) = connected(&settings(endpoint));
        for port in [&mut client, &mut server] {
            assert!(port.carrier.takes_pieces());
            port.sender.offer_pieces(Pieces::InStream);
            assert!(!port.carrier.lends());
        }
        test(client, server);
    }
}

/// In the smallest pieces.
fn smallest(endpoint: Endpoint) -> Endpoint {
    endpoint.pieces_from(1).piece_of(1)
}

fn ordered(id: u64) -> Header {
    Header {
        kind: 3,
        id,
        ordinal: !id,
        extra: id.rotate_left(17),
        ..Header::default()
    }
}

fn unordered(id: u64) -> Header {
    Header {
        flags: Header::UNORDERED,
        ..ordered(id)
    }
}

fn put(port: &mut Port, header: &Header, body: &[u8]) {
    let sent = port.sender.try_send(header, &mut body.to_vec()).unwrap();
    assert_eq!(sent, Sent::Accepted);
}

/// Flushes as far as the other side has room.
fn push(port: &mut Port) -> Flushed {
    loop {
        let flushed = port.sender.flush().unwrap();
        if !port.sender.gives_way() {
            return flushed;
        }
    }
}

/// The next message, and the numbers of those that began before it.
fn next(port: &mut Port) -> (Message, Vec<u64>) {
    let deadline = watchdog();
    let (mut message, mut begun) = (Message::default(), Vec::new());
    loop {
        match port.receiver.try_recv(&mut message).unwrap() {
            Received::Message => return (message, begun),
            Received::Begun => begun.push(message.header.id),
            Received::Empty => port.receiver.park(false, deadline).unwrap(),
            Received::Closed => panic!("it was closed"),
        }
        assert!(Instant::now() < deadline.unwrap(), "nothing came");
    }
}

#[test]
fn bodies_of_every_size_arrive() {
    let settings: [fn(Endpoint) -> Endpoint; 2] = [smallest, |endpoint| endpoint];
    for setting in settings {
        over_every_stream(setting, |mut client, mut server| {
            let piece = client.endpoint.piece_size().min(MIB);
            let sizes = [
                0,
                1,
                4095,
                4096,
                4097,
                20_480,
                20_481,
                65_536,
                100_000,
                piece,
                piece + 1,
                2 * piece,
                5 * MIB + 7,
            ];
            for headers in [ordered, unordered] {
                let all = || sizes.iter().copied().enumerate();
                client = together(
                    || {
                        for (id, size) in all() {
                            put(&mut client, &headers(id as u64), &body(size, id as u64));
                            flush(&mut client);
                        }
                        assert!(!client.sender.waits());
                        assert_eq!(client.sender.queued(), 0);
                        client
                    },
                    || {
                        for (id, size) in all() {
                            let (message, begun) = next(&mut server);
                            assert_eq!(
                                message.header,
                                Header {
                                    length: size as u32,
                                    ..ordered(id as u64)
                                }
                            );
                            assert!(message.body == body(size, id as u64), "body of {size} bytes");
                            // Up to five pieces go whole.
                            let whole = 5 * server.endpoint.piece_size().min(256 << 10);
                            assert_eq!(begun.len(), usize::from(size > whole), "{size} bytes");
                        }
                        assert!(!server.receiver.in_progress());
                    },
                );
            }
        });
    }
}

/// What may pass a large message does, while that waits for room; what has a place in the order keeps it.
#[test]
fn small_messages_pass_between_the_pieces() {
    over_every_stream(
        |endpoint| endpoint,
        |mut client, mut server| {
            // More than any stream holds.
            let large = body(60 * MIB, 1);
            put(&mut client, &unordered(1), &large);
            assert_eq!(push(&mut client), Flushed::Blocked);
            assert!(client.sender.queued() < MIB, "nobody has to wait for it");
            put(&mut client, &unordered(2), b"passes");
            put(&mut client, &ordered(3), b"waits");
            put(&mut client, &unordered(4), b"behind that");
            put(&mut client, &ordered(5), &large[..MIB]);
            let client = together(
                || {
                    flush(&mut client);
                    client
                },
                || {
                    let (passed, begun) = next(&mut server);
                    assert_eq!((passed.header.id, begun), (2, vec![1]));
                    assert!(server.receiver.ready() || server.receiver.in_progress());
                    let (whole, begun) = next(&mut server);
                    assert_eq!((whole.header.id, begun), (1, vec![]));
                    assert!(whole.body == large);
                    assert_eq!(receive(&mut server).body, b"waits");
                    assert_eq!(receive(&mut server).body, b"behind that");
                    assert!(receive(&mut server).body == large[..MIB]);
                },
            );
            assert!(!client.sender.waits());
        },
    );
}

#[test]
fn more_large_messages_than_lanes() {
    over_every_stream(smallest, |mut client, mut server| {
        let count = 19;
        let size = |id: u64| 200_000 + id as usize * 10_000;
        for id in 0..count {
            put(&mut client, &unordered(id), &body(size(id), id));
        }
        together(
            || {
                flush(&mut client);
                client
            },
            || {
                let mut arrived: Vec<_> = (0..count).map(|_| next(&mut server).0).collect();
                arrived.sort_by_key(|message| message.header.id);
                for (message, id) in arrived.iter().zip(0..) {
                    assert_eq!(message.header.id, id);
                    assert!(message.body == body(size(id), id), "{id}");
                }
            },
        );
    });
}

#[test]
fn an_end_between_two_pieces_is_one_within_a_message() {
    over_every_stream(smallest, |mut client, mut server| {
        put(&mut client, &unordered(1), &body(60 * MIB, 5));
        assert_eq!(push(&mut client), Flushed::Blocked);
        let mut message = Message::default();
        while server.receiver.try_recv(&mut message).unwrap() != Received::Begun {
            server.receiver.park(false, watchdog()).unwrap();
        }
        drop(client);
        let error = common::receive_into(&mut server, &mut message).unwrap_err();
        assert_eq!(error.kind(), transports::ErrorKind::PeerDied);
        assert_eq!(
            error.to_string(),
            "the other side ended in the middle of a message"
        );
    });
}
