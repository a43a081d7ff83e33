//! Sections of a side that is not honest: over a stream and beside a ring, from either end. It is told which rule it broke, or
//! harms itself alone.

mod holes;
mod loans;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, memfd_create, open};

use super::raw::{Held, Hostile, Place, alone, at_client, at_server, end_of, received, send};
use crate::sys::shm::Mark;
use crate::sys::shm::sections::returns::WORDS;
use crate::sys::shm::sections::wire::{Access, ENTRY, Entry, Frame};
use crate::sys::{CommonMemory, Draft, OwnMemory, SharedWords, Stream, stream_of};
use crate::{
    Block, Endpoint, ErrorKind, Flushed, Header, Identity, Lease, Message, Peer, Pool, Port, Received, Sent,
};

const MIB: usize = 1 << 20;

/// The one whose port it is not.
struct Foe(Way);

enum Way {
    Stream(Stream),
    Ring(Box<Hostile>),
}

impl Foe {
    fn stream(&self) -> &Stream {
        match &self.0 {
            Way::Stream(stream) => stream,
            Way::Ring(hostile) => &hostile.stream,
        }
    }

    /// Says something of sections.
    fn tell(&self, frame: Header, descriptors: &[BorrowedFd<'_>]) {
        send(self.stream().as_fd(), &frame.to_bytes(), descriptors);
    }

    /// Sends a message whose table says this.
    fn message(&mut self, entries: &[Entry], body: &[u8]) {
        let count = u8::try_from(entries.len()).unwrap();
        let table: Vec<u8> = entries.iter().flat_map(|entry| entry.to_bytes()).collect();
        self.message_of(count, &[&table, body].concat());
    }

    fn message_of(&mut self, sections: u8, body: &[u8]) {
        let header = Header {
            length: body.len() as u32,
            kind: 3,
            sections,
            id: 7,
            ..Header::default()
        };
        match &mut self.0 {
            Way::Stream(stream) => send(stream.as_fd(), &[&header.to_bytes(), body].concat(), &[]),
            Way::Ring(hostile) => {
                assert_eq!(hostile.producer.push(&header, Mark::Whole, [body, b""]), Ok(true));
            }
        }
    }
}

/// A memory as an honest side makes it.
struct Made {
    memory: OwnMemory,
    descriptor: OwnedFd,
    words: SharedWords,
    words_descriptor: OwnedFd,
}

impl Made {
    fn new(length: usize) -> Self {
        let (memory, descriptor) = OwnMemory::create(length).unwrap();
        let (words, words_descriptor) = SharedWords::create(WORDS).unwrap();
        Self {
            memory,
            descriptor,
            words,
            words_descriptor,
        }
    }

    fn both(&self) -> [BorrowedFd<'_>; 2] {
        [self.descriptor.as_fd(), self.words_descriptor.as_fd()]
    }

    fn returned(&self, word: usize) -> u32 {
        self.words.word(word).load(Ordering::SeqCst)
    }

    fn fill(&mut self, offset: usize, length: usize, byte: u8) {
        // SAFETY: this test alone accesses it in this process, but for copies that reckon with changes.
        unsafe { self.memory.bytes_mut(offset, length) }.fill(byte);
    }
}

fn announce(segment: u32, generation: u32, length: usize, descriptors: u8) -> Header {
    let frame = Frame::Announce {
        segment,
        generation,
        length: length as u64,
        access: Access::Owner,
        descriptors,
    };
    frame.header()
}

fn announce_sealed(segment: u32, generation: u32, length: usize, descriptors: u8) -> Header {
    let frame = Frame::Announce {
        segment,
        generation,
        length: length as u64,
        access: Access::Nobody,
        descriptors,
    };
    frame.header()
}

/// Memory that both sides write, in words of so many bytes.
fn announce_common(segment: u32, generation: u32, length: usize, word: u8) -> Header {
    let frame = Frame::Announce {
        segment,
        generation,
        length: length as u64,
        access: Access::Both(word),
        descriptors: 2,
    };
    frame.header()
}

fn forget(segment: u32, generation: u32) -> Header {
    Frame::Forget { segment, generation }.header()
}

fn at(offset: usize, length: usize) -> Entry {
    Entry {
        segment: 0,
        generation: 1,
        offset: offset as u32,
        length: length as u32,
    }
}

/// The port of a stream's end, and the other end.
fn on_stream(endpoint: &Endpoint) -> (Port, Foe) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let port = crate::socket::port(stream_of(ours.into()).unwrap(), own_identity(), endpoint.clone());
    (port, Foe(Way::Stream(stream_of(theirs.into()).unwrap())))
}

fn own_identity() -> Identity {
    Identity::User {
        uid: Peer::own_uid().unwrap(),
        gid: 0,
        pid: None,
    }
}

/// The port of a stream's end.
fn port_of(socket: UnixStream) -> Port {
    socket.set_nonblocking(true).unwrap();
    crate::socket::port(stream_of(socket.into()).unwrap(), own_identity(), plain())
}

fn plain() -> Endpoint {
    "unix:@nobody".parse().unwrap()
}

/// In each way that there is.
fn in_all_ways(test: impl Fn(Port, Foe)) {
    let (port, foe) = on_stream(&plain());
    test(port, foe);
    for victim in [at_server as fn() -> (Port, Hostile), at_client] {
        let (port, hostile) = victim();
        test(port, Foe(Way::Ring(Box::new(hostile))));
    }
}

#[track_caller]
fn refused(port: &mut Port, kind: ErrorKind, rule: &str) {
    let error = end_of(port).expect_err(rule);
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(rule), "{error}: nothing of {rule:?}");
    assert_eq!(end_of(port).unwrap_err().to_string(), error.to_string());
}

fn lease(port: &mut Port) -> Lease {
    let mut message = Message::default();
    assert_eq!(received(port, &mut message).unwrap(), Received::Message);
    assert_eq!(message.sections.len(), 1);
    message.sections.pop().unwrap()
}

fn copy_of(lease: &Lease) -> Vec<u8> {
    let mut bytes = Vec::new();
    lease.append_to(0, lease.len(), &mut bytes).unwrap();
    bytes
}

/// What is done right is taken, and given back where it should be.
#[test]
fn sections_by_hand() {
    in_all_ways(|mut port, mut foe| {
        let mut made = Made::new(MIB);
        made.fill(5 * Pool::SMALLEST, 1000, 5);
        foe.tell(announce(0, 1, MIB, 2), &made.both());
        let entry = at(5 * Pool::SMALLEST, 1000);
        foe.message(&[entry, entry, at(MIB - Pool::SMALLEST, 0)], b"body");
        let mut message = Message::default();
        assert_eq!(received(&mut port, &mut message).unwrap(), Received::Message);
        assert_eq!(
            (&message.body[..], message.header.length, message.header.sections),
            (&b"body"[..], 4, 3)
        );
        let lengths: Vec<_> = message.sections.iter().map(Lease::len).collect();
        assert_eq!(lengths, [1000, 1000, 0]);
        assert_eq!(copy_of(&message.sections[0]), [5; 1000]);
        assert!(message.sections[0].bytes().is_none());
        assert_eq!((made.returned(5), made.returned(63)), (0, 0));
        message.sections.clear();
        assert_eq!((made.returned(5), made.returned(63)), (2, 1));
        // It is forgotten, and its number is used for another, which is sealed.
        let mut draft = Draft::create(8192).unwrap();
        draft.bytes_mut()[4096..].fill(6);
        let (_, sealed) = draft.seal().unwrap();
        foe.tell(forget(0, 1), &[]);
        foe.tell(announce_sealed(0, 2, 8192, 1), &[sealed.as_fd()]);
        let generation = 2;
        foe.message(
            &[Entry {
                generation,
                ..at(0, 5000)
            }],
            b"",
        );
        let lease = lease(&mut port);
        let bytes = lease.bytes().unwrap();
        assert_eq!((bytes[4095], bytes[4096], bytes.len()), (0, 6, 5000));
        assert_eq!(copy_of(&lease), bytes);
    });
}

/// Memory that both sides write has the other side's values at any time, and nothing else of a section.
#[test]
fn memory_of_both_sides() {
    in_all_ways(|mut port, mut foe| {
        let made = Made::new(MIB);
        let (memory, descriptor) = CommonMemory::create::<AtomicU32>(8192).unwrap();
        let theirs = memory.atoms::<AtomicU32>(0, 8192).unwrap();
        theirs[1025].store(7, Ordering::Relaxed);
        foe.tell(
            announce_common(0, 1, 8192, 4),
            &[descriptor.as_fd(), made.words_descriptor.as_fd()],
        );
        foe.message(&[at(0, 8192)], b"");
        let lease = lease(&mut port);
        assert!(lease.is_common() && lease.bytes().is_none());
        let error = lease.append_to(0, 1, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        // Words of another size are none.
        assert!(lease.atoms::<AtomicU64>().is_none());
        let ours = lease.atoms::<AtomicU32>().unwrap();
        assert_eq!(ours.len(), 2048);
        assert_eq!(ours[1025].load(Ordering::Relaxed), 7);
        thread::scope(|scope| {
            // Whatever the other side does meanwhile, what is read is one of its values.
            scope.spawn(|| {
                (0..20_000).for_each(|round| theirs[5].store(round * 0x0001_0001, Ordering::Relaxed))
            });
            while ours[5].load(Ordering::Relaxed) != 19_999 * 0x0001_0001 {
                let value = ours[5].load(Ordering::Relaxed);
                assert_eq!(value % 0x0001_0001, 0);
                ours[6].fetch_add(1, Ordering::Relaxed);
            }
        });
        assert_eq!(theirs[6].load(Ordering::Relaxed), ours[6].load(Ordering::Relaxed));
        // The other side's end takes nothing away.
        drop(foe);
        assert_eq!(ours[1025].load(Ordering::Relaxed), 7);
    });
    let (seals, closed) = (SealFlags::SHRINK | SealFlags::GROW, SealFlags::FUTURE_WRITE);
    for (memory, rule) in [
        (memfd(8192, SealFlags::empty()), "its size is not sealed"),
        (
            memfd(8192, SealFlags::GROW | SealFlags::SEAL),
            "its size is not sealed",
        ),
        (memfd(8192, seals), "its size is not sealed"),
        (
            memfd(8192, seals | closed | SealFlags::SEAL),
            "sealed against writing",
        ),
        (memfd(4096, seals | SealFlags::SEAL), "its size is not the one"),
    ] {
        in_all_ways(|mut port, foe| {
            let made = Made::new(MIB);
            foe.tell(
                announce_common(0, 1, 8192, 4),
                &[memory.as_fd(), made.words_descriptor.as_fd()],
            );
            refused(&mut port, ErrorKind::Protocol, rule);
        });
    }
}

#[test]
fn announcements_that_are_none() {
    let made = Made::new(MIB);
    let both = made.both();
    let one = &both[..1];
    let meaning = announce(0, 1, MIB, 2);
    let cases: [(Header, &[BorrowedFd<'_>], &str); 15] = [
        (Header { kind: 9, ..meaning }, &[], "makes no sense"),
        (Header { kind: 0, ..meaning }, &both, "makes no sense"),
        (Header { extra: 1, ..meaning }, &both, "makes no sense"),
        (announce_common(0, 1, MIB, 3), &both, "makes no sense"),
        (announce_common(0, 1, MIB, 8), &both, "sealed against writing"),
        (announce(64, 1, MIB, 2), &both, "too high"),
        (announce(u32::MAX, 1, MIB, 2), &both, "too high"),
        (meaning, &[], "without its descriptors"),
        (meaning, one, "without its descriptors"),
        (announce(0, 1, MIB, 1), one, "without its descriptors"),
        (announce(0, 1, 0, 2), &both, "no memory at all"),
        (announce(0, 1, MIB - 1, 2), &both, "no memory at all"),
        (announce(0, 1, (1 << 62) + MIB, 2), &both, "larger than all"),
        (announce(0, 1, 2 * MIB, 2), &both, "its size is not"),
        (
            announce_sealed(0, 1, MIB, 2),
            &both,
            "against its owner's writing",
        ),
    ];
    for (frame, descriptors, rule) in cases {
        in_all_ways(|mut port, foe| {
            foe.tell(frame, descriptors);
            refused(&mut port, ErrorKind::Protocol, rule);
        });
    }
    // A number that is in use, and the words a second time.
    for (segment, rule) in [(0, "the number of another"), (1, "without its descriptors")] {
        in_all_ways(|mut port, foe| {
            foe.tell(meaning, &both);
            foe.tell(announce(segment, 2, MIB, 2), &both);
            refused(&mut port, ErrorKind::Protocol, rule);
        });
    }
    for frame in [forget(0, 2), forget(1, 1), forget(64, 1), forget(u32::MAX, 1)] {
        in_all_ways(|mut port, foe| {
            foe.tell(meaning, &both);
            foe.tell(frame, &[]);
            refused(&mut port, ErrorKind::Protocol, "to be forgotten is not known");
        });
    }
    in_all_ways(|mut port, foe| {
        foe.tell(meaning, &both);
        foe.tell(forget(0, 1), &[]);
        foe.tell(forget(0, 1), &[]);
        refused(&mut port, ErrorKind::Protocol, "to be forgotten is not known");
    });
    // More than it says.
    in_all_ways(|mut port, foe| {
        foe.tell(meaning, &[both[0], both[1], both[0]]);
        let error = end_of(&mut port).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
    });
}

fn memfd(length: usize, seals: SealFlags) -> OwnedFd {
    let memory = memfd_create("hostile", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&memory, length as u64).unwrap();
    fcntl_add_seals(&memory, seals).unwrap();
    memory
}

/// What is announced as a memory and is none, or one that could still change its size.
#[test]
fn impostors() {
    alone("sections::impostors", || {
        let place = Place::new();
        let (shrink, grow) = (SealFlags::SHRINK, SealFlags::GROW);
        let (write, seal) = (SealFlags::FUTURE_WRITE, SealFlags::SEAL);
        let file = File::create(place.path()).unwrap();
        file.set_len(MIB as u64).unwrap();
        let opened = |path: &std::path::Path, flags: OFlags| {
            open(path, flags | OFlags::CLOEXEC, Mode::empty()).unwrap()
        };
        let (pipe, _writer) = rustix::pipe::pipe().unwrap();
        let (socket, _other) = UnixStream::pair().unwrap();
        let mut impostors: Vec<(&str, OwnedFd)> = vec![
            ("nothing sealed", memfd(MIB, SealFlags::empty())),
            ("growing sealed", memfd(MIB, grow | write | seal)),
            ("shrinking sealed", memfd(MIB, shrink | write | seal)),
            ("seals open", memfd(MIB, shrink | grow | write)),
            ("open for writing", memfd(MIB, shrink | grow | seal)),
            ("shorter", memfd(MIB - 4096, shrink | grow | write | seal)),
            ("longer", memfd(MIB + 4096, shrink | grow | write | seal)),
            ("a file", file.into()),
            ("a path", opened(&place.path(), OFlags::PATH)),
            (
                "a directory",
                opened(std::path::Path::new("/tmp"), OFlags::RDONLY),
            ),
            ("zeros", opened(std::path::Path::new("/dev/zero"), OFlags::RDONLY)),
            ("a pipe", pipe),
            ("a socket", socket.into()),
        ];
        // Where the system has any.
        if let Ok(huge) = memfd_create("huge", MemfdFlags::ALLOW_SEALING | MemfdFlags::HUGETLB) {
            if rustix::fs::ftruncate(&huge, 2 * MIB as u64).is_ok() {
                fcntl_add_seals(&huge, shrink | grow | write | seal).unwrap();
                impostors.push(("huge pages", huge));
            }
        }
        let made = Made::new(MIB);
        let words = made.words_descriptor.as_fd();
        let held = Held::now();
        // The thread that closes what is refused is there from now on, and has closed this.
        in_all_ways(|mut port, foe| {
            foe.tell(announce(0, 1, MIB, 2), &[impostors[0].1.as_fd(), words]);
            assert!(end_of(&mut port).is_err());
        });
        held.returns("the first");
        for (what, impostor) in &impostors {
            let impostor = impostor.as_fd();
            let length = if *what == "huge pages" { 2 * MIB } else { MIB };
            for frame in [announce(0, 1, length, 2), announce_sealed(0, 1, length, 2)] {
                for pair in [[impostor, words], [made.descriptor.as_fd(), impostor]] {
                    in_all_ways(|mut port, foe| {
                        foe.tell(frame, &pair);
                        let error = end_of(&mut port).expect_err(what);
                        assert_eq!(error.kind(), ErrorKind::Protocol, "{what}: {error}");
                    });
                    held.returns(what);
                }
            }
        }
    });
}

#[test]
fn tables_that_name_what_is_not_there() {
    let unknown = |segment: u32, generation: u32| Entry {
        segment,
        generation,
        ..at(0, 10)
    };
    let cases: [(&[Entry], &str); 14] = [
        (&[unknown(1, 1)], "not known"),
        (&[unknown(64, 1)], "not known"),
        (&[unknown(u32::MAX, u32::MAX)], "was never lent"),
        (&[unknown(0, 2)], "not known"),
        (&[unknown(0, 0)], "not known"),
        (&[at(MIB, 0)], "not inside"),
        (&[at(MIB, 1)], "not inside"),
        (&[at(0, MIB + 1)], "not inside"),
        (&[at(MIB - Pool::SMALLEST, Pool::SMALLEST + 1)], "not inside"),
        (&[at(0, u32::MAX as usize)], "not inside"),
        (
            &[at(u32::MAX as usize & !0x3fff, u32::MAX as usize)],
            "not inside",
        ),
        (&[at(1, 1)], "begins where none can"),
        (&[at(0, Pool::SMALLEST + 1), at(Pool::SMALLEST, 1)], "overlap"),
        (&[at(2 * Pool::SMALLEST, 1), at(0, MIB)], "overlap"),
    ];
    let made = Made::new(MIB);
    for (entries, rule) in cases {
        in_all_ways(|mut port, mut foe| {
            foe.tell(announce(0, 1, MIB, 2), &made.both());
            foe.message(entries, b"body");
            refused(&mut port, ErrorKind::Protocol, rule);
        });
    }
    // Without any memory, and tables that do not fit into their bodies.
    for (count, body, rule) in [
        (1, &[0; ENTRY][..], "not known"),
        (1, &[0; ENTRY - 1], "no room"),
        (64, &[0; 64 * ENTRY - 1], "no room"),
        (65, &[0; 65 * ENTRY], "more of them than it may"),
        (255, &[0; 255 * ENTRY], "more of them than it may"),
    ] {
        in_all_ways(|mut port, mut foe| {
            foe.message_of(count, body);
            refused(&mut port, ErrorKind::Protocol, rule);
        });
    }
    // What was named before the failure is given back.
    let made = Made::new(MIB);
    in_all_ways(|mut port, mut foe| {
        let before = made.returned(0);
        foe.tell(announce(0, 1, MIB, 2), &made.both());
        foe.message(&[at(0, 10), unknown(3, 3)], b"");
        refused(&mut port, ErrorKind::Protocol, "not known");
        assert_eq!(made.returned(0), before + 1);
    });
}

#[test]
fn a_section_above_the_limit() {
    let made = Made::new(MIB);
    for (length, is_refused) in [(1000, false), (1001, true)] {
        let (mut port, mut foe) = on_stream(&plain().max_message(1000));
        foe.tell(announce(0, 1, MIB, 2), &made.both());
        foe.message(&[at(0, length)], &[7; 1000]);
        if is_refused {
            refused(&mut port, ErrorKind::TooLarge, "1001");
        } else {
            assert_eq!(lease(&mut port).len(), 1000);
        }
    }
    // The table of a message does not count, what is behind it does.
    let (mut port, mut foe) = on_stream(&plain().max_message(1000));
    foe.tell(announce(0, 1, MIB, 2), &made.both());
    foe.message(&[at(0, 1)], &[7; 1001]);
    refused(&mut port, ErrorKind::TooLarge, "the limit is");
}

/// More memory than one may have: one after the other, and while the victim keeps a part of each.
#[test]
fn memories_without_end() {
    in_all_ways(|mut port, foe| {
        let (mut last, mut more) = (None, 0);
        for number in 0..=64_u32 {
            let made = Made::new(2 * MIB);
            let descriptors = if number == 0 { 2 } else { 1 };
            foe.tell(
                announce(number, 1, 2 * MIB, descriptors),
                &made.both()[..usize::from(descriptors)],
            );
            last = Some(made);
            more = number;
            if port.receiver.try_recv(&mut Message::default()).is_err() {
                break;
            }
        }
        refused(
            &mut port,
            ErrorKind::Protocol,
            if more == 64 { "too high" } else { "larger than all" },
        );
        drop(last);
    });
    in_all_ways(|mut port, mut foe| {
        let made = Made::new(64 * MIB);
        let mut kept = Vec::new();
        for generation in 1.. {
            let descriptors = if generation == 1 { 2 } else { 1 };
            foe.tell(
                announce(0, generation, 64 * MIB, descriptors),
                &made.both()[..usize::from(descriptors)],
            );
            if kept.len() == 2 {
                break;
            }
            foe.message(
                &[Entry {
                    generation,
                    ..at(0, 10)
                }],
                b"",
            );
            kept.push(lease(&mut port));
            foe.tell(forget(0, generation), &[]);
        }
        refused(&mut port, ErrorKind::Protocol, "larger than all");
        // They live on all the same.
        drop(port);
        assert_eq!(copy_of(&kept[1]), [0; 10]);
    });
}

#[test]
fn memories_come_and_go() {
    alone("sections::memories_come_and_go", || {
        in_all_ways(|mut port, mut foe| {
            let made = Made::new(MIB);
            let mut held = Held::now();
            for generation in 1..=3000 {
                let descriptors = if generation == 1 { 2 } else { 1 };
                foe.tell(
                    announce(5, generation, MIB, descriptors),
                    &made.both()[..usize::from(descriptors)],
                );
                foe.message(
                    &[Entry {
                        segment: 5,
                        generation,
                        ..at(0, 10)
                    }],
                    b"",
                );
                drop(lease(&mut port));
                foe.tell(forget(5, generation), &[]);
                if generation == 1 {
                    held = Held::now();
                }
            }
            held.returns("memories");
        });
    });
}

/// The memory changes while it is copied: each copy is made of what was written at some time, and nothing else happens.
#[test]
fn bytes_change_while_they_are_read() {
    in_all_ways(|mut port, mut foe| {
        let made = Made::new(MIB);
        foe.tell(announce(0, 1, MIB, 2), &made.both());
        foe.message(&[at(0, MIB)], b"");
        let lease = lease(&mut port);
        let made = Arc::new(made);
        let is_over = Arc::new(AtomicBool::new(false));
        let writer = {
            let (made, is_over) = (made.clone(), is_over.clone());
            thread::spawn(move || {
                let mut byte = 0_u64;
                while !is_over.load(Ordering::Relaxed) {
                    byte = (byte + 1) % 2;
                    for at in (0..MIB).step_by(8) {
                        made.memory.word(at).store(byte * u64::MAX, Ordering::Relaxed);
                    }
                }
            })
        };
        let mut there = vec![7; MIB];
        for _ in 0..20 {
            lease.copy_into(0, &mut there).unwrap();
            assert!(there.iter().all(|&byte| byte == 0 || byte == 0xff));
            assert!(lease.bytes().is_none());
        }
        is_over.store(true, Ordering::Relaxed);
        writer.join().unwrap();
    });
}

#[test]
fn trust_lends_what_could_change() {
    // SAFETY: what is sent here is not changed.
    let trusting = unsafe { plain().trust_peer() };
    assert!(trusting.is_peer_trusted() && !plain().is_peer_trusted());
    assert!(format!("{trusting:?}").contains("trust_peer: true"));
    let (mut port, mut foe) = on_stream(&trusting);
    let mut made = Made::new(MIB);
    made.fill(0, MIB, 9);
    foe.tell(announce(0, 1, MIB, 2), &made.both());
    foe.message(&[at(Pool::SMALLEST, 100)], b"");
    let lease = lease(&mut port);
    assert_eq!(lease.bytes().unwrap(), [9; 100]);
    drop(lease);
    assert_eq!(made.returned(1), 1);
}

fn block(pool: &Pool, length: usize) -> Block {
    pool.alloc(length).unwrap().freeze().unwrap()
}

fn send_one(port: &mut Port, block: Block) {
    let sent = port
        .sender
        .try_send_with(&Header::default(), &[], &mut Vec::new(), &[block]);
    assert_eq!(sent.unwrap(), Sent::Accepted);
    assert_eq!(port.sender.flush().unwrap(), Flushed::Done);
}

/// The words that an honest side has sent with its first memory.
fn words_of(foe: &Foe) -> SharedWords {
    let (_, _, descriptors) = super::raw::hear(foe.stream());
    SharedWords::attach(descriptors[1].as_fd(), WORDS).unwrap()
}

/// A receiver that gives nothing back, too much, or nonsense: it gets no more, and keeps nobody else from anything.
#[test]
fn receivers_that_lie() {
    for lie in [None, Some(1), Some(2), Some(u32::MAX / 2), Some(u32::MAX)] {
        let (mut port, foe) = on_stream(&plain());
        let pool = port.pool.clone().unwrap();
        send_one(&mut port, block(&pool, 2 * MIB));
        let words = words_of(&foe);
        let mut sent = 1;
        let refused = loop {
            if let Some(lie) = lie {
                for index in 0..WORDS {
                    words.word(index).fetch_add(lie, Ordering::SeqCst);
                }
            }
            match pool.alloc(2 * MIB) {
                Ok(chunk) => send_one(&mut port, chunk.freeze().unwrap()),
                Err(error) => break Some(error),
            }
            sent += 1;
            if sent == 100 {
                break None;
            }
        };
        match lie {
            // Each is used again at once, since it says so.
            Some(1) => assert!(refused.is_none()),
            _ => assert_eq!(refused.unwrap().kind(), ErrorKind::Resource),
        }
        drop(port);
        assert_eq!(pool.usage().in_use, 0);
        assert_eq!(pool.alloc(1).unwrap_err().kind(), ErrorKind::PeerDied);
    }
}

/// What this side still has a handle of is not used again, whatever the other side says.
#[test]
fn what_is_held_is_not_given_back() {
    let (mut port, foe) = on_stream(&plain());
    let pool = port.pool.clone().unwrap();
    let mut chunk = pool.alloc(2 * MIB).unwrap();
    chunk.fill(3);
    let kept = chunk.freeze().unwrap();
    send_one(&mut port, kept.clone());
    words_of(&foe).word(0).fetch_add(1, Ordering::SeqCst);
    for _ in 0..40 {
        if let Ok(mut chunk) = pool.alloc(2 * MIB) {
            assert!(chunk.as_ptr() != kept.as_ptr());
            chunk.fill(4);
        }
    }
    assert!(kept.iter().all(|&byte| byte == 3));
}

/// Two honest ports on one stream.
fn honest() -> (Port, Port) {
    let (near, far) = UnixStream::pair().unwrap();
    (port_of(near), port_of(far))
}

/// What is not used is given back to the system by both sides, and comes again when it is needed.
#[test]
fn an_idle_pool_goes_back_to_nothing() {
    alone("sections::an_idle_pool_goes_back_to_nothing", || {
        let (mut near, mut far) = honest();
        let pool = near.pool.clone().unwrap();
        let held = Held::now();
        let told = Arc::new(AtomicBool::new(false));
        let hook = told.clone();
        pool.on_unsent(Box::new(move || hook.store(true, Ordering::SeqCst)));
        let mut message = Message::default();
        for round in 0..3 {
            for size in [1, 100_000, MIB, 5 * MIB] {
                send_one(&mut near, block(&pool, size));
                let mut chunk = pool.alloc_sealed(size).unwrap();
                chunk.fill(round);
                send_one(&mut near, chunk.freeze().unwrap());
                assert_eq!(lease(&mut far).len(), size);
                assert_eq!(copy_of(&lease(&mut far)), vec![round; size]);
            }
            assert!(Held::now() != held);
            told.store(false, Ordering::SeqCst);
            assert!(pool.trim(), "what was used since the last time is left alone");
            assert!(!pool.trim());
            assert!(told.load(Ordering::SeqCst));
            assert_eq!(near.sender.flush().unwrap(), Flushed::Done);
            assert_eq!(far.receiver.try_recv(&mut message).unwrap(), Received::Empty);
            // The words by which places are given back stay, in both processes.
            let now = Held::now();
            assert_eq!(now.excess_over(&held), (0, 2), "{now:?}");
        }
        drop((near, far, pool));
        assert_eq!(Held::now().excess_over(&held), (-2, 0));
    });
}

/// Numbers and room are found for what is needed now, at the expense of what was needed before.
#[test]
fn sizes_change() {
    let (mut near, mut far) = honest();
    let pool = near.pool.clone().unwrap();
    let mut random = super::Random(5);
    for _ in 0..500 {
        let size = 1 << random.below(26);
        send_one(&mut near, block(&pool, size));
        assert_eq!(lease(&mut far).len(), size);
    }
    // All numbers, by sections that stay.
    let blocks: Vec<_> = (0..64).map(|_| block(&pool, MIB)).collect();
    let refused = pool.alloc(1).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Resource);
    drop(blocks);
    assert_eq!(pool.alloc(64 * MIB).unwrap().len(), 64 * MIB);
}

/// A peer whose socket is full cannot be told of a new memory: that is no end.
#[test]
fn a_full_socket_is_said() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let filling = ours.try_clone().unwrap();
    let (mut port, mut far) = (port_of(ours), port_of(theirs));
    let pool = port.pool.clone().unwrap();
    let one = block(&pool, 10);
    let mut plain = 0;
    let message = [Header::default().to_bytes(); 100].concat();
    // Behind the port's back, whole messages only: it finds a full socket with nothing of its own in it.
    while let Ok(sent) = rustix::net::send(&filling, &message, rustix::net::SendFlags::DONTWAIT) {
        assert_eq!(sent % Header::SIZE, 0);
        plain += sent / Header::SIZE;
    }
    let mut bytes = b"kept".to_vec();
    let refused = port.sender.try_send_with(
        &Header::default(),
        b"head",
        &mut bytes,
        std::slice::from_ref(&one),
    );
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Resource);
    assert_eq!(bytes, b"kept");
    let mut message = Message::default();
    for _ in 0..plain {
        assert_eq!(received(&mut far, &mut message).unwrap(), Received::Message);
    }
    // It was not lost by that.
    send_one(&mut port, one);
    assert_eq!(lease(&mut far).len(), 10);
}
