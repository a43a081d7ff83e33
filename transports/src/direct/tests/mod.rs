//! Two ports of this tier (`lending`, `owners`), one whose other side speaks by hand (`hostile`), and one whose other side is killed
//! (`crashes`).
//!
//! But for those that are killed, both sides are in this process, which may read its own memory. That it works with others is for the tests of `sys` and
//! those of the whole.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap is a failed test, and clippy knows only functions marked as tests"
)]

mod crashes;
mod hostile;
mod lending;
mod owners;

use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::{DirectState, DirectUsage, helpers};
use crate::{Endpoint, Flushed, Header, Message, Peer, Port, Received, Sent, socket, sys};

/// From so many bytes on, bodies are lent here.
const THRESHOLD: usize = 100_000;
const LARGE: usize = 3 * THRESHOLD;

/// The threads that copy are the whole process's: none is still at work for the test before.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let started = Instant::now();
    while !helpers::are_idle() {
        assert!(started.elapsed() < WATCHDOG, "a thread copies for ever");
        thread::yield_now();
    }
    turn
}

/// Longer than anything here takes that ends at all.
const WATCHDOG: Duration = Duration::from_secs(30);

fn deadline() -> Option<Instant> {
    Instant::now().checked_add(WATCHDOG)
}

/// The ends of a socket; those that ask for the tier have it.
fn ends(direct: [bool; 2]) -> [Port; 2] {
    let (one, other) = UnixStream::pair().unwrap();
    let end = |socket: UnixStream, direct| {
        socket.set_nonblocking(true).unwrap();
        let stream = sys::stream_of(socket.into()).unwrap();
        let identity = stream.identity().unwrap();
        let stream = Arc::new(stream);
        let peer = Peer::new(identity, Arc::downgrade(&stream));
        let endpoint: Endpoint = "unix:/nowhere/test.sock".parse().unwrap();
        let endpoint = endpoint.direct(direct).direct_from(THRESHOLD);
        socket::with_peer(stream, peer, endpoint)
    };
    [end(one, direct[0]), end(other, direct[1])]
}

/// Two ends that lend each other what is large.
fn agreed() -> [Port; 2] {
    let mut ports = ends([true, true]);
    for port in &mut ports {
        port.sender.offer_direct();
    }
    let started = Instant::now();
    while ports.iter().any(|port| usage(port).state != DirectState::Agreed) {
        for port in &mut ports {
            let _ = port.sender.flush().unwrap();
            assert_eq!(
                port.receiver.try_recv(&mut Message::default()).unwrap(),
                Received::Empty
            );
        }
        assert!(started.elapsed() < WATCHDOG, "{:?}", usage(&ports[0]));
    }
    ports
}

fn usage(port: &Port) -> DirectUsage {
    port.carrier.direct().unwrap()
}

fn header(id: u64, flags: u8) -> Header {
    Header {
        kind: 4,
        flags,
        id,
        ordinal: 77,
        extra: !id,
        ..Header::default()
    }
}

fn body(id: u64, length: usize) -> Vec<u8> {
    (0..length).map(|index| (index / 7) as u8 ^ id as u8).collect()
}

/// Bytes that are sent apart from the others.
const HEAD: usize = 9;

fn send(port: &mut Port, id: u64, flags: u8, length: usize) {
    let all = body(id, length);
    let (head, rest) = all.split_at(length.min(HEAD));
    let sent = port
        .sender
        .try_send_parts(&header(id, flags), head, &mut rest.to_vec());
    assert_eq!(sent.unwrap(), Sent::Accepted);
    let _ = port.sender.flush().unwrap();
}

/// The next message, with both ends at work. Its id; the body was judged.
fn next(from: &mut Port, to: &mut Port) -> Result<u64, crate::Error> {
    let mut message = Message::default();
    let until = deadline();
    loop {
        match to.receiver.try_recv(&mut message)? {
            Received::Message => {
                let Header { id, length, .. } = message.header;
                assert_eq!(length as usize, message.body.len());
                assert!(
                    message.body == body(id, message.body.len()),
                    "the body is another"
                );
                assert_eq!(
                    message.header,
                    Header {
                        length,
                        ..header(id, 0)
                    }
                );
                let _ = to.sender.flush()?;
                return Ok(id);
            }
            Received::Begun => {}
            Received::Empty => {
                assert!(Instant::now() < until.unwrap(), "nothing came");
                let _ = to.sender.flush()?;
                let received = from.receiver.try_recv(&mut Message::default())?;
                assert_eq!(received, Received::Empty);
                let _ = from.sender.flush()?;
                let soon = Instant::now().checked_add(Duration::from_millis(1));
                to.receiver.park(false, soon)?;
            }
            Received::Closed => panic!("it is closed"),
        }
    }
}

/// Has one end hear what the other has said.
fn hear(port: &mut Port) -> Flushed {
    let received = port.receiver.try_recv(&mut Message::default()).unwrap();
    assert_eq!(received, Received::Empty);
    port.sender.flush().unwrap()
}

/// Has all threads that copy wait, until the result is dropped.
fn busy() -> Vec<mpsc::Sender<()>> {
    let started = Instant::now();
    let mut held = Vec::new();
    while held.len() < helpers::MOST {
        let (hold, held_up) = mpsc::channel::<()>();
        let wait = move || {
            let _ = held_up.recv();
        };
        if helpers::run(Box::new(wait)) {
            held.push(hold);
        } else {
            // One that has just finished something else, or somebody who looks at the list.
            assert!(started.elapsed() < WATCHDOG, "{} threads are free", held.len());
            thread::yield_now();
        }
    }
    held
}
