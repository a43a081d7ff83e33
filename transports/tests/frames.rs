//! Bytes on a socket, as they may come: late, cut, wrong, or with something attached.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use common::{Place, accept, body, header, receive, receive_into, send, watchdog};
use transports::{Endpoint, ErrorKind, Header, Message, Port, Received, Scheme, listen};

/// A byte stream to our port.
enum Raw {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Raw {
    fn write(&mut self, bytes: &[u8]) {
        match self {
            Self::Unix(stream) => stream.write_all(bytes).unwrap(),
            Self::Tcp(stream) => stream.write_all(bytes).unwrap(),
        }
    }

    fn read(&mut self, bytes: &mut [u8]) {
        match self {
            Self::Unix(stream) => stream.read_exact(bytes).unwrap(),
            Self::Tcp(stream) => stream.read_exact(bytes).unwrap(),
        }
    }
}

fn over_raw_sockets(settings: impl Fn(Endpoint) -> Endpoint, test: impl Fn(Raw, Port)) {
    let place = Place::new();
    for endpoint in place.endpoints() {
        let text = endpoint.to_string();
        if matches!(endpoint.scheme(), Scheme::Memory | Scheme::Pipe) || text.contains('@') {
            continue;
        }
        let mut listener = listen(&settings(endpoint)).unwrap();
        let resolved = listener.endpoint().to_string();
        println!("over {resolved}");
        let raw = match resolved.strip_prefix("unix:") {
            Some(path) => Raw::Unix(UnixStream::connect(path).unwrap()),
            None => {
                let stream = TcpStream::connect(resolved.strip_prefix("tcp:").unwrap()).unwrap();
                stream.set_nodelay(true).unwrap();
                Raw::Tcp(stream)
            }
        };
        let port = accept(&mut *listener);
        test(raw, port);
    }
}

fn frame(id: u64, bytes: &[u8]) -> Vec<u8> {
    let header = Header {
        length: bytes.len() as u32,
        ..header(id)
    };
    [&header.to_bytes()[..], bytes].concat()
}

/// What the port says at last, after nothing but `Empty`.
fn failure(port: &mut Port) -> transports::Error {
    let mut message = Message::default();
    match receive_into(port, &mut message) {
        Err(error) => error,
        Ok(other) => panic!("{other:?} instead of an error"),
    }
}

/// Parks until the port has looked at everything that was written so far.
fn settle(port: &mut Port) {
    let mut message = Message::default();
    port.receiver.park(false, watchdog()).unwrap();
    assert_eq!(port.receiver.try_recv(&mut message).unwrap(), Received::Empty);
}

#[test]
fn frames_that_come_byte_by_byte() {
    over_raw_sockets(
        |endpoint| endpoint,
        |mut raw, mut port| {
            let bytes: Vec<u8> = (0..3).flat_map(|id| frame(id, &body(5, id))).collect();
            let mut received = 0;
            let mut message = Message::default();
            for byte in bytes {
                raw.write(&[byte]);
                port.receiver.park(false, watchdog()).unwrap();
                let ready = port.receiver.ready();
                if port.receiver.try_recv(&mut message).unwrap() == Received::Message {
                    assert_eq!((message.header.id, &message.body), (received, &body(5, received)));
                    received += 1;
                } else {
                    assert!(!ready);
                }
            }
            assert_eq!(received, 3);
        },
    );
}

#[test]
fn a_large_body_in_pieces_that_cross_every_boundary() {
    over_raw_sockets(
        |endpoint| endpoint,
        |mut raw, mut port| {
            let sizes = [16_384, 16_385, 65_504, 65_505, 300_000, 3_000_000];
            let bytes: Vec<u8> = sizes
                .iter()
                .enumerate()
                .flat_map(|(id, size)| frame(id as u64, &body(*size, id as u64)))
                .collect();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    // Pieces of odd and growing size.
                    let mut rest = &bytes[..];
                    let mut step = 7;
                    while !rest.is_empty() {
                        let (piece, later) = rest.split_at(step.min(rest.len()));
                        raw.write(piece);
                        rest = later;
                        step = (step * 3 + 1) % 200_003 + 1;
                    }
                });
                for (id, size) in sizes.iter().enumerate() {
                    let message = receive(&mut port);
                    assert_eq!(message.header.id, id as u64);
                    assert!(message.body == body(*size, id as u64), "body of {size} bytes");
                }
            });
        },
    );
}

#[test]
fn the_bytes_of_a_header_are_as_documented() {
    over_raw_sockets(
        |endpoint| endpoint,
        |mut raw, mut port| {
            let header = Header {
                length: 0,
                kind: 0x11,
                flags: 0x22,
                sections: 0,
                handles: 0,
                id: 0x0102_0304_0506_0708,
                ordinal: 0x1112_1314_1516_1718,
                extra: 0x2122_2324_2526_2728,
            };
            send(&mut port, header, b"ab");
            let mut bytes = [0; 34];
            raw.read(&mut bytes);
            let expected = [
                2, 0, 0, 0, 0x11, 0x22, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13,
                0x12, 0x11, 0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21, b'a', b'b',
            ];
            assert_eq!(bytes, expected);
            assert_eq!(
                Header::from_bytes(bytes.first_chunk().unwrap()),
                Header { length: 2, ..header }
            );
        },
    );
}

#[test]
fn an_end_within_a_message_is_an_error_after_what_came_before() {
    let whole = frame(1, b"whole");
    let large = frame(2, &body(100_000, 2));
    for cut in [1, 31, 32, 33, 20_000, 99_999] {
        over_raw_sockets(
            |endpoint| endpoint,
            |mut raw, mut port| {
                raw.write(&whole);
                raw.write(&large[..cut]);
                drop(raw);
                assert_eq!(receive(&mut port).body, b"whole");
                for _ in 0..2 {
                    let error = failure(&mut port);
                    assert_eq!(error.kind(), ErrorKind::PeerDied);
                    assert_eq!(
                        error.to_string(),
                        "the other side ended in the middle of a message"
                    );
                }
            },
        );
    }
}

#[test]
fn an_end_between_messages_is_no_error() {
    over_raw_sockets(
        |endpoint| endpoint,
        |mut raw, mut port| {
            raw.write(&frame(1, &body(100_000, 1)));
            drop(raw);
            let mut message = Message::default();
            assert_eq!(receive_into(&mut port, &mut message).unwrap(), Received::Message);
            assert_eq!(receive_into(&mut port, &mut message).unwrap(), Received::Closed);
        },
    );
}

#[test]
fn a_length_above_the_limit_is_refused_from_the_header_alone() {
    for length in [(64 << 20) + 1, u32::MAX] {
        over_raw_sockets(
            |endpoint| endpoint,
            |mut raw, mut port| {
                raw.write(&frame(1, b"before"));
                raw.write(&Header { length, ..header(2) }.to_bytes());
                assert_eq!(receive(&mut port).body, b"before");
                let error = failure(&mut port);
                assert_eq!(error.kind(), ErrorKind::TooLarge);
                assert!(error.to_string().contains(&length.to_string()), "{error}");
                // Whatever follows is not looked at.
                raw.write(&frame(3, b"after"));
                assert_eq!(failure(&mut port).kind(), ErrorKind::TooLarge);
            },
        );
    }
}

#[test]
fn announced_attachments_and_bytes_of_strangers_are_refused() {
    let sections = Header {
        sections: 1,
        ..header(1)
    }
    .to_bytes();
    let handles = Header {
        handles: 255,
        ..header(1)
    }
    .to_bytes();
    let http = *b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for bytes in [&sections[..], &handles, &http] {
        over_raw_sockets(
            |endpoint| endpoint,
            |mut raw, mut port| {
                raw.write(bytes);
                let error = failure(&mut port);
                assert!(
                    matches!(error.kind(), ErrorKind::Protocol | ErrorKind::TooLarge),
                    "{error}"
                );
                assert_eq!(failure(&mut port).kind(), error.kind());
            },
        );
    }
}

#[test]
fn descriptors_that_a_peer_attaches_end_the_connection_and_stay_out() {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

    let place = Place::new();
    let endpoint = place
        .endpoints()
        .into_iter()
        .find(|endpoint| endpoint.to_string().starts_with("unix:/"))
        .unwrap();
    let mut listener = listen(&endpoint).unwrap();
    let path = endpoint.to_string();
    let bytes = frame(1, b"with something attached");
    // With the first bytes, and with the middle of a body.
    for before in [0, 10, 40] {
        let raw = UnixStream::connect(path.strip_prefix("unix:").unwrap()).unwrap();
        let mut port = accept(&mut *listener);
        if before > 0 {
            (&raw).write_all(&bytes[..before]).unwrap();
            settle(&mut port);
        }
        // One end of a pipe: the other learns whether anybody holds it.
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let attached = [writer.as_fd(); 3];
        let mut space = [std::mem::MaybeUninit::uninit(); 128];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&attached)));
        let rest = [std::io::IoSlice::new(&bytes[before..])];
        sendmsg(&raw, &rest, &mut control, SendFlags::empty()).unwrap();
        drop(writer);
        let error = failure(&mut port);
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert!(
            error.to_string().contains("came with a file descriptor"),
            "{error}"
        );
        // Nobody has the writing end any more: not this process, where it would be if it had come in.
        assert_end(&reader);
    }
}

/// Waits until nobody holds the other end of a pipe.
fn assert_end(reader: &OwnedFd) {
    let deadline = watchdog().unwrap();
    rustix::io::ioctl_fionbio(reader, true).unwrap();
    while rustix::io::read(reader, &mut [0_u8; 1]) != Ok(0) {
        assert!(Instant::now() < deadline, "the descriptor leaked");
        std::thread::yield_now();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn credentials_that_a_peer_makes_up_change_nothing() {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, UCred, sendmsg};
    use rustix::process::{Gid, Uid, getppid, getuid};

    let place = Place::new();
    let endpoint = place
        .endpoints()
        .into_iter()
        .find(|endpoint| endpoint.to_string().starts_with("unix:/"))
        .unwrap();
    let mut listener = listen(&endpoint).unwrap();
    let path = endpoint.to_string();
    let raw = UnixStream::connect(path.strip_prefix("unix:").unwrap()).unwrap();
    let mut port = accept(&mut *listener);
    let made_up = UCred {
        pid: getppid().unwrap(),
        uid: Uid::from_raw(4711),
        gid: Gid::from_raw(4711),
    };
    let mut space = [std::mem::MaybeUninit::uninit(); 128];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmCredentials(made_up)));
    let bytes = frame(1, b"from somebody else");
    let sent = sendmsg(
        &raw,
        &[std::io::IoSlice::new(&bytes)],
        &mut control,
        SendFlags::empty(),
    );
    match sent {
        // Nobody asked for them: they are left out, and the message is one like any other.
        Ok(sent) => {
            assert_eq!(sent, bytes.len());
            assert_eq!(receive(&mut port).body, b"from somebody else");
        }
        // Only a privileged process can say that it is another.
        Err(error) => assert_eq!(error, rustix::io::Errno::PERM),
    }
    assert_eq!(port.peer.uid(), Some(getuid().as_raw()));
    assert_eq!(port.peer.pid(), Some(std::process::id()));
}
