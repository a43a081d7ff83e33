//! What a port promises, over every transport.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{
    body, flush, header, over_every_transport, over_every_transport_with, receive, receive_into, send,
    together, watchdog,
};
use transports::{
    Accepted, Endpoint, ErrorKind, Flushed, Header, Identity, Message, Port, Received, Scheme, Sent, Spun,
};

#[test]
fn messages_arrive_whole_and_in_order() {
    over_every_transport(|mut client, mut server| {
        for id in 0..1000 {
            send(&mut client, header(id), &body(id as usize, id));
            let message = receive(&mut server);
            assert_eq!(message.header.id, id);
            assert_eq!(message.header.length as usize, message.body.len());
            assert_eq!(
                transports::Header {
                    length: 0,
                    ..message.header
                },
                header(id)
            );
            assert_eq!(message.body, body(id as usize, id));
            send(&mut server, header(id + 1), b"answer");
            assert_eq!(receive(&mut client).body, b"answer");
        }
    });
}

#[test]
fn a_batch_leaves_at_one_flush() {
    over_every_transport(|mut client, mut server| {
        for id in 0..100 {
            assert_eq!(
                client.sender.try_send(&header(id), &mut body(40, id)).unwrap(),
                Sent::Accepted
            );
        }
        // In a ring they are on their way at once; it is the other side's wake-up that is put off.
        if client.carrier.scheme() != Scheme::SharedMemory {
            assert!(client.sender.queued() >= 100 * 40);
        }
        flush(&mut client);
        assert_eq!(client.sender.queued(), 0);
        for id in 0..100 {
            let message = receive(&mut server);
            assert_eq!((message.header.id, message.body), (id, body(40, id)));
        }
    });
}

#[test]
fn bodies_of_every_size_arrive() {
    let sizes = [
        0,
        1,
        31,
        32,
        33,
        4095,
        4096,
        16 << 10,
        (16 << 10) + 1,
        65_503,
        65_504,
        65_505,
        65_536,
        100_000,
    ];
    let large = [(1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5 << 20, 64 << 20];
    over_every_transport(|mut client, mut server| {
        let all = || sizes.iter().chain(&large).copied().enumerate();
        together(
            move || {
                for (id, size) in all() {
                    send(&mut client, header(id as u64), &body(size, id as u64));
                }
                client
            },
            || {
                let mut message = Message::default();
                for (id, size) in all() {
                    assert_eq!(
                        receive_into(&mut server, &mut message).unwrap(),
                        Received::Message
                    );
                    assert_eq!(message.header.id, id as u64);
                    assert!(message.body == body(size, id as u64), "body of {size} bytes");
                }
            },
        );
    });
}

#[test]
fn park_ends_by_interrupt_and_by_deadline() {
    over_every_transport(|mut client, server| {
        let mut message = Message::default();
        assert_eq!(client.receiver.try_recv(&mut message).unwrap(), Received::Empty);
        // May return for no reason, so it is asked until the time is up.
        let start = Instant::now();
        let deadline = start + Duration::from_millis(30);
        while Instant::now() < deadline {
            client.receiver.park(false, Some(deadline)).unwrap();
        }
        assert!(start.elapsed() < Duration::from_secs(10));

        // An interrupt before the park ends it.
        let interrupt = client.receiver.interrupt();
        interrupt.raise();
        client.receiver.park(false, None).unwrap();

        // And one during it.
        let mut client = together(
            move || {
                let before = Instant::now();
                client.receiver.park(false, watchdog()).unwrap();
                assert!(before.elapsed() < common::WATCHDOG);
                client
            },
            || interrupt.raise(),
        );
        assert_eq!(client.receiver.try_recv(&mut message).unwrap(), Received::Empty);
        drop(server);
    });
}

/// Who waits for messages alone is woken by all else, too, be it later.
#[test]
fn a_park_for_messages_ends_like_any_other() {
    over_every_transport(|mut client, mut server| {
        let mut message = Message::default();
        // What carries messages is settled then, and what the first wait finds out is known.
        send(&mut client, header(1), b"first");
        assert_eq!(receive(&mut server).body, b"first");
        client.receiver.park(false, Some(Instant::now())).unwrap();

        let deadline = Instant::now() + Duration::from_millis(100);
        while Instant::now() < deadline {
            client.receiver.park_for_message(Some(deadline)).unwrap();
        }
        assert_eq!(client.receiver.try_recv(&mut message).unwrap(), Received::Empty);

        // Before it and during it.
        for _ in 0..20 {
            let (interrupt, begins) = (client.receiver.interrupt(), AtomicBool::new(false));
            together(
                || {
                    let before = Instant::now();
                    begins.store(true, Ordering::SeqCst);
                    client.receiver.park_for_message(watchdog()).unwrap();
                    assert!(before.elapsed() < common::WATCHDOG);
                },
                || {
                    while !begins.load(Ordering::SeqCst) {
                        thread::yield_now();
                    }
                    interrupt.raise();
                },
            );
        }

        // All of a message, of two, and of one that comes in parts.
        for size in [0, 100, 100_000, 3 << 20] {
            let (received, sent) = (&mut client, &mut server);
            let message = together(
                || {
                    let mut message = Message::default();
                    while received.receiver.try_recv(&mut message).unwrap() != Received::Message {
                        received.receiver.park_for_message(watchdog()).unwrap();
                    }
                    message
                },
                || {
                    send(sent, header(size as u64), &body(size, 1));
                    send(sent, header(7), b"second");
                },
            );
            assert!(message.body == body(size, 1), "body of {size} bytes");
            assert_eq!(receive(&mut client).body, b"second");
        }

        let waiting = &mut client.receiver;
        together(
            || {
                while waiting.try_recv(&mut message).unwrap() != Received::Closed {
                    waiting.park_for_message(watchdog()).unwrap();
                }
            },
            || drop(server),
        );
    });
}

/// A wait that ends while somebody interrupts it may leave that to the next one, but not to all that follow.
#[test]
fn waits_are_waits_after_an_interrupt() {
    const ROUNDS: usize = if cfg!(windows) { 50 } else { 100 };
    over_every_transport(|mut client, _server| {
        let mut message = Message::default();
        assert_eq!(client.receiver.try_recv(&mut message).unwrap(), Received::Empty);
        for _ in 0..ROUNDS {
            let interrupt = client.receiver.interrupt();
            let raising = thread::spawn(move || interrupt.raise());
            while !raising.is_finished() {
                client.receiver.park(false, Some(Instant::now())).unwrap();
            }
            raising.join().unwrap();
            let waited = (0..10).any(|_| {
                let began = Instant::now();
                let deadline = began + Duration::from_millis(1);
                client.receiver.park(false, Some(deadline)).unwrap();
                began.elapsed() >= Duration::from_micros(500)
            });
            assert!(waited, "each wait ends at once");
        }
    });
}

#[test]
fn what_was_sent_before_the_end_is_received() {
    over_every_transport(|mut client, mut server| {
        for id in 0..10 {
            send(&mut client, header(id), &body(1000, id));
        }
        drop(client);
        for id in 0..10 {
            assert_eq!(receive(&mut server).body, body(1000, id));
        }
        let mut message = Message::default();
        assert_eq!(receive_into(&mut server, &mut message).unwrap(), Received::Closed);
        assert_eq!(server.receiver.try_recv(&mut message).unwrap(), Received::Closed);
        assert!(server.receiver.ready());
    });
}

#[test]
fn a_body_in_two_parts_arrives_as_one() {
    over_every_transport(|mut client, mut server| {
        for size in [0, 1, 100, 16 << 10, (16 << 10) + 1, 300_000] {
            let mut bytes = body(size, 7);
            let sent = client
                .sender
                .try_send_parts(&header(7), b"before", &mut bytes)
                .unwrap();
            assert_eq!(sent, Sent::Accepted);
            together(
                || flush(&mut client),
                || {
                    let message = receive(&mut server);
                    assert_eq!(message.header.length as usize, 6 + size);
                    assert_eq!(message.body[..6], *b"before");
                    assert!(message.body[6..] == body(size, 7));
                },
            );
        }
    });
}

#[test]
fn a_refused_body_in_two_parts_is_left_alone() {
    over_every_transport(|mut client, _server| {
        let mut bytes = body(40 << 20, 1);
        let sent = client
            .sender
            .try_send_parts(&header(1), b"before", &mut bytes)
            .unwrap();
        assert_eq!(sent, Sent::Accepted);
        let _ = client.sender.flush().unwrap();
        let mut bytes = body(1 << 20, 2);
        let sent = client
            .sender
            .try_send_parts(&header(2), b"before", &mut bytes)
            .unwrap();
        assert_eq!(sent, Sent::Full);
        assert!(bytes == body(1 << 20, 2));
    });
}

#[test]
fn a_full_queue_refuses_and_takes_again_both_ways() {
    over_every_transport(|client, server| {
        let (mut client, mut server) = (client, server);
        for (sender, reader) in [(0, 1), (1, 0)] {
            let ports = [&mut client, &mut server];
            let mut sent = 0;
            let mut bytes = body(1 << 20, 0);
            // Nobody reads: it ends after the queue's 16 MiB and what the system buffers.
            while ports[sender].sender.try_send(&header(sent), &mut bytes).unwrap() == Sent::Accepted {
                let _ = ports[sender].sender.flush().unwrap();
                sent += 1;
                assert!(sent < 1000, "never full");
                bytes = body(1 << 20, sent);
            }
            assert!(sent >= 15, "full after {sent} MiB");
            assert_eq!(bytes, body(1 << 20, sent), "a refused body is left alone");
            assert_eq!(ports[sender].sender.flush().unwrap(), Flushed::Blocked);
            for id in 0..sent {
                let message = loop {
                    let mut message = Message::default();
                    match ports[reader].receiver.try_recv(&mut message).unwrap() {
                        Received::Message => break message,
                        Received::Begun => {}
                        Received::Empty => {
                            let _ = ports[sender].sender.flush().unwrap();
                        }
                        Received::Closed => panic!("closed"),
                    }
                };
                assert_eq!(message.header.id, id);
                assert!(message.body == body(1 << 20, id));
                let _ = ports[sender].sender.flush().unwrap();
            }
            assert_eq!(ports[sender].sender.flush().unwrap(), Flushed::Done);
            send(ports[sender], header(sent), b"room again");
            assert_eq!(receive(ports[reader]).header.id, sent);
        }
    });
}

#[test]
fn a_blocked_sender_is_woken_by_room() {
    over_every_transport(|mut client, mut server| {
        together(
            move || {
                for id in 0..60 {
                    send(&mut client, header(id), &body(1 << 20, id));
                }
                client
            },
            || {
                for id in 0..60 {
                    assert_eq!(receive(&mut server).header.id, id);
                }
            },
        );
    });
}

#[test]
fn one_message_above_the_queue_limit_always_goes() {
    over_every_transport(|mut client, mut server| {
        let mut bytes = body(40 << 20, 1);
        assert_eq!(
            client.sender.try_send(&header(1), &mut bytes).unwrap(),
            Sent::Accepted
        );
        let _ = client.sender.flush().unwrap();
        assert_eq!(
            client.sender.try_send(&header(2), &mut vec![0; 100]).unwrap(),
            Sent::Full
        );
        together(
            move || {
                flush(&mut client);
                client
            },
            || assert!(receive(&mut server).body == body(40 << 20, 1)),
        );
    });
}

#[test]
fn a_body_above_the_limit_is_refused_on_both_sides() {
    let limited = |endpoint: Endpoint| endpoint.max_message(1000);
    over_every_transport_with(limited, |mut client, mut server| {
        let refused = client
            .sender
            .try_send(&header(1), &mut vec![0; 1001])
            .unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::TooLarge);
        let expected =
            "a message of 1001 bytes is above the limit of 1000 bytes; raise Endpoint::max_message";
        assert_eq!(refused.to_string(), expected);
        // The port stays usable.
        send(&mut client, header(2), &body(1000, 2));
        assert_eq!(receive(&mut server).body, body(1000, 2));
    });

    let place = common::Place::new();
    for endpoint in place.endpoints() {
        let mut listener = transports::listen(&endpoint.clone().max_message(1000)).unwrap();
        let generous = listener.endpoint().clone().max_message(1001);
        let mut client = transports::connect(&generous, watchdog()).unwrap();
        let mut server = common::accept(&mut *listener);
        send(&mut client, header(1), &body(1000, 1));
        send(&mut client, header(2), &body(1001, 2));
        send(&mut client, header(3), &[]);
        assert_eq!(receive(&mut server).header.id, 1);
        let mut message = Message::default();
        for _ in 0..2 {
            let error = receive_into(&mut server, &mut message).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TooLarge);
            assert!(
                error.to_string().contains("1001 bytes, the limit is 1000 bytes"),
                "{error}"
            );
        }
        assert!(server.receiver.ready());
    }
}

#[test]
fn attachments_are_refused_when_sent() {
    over_every_transport(|mut client, mut server| {
        for wrong in [
            Header {
                sections: 1,
                ..header(1)
            },
            Header {
                handles: 1,
                ..header(1)
            },
        ] {
            let refused = client.sender.try_send(&wrong, &mut vec![]).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Unsupported);
        }
        send(&mut client, header(2), b"fine");
        assert_eq!(receive(&mut server).header.id, 2);
    });
}

#[test]
fn sending_to_nobody_is_an_error_and_not_a_signal() {
    over_every_transport(|mut client, server| {
        drop(server);
        let deadline = watchdog().unwrap();
        let error = loop {
            let mut bytes = body(100_000, 1);
            let sent = client
                .sender
                .try_send(&header(1), &mut bytes)
                .and_then(|_| client.sender.flush());
            match sent {
                Ok(_) => client.receiver.park(true, Some(deadline)).unwrap(),
                Err(error) => break error,
            }
            assert!(Instant::now() < deadline);
        };
        assert_eq!(error.kind(), ErrorKind::PeerDied);
        assert!(client.sender.try_send(&header(1), &mut vec![]).is_err() || client.sender.flush().is_err());
    });
}

#[test]
fn the_end_with_unread_data_comes_after_what_was_sent() {
    over_every_transport(|mut client, mut server| {
        send(&mut server, header(1), b"last words");
        send(&mut client, header(9), b"never read");
        // On its way for certain: over TCP the system hands it on by itself, in its own time.
        server.receiver.park(false, watchdog()).unwrap();
        drop(server);
        assert_eq!(receive(&mut client).body, b"last words");
        let mut message = Message::default();
        match receive_into(&mut client, &mut message) {
            Ok(end) => assert_eq!(end, Received::Closed),
            Err(error) => assert_eq!(error.kind(), ErrorKind::PeerDied),
        }
    });
}

#[test]
fn readiness_is_told_without_a_look() {
    over_every_transport(|mut client, mut server| {
        let mut message = Message::default();
        assert!(server.receiver.arm());
        // Where there is nothing to gain by looking again, one look is free.
        if !server.receiver.spins() {
            assert_eq!(server.receiver.spin(false, false), Spun::Sleep);
        }
        for id in 0..3 {
            assert_eq!(
                client.sender.try_send(&header(id), &mut body(10, id)).unwrap(),
                Sent::Accepted
            );
        }
        flush(&mut client);
        assert_eq!(receive(&mut server).header.id, 0);
        // The others came with the first.
        assert!(server.receiver.ready() && !server.receiver.arm());
        server.receiver.park(false, None).unwrap();
        server.receiver.disarm();
        assert_eq!(server.receiver.try_recv(&mut message).unwrap(), Received::Message);
        assert_eq!(server.receiver.try_recv(&mut message).unwrap(), Received::Message);
        assert!(server.receiver.drained() && !server.receiver.ready());
        assert_eq!(server.receiver.try_recv(&mut message).unwrap(), Received::Empty);
    });
}

#[test]
fn the_other_side_is_named() {
    over_every_transport(|client, server| {
        for port in [&client, &server] {
            assert_eq!(
                port.endpoint.scheme().vouches_for_peer(),
                !port.peer.is_anonymous()
            );
            assert_eq!(port.peer.same_user(), !port.peer.is_anonymous());
            match port.endpoint.scheme() {
                Scheme::Memory => assert_eq!(port.peer.to_string(), "this process"),
                Scheme::Tcp => assert_eq!(
                    (port.peer.uid(), port.peer.pid(), port.peer.executable()),
                    (None, None, None)
                ),
                Scheme::Pipe if cfg!(windows) => {
                    assert_eq!(port.peer.pid(), Some(std::process::id()));
                    assert_eq!(
                        port.peer.to_string(),
                        format!("pid {}, the same user", std::process::id())
                    );
                }
                _ => assert!(matches!(port.peer.identity(), Identity::User { .. })),
            }
        }
    });
}

#[test]
fn a_second_server_is_refused() {
    let place = common::Place::new();
    // Named pipes have a test of their own, which can be left out where a system only pretends to be Windows.
    let elsewhere = |endpoint: &Endpoint| endpoint.scheme() != Scheme::Pipe || cfg!(unix);
    for endpoint in place.endpoints().into_iter().filter(elsewhere) {
        let listener = transports::listen(&endpoint).unwrap();
        let second = transports::listen(listener.endpoint()).err().unwrap();
        assert_eq!(second.kind(), ErrorKind::InUse, "{second}");
    }
}

#[test]
fn a_missing_server_and_a_dropped_one() {
    let place = common::Place::new();
    for endpoint in place.endpoints() {
        let mut listener = transports::listen(&endpoint).unwrap();
        let resolved = listener.endpoint().clone();
        assert!(matches!(listener.try_accept().unwrap(), Accepted::Empty));
        let mut early = transports::connect(&resolved, watchdog()).unwrap();
        // A client that was never accepted sees the end, and the name is free again.
        drop(listener);
        let mut message = Message::default();
        assert!(!matches!(
            receive_into(&mut early, &mut message),
            Ok(Received::Message | Received::Empty)
        ));
        let refused = transports::connect(&resolved, watchdog()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotConnected, "{refused}");
        assert!(
            refused.to_string().contains("Start it, or use .retry(..)"),
            "{refused}"
        );
        drop(transports::listen(&resolved).unwrap());
    }
}

#[test]
fn a_full_backlog_ends_at_the_deadline() {
    let place = common::Place::new();
    for endpoint in place.endpoints() {
        // The system takes TCP connections far beyond the backlog while memory lasts, and drops what it cannot take.
        if endpoint.scheme() == Scheme::Tcp {
            continue;
        }
        let mut listener = transports::listen(&endpoint).unwrap();
        let mut clients = Vec::new();
        let refused = loop {
            let deadline = Instant::now() + Duration::from_millis(100);
            match transports::connect(&endpoint, Some(deadline)) {
                Ok(client) => clients.push(client),
                Err(error) => {
                    assert!(Instant::now() >= deadline, "{error}");
                    break error;
                }
            }
            assert!(clients.len() < 10_000, "no backlog");
        };
        assert_eq!(refused.kind(), ErrorKind::Deadline, "{refused}");
        assert!(
            refused.to_string().contains("did not accept in the time allowed"),
            "{refused}"
        );
        // With room again, a waiting client gets in.
        let resolved = endpoint.clone();
        let waiting = std::thread::spawn(move || transports::connect(&resolved, watchdog()).unwrap());
        for _ in 0..=clients.len() {
            common::accept(&mut *listener);
        }
        drop(waiting.join().unwrap());
    }
}

#[test]
fn a_listener_waits_and_is_interrupted() {
    let place = common::Place::new();
    for endpoint in place.endpoints() {
        let mut listener = transports::listen(&endpoint).unwrap();
        let interrupt = listener.interrupt();
        interrupt.raise();
        interrupt.raise();
        listener.park(None).unwrap();
        let deadline = Instant::now() + Duration::from_millis(20);
        while Instant::now() < deadline {
            listener.park(Some(deadline)).unwrap();
        }
        together(
            move || {
                listener.park(watchdog()).unwrap();
                listener
            },
            || interrupt.raise(),
        );
    }
}

#[test]
fn what_a_thread_began_outlives_it() {
    over_every_transport(|mut client, mut server| {
        for id in 0..10 {
            // One thread begins to receive, another to send more than goes at once; both end.
            let receiving = thread::spawn(move || {
                let received = server.receiver.try_recv(&mut Message::default());
                assert_eq!(received.unwrap(), Received::Empty);
                server
            });
            server = receiving.join().unwrap();
            let sending = thread::spawn(move || {
                let sent = client.sender.try_send(&header(id), &mut body(2 << 20, id));
                assert_eq!(sent.unwrap(), Sent::Accepted);
                let _ = client.sender.flush().unwrap();
                client
            });
            client = sending.join().unwrap();
            together(
                || flush(&mut client),
                || assert!(receive(&mut server).body == body(2 << 20, id)),
            );
        }
    });
}

#[test]
fn dropping_a_port_while_another_thread_waits_ends_the_wait() {
    over_every_transport(|mut client, server| {
        together(
            move || {
                let mut message = Message::default();
                receive_into(&mut client, &mut message).unwrap()
            },
            || drop(server),
        );
    });
}

#[test]
fn both_sides_send_as_fast_as_they_can() {
    // Where a system is only pretended to be Windows, a pipe takes its time.
    const COUNT: u64 = if cfg!(windows) { 4_000 } else { 20_000 };
    // Small ones, and now and then one that fills the system's buffers.
    let size = |id: u64| {
        if id % 1000 == 999 {
            1 << 20
        } else {
            (id % 300) as usize
        }
    };
    let exchange = move |mut port: Port, seed: u64| {
        let (mut sent, mut received) = (0, 0);
        let mut message = Message::default();
        let mut bytes = Vec::new();
        let deadline = watchdog();
        while sent < COUNT || received < COUNT || port.sender.queued() > 0 {
            let mut blocked = false;
            while sent < COUNT && !blocked {
                bytes.clear();
                bytes.extend_from_slice(&body(size(sent), seed ^ sent));
                match port.sender.try_send(&header(sent), &mut bytes).unwrap() {
                    Sent::Accepted => sent += 1,
                    Sent::Full => break,
                }
                // A batch of 16 at a time.
                if sent % 16 == 0 {
                    blocked = port.sender.flush().unwrap() == Flushed::Blocked;
                }
            }
            blocked = port.sender.flush().unwrap() == Flushed::Blocked;
            while received < COUNT {
                match port.receiver.try_recv(&mut message).unwrap() {
                    Received::Message => {
                        assert_eq!(message.header.id, received);
                        assert!(message.body == body(size(received), (1 - seed) ^ received));
                        received += 1;
                        if port.receiver.drained() && !port.receiver.ready() {
                            break;
                        }
                    }
                    Received::Begun => {}
                    Received::Empty => break,
                    Received::Closed => panic!("closed after {received}"),
                }
            }
            // Who may go on sending has nothing to wait for.
            if blocked || sent == COUNT && received < COUNT {
                port.receiver.park(blocked, deadline).unwrap();
            }
            assert!(
                Instant::now() < deadline.unwrap(),
                "stuck at {sent} sent, {received} received"
            );
        }
        port
    };
    over_every_transport(|client, server| {
        together(|| exchange(client, 0), || drop(exchange(server, 1)));
    });
}
