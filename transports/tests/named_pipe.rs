//! `pipe:` on Windows: what others see of it.
#![cfg(windows)]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};

use common::{accept, body, header, receive, receive_into, send, watchdog};
use transports::{Endpoint, ErrorKind, Header, Message, Received, connect, listen};

fn endpoint(name: &str, mode: &str) -> Endpoint {
    format!("pipe:test-{}-{name}{mode}", std::process::id())
        .parse()
        .unwrap()
}

fn path(endpoint: &Endpoint) -> String {
    endpoint
        .detail()
        .to_string()
        .strip_prefix("pipe:")
        .unwrap()
        .to_owned()
}

/// A client that knows nothing of us.
fn raw(endpoint: &Endpoint) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path(endpoint))
        .unwrap()
}

#[test]
fn a_second_server_of_a_named_pipe_is_refused() {
    for mode in ["", "?mode=message"] {
        let endpoint = endpoint("second", mode);
        let _first = listen(&endpoint).unwrap();
        let second = listen(&endpoint).err().unwrap();
        assert_eq!(second.kind(), ErrorKind::InUse, "{second}");
    }
}

#[test]
fn the_bytes_are_as_documented_and_the_end_is_told() {
    let endpoint = endpoint("bytes", "");
    let mut listener = listen(&endpoint).unwrap();
    let mut raw = raw(&endpoint);
    let mut port = accept(&mut *listener);
    for id in 0..4 {
        send(&mut port, header(id), &[id as u8; 128]);
    }
    for id in 0..4 {
        let mut frame = [0; Header::SIZE + 128];
        raw.read_exact(&mut frame).unwrap();
        assert_eq!(frame[Header::SIZE..], [id; 128]);
    }
    let frame = Header {
        length: 4,
        ..header(9)
    };
    // In pieces.
    for byte in [&frame.to_bytes()[..], b"body"].concat() {
        raw.write_all(&[byte]).unwrap();
    }
    assert_eq!(receive(&mut port).body, b"body");
    raw.write_all(b"half").unwrap();
    drop(raw);
    let error = receive_into(&mut port, &mut Message::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PeerDied);
}

/// A reader that takes messages sees each of ours as one, also if several leave at one flush.
#[cfg(feature = "tokio")]
#[test]
fn a_message_of_ours_is_one_of_the_pipe() {
    use tokio::net::windows::named_pipe::{ClientOptions, PipeMode};
    let endpoint = endpoint("messages", "?mode=message");
    let mut listener = listen(&endpoint).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let client = ClientOptions::new()
            .pipe_mode(PipeMode::Message)
            .open(path(&endpoint))
            .unwrap();
        let mut port = accept(&mut *listener);
        const SIZE: usize = 128;
        for id in 0..4 {
            port.sender
                .try_send(&header(id), &mut vec![id as u8; SIZE - Header::SIZE])
                .unwrap();
        }
        common::flush(&mut port);
        let mut bytes = [0; 4 * SIZE];
        for id in 0..4 {
            let read = loop {
                client.readable().await.unwrap();
                match client.try_read(&mut bytes) {
                    Ok(read) => break read,
                    Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
                }
            };
            assert_eq!(
                (read, &bytes[Header::SIZE..SIZE]),
                (SIZE, &[id; SIZE - Header::SIZE][..])
            );
        }
    });
}

#[test]
fn messages_of_every_size_arrive() {
    let endpoint = endpoint("sizes", "?mode=message");
    let mut listener = listen(&endpoint).unwrap();
    let mut client = connect(&endpoint, watchdog()).unwrap();
    let mut port = accept(&mut *listener);
    // Around what one message of the pipe can hold, and more.
    for (id, size) in [(0, 128), (1, 0), (2, 65_504), (3, 65_505), (4, 200_000), (5, 128)] {
        send_and_check(&mut client, &mut port, id, size);
    }
}

fn send_and_check(client: &mut transports::Port, port: &mut transports::Port, id: u64, size: usize) {
    std::thread::scope(|scope| {
        scope.spawn(|| send(client, header(id), &body(size, id)));
        let message = receive(port);
        assert_eq!((message.header.id, message.body.len()), (id, size));
        assert!(message.body == body(size, id));
    });
}

#[test]
fn a_client_that_wants_messages_of_a_pipe_of_bytes_is_refused() {
    let bytes = endpoint("modes", "");
    let _listener = listen(&bytes).unwrap();
    let refused = connect(&endpoint("modes", "?mode=message"), watchdog()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidEndpoint);
    assert!(
        refused.to_string().contains("is not in message mode"),
        "{refused}"
    );
}

#[test]
fn sixty_four_clients_at_once() {
    const CLIENTS: u64 = 64;
    let endpoint = endpoint("many", "");
    let mut listener = listen(&endpoint).unwrap();
    std::thread::scope(|scope| {
        for id in 0..CLIENTS {
            let endpoint = &endpoint;
            scope.spawn(move || {
                let mut client = connect(endpoint, watchdog()).unwrap();
                send(&mut client, header(id), &body(1000, id));
                assert!(receive(&mut client).body == body(1000, id));
            });
        }
        for _ in 0..CLIENTS {
            let mut port = accept(&mut *listener);
            let message = receive(&mut port);
            send(&mut port, header(0), &message.body);
            assert_eq!(
                receive_into(&mut port, &mut Message::default()).unwrap(),
                Received::Closed
            );
        }
    });
}
