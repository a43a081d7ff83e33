//! Bodies in pieces through a ring: which they are, how large pieces are, and that whoever receives takes any.

use super::raw::{
    Hostile, Place, Settings, accept, against_both, against_both_with, alone, end_of, received,
};
use super::{Random, header_without_attachments};
use crate::direct::{DirectState, LONGEST_WORD};
use crate::lanes::LANES;
use crate::sys::shm::cut::Cut;
use crate::sys::shm::{Mark, PREFIX};
use crate::{Endpoint, ErrorKind, Flushed, Header, Message, Port, Received, Sent, connect, listen};

const KIB: usize = 1 << 10;

fn smallest(endpoint: Endpoint) -> Endpoint {
    endpoint.pieces_from(1).piece_of(1)
}

fn direct_and_smallest(endpoint: Endpoint) -> Endpoint {
    smallest(endpoint).direct(true).direct_from(1)
}

fn unordered(id: u64) -> Header {
    let header = header_without_attachments(id);
    Header {
        flags: header.flags | Header::UNORDERED,
        ..header
    }
}

#[test]
fn as_an_endpoint_asks() {
    let asked: [(Settings, usize, usize); 10] = [
        (|endpoint| endpoint, 32 * KIB, 32 * KIB),
        (smallest, 4 * KIB, 4 * KIB),
        (|endpoint| endpoint.pieces_from(0).piece_of(0), 4 * KIB, 4 * KIB),
        (
            |endpoint| endpoint.pieces_from(8 * KIB).piece_of(5000),
            8 * KIB - 1,
            5000,
        ),
        // What is no longer than a piece is one.
        (|endpoint| endpoint.pieces_from(1), 32 * KIB, 32 * KIB),
        (|endpoint| endpoint.pieces_from(1).piece_of(9000), 9000, 9000),
        (direct_and_smallest, LONGEST_WORD, 4 * KIB),
        // What fits into no record goes in pieces anyway.
        (|endpoint| endpoint.piece_of(8 * KIB), 32 * KIB, 8 * KIB),
        (
            |endpoint| endpoint.pieces_from(usize::MAX).piece_of(8 * KIB),
            32 * KIB,
            8 * KIB,
        ),
        // What sockets do unless they are told is a wish like any other here.
        (
            |endpoint| {
                endpoint
                    .pieces_from(Endpoint::PIECES_THRESHOLD)
                    .piece_of(Endpoint::PIECE)
            },
            32 * KIB,
            32 * KIB,
        ),
    ];
    for (settings, whole, piece) in asked {
        let endpoint = settings(Place::new().endpoint("shm"));
        assert_eq!(Cut::new(&endpoint), Cut { whole, piece }, "{endpoint:?}");
    }
}

/// The records of a message that a port sends, as they stand in its ring: marks and lengths; and its body.
fn records(port: &mut Port, hostile: &mut Hostile) -> (Vec<(Mark, usize)>, Vec<u8>) {
    let (mut records, mut body) = (Vec::new(), Vec::new());
    loop {
        let before = body.len();
        let Some((_, mark)) = hostile.consumer.pop(&mut body).unwrap() else {
            let _ = hostile.consumer.release();
            let _ = port.sender.flush().unwrap();
            continue;
        };
        records.push((mark, body.len() - before));
        match mark {
            Mark::Whole | Mark::Last => break,
            Mark::First => drop(body.drain(before..before + PREFIX)),
            Mark::Further => {}
        }
    }
    let _ = hostile.consumer.release();
    assert_eq!(port.sender.flush().unwrap(), Flushed::Done);
    assert!(!port.sender.waits() && port.sender.queued() == 0);
    (records, body)
}

/// No record is longer than a piece, and no body goes in pieces that need not.
#[test]
fn pieces_are_as_large_as_asked() {
    let settings: [Settings; 4] = [
        |endpoint| endpoint,
        smallest,
        |endpoint| endpoint.pieces_from(10_000).piece_of(5000),
        |endpoint| endpoint.piece_of(8 * KIB),
    ];
    for settings in settings {
        against_both_with(settings, |mut port, mut hostile| {
            let Cut { whole, piece } = Cut::new(&port.endpoint);
            let mut random = Random(1);
            let heads = [0, 100, 4 * KIB - PREFIX, 4 * KIB - PREFIX + 1, 5000, 40 * KIB];
            let sizes = [
                0,
                1,
                4 * KIB,
                4 * KIB + 1,
                8 * KIB,
                9999,
                10_000,
                32 * KIB,
                32 * KIB + 1,
                100_000,
            ];
            for (head, size) in heads.iter().flat_map(|head| sizes.map(|size| (*head, size))) {
                let (head, body) = (random.bytes(head), random.bytes(size));
                for header in [unordered(7), header_without_attachments(7)] {
                    let sent = port
                        .sender
                        .try_send_parts(&header, &head, &mut body.clone())
                        .unwrap();
                    assert_eq!(sent, Sent::Accepted);
                    let (records, heard) = records(&mut port, &mut hostile);
                    assert!(heard == [&head[..], &body].concat(), "{} and {size}", head.len());
                    if heard.len() <= whole {
                        assert_eq!(records, [(Mark::Whole, heard.len())]);
                        continue;
                    }
                    // All but the last are full.
                    let in_pieces = PREFIX + heard.len();
                    assert_eq!(
                        records.len(),
                        in_pieces.div_ceil(piece),
                        "{} and {size}",
                        head.len()
                    );
                    assert_eq!(records[0], (Mark::First, piece));
                    let between = &records[1..records.len() - 1];
                    assert!(between.iter().all(|record| *record == (Mark::Further, piece)));
                }
            }
        });
    }
}

/// The owner of a body hands it on in pieces of that size, too.
#[test]
fn lent_bodies() {
    against_both_with(smallest, |mut port, mut hostile| {
        let header = unordered(7);
        assert_eq!(
            port.sender.try_lend(&header, b"head", 4 * KIB - 4).unwrap(),
            None,
            "it is no longer than a piece"
        );
        let head = Random(2).bytes(4 * KIB - PREFIX + 1);
        assert_eq!(
            port.sender.try_lend(&header, &head, 100_000).unwrap(),
            None,
            "its head is longer than a piece"
        );
        let body = Random(3).bytes(20_000);
        let lane = port
            .sender
            .try_lend(&header, b"head", body.len())
            .unwrap()
            .unwrap();
        let mut at = 0;
        while at < body.len() {
            let (first, second) = body[at..].split_at((body.len() - at) / 2);
            let taken = port.sender.push_lent(lane, [first, second]).unwrap();
            assert_eq!(taken, (body.len() - at).min(4 * KIB));
            at += taken;
        }
        let (records, heard) = records(&mut port, &mut hostile);
        assert!(heard == [b"head", &body[..]].concat());
        assert_eq!(records.len(), 6);
        assert_eq!(records[0], (Mark::First, PREFIX + 4));
    });
}

/// Two honest ports that share memory, with settings of their own.
fn honest(settings: Settings, others: Settings) -> (Port, Port) {
    let place = Place::new();
    let mut listener = listen(&settings(place.endpoint("shm"))).unwrap();
    let mut client = connect(&others(place.endpoint("shm")), super::raw::deadline()).unwrap();
    let mut server = accept(&mut *listener);
    // The server answers, and the client hears it.
    for port in [&mut server, &mut client] {
        let met = port.receiver.try_recv(&mut Message::default()).unwrap();
        assert_eq!(met, Received::Empty);
        assert_eq!(port.carrier.scheme(), crate::Scheme::SharedMemory);
    }
    (client, server)
}

/// Whatever either side has set, everything arrives; what may pass passes, and what is in pieces is told of when it begins.
#[test]
fn sides_with_settings_of_their_own() {
    let settings: [Settings; 3] = [
        |endpoint| endpoint,
        smallest,
        |endpoint| endpoint.piece_of(8 * KIB),
    ];
    for (near, far) in settings
        .iter()
        .flat_map(|near| settings.iter().map(move |far| (*near, *far)))
    {
        let (mut one, mut other) = honest(near, far);
        let mut random = Random(4);
        for (from, to) in [(0, 1), (1, 0)] {
            let ports = [&mut one, &mut other];
            let whole = Cut::new(&ports[from].endpoint).whole;
            let bodies: Vec<_> = (0..3 * LANES).map(|_| random.below(60 * KIB)).collect();
            let bodies: Vec<_> = bodies.into_iter().map(|size| random.bytes(size)).collect();
            for (id, body) in bodies.iter().enumerate() {
                let sent = ports[from]
                    .sender
                    .try_send(&unordered(id as u64), &mut body.clone());
                assert_eq!(sent.unwrap(), Sent::Accepted);
            }
            let (mut begun, mut arrived) = (Vec::new(), 0);
            let mut message = Message::default();
            while arrived < bodies.len() {
                let _ = ports[from].sender.flush().unwrap();
                match ports[to].receiver.try_recv(&mut message).unwrap() {
                    Received::Begun => begun.push(message.header.id),
                    Received::Message => {
                        let body = &bodies[message.header.id as usize];
                        assert!(message.body == *body, "{} bytes", body.len());
                        let was_begun = begun.contains(&message.header.id);
                        assert_eq!(was_begun, body.len() > whole, "{} bytes", body.len());
                        arrived += 1;
                    }
                    Received::Empty => {}
                    Received::Closed => panic!("nobody closed"),
                }
            }
            assert!(!ports[to].receiver.in_progress());
        }
    }
}

/// What is said of a body that stays with its sender keeps its place among the others, so it does not travel in pieces.
#[test]
fn what_is_said_of_bodies_that_stay() {
    alone("cut::what_is_said_of_bodies_that_stay", || {
        let mut ports = <[Port; 2]>::from(honest(direct_and_smallest, direct_and_smallest));
        let mut message = Message::default();
        ports.iter_mut().for_each(|port| port.sender.offer_direct());
        let watchdog = super::raw::deadline().unwrap();
        while ports
            .iter()
            .any(|port| port.carrier.direct().unwrap().state != DirectState::Agreed)
        {
            for port in &mut ports {
                let _ = port.sender.flush().unwrap();
                let received = port.receiver.try_recv(&mut message).unwrap();
                assert_eq!(received, Received::Empty);
            }
            assert!(std::time::Instant::now() < watchdog);
        }
        let [mut near, mut far] = ports;
        let (head, body) = (vec![1; 5000], vec![2; 20_000]);
        for id in 0..10 {
            let sent = near
                .sender
                .try_send_parts(&unordered(id), &head, &mut body.clone());
            assert_eq!(sent.unwrap(), Sent::Accepted);
        }
        let mut arrived = 0;
        while arrived < 10 {
            for sender in [&mut near.sender, &mut far.sender] {
                let _ = sender.flush().unwrap();
            }
            assert_eq!(
                near.receiver.try_recv(&mut Message::default()).unwrap(),
                Received::Empty
            );
            match far.receiver.try_recv(&mut message).unwrap() {
                Received::Message => {
                    assert!(message.body == [&head[..], &body].concat());
                    arrived += 1;
                }
                Received::Begun => {}
                Received::Empty => assert!(std::time::Instant::now() < watchdog),
                Received::Closed => panic!("nobody closed"),
            }
        }
        assert_eq!(near.carrier.direct().unwrap().lent, 10);
    });
}

fn push(hostile: &mut Hostile, header: &Header, mark: Mark, body: &[u8]) {
    assert_eq!(hostile.producer.push(header, mark, [body, b""]), Ok(true));
}

/// The first piece of a message of so many bytes.
fn first(total: usize, lane: usize, start: &[u8]) -> Vec<u8> {
    let mut body = (total as u32).to_le_bytes().to_vec();
    body.extend((lane as u32).to_le_bytes());
    body.extend(start);
    body
}

fn on(lane: usize) -> Header {
    Header {
        id: lane as u64,
        ..Header::default()
    }
}

/// A body that would have fit into a record is taken, however it is cut, but no lane more than there are, and no piece of
/// nothing.
#[test]
fn small_bodies_in_pieces() {
    against_both(|mut port, mut hostile| {
        let mut message = Message::default();
        for round in 0..1000 {
            for lane in 0..LANES {
                let start = if lane % 2 == 0 { &b""[..] } else { b"o" };
                push(
                    &mut hostile,
                    &header_without_attachments(round),
                    Mark::First,
                    &first(2, lane, start),
                );
                assert_eq!(received(&mut port, &mut message).unwrap(), Received::Begun);
                assert_eq!((message.header.id, message.header.length), (round, 2));
            }
            assert!(port.receiver.in_progress());
            for lane in (0..LANES).rev() {
                let rest = if lane % 2 == 0 { &b"on"[..] } else { b"n" };
                push(&mut hostile, &on(lane), Mark::Last, rest);
                assert_eq!(received(&mut port, &mut message).unwrap(), Received::Message);
                assert_eq!(message.body, b"on");
            }
            assert!(!port.receiver.in_progress());
        }
    });
    let header = header_without_attachments(1);
    for (lane, total, start, rule) in [
        (LANES, 2, &b"o"[..], "does not exist, or is in use"),
        (0, 2, b"o", "does not exist, or is in use"),
        (1, 0, b"", "is all of it"),
        (1, 2, b"on", "is all of it"),
        (1, 2, b"one", "is all of it"),
    ] {
        against_both(|mut port, mut hostile| {
            push(&mut hostile, &header, Mark::First, &first(2, 0, b""));
            push(&mut hostile, &header, Mark::First, &first(total, lane, start));
            let error = end_of(&mut port).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
            assert!(error.to_string().contains(rule), "{error}");
            assert!(!port.receiver.in_progress());
        });
    }
}

/// What a script has put on a lane.
struct Written {
    id: u64,
    body: Vec<u8>,
    at: usize,
}

/// Does a step of a script: something whole, a beginning, a piece or an end.
fn step(
    random: &mut Random,
    id: u64,
    lanes: &mut [Option<Written>; LANES],
    hostile: &mut Hostile,
) -> Option<(u64, Vec<u8>)> {
    let lane = random.below(LANES);
    let below = [2, 70, 5000, 33_000][random.below(4)];
    let some = random.below(below) + 1;
    match &mut lanes[lane] {
        None if random.below(4) == 0 => {
            let body = random.bytes(some - 1);
            push(
                hostile,
                &header_without_attachments(id),
                Mark::Whole,
                &body[..(some - 1).min(32 * KIB)],
            );
            Some((id, body[..(some - 1).min(32 * KIB)].to_vec()))
        }
        place @ None => {
            let body = random.bytes(some);
            let at = random.below(some).min(32 * KIB - PREFIX);
            push(
                hostile,
                &header_without_attachments(id),
                Mark::First,
                &first(some, lane, &body[..at]),
            );
            *place = Some(Written { id, body, at });
            None
        }
        place @ Some(_) => {
            let written = place.as_mut()?;
            let left = written.body.len() - written.at;
            let taken = some.min(left).min(32 * KIB);
            let piece = &written.body[written.at..written.at + taken];
            let mark = if taken == left { Mark::Last } else { Mark::Further };
            push(hostile, &on(lane), mark, piece);
            written.at += taken;
            if taken < left {
                return None;
            }
            place.take().map(|written| (written.id, written.body))
        }
    }
}

/// Whatever is whole, begun, continued and ended, in whatever order and sizes: all of it arrives as it was written.
#[test]
fn random_scripts() {
    for seed in 0..20 {
        against_both(|mut port, mut hostile| {
            let mut random = Random(seed);
            let mut lanes = [const { None }; LANES];
            let mut message = Message::default();
            for id in 0..500 {
                let expected = step(&mut random, id, &mut lanes, &mut hostile);
                let mut arrived = None;
                loop {
                    match port.receiver.try_recv(&mut message).unwrap() {
                        Received::Message => {
                            assert_eq!(message.header.length as usize, message.body.len());
                            arrived = Some((message.header.id, message.body.clone()));
                        }
                        Received::Begun => assert_eq!(message.header.id, id),
                        Received::Empty if port.receiver.drained() => break,
                        Received::Empty => {}
                        Received::Closed => panic!("nobody closed"),
                    }
                }
                assert!(arrived == expected, "step {id} of script {seed}");
                assert_eq!(port.receiver.in_progress(), lanes.iter().any(Option::is_some));
            }
        });
    }
}
