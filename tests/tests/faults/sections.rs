//! Peers that hold real descriptors and lie about the memory behind them, between processes and from both ends: a server, and
//! then a client, in a process of its own meets one whose sections are none. Over a socket, and beside rings.

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ipc_rpc::Endpoint;
use rustix::fs::{
    FallocateFlags, MemfdFlags, OFlags, SealFlags, fallocate, fcntl_add_seals, memfd_create, open,
};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tests::errand::{Errand, Way};
use tests::fixture::Transport;
use tests::meter::Holdings;
use tests::mode::Mode;
use tests::process::Helper;
use tests::subject::{Plan, SubjectClient};
use tests::watchdog;

use crate::hostile::{settle, sing};
use crate::impostors::introduced;
use crate::raw::{self, Frame, Stranger, id, ordinal};
use crate::shared::{Image, OFFER, WHOLE, answered, meeting, send, things, until_hung_up};
use crate::{PROGRAM, serve};

/// Bytes of a memory, and of the words by which its places are given back: 64 places of 64 memories, and the bell, of 4 bytes each.
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const WORDS: u64 = ((64 * 64 + 1) * 4_u64).next_multiple_of(4096);

/// Bytes from one place to the next at least.
pub(crate) const PLACE: u32 = 16 << 10;

/// Kinds of frames.
pub(crate) const ANNOUNCE: u8 = 1;
pub(crate) const ANNOUNCE_SEALED: u8 = 2;
pub(crate) const FORGET: u8 = 3;

/// The flag of what is no message.
pub(crate) const FRAME: u8 = 0x80;

pub(crate) fn all_seals() -> SealFlags {
    SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL
}

pub(crate) fn memory(length: u64, seals: SealFlags) -> OwnedFd {
    let memory = memfd_create("hostile", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&memory, length).unwrap();
    fcntl_add_seals(&memory, seals).unwrap();
    memory
}

/// As an honest side makes them.
pub(crate) fn honest() -> [OwnedFd; 2] {
    let words = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    [memory(MIB, all_seals()), memory(WORDS, words)]
}

/// What is said of a memory; with what is said first come two descriptors.
pub(crate) fn announce(kind: u8, segment: u32, generation: u32, length: u64) -> Frame {
    Frame {
        flags: FRAME,
        handles: 2,
        id: u64::from(segment) | u64::from(generation) << 32,
        ordinal: length,
        ..Frame::new(kind)
    }
}

pub(crate) fn entry(segment: u32, generation: u32, offset: u32, length: u32) -> [u32; 4] {
    [segment, generation, offset, length]
}

/// A call of `Samples.echo` with these sections beside it, of which the first is its argument.
fn echo(sequence: u64, entries: &[[u32; 4]], values: u64) -> Frame {
    let words = entries.iter().flatten();
    let mut body: Vec<u8> = words.flat_map(|word| word.to_le_bytes()).collect();
    // The second variant: how many values, and the place in the table.
    body.extend(1_u32.to_le_bytes());
    body.extend(values.to_le_bytes());
    body.extend(0_u32.to_le_bytes());
    Frame {
        id: id(sequence),
        ordinal: ordinal("Samples.echo"),
        sections: entries.len() as u8,
        body,
        ..Frame::new(raw::REQUEST)
    }
}

/// What a hostile side says: frames with descriptors, a message perhaps, and the rule that it is told.
struct Lie {
    what: &'static str,
    told: Vec<(Frame, Vec<OwnedFd>)>,
    message: Option<Frame>,
    rule: &'static str,
}

impl Lie {
    fn of_memory(what: &'static str, memory: OwnedFd, rule: &'static str) -> Self {
        let [_, words] = honest();
        Self::of_both(what, announce(ANNOUNCE, 0, 1, MIB), [memory, words], rule)
    }

    fn of_both(what: &'static str, frame: Frame, both: [OwnedFd; 2], rule: &'static str) -> Self {
        Self {
            what,
            told: vec![(frame, both.into())],
            message: None,
            rule,
        }
    }

    /// The memory is as it should be, and a message speaks of another one.
    fn of_entries(what: &'static str, entries: &[[u32; 4]], rule: &'static str) -> Self {
        Self {
            message: Some(echo(1, entries, 10)),
            ..Self::of_both(what, announce(ANNOUNCE, 0, 1, MIB), honest(), rule)
        }
    }
}

/// The same memory by a descriptor that allows less.
pub(crate) fn reopened(memory: &OwnedFd, flags: OFlags) -> OwnedFd {
    let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
    open(path, flags | OFlags::CLOEXEC, rustix::fs::Mode::empty()).unwrap()
}

/// A memory as it should be, and words that allow less.
fn words_opened(flags: OFlags) -> [OwnedFd; 2] {
    let [memory, words] = honest();
    [memory, reopened(&words, flags)]
}

/// Bytes of a page that is not ordinary.
const HUGE: u64 = 2 << 20;

/// Memory of such pages, sealed as it should be, where the system has any: none has to be there for that.
fn huge_pages() -> Option<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB;
    let memory = memfd_create("hostile", flags)
        .inspect_err(|error| eprintln!("skipped: there are no huge pages: {error}"))
        .ok()?;
    rustix::fs::ftruncate(&memory, HUGE).unwrap();
    fcntl_add_seals(&memory, all_seals()).unwrap();
    Some(memory)
}

/// Whatever is a descriptor, and no memory.
fn impostors() -> Vec<(&'static str, OwnedFd)> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let file = File::create(&path).unwrap();
    file.set_len(MIB).unwrap();
    let opened = |path: &std::path::Path, flags: OFlags| {
        open(path, flags | OFlags::CLOEXEC, rustix::fs::Mode::empty()).unwrap()
    };
    // What `shm_open` makes: where the system has such a place.
    let shared = tempfile::tempfile_in("/dev/shm").map(|file| {
        file.set_len(MIB).unwrap();
        ("an object of shm_open", file.into())
    });
    let mut impostors = vec![
        ("a path", opened(&path, OFlags::PATH)),
        ("a file", file.into()),
        ("a directory", opened(directory.path(), OFlags::RDONLY)),
        ("zeros", opened("/dev/zero".as_ref(), OFlags::RDWR)),
        ("a pipe", rustix::pipe::pipe().unwrap().0),
        ("a socket", UnixStream::pair().unwrap().0.into()),
    ];
    impostors.extend(shared);
    impostors
}

/// The lies of hazards 23 to 42 that one can tell a side of either kind.
fn lies() -> Vec<Lie> {
    let all = all_seals();
    let unsealed = "its size is not sealed";
    let mut lies = vec![
        Lie::of_memory("unsealed", memory(MIB, SealFlags::empty()), unsealed),
        Lie::of_memory("may shrink", memory(MIB, all - SealFlags::SHRINK), unsealed),
        Lie::of_memory("may grow", memory(MIB, all - SealFlags::GROW), unsealed),
        Lie::of_memory("may be sealed", memory(MIB, all - SealFlags::SEAL), ""),
        Lie::of_memory(
            "may be written",
            memory(MIB, all - SealFlags::FUTURE_WRITE),
            "not sealed against writing",
        ),
        Lie::of_memory("shorter", memory(MIB - 4096, all), "its size is not"),
        Lie::of_memory("longer", memory(MIB + 4096, all), "its size is not"),
        Lie::of_both(
            "claims too much",
            announce(ANNOUNCE, 0, 1, 1 << 62),
            honest(),
            "larger than all",
        ),
        Lie::of_both(
            "sealed in words only",
            announce(ANNOUNCE_SEALED, 0, 1, MIB),
            honest(),
            "against its owner's writing",
        ),
        Lie::of_both(
            "a number that is too high",
            announce(ANNOUNCE, 64, 1, MIB),
            honest(),
            "too high",
        ),
        Lie::of_memory(
            "for writing only",
            reopened(&honest()[0], OFlags::WRONLY),
            "cannot be read",
        ),
        Lie::of_both(
            "words for reading only",
            announce(ANNOUNCE, 0, 1, MIB),
            words_opened(OFlags::RDONLY),
            "cannot be written",
        ),
        Lie::of_both(
            "words for writing only",
            announce(ANNOUNCE, 0, 1, MIB),
            words_opened(OFlags::WRONLY),
            "cannot be read",
        ),
        Lie {
            what: "without descriptors",
            told: vec![(announce(ANNOUNCE, 0, 1, MIB), Vec::new())],
            message: None,
            rule: "without its descriptors",
        },
        Lie {
            what: "forgets another",
            told: vec![
                (announce(ANNOUNCE, 0, 1, MIB), honest().into()),
                (
                    Frame {
                        handles: 0,
                        ..announce(FORGET, 0, 2, 0)
                    },
                    Vec::new(),
                ),
            ],
            message: None,
            rule: "not known",
        },
        Lie::of_entries("an unknown memory", &[entry(1, 1, 0, 10)], "not known"),
        Lie::of_entries("a stale generation", &[entry(0, 2, 0, 10)], "not known"),
        Lie::of_entries("an offset beyond", &[entry(0, 1, MIB as u32, 1)], "not inside"),
        Lie::of_entries(
            "an end beyond",
            &[entry(0, 1, MIB as u32 - PLACE, PLACE + 1)],
            "not inside",
        ),
        Lie::of_entries(
            "an overflow",
            &[entry(0, 1, u32::MAX - PLACE + 1, u32::MAX)],
            "not inside",
        ),
        Lie::of_entries("an odd offset", &[entry(0, 1, 1, 1)], "begins where none can"),
        Lie::of_entries(
            "two that overlap",
            &[entry(0, 1, 0, PLACE + 1), entry(0, 1, PLACE, 1)],
            "overlap",
        ),
        Lie::of_entries(
            "more than there may be",
            &[entry(0, 1, 0, 1); 65],
            "more of them than it may",
        ),
    ];
    let frame = announce(ANNOUNCE, 0, 1, HUGE);
    let [_, words] = honest();
    lies.extend(
        huge_pages()
            .map(|memory| Lie::of_both("huge pages", frame, [memory, words], "not of ordinary pages")),
    );
    for (what, descriptor) in impostors() {
        lies.push(Lie::of_memory(what, descriptor, ""));
    }
    for (what, descriptor) in impostors() {
        let [memory, _] = honest();
        let frame = announce(ANNOUNCE, 0, 1, MIB);
        lies.push(Lie::of_both(what, frame, [memory, descriptor], ""));
    }
    lies
}

impl Lie {
    fn tell(&self, socket: &UnixStream) {
        for (frame, descriptors) in &self.told {
            let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
            send(socket, &frame.bytes(), &descriptors);
        }
    }
}

/// Runs attacks on a server in a process of its own, with a canary, and looks at what is left.
pub(crate) fn attack(
    name: &'static str,
    transport: Transport,
    attack: impl FnOnce(&Endpoint) + Send + 'static,
) {
    attack_with(name, Plan::at(transport.endpoint()), attack);
}

/// The same with a server that is set up like that.
pub(crate) fn attack_with(name: &'static str, plan: Plan, attack: impl FnOnce(&Endpoint) + Send + 'static) {
    watchdog::guard(name, move || {
        let mut server = serve(&plan);
        let endpoint = server.endpoint().clone();
        let canary = SubjectClient::connect(&endpoint).wait().unwrap();
        // What is made once, for whatever stranger, is not counted.
        let stranger = connected(&endpoint);
        let [memory, words] = honest();
        send(
            &stranger,
            &announce(ANNOUNCE, 64, 1, MIB).bytes(),
            &[memory.as_fd(), words.as_fd()],
        );
        drop(stranger);
        sing(&canary, 100);
        let before = Holdings::of(server.pid());
        let over = Arc::new(AtomicBool::new(false));
        let singer = std::thread::spawn({
            let over = over.clone();
            move || {
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

pub(crate) fn path_of(endpoint: &Endpoint) -> String {
    let detail = endpoint.detail().to_string();
    detail.split_once(':').unwrap().1.to_owned()
}

pub(crate) fn connected(endpoint: &Endpoint) -> UnixStream {
    UnixStream::connect(path_of(endpoint)).unwrap()
}

/// One that was let in over the socket alone, and its socket.
pub(crate) fn introduced_at(endpoint: &Endpoint) -> (Stranger, UnixStream) {
    let socket = connected(endpoint);
    let patience = Some(watchdog::PATIENCE);
    socket.set_read_timeout(patience).unwrap();
    socket.set_write_timeout(patience).unwrap();
    let mut stranger = Stranger(Box::new(socket.try_clone().unwrap()));
    stranger.say(&Frame::hello());
    assert_eq!(stranger.hear().map(|frame| frame.kind), Some(raw::WELCOME));
    (stranger, socket)
}

#[test]
fn clients_that_lie_about_memory_over_a_socket() {
    attack("clients that lie", Transport::UnixName, |endpoint| {
        for lie in lies() {
            let (mut stranger, socket) = introduced_at(endpoint);
            lie.tell(&socket);
            if let Some(message) = &lie.message {
                // The server may have hung up.
                let _ = stranger.write(&message.bytes());
            }
            let last = stranger.rest().pop().expect(lie.what);
            assert_eq!(
                (last.kind, last.extra),
                (raw::CLOSE, raw::PROTOCOL),
                "{}",
                lie.what
            );
            let sentence = last.sentence();
            assert!(
                !sentence.is_empty() && sentence.contains(lie.rule),
                "{}: {sentence}",
                lie.what
            );
        }
    });
}

#[test]
fn clients_that_lie_about_memory_beside_a_ring() {
    attack("clients that lie", Transport::SharedMemory, |endpoint| {
        for lie in lies() {
            let mut image = Image::new().record(&Frame::hello(), WHOLE);
            if let Some(message) = &lie.message {
                image = image.record(message, WHOLE);
            }
            let mut socket = connected(endpoint);
            let things = things(&image);
            send(&socket, &meeting(OFFER), &things.each_ref().map(AsFd::as_fd));
            lie.tell(&socket);
            let memory = answered(&socket);
            until_hung_up(&mut socket);
            // Why stands in the server's memory.
            let mut said = vec![0; usize::try_from(memory.metadata().unwrap().len()).unwrap()];
            memory.read_exact_at(&mut said, 0).unwrap();
            let is_told = |rule: &str| said.windows(rule.len()).any(|bytes| bytes == rule.as_bytes());
            let is_refused = is_told("is refused: ") || is_told("are refused: ");
            // The server may have looked at the message before it was told of the memory.
            let is_early = lie.message.is_some() && is_told("not known");
            let is_right = lie.rule.is_empty() || is_told(lie.rule) || is_early;
            assert!(is_refused && is_right, "{}", lie.what);
        }
    });
}

/// A client in a process of its own, of either mode, and a server of it that does this once it has a call.
fn against(server: impl FnOnce(&mut UnixStream, u64) + Send + 'static, mode: Mode) -> String {
    let endpoint = Transport::UnixPath.endpoint();
    let path = endpoint.strip_prefix("unix:").unwrap().to_owned();
    let listener = UnixListener::bind(&path).unwrap();
    let errand = Errand {
        mode,
        way: Way::Messages,
        endpoint,
    };
    let mut client = Helper::start(
        PROGRAM,
        "errand",
        &serde_json::to_string(&errand).unwrap(),
        |_| {},
    );
    let (mut stream, _) = listener.accept().unwrap();
    let call = introduced(&mut stream);
    server(&mut stream, call);
    let said = client.line();
    std::fs::remove_file(path).unwrap();
    said
}

#[test]
fn servers_that_lie_about_memory() {
    watchdog::guard("servers that lie about memory", || {
        for (round, lie) in lies().into_iter().enumerate() {
            let (what, rule) = (lie.what, lie.rule);
            let mode = [Mode::Async, Mode::Blocking][round % 2];
            let said = against(
                move |stream, call| {
                    lie.tell(stream);
                    if let Some(message) = lie.message {
                        let reply = Frame {
                            kind: raw::REPLY,
                            id: call,
                            ordinal: 0,
                            ..message
                        };
                        // The client may have hung up.
                        let _ = stream.write_all(&reply.bytes());
                    }
                    // Until it does.
                    let _ = stream.read_to_end(&mut Vec::new());
                },
                mode,
            );
            assert!(
                !said.is_empty() && said != "done" && said.contains(rule),
                "{what}, {mode:?}: {said}"
            );
        }
    });
}

/// Memory that is to lose its size and its pages while it is in use, and leases that are never given back: until the end, and then by
/// nobody.
#[test]
fn memory_that_is_to_shrink_and_leases_that_are_kept() {
    attack("leases that are kept", Transport::UnixName, |endpoint| {
        let (mut stranger, socket) = introduced_at(endpoint);
        // Mapped by nobody here: what is written goes through the descriptor, before it is sealed against that.
        let [_, words] = honest();
        let memory = memory(MIB, SealFlags::empty());
        let file = File::from(memory);
        file.write_all_at(&[5; 2 * PLACE as usize], 0).unwrap();
        fcntl_add_seals(&file, all_seals()).unwrap();
        send(
            &socket,
            &announce(ANNOUNCE, 0, 1, MIB).bytes(),
            &[file.as_fd(), words.as_fd()],
        );
        let mut sequence = 0;
        let mut echoed = |entries: &[[u32; 4]]| {
            sequence += 1;
            stranger.say(&echo(sequence, entries, u64::from(entries[0][3])));
            // What the server says of its own memory stands before the reply.
            loop {
                let frame = stranger.hear().expect("the connection goes on");
                if frame.flags & FRAME == 0 {
                    assert_eq!((frame.kind, frame.id), (raw::REPLY, id(sequence)), "{frame:?}");
                    return frame;
                }
            }
        };
        echoed(&[entry(0, 1, 0, 100)]);
        assert!(file.set_len(0).is_err(), "what is sealed keeps its size");
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        assert!(fallocate(&file, hole, 0, MIB).is_err(), "and its pages");
        // None of what comes back is ever given back: when the server's memory is used up, bytes come in the body.
        for _ in 0..80 {
            echoed(&[entry(0, 1, 0, MIB as u32)]);
        }
        let inside = echoed(&[entry(0, 1, 0, MIB as u32)]);
        assert_eq!(inside.sections, 0, "the pool has an end");
        let bytes = &inside.body[inside.body.len() - MIB as usize..];
        let (filled, zeros) = bytes.split_at(2 * PLACE as usize);
        assert!(filled.iter().all(|&byte| byte == 5) && zeros.iter().all(|&byte| byte == 0));
        // It dies with all of that.
    });
}

/// Takes what the other side says of its first memory: that, and the words by which its places are given back.
pub(crate) fn descriptors_of(socket: &UnixStream) -> [OwnedFd; 2] {
    let mut header = [0; 32];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL;
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut header)], &mut control, flags).unwrap();
    assert_eq!(
        (received.bytes, header[4], header[5], header[7]),
        (32, ANNOUNCE, FRAME, 2)
    );
    let came = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => Some(rights),
        _ => None,
    });
    let came: Vec<OwnedFd> = came.flatten().collect();
    came.try_into().expect("there are two")
}

/// Places that are given back twice, more often, or before they came: whoever does so reads what is there by then.
#[test]
fn leases_that_are_given_back_too_often() {
    attack("leases that are given back", Transport::UnixName, |endpoint| {
        for more in [1, 2, u32::MAX / 2, u32::MAX] {
            let (mut stranger, socket) = introduced_at(endpoint);
            let both = honest();
            send(
                &socket,
                &announce(ANNOUNCE, 0, 1, MIB).bytes(),
                &both.each_ref().map(AsFd::as_fd),
            );
            let mut words = None;
            let mut counted = 0_u32;
            for sequence in 1..=30 {
                stranger.say(&echo(sequence, &[entry(0, 1, 0, 400_000)], 400_000));
                let words: &mut File = words.get_or_insert_with(|| {
                    let [_, words] = descriptors_of(&socket);
                    words.into()
                });
                loop {
                    let frame = stranger.hear().expect("the connection goes on");
                    if frame.flags & FRAME == 0 {
                        assert_eq!((frame.kind, frame.id), (raw::REPLY, id(sequence)), "{frame:?}");
                        break;
                    }
                }
                counted = counted.wrapping_add(more);
                let all = counted.to_le_bytes().repeat(64 * 64);
                words.write_all_at(&all, 0).unwrap();
            }
        }
    });
}

/// What is refused here would otherwise end everything.
#[test]
fn the_same_messages_of_an_honest_side_are_served() {
    attack("an honest side", Transport::UnixName, |endpoint| {
        let (mut stranger, socket) = introduced_at(endpoint);
        let both = honest();
        send(
            &socket,
            &announce(ANNOUNCE, 0, 1, MIB).bytes(),
            &both.each_ref().map(AsFd::as_fd),
        );
        stranger.say(&echo(1, &[entry(0, 1, 0, 10)], 10));
        let reply = stranger.hear().expect("an answer");
        assert_eq!((reply.kind, reply.id), (raw::REPLY, id(1)), "{reply:?}");
        // Its place is counted back, of which nobody is told.
        let words = File::from(both.into_iter().next_back().unwrap());
        let mut word = [0; 4];
        while u32::from_le_bytes(word) != 1 {
            std::thread::yield_now();
            words.read_exact_at(&mut word, 0).unwrap();
        }
    });
}
