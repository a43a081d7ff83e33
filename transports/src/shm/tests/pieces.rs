//! Large bodies over a socket whose two sides share memory: in pieces, between honest sides, and with one that is not.

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

/// The other side of a port, which reads by hand.
struct Reader {
    stream: Stream,
    /// By number.
    memories: Vec<PeerMemory>,
    words: Option<SharedWords>,
    /// Pieces in memory, and through the socket.
    seen: (usize, usize),
}

impl Reader {
    /// The next bytes of the body of a message.
    fn piece(&mut self) -> Vec<u8> {
        loop {
            let (header, bytes, descriptors) = hear(&self.stream);
            match Frame::read(&header) {
                Some(Frame::Announce { segment, length, .. }) => {
                    assert_eq!(segment as usize, self.memories.len());
                    let memory = PeerMemory::attach(descriptors[0].as_fd(), length as usize).unwrap();
                    self.memories.push(memory);
                    if let Some(words) = descriptors.get(1) {
                        self.words = Some(SharedWords::attach(words.as_fd(), WORDS).unwrap());
                    }
                }
                Some(Frame::Piece { lane: 0, entry }) => {
                    self.seen.0 += 1;
                    let memory = &self.memories[entry.segment as usize];
                    // SAFETY: nothing is written there as long as this reads: this thread alone does.
                    let bytes = unsafe { memory.bytes(entry.offset as usize, entry.length as usize) };
                    return bytes.to_vec();
                }
                Some(other) => panic!("{other:?}"),
                None if header.kind == 0x10 => return bytes[Header::SIZE..].to_vec(),
                // A message passes.
                None if header.kind == ordered(0).kind => {}
                None => {
                    self.seen.1 += 1;
                    assert_eq!((header.kind, header.flags), (0x11, 0x80));
                    return bytes;
                }
            }
        }
    }
}

/// A reader that gives no piece back gets the rest through the socket, and one that gives back what it never had is sent
/// what it asked for.
#[test]
fn readers_that_lie() {
    for lie in [0, 1, 2, u32::MAX] {
        let (mut port, stream) = at_foe();
        let mut reader = Reader {
            stream,
            memories: Vec::new(),
            words: None,
            seen: (0, 0),
        };
        let body = Random(8).bytes(4 * MIB);
        put(&mut port, &unordered(1), &body);
        let mut heard = Vec::new();
        while heard.len() < body.len() {
            while {
                port.sender.flush().unwrap();
                port.sender.gives_way()
            } {}
            heard.extend(reader.piece());
            if let Some(words) = &reader.words {
                (0..WORDS).for_each(|index| {
                    words.word(index).fetch_add(lie, Ordering::SeqCst);
                });
            }
        }
        let (shared, sent) = reader.seen;
        if lie == 0 {
            assert!(heard == body);
            assert_eq!(shared, PIECES);
        }
        assert!(
            heard.len() == body.len() && shared > 0 && sent > 0,
            "{:?}",
            reader.seen
        );
        assert!(!port.sender.waits());
        let pool = port.pool.clone().unwrap();
        drop(port);
        assert_eq!(pool.usage().in_use, 0);
    }
}

/// A message that passes finds less before it if the pieces are short. As soon as none passes any more, they are large again.
#[test]
fn pieces_are_short_while_messages_pass() {
    let (mut port, stream) = at_foe();
    let mut reader = Reader {
        stream,
        memories: Vec::new(),
        words: None,
        seen: (0, 0),
    };
    let body = Random(9).bytes(16 * MIB);
    put(&mut port, &unordered(1), &body);
    let (mut heard, mut in_memory) = (Vec::new(), Vec::new());
    // Two pieces leave at first; then something passes.
    assert_eq!(port.sender.flush().unwrap(), Flushed::Blocked);
    assert!(port.sender.gives_way());
    put(&mut port, &unordered(2), b"passes");
    let mut given_back = false;
    while heard.len() < body.len() {
        port.sender.flush().unwrap();
        let piece = reader.piece();
        if reader.seen.0 > in_memory.len() {
            in_memory.push(piece.len());
        }
        heard.extend(piece);
        // All four are back once, when as many pieces are gone as stay short.
        if reader.seen.1 == 100 && !given_back {
            given_back = true;
            let words = reader.words.as_ref().unwrap();
            (0..WORDS).for_each(|index| {
                words.word(index).fetch_add(1, Ordering::SeqCst);
            });
        }
    }
    assert!(heard == body);
    let large = Endpoint::PIECE;
    assert_eq!(in_memory[..2], [large; 2]);
    assert_eq!(in_memory[2..4], [64 * KIB; 2]);
    assert_eq!(in_memory[4..], [large; PIECES]);
}

/// A memory as an honest side makes it.
struct Made {
    memory: OwnMemory,
    words: SharedWords,
    descriptors: [OwnedFd; 2],
}

impl Made {
    fn new() -> Self {
        let (memory, descriptor) = OwnMemory::create(MIB).unwrap();
        let (words, words_descriptor) = SharedWords::create(WORDS).unwrap();
        Self {
            memory,
            words,
            descriptors: [descriptor, words_descriptor],
        }
    }

    fn tell(&self, stream: &Stream) {
        let announce = Frame::Announce {
            segment: 0,
            generation: 1,
            length: MIB as u64,
            access: Access::Owner,
            descriptors: 2,
        };
        let both: Vec<BorrowedFd<'_>> = self.descriptors.iter().map(AsFd::as_fd).collect();
        send(stream.as_fd(), &announce.header().to_bytes(), &both);
    }
}

/// The beginning of a message of so many bytes.
fn begin(lane: u64, total: u32, start: &[u8]) -> Vec<u8> {
    let frame = Header {
        length: (Header::SIZE + start.len()) as u32,
        kind: 0x10,
        flags: 0x80,
        id: lane,
        ..Header::default()
    };
    let header = Header {
        length: total,
        ..ordered(lane)
    };
    [&frame.to_bytes()[..], &header.to_bytes(), start].concat()
}

/// A piece through the socket, which has to have `length` bytes, and has these.
fn inline(lane: u64, length: u32, bytes: &[u8]) -> Vec<u8> {
    let frame = Header {
        length,
        kind: 0x11,
        flags: 0x80,
        id: lane,
        ..Header::default()
    };
    [&frame.to_bytes()[..], bytes].concat()
}

fn shared(lane: u64, offset: usize, length: usize) -> Vec<u8> {
    let entry = Entry {
        segment: 0,
        generation: 1,
        offset: offset as u32,
        length: length as u32,
    };
    Frame::Piece { lane, entry }.header().to_bytes().to_vec()
}

/// What is done right by hand is taken, in any order of lanes, and however it is cut.
#[test]
fn pieces_by_hand() {
    let (mut port, stream) = at_foe();
    let made = Made::new();
    made.tell(&stream);
    let [one, two] = [b"one, ", b"two, "];
    // SAFETY: this test alone accesses it in this process, but for copies that reckon with changes.
    unsafe { made.memory.bytes_mut(Pool::SMALLEST, 5) }.copy_from_slice(b"three");
    let said = [
        begin(7, 15, one),
        begin(0, 10, b""),
        shared(0, Pool::SMALLEST, 5),
        inline(7, 5, two),
        shared(7, Pool::SMALLEST, 5),
        inline(0, 5, b"zero."),
    ]
    .concat();
    let mut message = Message::default();
    let mut news = Vec::new();
    for byte in said {
        send(stream.as_fd(), &[byte], &[]);
        while let received @ (Received::Begun | Received::Message) =
            port.receiver.try_recv(&mut message).unwrap()
        {
            let body = if received == Received::Begun {
                Vec::new()
            } else {
                message.body.clone()
            };
            news.push((received, message.header.id, body));
        }
    }
    let expected = [
        (Received::Begun, 7, &b""[..]),
        (Received::Begun, 0, b""),
        (Received::Message, 7, b"one, two, three"),
        (Received::Message, 0, b"threezero."),
    ];
    let news: Vec<_> = news
        .iter()
        .map(|(what, id, body)| (*what, *id, &body[..]))
        .collect();
    assert_eq!(news, expected);
    assert_eq!(
        made.words.word(1).load(Ordering::SeqCst),
        2,
        "both were given back"
    );
}

#[test]
fn pieces_that_are_none() {
    let frame = |kind: u8| Header {
        kind,
        flags: 0x80,
        ..Header::default()
    };
    let twice = [begin(1, 10, b""), begin(1, 10, b"")].concat();
    let after = |piece: Vec<u8>| [begin(1, 100_000, b"start"), piece].concat();
    let over = 64 * MIB as u32 + 1;
    let cases: Vec<(Vec<u8>, ErrorKind, &str)> = vec![
        (
            frame(0x1f).to_bytes().to_vec(),
            ErrorKind::Protocol,
            "makes no sense",
        ),
        (
            frame(0x10).to_bytes().to_vec(),
            ErrorKind::Protocol,
            "makes no sense",
        ),
        (
            begin(1, 10_000, &[0; 4097]),
            ErrorKind::Protocol,
            "makes no sense",
        ),
        (begin(1, over, b""), ErrorKind::TooLarge, "the limit is"),
        (begin(1, u32::MAX, b""), ErrorKind::TooLarge, "the limit is"),
        (begin(1, 0, b""), ErrorKind::Protocol, "is all of it"),
        (begin(1, 5, b"12345"), ErrorKind::Protocol, "is all of it"),
        (
            begin(LANES as u64, 10, b""),
            ErrorKind::Protocol,
            "does not exist, or is in use",
        ),
        (
            begin(u64::MAX, 10, b""),
            ErrorKind::Protocol,
            "does not exist, or is in use",
        ),
        (twice, ErrorKind::Protocol, "does not exist, or is in use"),
        (
            inline(1, 5, b"early"),
            ErrorKind::Protocol,
            "belongs to no message",
        ),
        (
            after(inline(2, 5, b"other")),
            ErrorKind::Protocol,
            "belongs to no message",
        ),
        (
            after(inline(u64::MAX, 5, b"other")),
            ErrorKind::Protocol,
            "belongs to no message",
        ),
        (after(inline(1, 0, b"")), ErrorKind::Protocol, "has nothing in it"),
        (
            after(inline(1, 99_996, b"")),
            ErrorKind::Protocol,
            "more than it was said",
        ),
        (
            after(inline(1, u32::MAX, b"")),
            ErrorKind::Protocol,
            "more than it was said",
        ),
        (shared(1, 0, 10), ErrorKind::Protocol, "belongs to no message"),
        (after(shared(1, 0, 0)), ErrorKind::Protocol, "has nothing in it"),
        (
            after(shared(1, 0, 99_996)),
            ErrorKind::Protocol,
            "more than it was said",
        ),
        (
            after(shared(1, 1, 10)),
            ErrorKind::Protocol,
            "begins where none can",
        ),
        (
            after(shared(1, MIB - Pool::SMALLEST, Pool::SMALLEST + 1)),
            ErrorKind::Protocol,
            "not inside",
        ),
        (after(shared(1, MIB, 1)), ErrorKind::Protocol, "not inside"),
        (
            after(shared(1, u32::MAX as usize, u32::MAX as usize)),
            ErrorKind::Protocol,
            "not inside",
        ),
    ];
    for (said, kind, rule) in cases {
        let (mut port, stream) = at_foe();
        let made = Made::new();
        made.tell(&stream);
        send(stream.as_fd(), &said, &[]);
        let error = end_of(&mut port).expect_err(rule);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(rule), "{error}: nothing of {rule:?}");
        assert_eq!(end_of(&mut port).unwrap_err().to_string(), error.to_string());
        assert!(!port.receiver.in_progress());
    }
    // In a memory that nobody has told of.
    let (mut port, stream) = at_foe();
    send(stream.as_fd(), &after(shared(1, 0, 10)), &[]);
    let error = end_of(&mut port).unwrap_err();
    assert!(error.to_string().contains("not known"), "{error}");
    // A beginning inside of one, with what is no message's.
    let (mut port, stream) = at_foe();
    let mut nested = begin(1, 10, b"");
    nested[Header::SIZE + 5] = 0x80;
    send(stream.as_fd(), &nested, &[]);
    let error = end_of(&mut port).unwrap_err();
    assert!(error.to_string().contains("no message's"), "{error}");
}

/// Whatever is missing when the other side ends: it is told, and nothing stays.
#[test]
fn an_end_in_the_middle() {
    alone("pieces::an_end_in_the_middle", || {
        let held = Held::now();
        let cut = [
            begin(1, 100_000, b"start"),
            [begin(1, 100_000, b"start"), shared(1, 0, 1000)].concat(),
            [begin(1, 100_000, b"start"), inline(1, 1000, b"some")].concat(),
            begin(1, 100_000, b"start")[..40].to_vec(),
        ];
        for said in cut {
            let (mut port, stream) = at_foe();
            Made::new().tell(&stream);
            send(stream.as_fd(), &said, &[]);
            drop(stream);
            let error = end_of(&mut port).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PeerDied, "{error}");
            drop(port);
            held.returns("after an end");
        }
        // The one who sends loses its reader.
        let (mut near, mut far) = honest();
        put(&mut near, &unordered(1), &vec![1; 8 * MIB]);
        assert_eq!(near.sender.flush().unwrap(), Flushed::Blocked);
        let mut message = Message::default();
        assert_eq!(received(&mut far, &mut message).unwrap(), Received::Begun);
        drop(far);
        let pool = near.pool.clone().unwrap();
        let error = loop {
            if let Err(error) = near.sender.flush() {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::PeerDied, "{error}");
        assert!(near.sender.queued() == 0);
        drop((near, pool));
        held.returns("after the reader's end");
    });
}

/// A large message in the smallest pieces keeps nobody from anything else for longer than a large piece does.
#[test]
fn small_pieces_do_not_hold_the_receiver_up() {
    let (mut port, stream) = at_foe();
    Made::new().tell(&stream);
    let one = [shared(1, 0, 1), inline(1, 1, b"x")].concat();
    let count = 1000;
    send(stream.as_fd(), &begin(1, 100_000, b""), &[]);
    send(stream.as_fd(), &one.repeat(count), &[]);
    let mut message = Message::default();
    assert_eq!(received(&mut port, &mut message).unwrap(), Received::Begun);
    let mut looks = 0;
    loop {
        assert_eq!(port.receiver.try_recv(&mut message).unwrap(), Received::Empty);
        looks += 1;
        if port.receiver.drained() {
            break;
        }
        assert!(port.receiver.ready() || looks < 100);
        // Whoever waits goes on at once.
        port.receiver.park(false, deadline()).unwrap();
    }
    assert!(looks >= 7, "{looks} looks for {} pieces", 2 * count);
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
