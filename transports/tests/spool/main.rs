//! Large bodies over `pipe:` on Unix, which travel through files: between honest sides, and what a side may do that lies.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../common/mod.rs"]
mod common;
mod foes;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use common::fifo::{Name, Raw, failure, make_fifo, works};
use common::{accept, body, flush, receive, together, watchdog};
use transports::{
    Endpoint, Error, ErrorKind, Flushed, Header, Listener, Message, Pieces, Port, Received, Scheme, Sent,
    connect, listen,
};

const MIB: usize = 1 << 20;
const HEAD: u64 = 4096;

const FRAME: u8 = 0x80;
const BEGIN: u8 = 0x10;
const PIECE: u8 = 0x11;
const SPOOL: u8 = 0x12;
const SPOOLED: u8 = 0x13;

fn unordered(id: u64) -> Header {
    Header {
        kind: 3,
        flags: Header::UNORDERED,
        id,
        ..Header::default()
    }
}

fn frame(kind: u8, id: u64, ordinal: u64) -> Header {
    Header {
        kind,
        flags: FRAME,
        id,
        ordinal,
        ..Header::default()
    }
}

/// "There is a file, whose places have so many bytes."
fn spool(size: u64) -> Header {
    frame(SPOOL, size, 0)
}

/// "So many bytes lie in a place of it."
fn spooled(lane: u64, place: u32, length: u32) -> Header {
    frame(SPOOLED, lane, u64::from(place) | u64::from(length) << 32)
}

/// "A message of so many bytes begins", which are all to come.
fn begin(raw: &mut Raw, lane: u64, id: u64, length: u32) {
    let message = Header {
        length,
        kind: 3,
        id,
        ..Header::default()
    };
    raw.say(&frame(BEGIN, lane, 0), &message.to_bytes());
}

fn offer(port: &mut Port) {
    assert!(port.takes_pieces_in_memory());
    port.sender.offer_pieces(Pieces::InMemory);
}

/// In the smallest pieces, and from the smallest body on.
fn smallest(endpoint: &Endpoint) -> Endpoint {
    endpoint.clone().pieces_from(1).piece_of(1)
}

/// Two sides that have agreed on pieces, and on files.
fn agreed(name: &Name, settings: impl Fn(&Endpoint) -> Endpoint) -> (Box<dyn Listener>, Port, Port) {
    let endpoint = settings(&name.endpoint);
    let mut listener = listen(&endpoint).unwrap();
    let mut client = connect(&endpoint, watchdog()).unwrap();
    let mut server = accept(&mut *listener);
    offer(&mut client);
    offer(&mut server);
    (listener, client, server)
}

fn put(port: &mut Port, header: &Header, body: &[u8]) {
    let sent = port.sender.try_send(header, &mut body.to_vec()).unwrap();
    assert_eq!(sent, Sent::Accepted);
}

/// Sends one message and receives it on the other side: whether it came in pieces.
fn pass(from: &mut Port, to: &mut Port, id: u64, length: usize) -> bool {
    let bytes = body(length, id);
    let (mut came, mut begun) = (Message::default(), false);
    together(
        || {
            put(from, &unordered(id), &bytes);
            flush(from);
        },
        || {
            let deadline = watchdog();
            loop {
                match to.receiver.try_recv(&mut came).unwrap() {
                    Received::Message => break,
                    Received::Begun => begun = true,
                    Received::Empty => to.receiver.park(false, deadline).unwrap(),
                    Received::Closed => panic!("it was closed"),
                }
                assert!(Instant::now() < deadline.unwrap(), "nothing came");
            }
        },
    );
    let header = Header {
        flags: 0,
        length: length as u32,
        ..unordered(id)
    };
    assert_eq!(came.header, header);
    assert!(came.body == bytes, "body of {length} bytes");
    begun
}

/// The file of a client that is written by hand, with places of a page and these bytes in the first ones.
fn make(path: &Path, bytes: &[u8]) -> File {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .unwrap();
    file.write_all(&[0; HEAD as usize]).unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// A client that is written by hand, with where its file is to be, and that of the server.
fn by_hand(name: &Name, listener: &mut dyn Listener, seed: u8) -> (Raw, Port, [PathBuf; 2]) {
    let (mut raw, port) = Raw::connect(name, listener, seed);
    raw.greeted();
    (raw, port, name.spools([seed; 16]))
}

fn marks(file: &File) -> [u8; 5] {
    let mut marks = [0; 5];
    file.read_exact_at(&mut marks, 0).unwrap();
    marks
}

/// Has a port look until there is nothing more.
fn take_in(port: &mut Port) -> Result<(), Error> {
    let mut message = Message::default();
    loop {
        match port.receiver.try_recv(&mut message)? {
            Received::Empty if port.receiver.drained() => return Ok(()),
            Received::Empty | Received::Begun | Received::Message => {}
            Received::Closed => panic!("it was closed"),
        }
    }
}

#[test]
fn bodies_of_every_size_travel() {
    let settings: [fn(&Endpoint) -> Endpoint; 2] = [smallest, Endpoint::clone];
    for (settings, from) in settings.into_iter().zip([1, Endpoint::PIECES_THRESHOLD]) {
        let name = Name::new();
        let (_listener, mut client, mut server) = agreed(&name, settings);
        // With the first large body, the other side learns of the file.
        pass(&mut client, &mut server, 1, 2 * MIB);
        pass(&mut server, &mut client, 1, 2 * MIB);
        let sizes = [
            0,
            1,
            2,
            4095,
            4096,
            4097,
            65_535,
            65_536,
            100_000,
            MIB,
            5 * MIB + 7,
        ];
        for (id, size) in (2..).zip(sizes) {
            let is_large = size >= from;
            assert_eq!(pass(&mut client, &mut server, id, size), is_large, "{size}");
            assert_eq!(pass(&mut server, &mut client, id, size), is_large, "{size}");
        }
    }
}

#[test]
fn the_file_is_private_and_its_name_goes_once_the_other_side_has_it() {
    const LENGTH: usize = 10_000;
    let name = Name::new();
    let (_listener, mut client, mut server) = agreed(&name, |endpoint| endpoint.clone().pieces_from(LENGTH));
    let spools = |end| {
        let files = name.files();
        let is_one = |file: &PathBuf| file.extension().is_some_and(|known| known == end);
        files.into_iter().filter(is_one).collect::<Vec<_>>()
    };
    // Nothing is made for those who send nothing large.
    pass(&mut client, &mut server, 1, LENGTH - 1);
    assert_eq!((spools("up-spool").len(), spools("down-spool").len()), (0, 0));
    for (id, is_up) in [(2, true), (3, false)] {
        let (from, to, end) = match is_up {
            true => (&mut client, &mut server, "up-spool"),
            false => (&mut server, &mut client, "down-spool"),
        };
        put(from, &unordered(id), &body(LENGTH, id));
        let _ = from.sender.flush().unwrap();
        let there = spools(end)[0].symlink_metadata().unwrap();
        assert!(there.is_file() && there.mode() & 0o777 == 0o600);
        assert_eq!(receive(to).body, body(LENGTH, id));
        assert_eq!(spools(end), [] as [PathBuf; 0]);
        assert!(pass(from, to, 4, LENGTH));
    }
    let left = name.files();
    assert!(
        left.iter().all(|file| !file.to_str().unwrap().ends_with("spool")),
        "{left:?}"
    );
}

#[test]
fn small_messages_pass_between_the_pieces() {
    let name = Name::new();
    let (_listener, mut client, mut server) = agreed(&name, Endpoint::clone);
    pass(&mut client, &mut server, 1, MIB);
    let large = body(60 * MIB, 2);
    put(&mut client, &unordered(2), &large);
    while client.sender.flush().unwrap() != Flushed::Blocked || client.sender.gives_way() {}
    put(&mut client, &unordered(3), b"passes");
    put(
        &mut client,
        &Header {
            flags: 0,
            ..unordered(4)
        },
        b"waits",
    );
    together(
        || flush(&mut client),
        || {
            assert_eq!(receive(&mut server).body, b"passes");
            assert!(receive(&mut server).body == large);
            assert_eq!(receive(&mut server).body, b"waits");
        },
    );
}

#[test]
fn the_bytes_of_a_sender_are_as_documented() {
    let name = Name::new();
    let mut listener = listen(&name.endpoint).unwrap();
    let (mut raw, mut port, [path, _]) = by_hand(&name, &mut *listener, 1);
    let bytes = body(8192, 7);
    let file = make(&path, &bytes);
    raw.say(&spool(4096), &[]);
    assert!(!port.receiver.ready());
    take_in(&mut port).unwrap();
    assert_eq!(marks(&file), [1, 0, 0, 0, 0]);
    assert!(!path.exists());
    begin(&mut raw, 0, 5, 10_000);
    raw.say(&spooled(0, 1, 4096), &[]);
    raw.say(&spooled(0, 0, 4096), &[]);
    // One place any number of times, and through the stream in between.
    raw.say(&frame(PIECE, 0, 0), &bytes[..904]);
    raw.say(&spooled(0, 0, 904), &[]);
    let message = receive(&mut port);
    assert_eq!(message.header.id, 5);
    let expected = [&bytes[4096..], &bytes[..4096], &bytes[..904], &bytes[..904]].concat();
    assert!(message.body == expected);
    assert_eq!(marks(&file), [1, 2, 1, 0, 0]);
}

#[test]
fn the_bytes_of_a_receiver_are_as_documented() {
    let name = Name::new();
    let endpoint = name.endpoint.clone().pieces_from(4096).piece_of(8192);
    let mut listener = listen(&endpoint).unwrap();
    let (mut raw, mut port, [_, path]) = by_hand(&name, &mut *listener, 1);
    offer(&mut port);
    let bytes = body(60_000, 3);
    // The first goes whole, since nobody has the file yet.
    put(&mut port, &unordered(1), &bytes[..30_000]);
    assert_eq!(port.sender.flush().unwrap(), Flushed::Done);
    assert_eq!(raw.hear(), (spool(8192), Vec::new()));
    let (header, heard) = raw.hear();
    assert_eq!((header.id, &heard[..]), (1, &bytes[..30_000]));
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    assert_eq!(marks(&file), [0; 5]);
    file.write_at(&[1], 0).unwrap();

    // Four places, and none is back: the rest goes through the stream.
    put(&mut port, &unordered(2), &bytes);
    assert_eq!(port.sender.flush().unwrap(), Flushed::Done);
    let (header, start) = raw.hear();
    let message = Header::from_bytes(start.first_chunk().unwrap());
    assert_eq!((header.kind, header.id, message.id), (BEGIN, 0, 2));
    assert_eq!((message.length, start.len()), (60_000, Header::SIZE));
    for place in 0..4 {
        assert_eq!(raw.hear(), (spooled(0, place, 8192), Vec::new()));
        let mut there = vec![0; 8192];
        let at = place as usize * 8192;
        file.read_exact_at(&mut there, HEAD + at as u64).unwrap();
        assert!(there == bytes[at..at + 8192], "{place}");
    }
    let (mut came, mut frames) = (Vec::new(), 0);
    while came.len() < 60_000 - 4 * 8192 {
        let (header, piece) = raw.hear();
        assert_eq!((header.kind, header.id), (PIECE, 0));
        came.extend(piece);
        frames += 1;
    }
    assert!(came == bytes[4 * 8192..] && frames == 4);

    // The third is back.
    file.write_at(&[1], 3).unwrap();
    put(&mut port, &unordered(3), &bytes[..9000]);
    assert_eq!(port.sender.flush().unwrap(), Flushed::Done);
    assert_eq!(raw.hear().0.kind, BEGIN);
    assert_eq!(raw.hear(), (spooled(0, 2, 8192), Vec::new()));
    let (header, rest) = raw.hear();
    assert_eq!((header.kind, &rest[..]), (PIECE, &bytes[8192..9000]));
}

/// Only both sides of a connection, killed at the same time, leave a file behind, until the next server comes.
#[test]
fn what_is_left_behind_is_removed() {
    let name = Name::new();
    let mut listener = listen(&name.endpoint).unwrap();
    // A client that is killed before it has told of its file.
    let (raw, mut port, [path, _]) = by_hand(&name, &mut *listener, 1);
    make(&path, &[]);
    drop(raw);
    let mut message = Message::default();
    let ended = common::receive_into(&mut port, &mut message).unwrap();
    assert_eq!(ended, Received::Closed);
    drop(port);
    assert!(!path.exists());
    // A server whose client never opened the file.
    let (raw, mut port, [_, path]) = by_hand(&name, &mut *listener, 2);
    offer(&mut port);
    put(&mut port, &unordered(1), &body(100_000, 1));
    let _ = port.sender.flush().unwrap();
    assert!(path.exists());
    drop(raw);
    drop(port);
    assert!(!path.exists());
    // Both sides at once.
    let left = name.spools([3; 16]);
    left.iter().for_each(|path| drop(make(path, &[])));
    let other = Name::new();
    make(&other.spools([3; 16])[0], &[]);
    drop(listener);
    let mut listener = listen(&name.endpoint).unwrap();
    assert!(left.iter().all(|path| !path.exists()));
    assert!(other.spools([3; 16])[0].exists());
    works(&name, &mut *listener);
}

/// A file that is not used goes back to a page, and is used again then.
#[test]
fn an_idle_file_is_emptied() {
    let name = Name::new();
    let mut listener = listen(&smallest(&name.endpoint)).unwrap();
    let (mut raw, mut port, [_, path]) = by_hand(&name, &mut *listener, 1);
    offer(&mut port);
    put(&mut port, &unordered(1), &body(4096, 1));
    flush(&mut port);
    assert_eq!(raw.hear().0.kind, SPOOL);
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    raw.hear();
    file.write_at(&[1], 0).unwrap();
    for (id, count) in [(2, 1), (3, 2)] {
        put(&mut port, &unordered(id), &body(4096, id));
        flush(&mut port);
        assert_eq!(raw.hear().0.kind, BEGIN);
        assert_eq!(raw.hear().0, spooled(0, 0, 4096));
        // It is kept as long as the other side has something in it.
        assert_eq!(file.metadata().unwrap().len(), 2 * HEAD);
        file.write_at(&[count], 1).unwrap();
        let deadline = watchdog().unwrap();
        while file.metadata().unwrap().len() > HEAD {
            assert!(Instant::now() < deadline, "it is never emptied");
            thread::yield_now();
        }
        assert_eq!(marks(&file), [1, count, 0, 0, 0]);
    }
}

const CHILD: &str = "TRANSPORTS_TEST_ENDPOINT";

/// Not a test: a client in another process that may make no large files.
#[test]
fn other_process() {
    let Ok(endpoint) = std::env::var(CHILD) else {
        return;
    };
    let endpoint: Endpoint = endpoint.parse().unwrap();
    let mut client = connect(&endpoint, watchdog()).unwrap();
    offer(&mut client);
    // No file at all, one without places, one that ends in the middle of a place, and then as long as it is to be.
    let limits = [
        Some(0),
        Some(HEAD),
        Some(HEAD + 100_000),
        Some(HEAD + 100_000),
        None,
    ];
    for (id, current) in (1..).zip(limits) {
        let limit = rustix::process::Rlimit {
            current,
            maximum: None,
        };
        rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
        put(&mut client, &unordered(id), &body(3 * MIB, id));
        flush(&mut client);
        assert_eq!(receive(&mut client).header.id, id);
    }
}

/// Bodies for which the system gives no room travel through the stream, and nobody is killed by a signal.
#[test]
fn files_that_may_not_grow() {
    let name = Name::new();
    let mut listener = listen(&name.endpoint).unwrap();
    let mut client = Command::new(std::env::current_exe().unwrap())
        .args(["other_process", "--exact", "--nocapture"])
        .env(CHILD, name.endpoint.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut server = accept(&mut *listener);
    offer(&mut server);
    for id in 1..=5 {
        let message = receive(&mut server);
        assert!(message.header.id == id && message.body == body(3 * MIB, id));
        put(&mut server, &unordered(id), b"came");
        flush(&mut server);
    }
    assert!(client.wait().unwrap().success());
}
