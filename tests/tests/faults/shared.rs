//! Peers that share memory in which nonsense stands, as clients and as servers. What they wrote was there before they sealed
//! it, so that they need no mapping: descriptors and bytes are enough.

use std::io::{IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use ipc_rpc::{Endpoint, ErrorKind, Limits};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, OFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tests::fixture::Transport;
use tests::meter::Holdings;
use tests::mode::Mode;
use tests::subject::{Plan, SubjectClient, pattern};
use tests::watchdog;

use crate::hostile::{HANG, settle, sing};
use crate::impostors::welcome;
use crate::raw::{self, Frame, Stranger, id};
use crate::sections::reopened;
use crate::serve;

/// Bytes of the memory of one side: 256 KiB of records behind 512 bytes, in whole pages.
const MEMORY: usize = (512_usize + (256 << 10)).next_multiple_of(4096);
/// Where the records begin.
const RECORDS: usize = 512;
/// The longest body of a record.
const LARGEST: usize = 32 << 10;

pub(crate) const OFFER: u8 = 0xf0;
const ANSWER: u8 = 0xf1;
const DECLINE: u8 = 0xf2;

/// The bits of a commit word that say what it is of its message.
pub(crate) const WHOLE: u64 = 1;
const FIRST: u64 = 2;
const FURTHER: u64 = 3;
const LAST: u64 = 4;
const COMMITTED: u64 = 1 << 31;
/// A record with all three words before its body.
const ALL_WORDS: u64 = 3 << 24;

/// What stands in a memory, before it is shared.
pub(crate) struct Image {
    bytes: Vec<u8>,
    at: usize,
}

impl Image {
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; MEMORY],
            at: RECORDS,
        }
    }

    fn word(mut self, at: usize, word: u64) -> Self {
        self.bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
        self
    }

    /// A record of a frame, as an honest side writes it.
    pub(crate) fn record(self, frame: &Frame, mark: u64) -> Self {
        let meant = u64::from_le_bytes([0, 0, 0, 0, frame.kind, frame.flags, frame.sections, frame.handles]);
        let commit = frame.body.len() as u64 | ALL_WORDS | mark << 28 | COMMITTED | meant;
        let at = self.at;
        let mut image = self
            .word(at, commit)
            .word(at + 8, frame.id)
            .word(at + 16, frame.ordinal)
            .word(at + 24, frame.extra);
        image.bytes[at + 32..at + 32 + frame.body.len()].copy_from_slice(&frame.body);
        image.at += (32 + frame.body.len()).next_multiple_of(64);
        image
    }

    /// A commit word that no honest side writes, where the next record would be.
    fn nonsense(self, word: u64) -> Self {
        let at = self.at;
        self.word(at, word)
    }

    fn piece(self, lane: u64, mark: u64, body: Vec<u8>) -> Self {
        let piece = Frame {
            id: lane,
            body,
            ..Frame::default()
        };
        self.record(&piece, mark)
    }

    /// The first piece of a large call.
    fn first(self, call: &Frame, total: u32, lane: u32, length: usize) -> Self {
        let mut body = total.to_le_bytes().to_vec();
        body.extend(lane.to_le_bytes());
        body.extend(pattern(length as u64));
        self.record(&Frame { body, ..call.clone() }, FIRST)
    }

    fn seal(&self) -> OwnedFd {
        let memory = made(MEMORY);
        let memory = std::fs::File::from(memory);
        memory.write_all_at(&self.bytes, 0).unwrap();
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
        fcntl_add_seals(&memory, seals).unwrap();
        memory.into()
    }
}

fn made(length: usize) -> OwnedFd {
    let memory = memfd_create("hostile", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&memory, length as u64).unwrap();
    memory
}

/// What is said about sharing memory.
pub(crate) fn meeting(kind: u8) -> Vec<u8> {
    Frame {
        flags: 1,
        id: u64::from_le_bytes(*b"shm-ring"),
        ordinal: MEMORY as u64,
        ..Frame::new(kind)
    }
    .bytes()
}

/// What goes with it: memory, a word, an event.
pub(crate) fn things(image: &Image) -> [OwnedFd; 3] {
    let word = made(4096);
    fcntl_add_seals(&word, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL).unwrap();
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
    [image.seal(), word, event]
}

pub(crate) fn send(socket: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(descriptors.is_empty() || control.push(SendAncillaryMessage::ScmRights(descriptors)));
    // The other side may have hung up.
    let _ = sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL);
}

/// Takes the server's answer, and the memory that came with it.
pub(crate) fn answered(socket: &UnixStream) -> std::fs::File {
    let mut header = [0; 32];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL;
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut header)], &mut control, flags).unwrap();
    assert_eq!(
        (received.bytes, header[4]),
        (32, ANSWER),
        "the server shares memory"
    );
    let mut came: Vec<OwnedFd> = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            came.extend(rights);
        }
    }
    assert_eq!(came.len(), 3);
    came.swap_remove(0).into()
}

/// Waits for the first message in a memory, and gives its kind and its body.
fn first_message(memory: &std::fs::File) -> (u8, Vec<u8>) {
    let begun = Instant::now();
    loop {
        let mut word = [0; 8];
        memory.read_exact_at(&mut word, RECORDS as u64).unwrap();
        let commit = u64::from_le_bytes(word);
        if commit & COMMITTED != 0 {
            // The id, and those of the two words that follow it which are there.
            let words = 16 + 8 * (commit & ALL_WORDS).count_ones() as usize;
            let mut body = vec![0; (commit & 0xff_ffff) as usize];
            memory.read_exact_at(&mut body, (RECORDS + words) as u64).unwrap();
            return (word[4], body);
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "nothing came");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until the other side hangs up, whatever it says before.
pub(crate) fn until_hung_up(socket: &mut UnixStream) {
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let ended = socket.read_to_end(&mut Vec::new());
    let is_silent = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
    assert!(
        !ended.as_ref().is_err_and(is_silent),
        "the other side stays connected"
    );
}

/// In place of a rule: a length above the limit ends the connection without a word, as it does on a socket.
const UNTOLD: &str = "untold";

/// Memories of clients, each with what is wrong about it, and the rule that the server names to one that has introduced
/// itself.
fn images() -> Vec<(&'static str, Image, &'static str)> {
    let hello = || Image::new().record(&Frame::hello(), WHOLE);
    let call = Frame::number(id(1), 1);
    let total = LARGEST as u32 + 1000;
    // A handshake in pieces, which only the port can find fault with.
    let begun = || Image::new().first(&Frame::hello(), total, 1, 900);
    vec![
        ("nothing", Image::new(), ""),
        ("a wrong first word", Image::new().nonsense(u64::MAX), ""),
        (
            "a wrap at the start",
            Image::new().nonsense(COMMITTED | 5 << 28),
            "",
        ),
        (
            "a wrong second word",
            hello().nonsense(COMMITTED | 7 << 28),
            "unknown mark",
        ),
        (
            "a record that is too long",
            hello().nonsense(COMMITTED | WHOLE << 28 | (LARGEST as u64 + 1)),
            "longer than any",
        ),
        (
            "a wrap that leads to itself",
            hello().nonsense(COMMITTED | 5 << 28),
            "",
        ),
        (
            "a piece of nothing",
            hello().piece(0, FURTHER, vec![1]),
            "belongs to no message",
        ),
        (
            "the end of nothing",
            hello().piece(7, LAST, vec![1]),
            "belongs to no message",
        ),
        (
            "a piece for no lane",
            hello().piece(u64::MAX, FURTHER, vec![1]),
            "belongs to no message",
        ),
        (
            "a beginning that says nothing",
            hello().record(
                &Frame {
                    body: vec![],
                    ..call.clone()
                },
                FIRST,
            ),
            "does not say what it is of",
        ),
        (
            "a beginning that is all of it",
            hello().first(&call, 10, 0, 10),
            "is all of it",
        ),
        (
            "a beginning that claims too much",
            hello().first(&call, u32::MAX, 0, 10),
            UNTOLD,
        ),
        (
            "a lane that does not exist",
            hello().first(&call, total, 8, 10),
            "does not exist",
        ),
        (
            "a lane that is in use",
            hello()
                .first(&call, total, 1, 10)
                .first(&Frame::number(id(2), 1), total, 1, 10),
            "a Request out of place",
        ),
        (
            "an early end",
            hello().first(&call, total, 0, 500).piece(0, LAST, vec![0; 10]),
            "a Request out of place",
        ),
        (
            "a late end",
            hello()
                .first(&call, total, 0, 900)
                .piece(0, FURTHER, vec![0; LARGEST])
                .piece(0, LAST, vec![0; 600]),
            "a Request out of place",
        ),
        (
            "empty pieces",
            hello().first(&call, total, 0, 900).piece(0, FURTHER, vec![]),
            "a Request out of place",
        ),
        ("half a message", hello().first(&call, total, 0, 900), ""),
        (
            "all lanes begun",
            (0..8_u32).fold(hello(), |image, lane| {
                image.first(&Frame::number(id(u64::from(lane) + 1), 1), 64 << 20, lane, 100)
            }),
            "",
        ),
        (
            "a handshake twice begun",
            begun().first(&Frame::hello(), total, 1, 900),
            UNTOLD,
        ),
        (
            "an early end of a handshake",
            begun().piece(1, LAST, vec![0; 10]),
            UNTOLD,
        ),
        (
            "a handshake of empty pieces",
            begun().piece(1, FURTHER, vec![]),
            UNTOLD,
        ),
        ("half a handshake", begun(), UNTOLD),
        (
            "a call without an introduction",
            Image::new().record(&call, WHOLE),
            "",
        ),
        (
            "a call with attachments",
            hello().record(
                &Frame {
                    handles: 3,
                    ..call.clone()
                },
                WHOLE,
            ),
            "",
        ),
        ("two handshakes", hello().record(&Frame::hello(), WHOLE), ""),
    ]
}

#[test]
fn clients_whose_memory_says_nonsense() {
    attack("clients_whose_memory_says_nonsense", |endpoint| {
        for (what, image, rule) in images() {
            let mut socket = connected(endpoint);
            let things = things(&image);
            send(&socket, &meeting(OFFER), &things.each_ref().map(AsFd::as_fd));
            let memory = answered(&socket);
            // Who introduces itself is understood, whatever comes behind that.
            if image.bytes[RECORDS + 4] == raw::HELLO && rule != UNTOLD {
                let (kind, body) = first_message(&memory);
                let sentence = String::from_utf8_lossy(&body);
                println!("{what}: {sentence:?}");
                assert!(
                    kind == raw::WELCOME || sentence.contains(rule),
                    "{what}: kind {kind}, {sentence:?}"
                );
            }
            // It says nothing more, and stays until the server has had enough.
            until_hung_up(&mut socket);
        }
        // Words that are hints, or are not looked at before they matter: such a client is in until it leaves.
        for (at, word) in [(0, u64::MAX), (0, 64 << 10), (128, u64::MAX), (256, u64::MAX)] {
            let image = Image::new().record(&Frame::hello(), WHOLE).word(at, word);
            let mut socket = connected(endpoint);
            let things = things(&image);
            send(&socket, &meeting(OFFER), &things.each_ref().map(AsFd::as_fd));
            assert_eq!(first_message(&answered(&socket)).0, raw::WELCOME);
            socket.shutdown(std::net::Shutdown::Write).unwrap();
            until_hung_up(&mut socket);
        }
    });
}

/// A bell, or a memory, that the server may not use as it has to: it says so, and goes on over the socket.
#[test]
fn clients_whose_descriptors_allow_less() {
    attack("clients_whose_descriptors_allow_less", |endpoint| {
        for (at, flags, rule) in [
            (0, OFlags::WRONLY, "cannot be read"),
            (1, OFlags::RDONLY, "cannot be written"),
            (1, OFlags::WRONLY, "cannot be read"),
        ] {
            let socket = connected(endpoint);
            socket.set_read_timeout(Some(HANG)).unwrap();
            let mut things = things(&Image::new());
            things[at] = reopened(&things[at], flags);
            send(&socket, &meeting(OFFER), &things.each_ref().map(AsFd::as_fd));
            let mut stranger = Stranger(Box::new(socket));
            let declined = stranger.hear().expect("the server says why");
            assert_eq!(declined.kind, DECLINE, "{declined:?}");
            assert!(declined.sentence().contains(rule), "{declined:?}");
            stranger.say(&Frame::hello());
            assert_eq!(stranger.hear().map(|frame| frame.kind), Some(raw::WELCOME));
        }
    });
}

fn connected(endpoint: &Endpoint) -> UnixStream {
    let detail = endpoint.detail().to_string();
    let (_, path) = detail.split_once(':').unwrap();
    UnixStream::connect(path).unwrap()
}

/// Descriptors where none belong, too many, and of oneself.
#[test]
fn clients_that_send_descriptors() {
    attack("clients_that_send_descriptors", |endpoint| {
        let image = Image::new().record(&Frame::hello(), WHOLE);
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
        for count in [1, 2, 4, 5, 64, 253] {
            // With the offer, and with an ordinary message.
            for bytes in [meeting(OFFER), Frame::hello().bytes()] {
                let mut socket = connected(endpoint);
                send(&socket, &bytes, &vec![event.as_fd(); count]);
                until_hung_up(&mut socket);
            }
            // Once memory is shared.
            let mut socket = connected(endpoint);
            let things = things(&image);
            send(&socket, &meeting(OFFER), &things.each_ref().map(AsFd::as_fd));
            send(&socket, b"x", &vec![event.as_fd(); count]);
            until_hung_up(&mut socket);
        }
        // The connection's own socket, in each place: a cycle that nobody could end.
        for at in 0..3 {
            let mut socket = connected(endpoint);
            let (things, own) = (things(&image), socket.try_clone().unwrap());
            let mut sent = things.each_ref().map(AsFd::as_fd);
            sent[at] = own.as_fd();
            send(&socket, &meeting(OFFER), &sent);
            drop(own);
            until_hung_up(&mut socket);
        }
    });
}

/// A server whose memory says nonsense behind a good welcome, or before it: its client is told in time.
#[test]
fn servers_whose_memory_says_nonsense() {
    let welcomed = || Image::new().record(&welcome(), WHOLE);
    let reply = Frame {
        id: id(1),
        body: 7_u64.to_le_bytes().to_vec(),
        ..Frame::new(raw::REPLY)
    };
    let images = [
        ("a wrong first word", Image::new().nonsense(u64::MAX)),
        ("a wrong second word", welcomed().nonsense(u64::MAX)),
        ("a stray piece", welcomed().piece(0, FURTHER, vec![1])),
        ("a stray end", welcomed().piece(0, LAST, vec![1])),
        (
            "a lane that does not exist",
            welcomed().first(&reply, 100_000, 8, 10),
        ),
        (
            "a beginning that claims too much",
            welcomed().first(&reply, u32::MAX, 0, 10),
        ),
        (
            "an answer to nothing",
            welcomed().record(
                &Frame {
                    id: id(9),
                    ..reply.clone()
                },
                WHOLE,
            ),
        ),
        (
            "a message that does not go on",
            Image::new().first(&welcome(), 100_000, 0, 100),
        ),
        ("nothing", Image::new()),
    ];
    for (what, image) in images {
        for mode in [Mode::Async, Mode::Blocking] {
            let endpoint = Transport::UnixPath.endpoint();
            let path = endpoint.strip_prefix("unix:").unwrap().to_owned();
            let listener = UnixListener::bind(&path).unwrap();
            let things = things(&image);
            let serving = std::thread::spawn(move || {
                let (mut socket, _) = listener.accept().unwrap();
                send(&socket, &meeting(ANSWER), &things.each_ref().map(AsFd::as_fd));
                until_hung_up(&mut socket);
            });
            let begun = Instant::now();
            let endpoint = format!("shm:{path}");
            let result = watchdog::guard(what, move || {
                mode.run(async move {
                    let mut limits = Limits::default();
                    limits.message = Duration::from_secs(1);
                    let connect = SubjectClient::connect(endpoint.as_str())
                        .timeout(Duration::from_secs(1))
                        .limits(limits);
                    let client = mode.end(connect).await?;
                    let result = mode.end(client.number(7).timeout(Duration::from_secs(1))).await;
                    let _ = mode.end(client.number(8).timeout(Duration::from_secs(1))).await;
                    result
                })
            });
            let error = result.expect_err(what);
            let expected = match what {
                "nothing" | "a message that does not go on" => ErrorKind::Deadline,
                "a beginning that claims too much" => ErrorKind::TooLarge,
                _ => ErrorKind::Protocol,
            };
            assert_eq!(error.kind(), expected, "{what}, {mode:?}: {error}");
            assert!(begun.elapsed() < HANG, "{what}, {mode:?}: {:?}", begun.elapsed());
            serving.join().expect("the impostor has done its part");
            std::fs::remove_file(path).unwrap();
        }
    }
}

/// Runs an attack on a server that shares memory, with a canary that does, too, and looks at what is left.
fn attack(name: &'static str, attack: fn(&Endpoint)) {
    watchdog::guard(name, move || {
        let mut plan = Plan::at(Transport::SharedMemory.endpoint());
        plan.handshake = Some(400);
        plan.message = Some(400);
        let mut server = serve(&plan);
        let endpoint = server.endpoint().clone();
        let canary = SubjectClient::connect(&endpoint).wait().unwrap();
        // What is made once, for whatever stranger, is not counted.
        let mut stranger = connected(&endpoint);
        let event = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        send(&stranger, &meeting(OFFER), &[event.as_fd()]);
        until_hung_up(&mut stranger);
        sing(&canary, 100);
        let before = Holdings::of(server.pid());
        let over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let singer = std::thread::spawn({
            let over = over.clone();
            move || {
                sing(&canary, 1000);
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    sing(&canary, 10);
                }
                canary
            }
        });
        attack(&endpoint);
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        let canary = singer.join().expect("the canary sings");
        sing(&canary, 10);
        settle(&mut server, &before);
    });
}
