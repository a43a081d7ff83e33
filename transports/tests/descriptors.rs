//! What a process holds: nothing is left of connections that are over, and running out ends in an error, not in a
//! busy loop. One test, so that nothing else of this process opens anything meanwhile.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::fs::File;

use common::{Place, accept, connected, header, receive, receive_into, send, watchdog};
use transports::{Accepted, ErrorKind, Message, Scheme, connect, listen};

fn open() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn descriptors_are_returned_and_may_run_out() {
    let place = Place::new();
    nothing_is_held_that_is_not_needed(&place);
    nothing_is_left(&place);
    running_out_is_survived(&place);
}

fn nothing_is_held_that_is_not_needed(place: &Place) {
    for endpoint in place.endpoints() {
        if endpoint.scheme() == Scheme::Memory {
            let before = open();
            let _ports = connected(&endpoint);
            assert_eq!(open(), before);
            continue;
        }
        let before = open();
        let (mut client, mut server) = connected(&endpoint);
        send(&mut client, header(1), b"there");
        // Two sockets, or two ends of each FIFO, as long as nobody blocks.
        let held = if endpoint.scheme() == Scheme::Pipe { 4 } else { 2 };
        assert_eq!(open(), before + held, "over {endpoint}");
        assert_eq!(receive(&mut server).body, b"there");
        drop((client, server));
        assert_eq!(open(), before);
    }
}

fn nothing_is_left(place: &Place) {
    #[cfg(feature = "tokio")]
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let before = open();
    for endpoint in place.endpoints() {
        for round in 0..50 {
            let (mut client, mut server) = connected(&endpoint);
            send(&mut client, header(1), b"there");
            receive(&mut server);
            client.receiver.interrupt().raise();
            client.receiver.park(false, None).unwrap();
            #[cfg(feature = "tokio")]
            let sources = runtime.block_on(async {
                (
                    client.receiver.source().unwrap(),
                    server.receiver.source().unwrap(),
                )
            });
            // One half after the other, in either order, and the source first or last.
            if round % 2 == 0 {
                drop(client.sender);
                drop(client.receiver);
                drop(server);
                #[cfg(feature = "tokio")]
                drop(sources);
            } else {
                #[cfg(feature = "tokio")]
                drop(sources);
                drop(server.receiver);
                drop(server.sender);
                drop(client);
            }
        }
        drop(connect(&endpoint, watchdog()));
        assert_eq!(open(), before, "after connections over {endpoint}");
    }
}

fn running_out_is_survived(place: &Place) {
    for endpoint in place.endpoints() {
        if endpoint.scheme() == Scheme::Memory {
            continue;
        }
        let mut listener = listen(&endpoint).unwrap();
        let resolved = listener.endpoint().clone();
        let limit = rustix::process::Rlimit {
            current: Some(200),
            maximum: None,
        };
        let former = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        rustix::process::setrlimit(
            rustix::process::Resource::Nofile,
            rustix::process::Rlimit {
                maximum: former.maximum,
                ..limit
            },
        )
        .unwrap();
        let mut ballast = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            ballast.push(file);
        }
        let refused = connect(&resolved, watchdog()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Resource, "{refused}");

        // Two clients get through, the server has nothing to accept them with: each is told. A client of a pipe holds both
        // ends of both FIFOs until it is, and the one through which it says that it is there.
        let needed = if endpoint.scheme() == Scheme::Pipe { 5 } else { 1 };
        for _ in 0..2 {
            ballast.truncate(ballast.len() - needed);
            let mut client = connect(&resolved, watchdog()).unwrap();
            let refused = loop {
                match listener.try_accept() {
                    Ok(Accepted::Port(_)) => panic!("accepted without a descriptor"),
                    Ok(Accepted::Empty) => listener.park(watchdog()).unwrap_or(()),
                    Err(error) => break error,
                }
            };
            assert_eq!(refused.kind(), ErrorKind::Resource);
            assert!(
                refused.to_string().contains("Raise the limit on open files"),
                "{refused}"
            );
            assert!(matches!(listener.try_accept(), Ok(Accepted::Empty)));
            // To wait, the client needs what it has not: it looks.
            let mut message = Message::default();
            while matches!(
                client.receiver.try_recv(&mut message),
                Ok(transports::Received::Empty)
            ) {}
            drop(client);
            while let Ok(file) = File::open("/dev/null") {
                ballast.push(file);
            }
        }

        drop(ballast);
        let mut client = connect(&resolved, watchdog()).unwrap();
        let mut server = accept(&mut *listener);
        send(&mut client, header(1), b"as before");
        assert_eq!(receive(&mut server).body, b"as before");
        drop(server);
        assert!(receive_into(&mut client, &mut Message::default()).is_ok());
        rustix::process::setrlimit(rustix::process::Resource::Nofile, former).unwrap();
    }
}
