//! The other end of a port, without manners: a socket, and memory that is written by hand.

use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::child::{PATIENCE, wait};
use crate::sys::shm::meeting::Kind;
use crate::sys::shm::{Consumer, Layout, Producer};
use crate::sys::{Event, OwnMemory, PeerMemory, SharedWord, Stream, stream_of};
use crate::{Accepted, Endpoint, Error, Header, Listener, Message, Port, Received, connect, listen};

pub(super) const LAYOUT: Layout = Layout::DEFAULT;

/// A private directory, and a socket in it.
pub(super) struct Place(tempfile::TempDir);

impl Place {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn path(&self) -> std::path::PathBuf {
        self.0.path().join("socket")
    }

    pub(super) fn endpoint(&self, scheme: &str) -> Endpoint {
        format!("{scheme}:{}", self.path().display()).parse().unwrap()
    }
}

/// What a side brings to a meeting, by hand.
pub(super) struct Things {
    pub(super) own: Arc<OwnMemory>,
    pub(super) bell: SharedWord,
    pub(super) event: Event,
    descriptors: [OwnedFd; 2],
}

impl Things {
    pub(super) fn make() -> Self {
        let (own, memory) = OwnMemory::create(LAYOUT.memory()).unwrap();
        let (bell, word) = SharedWord::create().unwrap();
        Self {
            own: Arc::new(own),
            bell,
            event: Event::create().unwrap(),
            descriptors: [memory, word],
        }
    }

    pub(super) fn descriptors(&self) -> [BorrowedFd<'_>; 3] {
        let [memory, word] = &self.descriptors;
        [memory.as_fd(), word.as_fd(), self.event.as_fd()]
    }
}

/// Sends bytes, and descriptors with the first of them.
pub(super) fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    let sent = sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).unwrap();
    assert_eq!(sent, bytes.len());
}

/// What the other side says next: a header, its body, and what came with it.
pub(super) fn hear(stream: &Stream) -> (Header, Vec<u8>, Vec<OwnedFd>) {
    let (mut bytes, mut descriptors) = (Vec::new(), Vec::new());
    let mut take = |wanted: usize, bytes: &mut Vec<u8>| {
        while bytes.len() < wanted {
            wait(stream);
            let missing = wanted - bytes.len();
            let arrival = stream
                .receive_with_descriptors(bytes, missing, &mut descriptors)
                .unwrap();
            assert!(arrival.bytes > 0, "the other side has hung up");
        }
    };
    take(Header::SIZE, &mut bytes);
    let header = Header::from_bytes(bytes.first_chunk().unwrap());
    take(Header::SIZE + header.length as usize, &mut bytes);
    (header, bytes.split_off(Header::SIZE), descriptors)
}

/// One that shares memory with a port, and knows how to do it right.
pub(super) struct Hostile {
    pub(super) stream: Stream,
    pub(super) own: Arc<OwnMemory>,
    #[allow(dead_code, reason = "held for as long as the victim may ring it")]
    pub(super) own_bell: SharedWord,
    #[allow(dead_code, reason = "held for as long as the victim may raise it")]
    pub(super) own_event: Event,
    pub(super) producer: Producer,
    pub(super) consumer: Consumer,
    pub(super) peer_bell: SharedWord,
    pub(super) peer_event: Event,
}

impl Hostile {
    fn new(stream: Stream, things: Things, theirs: Vec<OwnedFd>) -> Self {
        let [memory, word, event] = theirs.try_into().unwrap();
        let peer = Arc::new(PeerMemory::attach(memory.as_fd(), LAYOUT.memory()).unwrap());
        Self {
            stream,
            producer: Producer::new(Arc::clone(&things.own), Arc::clone(&peer), LAYOUT),
            consumer: Consumer::new(Arc::clone(&things.own), peer, LAYOUT),
            own: things.own,
            own_bell: things.bell,
            own_event: things.event,
            peer_bell: SharedWord::attach(word.as_fd()).unwrap(),
            peer_event: Event::attach(event).unwrap(),
        }
    }

    /// Stores a word in its own memory.
    pub(super) fn write(&self, offset: usize, word: u64) {
        self.own
            .word(offset)
            .store(word, std::sync::atomic::Ordering::SeqCst);
    }
}

/// What an endpoint is told.
pub(super) type Settings = fn(Endpoint) -> Endpoint;

/// A port of a server, and who has connected to it.
pub(super) fn at_server() -> (Port, Hostile) {
    at_server_with(|endpoint| endpoint)
}

/// The same with other settings.
pub(super) fn at_server_with(settings: Settings) -> (Port, Hostile) {
    let place = Place::new();
    let mut listener = listen(&settings(place.endpoint("shm"))).unwrap();
    let (mut port, stream, things) = offered(&place, &mut *listener);
    assert_eq!(
        port.receiver.try_recv(&mut Message::default()).unwrap(),
        Received::Empty
    );
    let (header, _, theirs) = hear(&stream);
    assert_eq!(header.kind, Kind::Answer as u8);
    (port, Hostile::new(stream, things, theirs))
}

/// A port of a server that has been made an offer, at which it has not looked.
pub(super) fn offered(place: &Place, listener: &mut dyn Listener) -> (Port, Stream, Things) {
    let socket = UnixStream::connect(place.path()).unwrap();
    let things = Things::make();
    send(&socket, &Kind::Offer.header(0).to_bytes(), &things.descriptors());
    (accept(listener), stream_of(socket.into()).unwrap(), things)
}

/// A port of a client, and to whom it has connected.
pub(super) fn at_client() -> (Port, Hostile) {
    at_client_with(|endpoint| endpoint)
}

/// The same with other settings.
pub(super) fn at_client_with(settings: Settings) -> (Port, Hostile) {
    let (mut port, stream, theirs) = asked_with(settings);
    let things = Things::make();
    send(
        stream.as_fd(),
        &Kind::Answer.header(0).to_bytes(),
        &things.descriptors(),
    );
    assert_eq!(
        port.receiver.try_recv(&mut Message::default()).unwrap(),
        Received::Empty
    );
    (port, Hostile::new(stream, things, theirs))
}

/// A port of a client that waits for an answer, and the offer that it has made.
pub(super) fn asked() -> (Port, Stream, Vec<OwnedFd>) {
    asked_with(|endpoint| endpoint)
}

fn asked_with(settings: Settings) -> (Port, Stream, Vec<OwnedFd>) {
    let place = Place::new();
    let listener = UnixListener::bind(place.path()).unwrap();
    let port = connect(&settings(place.endpoint("shm")), deadline()).unwrap();
    let stream = stream_of(listener.accept().unwrap().0.into()).unwrap();
    let (header, body, theirs) = hear(&stream);
    assert_eq!((header, &body[..]), (Kind::Offer.header(0), &b""[..]));
    (port, stream, theirs)
}

/// From both ends.
pub(super) fn against_both(test: impl Fn(Port, Hostile)) {
    against_both_with(|endpoint| endpoint, test);
}

pub(super) fn against_both_with(settings: Settings, test: impl Fn(Port, Hostile)) {
    for victim in [at_server_with as fn(Settings) -> (Port, Hostile), at_client_with] {
        let (port, hostile) = victim(settings);
        assert_eq!(port.carrier.scheme(), crate::Scheme::SharedMemory);
        test(port, hostile);
    }
}

pub(super) fn deadline() -> Option<Instant> {
    Some(Instant::now() + PATIENCE)
}

pub(super) fn accept(listener: &mut dyn Listener) -> Port {
    let deadline = deadline();
    loop {
        match listener.try_accept().unwrap() {
            Accepted::Port(port) => return port,
            Accepted::Empty => listener.park(deadline).unwrap(),
        }
        assert!(Instant::now() < deadline.unwrap(), "nobody connected");
    }
}

/// Waits for something other than nothing.
pub(super) fn received(port: &mut Port, message: &mut Message) -> Result<Received, Error> {
    let deadline = deadline();
    loop {
        match port.receiver.try_recv(message)? {
            Received::Empty => port.receiver.park(false, deadline)?,
            other => return Ok(other),
        }
        assert!(Instant::now() < deadline.unwrap(), "nothing came");
    }
}

/// What a port says in the end, after any messages.
pub(super) fn end_of(port: &mut Port) -> Result<(), Error> {
    let mut message = Message::default();
    while received(port, &mut message)? != Received::Closed {}
    Ok(())
}

/// Both ways work, between two ports that are honest.
pub(super) fn echo(one: &mut Port, other: &mut Port, id: u64) {
    let mut message = Message::default();
    let mut sing = |from: &mut Port, to: &mut Port| {
        from.sender
            .try_send(&super::header_without_attachments(id), &mut b"sung".to_vec())
            .unwrap();
        assert_eq!(from.sender.flush().unwrap(), crate::Flushed::Done);
        assert_eq!(received(to, &mut message).unwrap(), Received::Message);
        assert_eq!((message.header.id, &message.body[..]), (id, &b"sung"[..]));
    };
    sing(one, other);
    sing(other, one);
}

/// Runs a test in a process of its own, where nobody else opens or maps anything, and limits can be lowered.
pub(super) fn alone(test: &str, body: impl FnOnce()) {
    const VARIABLE: &str = "TRANSPORTS_TEST_ALONE";
    if std::env::var_os(VARIABLE).is_some() {
        return body();
    }
    let ended = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("sys::shm::tests::{test}")])
        .args(["--nocapture", "--test-threads=1"])
        .env(VARIABLE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(
        ended.status.success() && said.contains("1 passed"),
        "{}: {said}{}",
        ended.status,
        String::from_utf8_lossy(&ended.stderr)
    );
}

/// Descriptors and mappings of this process. Threads that have ended leave mappings of the allocator, so that only
/// shared ones count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    descriptors: usize,
    mappings: usize,
}

impl Held {
    pub(super) fn now() -> Self {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        Self {
            descriptors: std::fs::read_dir("/proc/self/fd").unwrap().count(),
            mappings: maps.lines().filter(|line| line.contains("memfd:")).count(),
        }
    }

    /// Descriptors and mappings that this is more than that.
    pub(super) fn excess_over(self, other: &Self) -> (isize, isize) {
        let more = |this: usize, other: usize| this as isize - other as isize;
        (
            more(self.descriptors, other.descriptors),
            more(self.mappings, other.mappings),
        )
    }

    /// Waits until no more is held than this; what came unasked is closed on another thread.
    #[track_caller]
    pub(super) fn returns(self, what: &str) {
        let begun = Instant::now();
        loop {
            let now = Self::now();
            if now == self {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{what}: {self:?} has become {now:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Writes bytes as they are.
pub(super) fn say(stream: &Stream, bytes: &[u8]) {
    let socket = stream.as_fd().try_clone_to_owned().unwrap();
    UnixStream::from(socket).write_all(bytes).unwrap();
}
