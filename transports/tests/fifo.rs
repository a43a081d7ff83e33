//! `pipe:` on Unix: what the files are, and what becomes of strange ones.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

#[cfg(feature = "tokio")]
use common::connected;
use common::fifo::{Name, Raw, failure, make_fifo, record, works};
use common::{accept, body, header, receive, receive_into, send, watchdog};
use transports::{Accepted, ErrorKind, Header, Identity, Message, Port, Received, Sent, connect, listen};

const ENDPOINT: &str = "TRANSPORTS_TEST_ENDPOINT";

#[test]
fn the_bytes_are_as_documented() {
    let name = Name::new();
    let mut listener = listen(&name.endpoint).unwrap();
    let (mut raw, mut port) = Raw::connect(&name, &mut *listener, 1);
    let mut greeting = [0; 16];
    raw.down.read_exact(&mut greeting).unwrap();
    assert_eq!(greeting, raw.tag);
    raw.send(raw.tag, 5, b"body");
    let message = receive(&mut port);
    assert_eq!((message.header.id, &message.body[..]), (5, &b"body"[..]));
    send(&mut port, header(6), b"reply");
    let mut reply = [0; 16 + Header::SIZE + 5];
    raw.down.read_exact(&mut reply).unwrap();
    assert_eq!(
        (&reply[..16], &reply[16 + Header::SIZE..]),
        (&raw.tag[..], &b"reply"[..])
    );
    drop(raw);
    assert_eq!(
        receive_into(&mut port, &mut Message::default()).unwrap(),
        Received::Closed
    );
}

#[test]
fn the_files_are_private_and_go_once_both_sides_are_there() {
    let name = Name::new();
    let mut listener = listen(&name.endpoint).unwrap();
    let mut client = connect(&name.endpoint, watchdog()).unwrap();
    assert_eq!(name.pairs().len(), 2);
    for file in name
        .files()
        .iter()
        .filter(|file| file.extension() != Some("fifo-lock".as_ref()))
    {
        let there = file.symlink_metadata().unwrap();
        assert!(
            there.file_type().is_fifo() && there.mode() & 0o777 == 0o600,
            "{}",
            file.display()
        );
    }
    let server = accept(&mut *listener);
    assert_eq!(name.pairs(), [] as [PathBuf; 0]);
    let own = rustix::process::geteuid().as_raw();
    for port in [&client, &server] {
        assert!(matches!(port.peer.identity(), Identity::User { uid, pid: None, .. } if *uid == own));
        assert!(port.peer.same_user());
    }
    drop(server);
    assert_eq!(
        receive_into(&mut client, &mut Message::default()).unwrap(),
        Received::Closed
    );
    drop(listener);
    assert_eq!(name.files(), [] as [PathBuf; 0]);
}

#[test]
fn a_third_writer_is_noticed() {
    let name = Name::new();
    let mut listener = listen(&name.endpoint).unwrap();
    let (mut raw, mut port) = Raw::connect(&name, &mut *listener, 2);
    raw.send(raw.tag, 1, b"mine");
    raw.send([9; 16], 2, b"not mine");
    assert_eq!(receive(&mut port).header.id, 1);
    for _ in 0..2 {
        let error = failure(&mut port);
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert!(
            error.to_string().contains("somebody else writes into this pipe"),
            "{error}"
        );
        assert!(port.receiver.ready());
    }

    // In the middle of a body it is noticed at the next message.
    let (mut raw, mut port) = Raw::connect(&name, &mut *listener, 3);
    let frame = Header {
        length: 10,
        ..header(1)
    };
    raw.up
        .write_all(&[&raw.tag[..], &frame.to_bytes(), b"01234"].concat())
        .unwrap();
    raw.up.write_all(b"xyz").unwrap();
    raw.up.write_all(b"56789").unwrap();
    raw.send(raw.tag, 2, b"next");
    assert_eq!(receive(&mut port).body, b"01234xyz56");
    assert_eq!(failure(&mut port).kind(), ErrorKind::Protocol);
    works(&name, &mut *listener);
}

#[test]
fn a_wrong_greeting_is_noticed_by_the_client() {
    let name = Name::new();
    let _listener = listen(&name.endpoint).unwrap();
    let mut client = connect(&name.endpoint, watchdog()).unwrap();
    let down = name
        .pairs()
        .into_iter()
        .find(|path| path.extension() == Some("down".as_ref()));
    let mut down = OpenOptions::new().write(true).open(down.unwrap()).unwrap();
    let mut message = Message::default();
    for byte in 0..15 {
        down.write_all(&[byte]).unwrap();
        client.receiver.park(false, watchdog()).unwrap();
        assert_eq!(client.receiver.try_recv(&mut message).unwrap(), Received::Empty);
    }
    down.write_all(&[99]).unwrap();
    let error = failure(&mut client);
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    assert!(
        client
            .sender
            .try_send(&header(1), &mut vec![])
            .and_then(|_| client.sender.flush())
            .is_err()
    );
}

#[test]
fn strange_records_lead_nowhere_and_harm_nobody() {
    let name = Name::new();
    let mut listener = listen(&name.endpoint).unwrap();
    let honest = record([4; 16], [5; 16]);
    let [file_up, file_down] = name.pair([6; 16]);
    fs::write(&file_up, "mine").unwrap();
    fs::write(&file_down, "mine").unwrap();
    let [link_up, link_down] = name.pair([7; 16]);
    let target = name.rendezvous.with_extension("target");
    make_fifo(&target);
    let held = OpenOptions::new().read(true).write(true).open(&target).unwrap();
    symlink(&target, &link_up).unwrap();
    symlink(&target, &link_down).unwrap();
    let [directory, _] = name.pair([8; 16]);
    fs::create_dir(&directory).unwrap();
    // Only one of the two is there, and somebody reads it.
    let [_, lonely] = name.pair([10; 16]);
    make_fifo(&lonely);
    let lonely = OpenOptions::new().read(true).write(true).open(&lonely).unwrap();
    let strange: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0; 300],
        b"ipc-rpc".to_vec(),
        b"ipc-rpc\x02with another version, which is unknown here".to_vec(),
        b"ipc-rpc\x01".repeat(20),
        honest[..1].to_vec(),
        honest[..39].to_vec(),
        honest.clone(),
        record([6; 16], [5; 16]),
        record([7; 16], [5; 16]),
        record([8; 16], [5; 16]),
        record([10; 16], [5; 16]),
        // The tag that would mean a refusal.
        record([11; 16], [0; 16]),
    ];
    for bytes in &strange {
        name.write(bytes);
        let nobody = listener.try_accept();
        assert!(matches!(nobody, Ok(Accepted::Empty)), "{bytes:?}");
        works(&name, &mut *listener);
    }
    name.write(&strange.concat());
    works(&name, &mut *listener);
    drop((held, lonely));
    assert_eq!(fs::read(&file_up).unwrap(), b"mine");
    assert!(target.symlink_metadata().unwrap().file_type().is_fifo());
}

#[test]
fn records_without_end_end_in_a_pause() {
    let name = Name::new();
    let mut listener = listen(&name.endpoint).unwrap();
    let flood = record([3; 16], [3; 16]).repeat(100);
    let enough = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !enough.load(Ordering::Relaxed) {
                name.write(&flood);
            }
        });
        let deadline = watchdog().unwrap();
        let paused = loop {
            match listener.try_accept() {
                Ok(Accepted::Empty) => assert!(Instant::now() < deadline, "never out of patience"),
                Ok(Accepted::Port(port)) => panic!("{port:?}"),
                Err(error) => break error,
            }
        };
        enough.store(true, Ordering::Relaxed);
        assert_eq!(paused.kind(), ErrorKind::Resource, "{paused}");
        // Room for the last write.
        while !matches!(listener.try_accept(), Ok(Accepted::Empty)) {}
    });
    while !matches!(listener.try_accept(), Ok(Accepted::Empty)) {}
    works(&name, &mut *listener);
}

#[test]
fn clients_that_are_gone_are_passed_over_and_leave_nothing() {
    let name = Name::new();
    let mut listener = listen(&name.endpoint).unwrap();
    for _ in 0..20 {
        drop(connect(&name.endpoint, watchdog()).unwrap());
    }
    assert_eq!(name.pairs(), [] as [PathBuf; 0], "each removed its own");
    // One that was killed could not.
    let pair = name.pair([1; 16]);
    pair.iter().for_each(|path| make_fifo(path));
    name.write(&record([1; 16], [2; 16]));
    works(&name, &mut *listener);
    assert_eq!(name.pairs(), [] as [PathBuf; 0]);
    // Nor one that was killed before it said that it is there: the next server cleans up, and touches nothing else.
    pair.iter().for_each(|path| make_fifo(path));
    let bystanders = ["x.up", "0123456789abcdef0123456789abcdef.sock", "up"]
        .map(|end| name.rendezvous.with_extension(end));
    for bystander in &bystanders {
        fs::write(bystander, "").unwrap();
    }
    drop(listener);
    let mut listener = listen(&name.endpoint).unwrap();
    works(&name, &mut *listener);
    assert!(pair.iter().all(|path| !path.exists()));
    assert!(bystanders.iter().all(|path| path.exists()));
}

#[test]
fn many_clients_at_once() {
    const CLIENTS: u64 = 300;
    let name = Name::new();
    let mut listener = listen(&name.endpoint).unwrap();
    std::thread::scope(|scope| {
        let (ended, end) = std::sync::mpsc::channel();
        for seed in 0..CLIENTS {
            let (ended, endpoint) = (ended.clone(), &name.endpoint);
            scope.spawn(move || {
                let mut client = connect(endpoint, watchdog()).unwrap();
                // More than a pipe holds.
                send(&mut client, header(seed), &body(100_000, seed));
                assert!(receive(&mut client).body == body(1000, seed));
                ended.send(()).unwrap();
            });
        }
        let mut servers = Vec::new();
        for _ in 0..CLIENTS {
            servers.push(accept(&mut *listener));
        }
        for mut server in servers {
            let message = receive(&mut server);
            assert!(message.body == body(100_000, message.header.id));
            send(&mut server, header(0), &body(1000, message.header.id));
            end.recv().unwrap();
        }
    });
    assert_eq!(name.pairs(), [] as [PathBuf; 0]);
}

#[test]
fn something_else_in_place_of_the_pipe_is_left_alone() {
    let name = Name::new();
    // Makes the directory.
    drop(listen(&name.endpoint).unwrap());
    let path = &name.rendezvous;
    let target = path.with_extension("target");
    let refused = |what: &str| {
        let error = connect(&name.endpoint, watchdog()).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::InvalidEndpoint | ErrorKind::NotConnected),
            "{error}"
        );
        let error = listen(&name.endpoint).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidEndpoint);
        let expected = format!("is {what}, not a pipe, and is left alone. Remove it, or use another name");
        assert!(error.to_string().contains(&expected), "{error}");
    };
    fs::write(path, "a file").unwrap();
    refused("a file");
    assert_eq!(fs::read(path).unwrap(), b"a file");
    fs::remove_file(path).unwrap();

    make_fifo(&target);
    symlink(&target, path).unwrap();
    refused("a symbolic link");
    fs::remove_file(path).unwrap();

    drop(UnixListener::bind(path).unwrap());
    refused("a socket");
    fs::remove_file(path).unwrap();

    fs::create_dir(path).unwrap();
    refused("a directory");
    fs::remove_dir(path).unwrap();

    // A pipe of nobody is replaced, one of somebody is not.
    make_fifo(path);
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    let reader = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
        .open(path)
        .unwrap();
    let error = listen(&name.endpoint).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::InUse, "{error}");
    drop(reader);
    works(&name, &mut *listen(&name.endpoint).unwrap());
}

/// Not a test: a server in another process, until it is killed.
#[test]
fn other_process() {
    let Ok(endpoint) = std::env::var(ENDPOINT) else {
        return;
    };
    let mut listener = listen(&endpoint.parse().unwrap()).unwrap();
    println!("\nlistens");
    let _port = accept(&mut *listener);
    println!("\naccepted");
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[test]
fn a_server_that_is_killed_is_gone_for_those_who_wait_and_those_who_come() {
    let name = Name::new();
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "other_process", "--nocapture"])
        .env(ENDPOINT, name.endpoint.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let mut said = |what: &str| assert!(lines.any(|line| line.unwrap() == what), "{what}");
    said("listens");
    let mut accepted = connect(&name.endpoint, watchdog()).unwrap();
    said("accepted");
    let mut waiting = connect(&name.endpoint, watchdog()).unwrap();
    send(&mut waiting, header(1), b"for nobody");
    server.kill().unwrap();
    server.wait().unwrap();
    for client in [&mut accepted, &mut waiting] {
        assert_eq!(
            receive_into(client, &mut Message::default()).unwrap(),
            Received::Closed
        );
        let sent = client
            .sender
            .try_send(&header(2), &mut vec![1])
            .and_then(|_| client.sender.flush());
        assert_eq!(sent.unwrap_err().kind(), ErrorKind::PeerDied);
    }
    let error = connect(&name.endpoint, watchdog()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
    let expected = format!(
        "the server that owned this pipe (pid {}) is gone; the next serve(\"{}\") will replace it",
        server.id(),
        name.endpoint
    );
    assert!(error.to_string().contains(&expected), "{error}");
    works(&name, &mut *listen(&name.endpoint).unwrap());
}

/// Flushes and sends until that fails. A child of another test's, on its way to its own program, may have the other side's ends open
/// for a moment.
fn told_of_the_end(client: &mut Port) -> ErrorKind {
    let patience = watchdog().unwrap();
    loop {
        let sent = client
            .sender
            .flush()
            .and_then(|_| client.sender.try_send(&header(2), &mut vec![1]));
        match sent {
            Err(error) => return error.kind(),
            Ok(_) => assert!(Instant::now() < patience, "nobody tells of the end"),
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_client_that_only_sends_is_told_of_the_end() {
    let name = Name::new();
    let mut listener = listen(&name.endpoint).unwrap();
    let mut client = connect(&name.endpoint, watchdog()).unwrap();
    assert_eq!(
        client.sender.try_send(&header(1), &mut vec![1]).unwrap(),
        Sent::Accepted
    );
    drop(listener.try_accept().unwrap());
    assert_eq!(told_of_the_end(&mut client), ErrorKind::PeerDied);
    // And one that was never accepted, as soon as nobody can any more.
    let mut client = connect(&name.endpoint, watchdog()).unwrap();
    drop(listener);
    assert_eq!(
        client.sender.try_send(&header(1), &mut vec![1]).unwrap(),
        Sent::Accepted
    );
    assert_eq!(told_of_the_end(&mut client), ErrorKind::PeerDied);
}

#[cfg(feature = "tokio")]
#[test]
fn a_client_that_is_never_accepted_is_woken_by_the_end() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let name = Name::new();
    runtime.block_on(async {
        for accepted in [false, true] {
            let mut listener = listen(&name.endpoint).unwrap();
            let mut client = connect(&name.endpoint, watchdog()).unwrap();
            let source = client.receiver.source().unwrap();
            let dropped = tokio::spawn(async move {
                tokio::task::yield_now().await;
                let port = accepted.then(|| accept(&mut *listener));
                // The port outlives the listener, if there is one.
                drop(listener);
                tokio::task::yield_now().await;
                drop(port);
            });
            let mut message = Message::default();
            let end = std::future::poll_fn(|cx| {
                loop {
                    let mut received = Received::Empty;
                    let polled = source.poll_recv(cx, || {
                        received = client.receiver.try_recv(&mut message).unwrap();
                        client.receiver.drained()
                    });
                    if received != Received::Empty {
                        return std::task::Poll::Ready(received);
                    }
                    if polled.is_pending() {
                        return std::task::Poll::Pending;
                    }
                }
            });
            let end = tokio::time::timeout(common::WATCHDOG, end).await.unwrap();
            assert_eq!(end, Received::Closed);
            dropped.await.unwrap();
        }
    });
}

/// A program may have a handler for SIGPIPE, or die of it.
#[cfg(feature = "tokio")]
#[test]
fn sending_to_nobody_raises_no_signal() {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _guard = runtime.enter();
    let mut pipes = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::pipe()).unwrap();
    let name = Name::new();
    let (mut client, server) = connected(&name.endpoint);
    send(&mut client, header(1), b"there");
    drop(server);
    for _ in 0..3 {
        let sent = client
            .sender
            .try_send(&header(2), &mut vec![1])
            .and_then(|_| client.sender.flush());
        assert_eq!(sent.unwrap_err().kind(), ErrorKind::PeerDied);
    }
    runtime.block_on(tokio::task::yield_now());
    let mut told = pin!(pipes.recv());
    assert!(
        told.as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    );
    // The test would see one.
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    drop(reader);
    assert!(rustix::io::write(&writer, &[1]).is_err());
    runtime.block_on(async { tokio::time::timeout(common::WATCHDOG, told).await.unwrap() });
}
