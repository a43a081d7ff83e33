//! Large bodies over a socket whose two sides share memory: in pieces, between honest sides, and with one that is not.

mod hostile;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;

use super::Random;
use super::raw::{Held, alone, deadline, end_of, hear, received, send};
use crate::lanes::LANES;
use crate::sys::shm::sections::PIECES;
use crate::sys::shm::sections::returns::WORDS;
use crate::sys::shm::sections::wire::{Access, Entry, Frame};
use crate::sys::{OwnMemory, PeerMemory, SharedWords, Stream, stream_of};
use crate::{
    Endpoint, ErrorKind, Flushed, Header, Identity, Message, Peer, Pieces, Pool, Port, Received, Sent,
};

const MIB: usize = 1 << 20;
const KIB: usize = 1 << 10;

fn endpoint() -> Endpoint {
    "unix:@nobody".parse().unwrap()
}

/// The port of a stream's end, whose other side takes pieces.
fn port_of(socket: UnixStream, endpoint: Endpoint) -> Port {
    socket.set_nonblocking(true).unwrap();
    let identity = Identity::User {
        uid: Peer::own_uid().unwrap(),
        gid: 0,
        pid: None,
    };
    let mut port = crate::socket::port(stream_of(socket.into()).unwrap(), identity, endpoint);
    port.sender.offer_pieces(Pieces::InMemory);
    port
}

/// Two honest ports on one stream.
fn honest_at(endpoint: &Endpoint) -> (Port, Port) {
    let (near, far) = UnixStream::pair().unwrap();
    (port_of(near, endpoint.clone()), port_of(far, endpoint.clone()))
}

fn honest() -> (Port, Port) {
    honest_at(&endpoint())
}

/// A port, and the end of its stream that somebody else has.
fn at_foe() -> (Port, Stream) {
    let (near, far) = UnixStream::pair().unwrap();
    (port_of(near, endpoint()), stream_of(far.into()).unwrap())
}

fn unordered(id: u64) -> Header {
    Header {
        flags: Header::UNORDERED,
        ..ordered(id)
    }
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

fn put(port: &mut Port, header: &Header, body: &[u8]) {
    let sent = port.sender.try_send(header, &mut body.to_vec()).unwrap();
    assert_eq!(sent, Sent::Accepted);
}

/// Sends what there is, and receives so many messages: their numbers and bodies.
fn exchange(near: &mut Port, far: &mut Port, count: usize) -> Vec<(u64, Vec<u8>)> {
    let mut arrived = Vec::new();
    let mut message = Message::default();
    while arrived.len() < count {
        near.sender.flush().unwrap();
        while near.sender.gives_way() {
            near.sender.flush().unwrap();
        }
        loop {
            match far.receiver.try_recv(&mut message).unwrap() {
                Received::Message => {
                    assert_eq!(message.header.length as usize, message.body.len());
                    assert_eq!(message.header.flags, 0);
                    arrived.push((message.header.id, message.body.clone()));
                }
                Received::Begun => {}
                Received::Empty if far.receiver.drained() && !far.receiver.ready() => break,
                Received::Empty => {}
                Received::Closed => panic!("it was closed"),
            }
        }
    }
    assert_eq!(near.sender.flush().unwrap(), Flushed::Done);
    assert!(!near.sender.waits() && near.sender.queued() == 0);
    assert!(!far.receiver.in_progress());
    arrived
}

fn usage(port: &Port) -> (usize, usize) {
    let usage = port.pool.as_ref().unwrap().usage();
    (usage.in_use, usage.high_water)
}

#[test]
fn bodies_of_every_size_arrive() {
    let threshold = Endpoint::PIECES_THRESHOLD;
    let piece = Endpoint::PIECE;
    let (mut near, mut far) = honest();
    let mut random = Random(1);
    for size in [
        threshold - 1,
        threshold,
        threshold + 1,
        2 * piece - 1,
        2 * piece,
        3 * piece + 1,
        MIB,
        5 * MIB + 7,
    ] {
        let body = random.bytes(size);
        put(&mut near, &unordered(size as u64), &body);
        let arrived = exchange(&mut near, &mut far, 1);
        assert!(arrived == [(size as u64, body)], "{size}");
        let (in_use, high_water) = usage(&near);
        assert_eq!((in_use, high_water > 0), (0, size >= threshold), "{size}");
    }
    // With two parts, and in smaller pieces from the first byte on.
    let (mut near, mut far) = honest_at(&endpoint().pieces_from(0).piece_of(1));
    for size in [0, 1, 2, 4096, 4097, 100_000, MIB] {
        let (head, body) = (random.bytes(100), random.bytes(size));
        let sent = near
            .sender
            .try_send_parts(&unordered(9), &head, &mut body.clone())
            .unwrap();
        assert_eq!(sent, Sent::Accepted);
        let arrived = exchange(&mut near, &mut far, 1);
        assert!(arrived == [(9, [head, body].concat())], "{size}");
    }
    assert!(usage(&near).1 <= PIECES * Pool::SMALLEST);
}

/// It is told of when it begins, and what may pass it does; the others wait.
#[test]
fn small_messages_pass_between_the_pieces() {
    let (mut near, mut far) = honest();
    let large = Random(2).bytes(8 * MIB);
    put(&mut near, &unordered(1), &large);
    assert_eq!(near.sender.flush().unwrap(), Flushed::Blocked);
    assert!(near.sender.queued() < MIB, "nobody has to wait for it");
    put(&mut near, &unordered(2), b"passes");
    put(&mut near, &ordered(3), b"waits");
    put(&mut near, &unordered(4), b"behind that");
    let mut message = Message::default();
    assert_eq!(received(&mut far, &mut message).unwrap(), Received::Begun);
    assert_eq!(
        (message.header.id, message.header.length),
        (1, large.len() as u32)
    );
    let arrived = exchange(&mut near, &mut far, 4);
    let ids: Vec<u64> = arrived.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [2, 1, 3, 4]);
    assert!(arrived[1].1 == large);
    // One that has a place in the order is passed by nothing.
    put(&mut near, &ordered(5), &large);
    put(&mut near, &unordered(6), b"waits");
    let arrived = exchange(&mut near, &mut far, 2);
    assert_eq!((arrived[0].0, arrived[1].0), (5, 6));
}

#[test]
fn more_large_messages_than_lanes() {
    let (mut near, mut far) = honest();
    let mut random = Random(3);
    let count = 2 * LANES + 3;
    let bodies: Vec<_> = (0..count)
        .map(|number| random.bytes(200 * KIB + number * 10_000))
        .collect();
    for (id, body) in bodies.iter().enumerate() {
        put(&mut near, &unordered(id as u64), body);
    }
    let mut arrived = exchange(&mut near, &mut far, count);
    arrived.sort_by_key(|(id, _)| *id);
    for (id, body) in arrived {
        assert!(body == bodies[id as usize], "{id}");
    }
    assert_eq!(usage(&near).0, 0);
}

/// What has sections beside it.
#[test]
fn sections_go_beside_pieces() {
    let (mut near, mut far) = honest();
    let mut random = Random(4);
    let (body, beside) = (random.bytes(MIB), random.bytes(100_000));
    let mut chunk = near.pool.as_ref().unwrap().alloc(beside.len()).unwrap();
    chunk.copy_from_slice(&beside);
    let block = chunk.freeze().unwrap();
    for _ in 0..3 {
        let sent = near
            .sender
            .try_send_with(
                &unordered(1),
                b"head",
                &mut body.clone(),
                std::slice::from_ref(&block),
            )
            .unwrap();
        assert_eq!(sent, Sent::Accepted);
        near.sender.flush().unwrap();
        let mut message = Message::default();
        while received(&mut far, &mut message).unwrap() != Received::Message {
            near.sender.flush().unwrap();
        }
        assert!(message.body == [b"head", &body[..]].concat());
        let mut copy = Vec::new();
        message.sections[0].append_to(0, beside.len(), &mut copy).unwrap();
        assert!(copy == beside);
    }
}

/// The owner of a body hands it on, in part or whole.
#[test]
fn lent_bodies() {
    let (mut near, mut far) = honest();
    assert!(near.carrier.lends());
    let body = Random(5).bytes(3 * MIB + 5);
    let small = near.sender.try_lend(&unordered(1), b"head", 1000).unwrap();
    assert_eq!(small, None, "it is not large");
    assert_eq!(near.sender.try_lend(&ordered(1), b"head", MIB).unwrap(), None);
    for kept_from in [0, 1, MIB, body.len()] {
        let lane = near
            .sender
            .try_lend(&unordered(7), b"head ", body.len())
            .unwrap()
            .unwrap();
        let mut at = 0;
        let mut message = Message::default();
        while at < kept_from {
            let (first, second) = body[at..].split_at((body.len() - at) / 2);
            let taken = near.sender.push_lent(lane, [first, second]).unwrap();
            at += taken;
            if taken == 0 {
                assert!(!near.sender.takes_lent());
                assert_eq!(far.receiver.try_recv(&mut message).unwrap(), Received::Empty);
                near.sender.flush().unwrap();
                assert!(near.sender.takes_lent());
            } else if at == taken {
                assert_eq!(received(&mut far, &mut message).unwrap(), Received::Begun);
            }
        }
        if at < body.len() {
            near.sender.keep_lent(lane, body[at..].to_vec());
        }
        let arrived = exchange(&mut near, &mut far, 1);
        assert!(
            arrived == [(7, [b"head ", &body[..]].concat())],
            "kept from {kept_from}"
        );
    }
}

/// Without both sides' consent everything goes as it always did.
#[test]
fn nothing_of_that_without_consent() {
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    let identity = Identity::User {
        uid: Peer::own_uid().unwrap(),
        gid: 0,
        pid: None,
    };
    let mut port = crate::socket::port(stream_of(near.into()).unwrap(), identity, endpoint());
    let body = Random(6).bytes(150 * KIB);
    assert!(!port.carrier.lends());
    assert_eq!(
        port.sender.try_lend(&unordered(1), b"", body.len()).unwrap(),
        None
    );
    put(&mut port, &unordered(1), &body);
    let flushed = port.sender.flush().unwrap();
    let (header, heard, descriptors) = hear(&stream_of(far.into()).unwrap());
    assert_eq!(flushed, Flushed::Done);
    assert_eq!((header.id, header.flags, descriptors.len()), (1, 0, 0));
    assert!(heard == body);
    assert_eq!(usage(&port), (0, 0));
}

/// Memory that is used up by sections is no hindrance.
#[test]
fn a_pool_without_room() {
    let (mut near, mut far) = honest();
    let pool = near.pool.clone().unwrap();
    let mut held = Vec::new();
    while let Ok(chunk) = pool.alloc(Pool::SMALLEST) {
        held.push(chunk);
    }
    let body = Random(7).bytes(3 * MIB);
    put(&mut near, &unordered(1), &body);
    assert!(exchange(&mut near, &mut far, 1) == [(1, body.clone())]);
    assert_eq!(usage(&near).0, Pool::BUDGET);
    drop(held);
    put(&mut near, &unordered(2), &body);
    assert!(exchange(&mut near, &mut far, 1) == [(2, body)]);
}

/// What is not used any more goes back to the system, also what pieces went through.
#[test]
fn memory_of_pieces_is_given_back() {
    alone("pieces::memory_of_pieces_is_given_back", || {
        let (mut near, mut far) = honest();
        let pool = near.pool.clone().unwrap();
        let held = Held::now();
        for _ in 0..3 {
            put(&mut near, &unordered(1), &vec![1; 3 * MIB]);
            exchange(&mut near, &mut far, 1);
            assert!(Held::now() != held);
            assert!(pool.trim());
            assert!(!pool.trim());
            assert_eq!(near.sender.flush().unwrap(), Flushed::Done);
            let mut message = Message::default();
            assert_eq!(far.receiver.try_recv(&mut message).unwrap(), Received::Empty);
            // The words by which places are given back stay, in both processes.
            assert_eq!(Held::now().excess_over(&held), (0, 2));
        }
    });
}

/// The same without anybody who calls.
#[test]
fn idle_memory_is_given_back_by_itself() {
    alone("pieces::idle_memory_is_given_back_by_itself", || {
        let (mut near, mut far) = honest();
        let pool = near.pool.clone().unwrap();
        pool.trim_when_idle();
        let (told, news) = std::sync::mpsc::channel();
        pool.on_unsent(Box::new(move || {
            let _ = told.send(());
        }));
        let held = Held::now();
        for _ in 0..2 {
            put(&mut near, &unordered(1), &vec![1; 600 * KIB]);
            exchange(&mut near, &mut far, 1);
            news.recv_timeout(super::child::PATIENCE)
                .expect("the memory is given back");
            assert_eq!(near.sender.flush().unwrap(), Flushed::Done);
            let mut message = Message::default();
            assert_eq!(far.receiver.try_recv(&mut message).unwrap(), Received::Empty);
            // The words by which places are given back stay, in both processes.
            assert_eq!(Held::now().excess_over(&held), (0, 2));
        }
    });
}
