//! What may go wrong while two sides agree to share memory: who says something else is told, and is alone with it.

mod limits;
mod servers;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{Mode, OFlags};

use super::header_without_attachments;
use super::raw::{
    Held, LAYOUT, Place, Things, accept, alone, asked, deadline, echo, end_of, hear, offered, received, say,
    send,
};
use super::sharing::{memfd, others, reopened};
use crate::sys::shm::meeting::{Kind, LONGEST_SENTENCE};
use crate::sys::stream_of;
use crate::{Error, ErrorKind, Header, Listener, Message, Port, Received, Scheme, connect, listen};

/// A server with a canary, which sings after each attack.
struct Server {
    place: Place,
    listener: Box<dyn Listener>,
    canary: [Port; 2],
    songs: u64,
    held: Held,
}

impl Server {
    fn new() -> Self {
        let place = Place::new();
        let mut listener = listen(&place.endpoint("shm")).unwrap();
        let canary = joined(&place, &mut *listener);
        closer_is_there();
        let mut server = Self {
            place,
            listener,
            canary,
            songs: 0,
            held: Held::now(),
        };
        server.sing();
        server.held = Held::now();
        server
    }

    fn sing(&mut self) {
        self.songs += 1;
        let [one, other] = &mut self.canary;
        echo(one, other, self.songs);
    }

    /// A stranger connects and does something; what its connection ends with.
    fn attacked(
        &mut self,
        what: &str,
        attack: impl FnOnce(UnixStream) -> Option<UnixStream>,
    ) -> Result<(), Error> {
        let stranger = attack(UnixStream::connect(self.place.path()).unwrap());
        let mut port = accept(&mut *self.listener);
        let end = end_of(&mut port);
        if let Err(error) = &end {
            let again = end_of(&mut port).unwrap_err();
            assert_eq!(
                (again.kind(), again.to_string()),
                (error.kind(), error.to_string()),
                "{what}"
            );
        }
        drop((port, stranger));
        self.sing();
        // And others are let in.
        drop(joined(&self.place, &mut *self.listener));
        self.held.returns(what);
        end
    }

    #[track_caller]
    fn refuses(
        &mut self,
        what: &str,
        kind: ErrorKind,
        rule: &str,
        bytes: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) {
        let end = self.attacked(what, |socket| {
            send(&socket, bytes, descriptors);
            Some(socket)
        });
        refused(what, end, kind, rule);
    }
}

#[track_caller]
fn refused(what: &str, end: Result<(), Error>, kind: ErrorKind, rule: &str) {
    let error = end.err().unwrap_or_else(|| panic!("{what} is not refused"));
    assert_eq!(error.kind(), kind, "{what}: {error}");
    assert!(error.to_string().contains(rule), "{what}: {error}");
}

/// Two honest ports that share memory.
fn joined(place: &Place, listener: &mut dyn Listener) -> [Port; 2] {
    let mut client = connect(&place.endpoint("shm"), deadline()).unwrap();
    let mut server = accept(listener);
    for port in [&mut server, &mut client] {
        assert_eq!(
            port.receiver.try_recv(&mut Message::default()).unwrap(),
            Received::Empty
        );
        assert_eq!(port.carrier.scheme(), Scheme::SharedMemory);
    }
    [client, server]
}

/// Has the thread made that closes what came unasked; it stays.
fn closer_is_there() {
    let (read, write) = rustix::pipe::pipe().unwrap();
    crate::sys::close_elsewhere(vec![write]);
    assert_eq!(rustix::io::read(&read, &mut [0]), Ok(0));
}

fn offer() -> Header {
    Kind::Offer.header(0)
}

const PROTOCOL: ErrorKind = ErrorKind::Protocol;

#[test]
fn offers_that_are_wrong() {
    alone("meeting::offers_that_are_wrong", || {
        let mut server = Server::new();
        let things = Things::make();
        server.held = Held::now();
        let right = things.descriptors();
        for ordinal in [
            0,
            1,
            LAYOUT.memory() as u64 - 1,
            LAYOUT.memory() as u64 + 1,
            1 << 62,
            u64::MAX,
        ] {
            let bytes = Header { ordinal, ..offer() }.to_bytes();
            server.refuses("another size", PROTOCOL, "another size", &bytes, &right);
        }
        let bytes = offer().to_bytes();
        for count in [0, 1, 2] {
            server.refuses("too few", PROTOCOL, "three descriptors", &bytes, &right[..count]);
        }
        let [memory, bell, event] = right;
        server.refuses(
            "four",
            PROTOCOL,
            "three descriptors",
            &bytes,
            &[memory, bell, event, event],
        );
        for count in [5, 6, 253] {
            server.refuses(
                "too many",
                PROTOCOL,
                "came with a file descriptor",
                &bytes,
                &vec![event; count],
            );
        }
        for swapped in [
            [bell, memory, event],
            [memory, event, bell],
            [event, bell, memory],
            [memory; 3],
            [bell; 3],
            [event; 3],
        ] {
            server.refuses("swapped", PROTOCOL, "is refused", &bytes, &swapped);
        }
    });
}

/// What is none of the three.
fn impostors() -> Vec<(&'static str, OwnedFd)> {
    use rustix::fs::SealFlags;

    let length = LAYOUT.memory() as u64;
    let complete = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
    let mut impostors = others();
    for (what, missing) in [
        ("memory that can shrink", SealFlags::SHRINK),
        ("memory that can grow", SealFlags::GROW),
        ("memory that could be sealed further", SealFlags::SEAL),
    ] {
        impostors.push((what, memfd(length, complete - missing)));
        impostors.push((what, memfd(4096, complete - SealFlags::FUTURE_WRITE - missing)));
    }
    impostors.push(("memory without seals", memfd(length, SealFlags::empty())));
    impostors.push(("memory that is too small", memfd(length - 4096, complete)));
    let memory = memfd(length, complete);
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&memory));
    impostors.push((
        "a path of memory",
        rustix::fs::open(path, OFlags::PATH, Mode::empty()).unwrap(),
    ));
    impostors.push(("an event that blocks", eventfd(0, EventfdFlags::CLOEXEC).unwrap()));
    impostors
}

#[test]
fn descriptors_of_every_wrong_kind() {
    alone("meeting::descriptors_of_every_wrong_kind", || {
        let mut server = Server::new();
        let (things, impostors) = (Things::make(), impostors());
        server.held = Held::now();
        for (what, impostor) in &impostors {
            for at in 0..3 {
                let mut sent = things.descriptors();
                sent[at] = impostor.as_fd();
                let what = format!("{what} in place {at}");
                server.refuses(&what, PROTOCOL, "is refused", &offer().to_bytes(), &sent);
            }
        }
        drop(server);
        // The same with an answer, to a client.
        let held = Held::now();
        for (what, impostor) in &impostors {
            for at in 0..3 {
                let (mut port, stream, _) = asked();
                let mut sent = things.descriptors();
                sent[at] = impostor.as_fd();
                send(stream.as_fd(), &Kind::Answer.header(0).to_bytes(), &sent);
                refused(what, end_of(&mut port), PROTOCOL, "is refused");
                drop((port, stream));
            }
        }
        held.returns("answers");
    });
}

/// What is all right but for what its descriptor allows: a server declines it, a client has nothing else to go on with.
#[test]
fn descriptors_that_allow_less() {
    let things = Things::make();
    for (at, flags, rule) in [
        (0, OFlags::WRONLY, "cannot be read"),
        (1, OFlags::RDONLY, "cannot be written"),
        (1, OFlags::WRONLY, "cannot be read"),
    ] {
        let mut sent = things.descriptors();
        let less = reopened(&sent[at], flags);
        sent[at] = less.as_fd();
        let place = Place::new();
        let mut listener = listen(&place.endpoint("shm")).unwrap();
        let socket = UnixStream::connect(place.path()).unwrap();
        send(&socket, &offer().to_bytes(), &sent);
        let mut port = accept(&mut *listener);
        let mut message = Message::default();
        assert_eq!(port.receiver.try_recv(&mut message).unwrap(), Received::Empty);
        assert_eq!(port.carrier.scheme(), Scheme::Unix);
        let (header, sentence, _) = hear(&stream_of(socket.into()).unwrap());
        assert_eq!(header, Kind::Decline.header(sentence.len()));
        let sentence = String::from_utf8(sentence).unwrap();
        assert!(sentence.contains(rule), "{sentence}");
        let (mut port, stream, _) = asked();
        send(stream.as_fd(), &Kind::Answer.header(0).to_bytes(), &sent);
        refused(rule, end_of(&mut port), PROTOCOL, rule);
    }
}

#[test]
fn what_nobody_asked_for() {
    alone("meeting::what_nobody_asked_for", || {
        let mut server = Server::new();
        let things = Things::make();
        server.held = Held::now();
        let right = things.descriptors();
        let not_its_turn = "when it was not its turn";
        for kind in [Kind::Answer, Kind::Decline] {
            let bytes = kind.header(0).to_bytes();
            server.refuses("a server's part", PROTOCOL, not_its_turn, &bytes, &right);
            server.refuses("a server's part", PROTOCOL, not_its_turn, &bytes, &[]);
        }
        // An offer that is none: the sentence would be too long. It is a message, which nothing is attached to.
        let long = [
            &Kind::Offer.header(LONGEST_SENTENCE + 1).to_bytes()[..],
            &[b'x'; LONGEST_SENTENCE + 1],
        ]
        .concat();
        server.refuses(
            "a long offer",
            PROTOCOL,
            "came with a file descriptor",
            &long,
            &right,
        );
        // Descriptors with an ordinary message.
        let message = header_without_attachments(1).to_bytes();
        server.refuses(
            "an attachment",
            PROTOCOL,
            "came with a file descriptor",
            &message,
            &right[..1],
        );
        // An offer behind a message, for which it is too late.
        let end = server.attacked("a late offer", |socket| {
            say_to(&socket, &message);
            send(&socket, &offer().to_bytes(), &right);
            Some(socket)
        });
        refused("a late offer", end, PROTOCOL, "came with a file descriptor");
        // A second one; anything else once they share memory, with descriptors or without.
        for (what, bytes, count) in [
            ("a second offer", offer().to_bytes(), 3),
            ("a message", message, 0),
            ("a message", message, 1),
        ] {
            let end = server.attacked(what, |socket| {
                send(&socket, &offer().to_bytes(), &right);
                send(&socket, &bytes, &right[..count]);
                Some(socket)
            });
            refused(what, end, PROTOCOL, "went on speaking on the socket");
        }
        // Two lots of descriptors.
        let end = server.attacked("two lots", |socket| {
            let (one, two) = (&offer().to_bytes()[..16], &offer().to_bytes()[16..]);
            send(&socket, one, &right[..1]);
            send(&socket, two, &right[1..]);
            Some(socket)
        });
        refused("two lots", end, PROTOCOL, "came with a file descriptor");
    });
}

fn say_to(socket: &UnixStream, bytes: &[u8]) {
    send(socket, bytes, &[]);
}

#[test]
fn offers_that_end_early() {
    alone("meeting::offers_that_end_early", || {
        let mut server = Server::new();
        let things = Things::make();
        server.held = Held::now();
        let bytes = offer().to_bytes();
        for length in [1, 8, 31] {
            let end = server.attacked("half an offer", |socket| {
                send(&socket, &bytes[..length], &things.descriptors());
                None
            });
            refused(
                "half an offer",
                end,
                ErrorKind::PeerDied,
                "in the middle of a message",
            );
        }
        // Nothing at all, and an offer whose maker does not wait for the answer.
        assert!(server.attacked("nothing", |_| None).is_ok());
        let end = server.attacked("an offer", |socket| {
            send(&socket, &bytes, &things.descriptors());
            None
        });
        assert!(
            end.is_ok()
                || end
                    .as_ref()
                    .is_err_and(|error| error.kind() == ErrorKind::PeerDied),
            "{end:?}"
        );
    });
}

#[test]
fn an_offer_in_pieces() {
    // The descriptors come with the first byte of the piece that they were sent with.
    for (with, cut) in [(0, 1), (0, 31), (1, 1), (1, 16), (1, 31)] {
        let place = Place::new();
        let mut listener = listen(&place.endpoint("shm")).unwrap();
        let socket = UnixStream::connect(place.path()).unwrap();
        let (things, bytes) = (Things::make(), offer().to_bytes());
        let pieces = [&bytes[..cut], &bytes[cut..]];
        let attached = |piece| {
            if piece == with {
                things.descriptors().to_vec()
            } else {
                Vec::new()
            }
        };
        send(&socket, pieces[0], &attached(0));
        let mut port = accept(&mut *listener);
        let mut message = Message::default();
        assert_eq!(port.receiver.try_recv(&mut message).unwrap(), Received::Empty);
        assert!(port.receiver.in_progress() && port.carrier.scheme() == Scheme::Unix);
        send(&socket, pieces[1], &attached(1));
        assert_eq!(port.receiver.try_recv(&mut message).unwrap(), Received::Empty);
        assert!(!port.receiver.in_progress());
        assert_eq!(port.carrier.scheme(), Scheme::SharedMemory);
        assert_eq!(hear(&stream_of(socket.into()).unwrap()).0, Kind::Answer.header(0));
    }
}

#[test]
fn who_shares_memory_in_another_way_is_served_over_the_socket() {
    let place = Place::new();
    let mut listener = listen(&place.endpoint("shm")).unwrap();
    let (socket, things) = (UnixStream::connect(place.path()).unwrap(), Things::make());
    let other = Header { flags: 2, ..offer() };
    send(&socket, &other.to_bytes(), &things.descriptors());
    let mut port = accept(&mut *listener);
    let mut message = Message::default();
    assert_eq!(port.receiver.try_recv(&mut message).unwrap(), Received::Empty);
    let (header, sentence, _) = hear(&stream_of(socket.try_clone().unwrap().into()).unwrap());
    assert_eq!(header, Kind::Decline.header(sentence.len()));
    assert_eq!(sentence, b"this program shares memory in another way");
    say_to(&socket, &header_without_attachments(7).to_bytes());
    assert_eq!(received(&mut port, &mut message).unwrap(), Received::Message);
    assert_eq!((message.header.id, port.carrier.scheme()), (7, Scheme::Unix));
}
