//! What carries the messages between clients and servers of which each wants memory shared, or not, or does not care.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::sync::atomic::{AtomicU32, Ordering};

use common::{Place, accept, body, header, meet, receive, receive_into, send, watchdog};
use transports::{Endpoint, ErrorKind, Message, Port, Received, Scheme, connect, listen};

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
