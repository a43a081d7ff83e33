//! What carries the messages between clients and servers of which each wants memory shared, or not, or does not care.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::sync::atomic::{AtomicU32, Ordering};

use common::{Place, accept, body, header, meet, receive, receive_into, send, watchdog};
use transports::{
    Endpoint, ErrorKind, Flushed, Header, Message, Port, Received, Scheme, Sent, connect, listen,
};

/// A name that nobody else uses.
fn name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "sharing-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

fn endpoint(text: &str) -> Endpoint {
    text.parse().unwrap()
}

fn pair(client: &str, server: &str) -> (Port, Port) {
    let mut listener = listen(&endpoint(server)).unwrap();
    let client = connect(&endpoint(client), watchdog()).unwrap();
    let server = accept(&mut *listener);
    (client, server)
}

/// Both ways, small and large. They meet first: one thread cannot wait for both.
fn talk(client: &mut Port, server: &mut Port) {
    meet(client, server);
    for (id, length) in [(1, 0), (2, 10), (3, 40_000)] {
        send(client, header(id), &body(length, id));
        let message = receive(server);
        assert_eq!((message.header.id, message.body), (id, body(length, id)));
        send(server, header(!id), &body(length, !id));
        let message = receive(client);
        assert_eq!((message.header.id, message.body), (!id, body(length, !id)));
    }
}

#[test]
fn who_meets_whom() {
    let (shared, socket) = (Scheme::SharedMemory, Scheme::Unix);
    for (client, server, carrier) in [
        ("", "", shared),
        ("", "shm:", shared),
        ("", "unix:", socket),
        ("shm:", "", shared),
        ("shm:", "shm:", shared),
        ("unix:", "", socket),
        ("unix:", "shm:", socket),
        ("unix:", "unix:", socket),
    ] {
        println!("{client:?} at {server:?}");
        let name = name();
        let (mut client, mut server) = pair(&format!("{client}{name}"), &format!("{server}{name}"));
        talk(&mut client, &mut server);
        for port in [&client, &server] {
            assert_eq!(port.carrier.scheme(), carrier);
            assert_eq!(port.peer.pid(), Some(std::process::id()));
        }
        drop(client);
        assert_eq!(
            receive_into(&mut server, &mut Message::default()).unwrap(),
            Received::Closed
        );
    }
    let place = Place::new();
    let path = place.directory.path().join("socket");
    let (mut client, mut server) = pair(
        &format!("unix:{}", path.display()),
        &format!("shm:{}", path.display()),
    );
    talk(&mut client, &mut server);
    assert_eq!(client.carrier.scheme(), socket);
}

#[test]
fn who_insists_is_told() {
    let name = name();
    let (mut client, mut server) = pair(&format!("shm:{name}"), &format!("unix:{name}"));
    assert_eq!(
        server.receiver.try_recv(&mut Message::default()).unwrap(),
        Received::Empty
    );
    let error = receive_into(&mut client, &mut Message::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let sentence = "does not share memory: this server is served over its socket only";
    assert!(
        error.to_string().contains(sentence) && error.to_string().contains(&name),
        "{error}"
    );
    drop(client);
    assert_eq!(
        receive_into(&mut server, &mut Message::default()).unwrap(),
        Received::Closed
    );
}

/// It is settled with the first message; until then it is the socket.
#[test]
fn it_is_asked_for_at_any_time() {
    let name = name();
    let (mut client, mut server) = pair(&name, &name);
    let carrier = client.carrier.clone();
    assert_eq!([carrier.scheme(), server.carrier.scheme()], [Scheme::Unix; 2]);
    assert_eq!(
        server.receiver.try_recv(&mut Message::default()).unwrap(),
        Received::Empty
    );
    assert_eq!(
        [carrier.scheme(), server.carrier.scheme()],
        [Scheme::Unix, Scheme::SharedMemory]
    );
    talk(&mut client, &mut server);
    assert_eq!(carrier.scheme(), Scheme::SharedMemory);
    drop((client, server));
    assert_eq!(carrier.scheme(), Scheme::SharedMemory);
}

/// A server that has to say something before it has read the offer says it over the socket.
#[test]
fn a_server_that_speaks_before_it_listens() {
    for scheme in ["", "shm:"] {
        let name = name();
        let (mut client, mut server) = pair(&format!("{scheme}{name}"), &name);
        send(&mut server, header(5), b"go away");
        let message = receive(&mut client);
        assert_eq!((message.header.id, &message.body[..]), (5, &b"go away"[..]));
        assert_eq!(
            [client.carrier.scheme(), server.carrier.scheme()],
            [Scheme::Unix; 2]
        );
    }
}

/// A header whose message may be passed by others, and pass them.
fn unordered(id: u64) -> Header {
    Header {
        flags: header(id).flags | Header::UNORDERED,
        ..header(id)
    }
}

/// Whole messages that arrive at a port, as many as wanted, while the other side flushes.
fn receive_all(server: &mut Port, client: &mut Port, count: usize) -> Vec<(u64, Vec<u8>)> {
    let mut arrived = Vec::new();
    let mut message = Message::default();
    while arrived.len() < count {
        match server.receiver.try_recv(&mut message).unwrap() {
            Received::Message => arrived.push((message.header.id, message.body.clone())),
            Received::Begun | Received::Empty => drop(client.sender.flush().unwrap()),
            Received::Closed => panic!("the other side is alive"),
        }
    }
    arrived
}

#[test]
fn what_is_lent_arrives_whole_and_is_passed_by_others() {
    let name = name();
    let (mut client, mut server) = pair(&format!("shm:{name}"), &name);
    meet(&mut client, &mut server);
    // More than the ring holds, from one byte to several pieces behind it.
    for tail in [0, 1, 40_000] {
        let (head, lent, tail) = (body(13, 1), body(700_000, 2), body(tail, 3));
        let rest = [&lent[..], &tail[..]].concat();
        let number = client.sender.try_lend(&unordered(1), &head, rest.len()).unwrap();
        let number = number.expect("nothing is in the way");
        send_small(&mut client, 2);
        let mut sent = 0;
        let mut arrived = Vec::new();
        while sent < rest.len() {
            let of_lent = &lent[sent.min(lent.len())..];
            let of_tail = &tail[sent.saturating_sub(lent.len())..];
            assert!(client.sender.waits());
            assert_eq!(client.sender.queued(), 0, "no memory is held for it");
            match client.sender.push_lent(number, [of_lent, of_tail]).unwrap() {
                0 => {
                    assert_eq!(client.sender.flush().unwrap(), Flushed::Blocked);
                    if arrived.is_empty() {
                        arrived = receive_all(&mut server, &mut client, 1);
                    }
                    let more = server.receiver.try_recv(&mut Message::default()).unwrap();
                    assert!(matches!(more, Received::Begun | Received::Empty));
                }
                taken => sent += taken,
            }
        }
        assert_eq!(client.sender.flush().unwrap(), Flushed::Done);
        assert_eq!(arrived, [(2, body(100, 2))]);
        let whole = receive_all(&mut server, &mut client, 1);
        assert_eq!(whole, [(1, [&head[..], &rest[..]].concat())]);
    }
}

fn send_small(client: &mut Port, id: u64) {
    let sent = client.sender.try_send(&unordered(id), &mut body(100, id));
    assert_eq!(sent.unwrap(), Sent::Accepted);
}

#[test]
fn who_lends_and_cannot_wait_leaves_the_rest() {
    let name = name();
    let (mut client, mut server) = pair(&format!("shm:{name}"), &name);
    meet(&mut client, &mut server);
    let lent = body(500_000, 4);
    for pieces in [0, 1, 3] {
        let number = client
            .sender
            .try_lend(&unordered(1), b"", lent.len())
            .unwrap()
            .unwrap();
        let mut sent = 0;
        for _ in 0..pieces {
            sent += client.sender.push_lent(number, [&lent[sent..], b""]).unwrap();
        }
        client.sender.keep_lent(number, lent[sent..].to_vec());
        send_small(&mut client, 2);
        let mut arrived = receive_all(&mut server, &mut client, 2);
        arrived.sort();
        assert_eq!(arrived, [(1, lent.clone()), (2, body(100, 2))]);
        // The number means nothing any more.
        assert_eq!(client.sender.push_lent(number, [b"more", b""]).unwrap(), 0);
        client.sender.keep_lent(number, b"more".to_vec());
    }
}

#[test]
fn nothing_is_lent_where_it_would_be_copied_or_out_of_order() {
    let name = name();
    let (mut client, mut server) = pair(&format!("unix:{name}"), &name);
    assert_eq!(client.sender.try_lend(&unordered(1), b"", 100_000).unwrap(), None);
    talk(&mut client, &mut server);
    let (mut client, mut server) = pair(&format!("shm:{name}2"), &format!("{name}2"));
    meet(&mut client, &mut server);
    assert_eq!(client.sender.try_lend(&header(1), b"", 100_000).unwrap(), None);
    assert_eq!(client.sender.try_lend(&unordered(1), b"head", 10).unwrap(), None);
    // As many as there are lanes, and no more.
    let mut lent = 0;
    while client
        .sender
        .try_lend(&unordered(1), b"", 100_000)
        .unwrap()
        .is_some()
    {
        lent += 1;
        assert!(lent < 100, "there is no end to it");
    }
    assert!(lent > 1);
}
