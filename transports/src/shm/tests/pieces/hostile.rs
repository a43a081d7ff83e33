//! Sides that lie about pieces, or end between two of them.

use super::*;

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
    alone("pieces::hostile::an_end_in_the_middle", || {
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
